//! The few kinds of frames that are made and understood here.

use super::{ECHO_PORT, GUEST_ADDRESS, GUEST_MAC, OUR_ADDRESS, OUR_MAC, OUR_PORT};

const IPV4: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
const UDP: u8 = 17;
const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// What a frame is to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Somebody asks who has our address; the answer to send.
    AskedForUs(Vec<u8>),
    /// The agent's echo, with what it carries.
    Echo(Vec<u8>),
    /// Anything else.
    Other,
}

/// Who sent a frame.
pub(super) fn sender(frame: &[u8]) -> Option<[u8; 6]> {
    frame.get(6..12)?.try_into().ok()
}

/// Reads a frame.
pub(super) fn read(frame: &[u8]) -> Frame {
    let kind = frame.get(12..14);
    let body = frame.get(14..).unwrap_or_default();
    let found = if kind == Some(&ARP) {
        arp_answer(body).map(Frame::AskedForUs)
    } else if kind == Some(&IPV4) {
        echo(body).map(Frame::Echo)
    } else {
        None
    };
    found.unwrap_or(Frame::Other)
}

/// A UDP message to the agent's echo.
pub(super) fn question(payload: &[u8]) -> Vec<u8> {
    let udp_length = (UDP_HEADER + payload.len()) as u16;
    let mut udp = Vec::new();
    udp.extend(OUR_PORT.to_be_bytes());
    udp.extend(ECHO_PORT.to_be_bytes());
    udp.extend(udp_length.to_be_bytes());
    // No checksum: in IPv4 that is allowed, and the socket loses nothing.
    udp.extend([0, 0]);
    udp.extend(payload);

    let total = (IP_HEADER + udp.len()) as u16;
    let mut ip = vec![0x45, 0];
    ip.extend(total.to_be_bytes());
    ip.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
    ip.extend(OUR_ADDRESS.octets());
    ip.extend(GUEST_ADDRESS.0.octets());
    let checksum = checksum(&ip);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    ethernet(GUEST_MAC, IPV4, &[ip, udp].concat())
}

fn echo(ip: &[u8]) -> Option<Vec<u8>> {
    let header = usize::from(ip.first()? & 0x0f) * 4;
    let udp = ip.get(header..)?;
    let is_ours = *ip.get(9)? == UDP
        && ip.get(12..16)? == GUEST_ADDRESS.0.octets()
        && udp.get(0..2)? == ECHO_PORT.to_be_bytes()
        && udp.get(2..4)? == OUR_PORT.to_be_bytes();
    let length = usize::from(u16::from_be_bytes(udp.get(4..6)?.try_into().ok()?));
    is_ours.then(|| udp.get(UDP_HEADER..length).map(<[u8]>::to_vec)).flatten()
}

fn arp_answer(arp: &[u8]) -> Option<Vec<u8>> {
    let is_question = arp.get(..8)? == [0, 1, 8, 0, 6, 4, 0, 1];
    if !is_question || arp.get(24..28)? != OUR_ADDRESS.octets() {
        return None;
    }
    let asker: [u8; 6] = arp.get(8..14)?.try_into().ok()?;
    let mut answer = vec![0, 1, 8, 0, 6, 4, 0, 2];
    answer.extend(OUR_MAC);
    answer.extend(OUR_ADDRESS.octets());
    answer.extend(arp.get(8..18)?);
    Some(ethernet(asker, ARP, &answer))
}

/// Short frames are filled up, as a wire would.
fn ethernet(to: [u8; 6], kind: [u8; 2], body: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &OUR_MAC, &kind, body].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|it| u32::from(it[0]) << 8 | u32::from(*it.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the agent makes of a question: addresses and ports change places.
    fn echoed(question: &[u8]) -> Vec<u8> {
        let mut frame = question.to_vec();
        frame[..6].copy_from_slice(&OUR_MAC);
        frame[6..12].copy_from_slice(&GUEST_MAC);
        let (from, to) = (question[26..30].to_vec(), question[30..34].to_vec());
        frame[26..30].copy_from_slice(&to);
        frame[30..34].copy_from_slice(&from);
        let ports = question[34..38].to_vec();
        frame[34..36].copy_from_slice(&ports[2..]);
        frame[36..38].copy_from_slice(&ports[..2]);
        frame
    }

    #[test]
    fn an_echo_carries_what_was_asked() {
        let question = question(b"sixteen bytes ok");
        assert_eq!(checksum(&question[14..34]), 0, "a header with its checksum sums up to nothing");
        let frame = echoed(&question);
        assert_eq!(sender(&frame), Some(GUEST_MAC));
        assert_eq!(read(&frame), Frame::Echo(b"sixteen bytes ok".to_vec()));
        assert_eq!(read(&question), Frame::Other);
    }

    #[test]
    fn who_asks_for_our_address_is_told() {
        let mut arp = [&[0xff; 6][..], &GUEST_MAC, &ARP, &[0, 1, 8, 0, 6, 4, 0, 1]].concat();
        arp.extend(GUEST_MAC);
        arp.extend(GUEST_ADDRESS.0.octets());
        arp.extend([0; 6]);
        arp.extend(OUR_ADDRESS.octets());
        let Frame::AskedForUs(answer) = read(&arp) else { panic!("{:?}", read(&arp)) };
        assert_eq!((&answer[..6], &answer[22..28]), (&GUEST_MAC[..], &OUR_MAC[..]));
        assert_eq!(answer.len(), 60);
    }

    #[test]
    fn rubbish_is_no_frame_of_ours() {
        for length in 0..60 {
            assert_eq!(read(&vec![8; length]), Frame::Other);
            let cut = &echoed(&question(b"0123456789abcdef"))[..length.min(57)];
            assert_eq!(read(cut), Frame::Other, "{length}");
        }
    }
}
