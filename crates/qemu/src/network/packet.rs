//! The few kinds of frames that are made and understood here.

use std::net::Ipv4Addr;

use super::{ECHO_PORT, GUEST_ADDRESS, GUEST_MAC, OUR_ADDRESS, OUR_MAC, OUR_PORT, icmp};

const IPV4: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
const ETHERNET_HEADER: usize = 14;
const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What a frame is to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// Somebody asks who has our address; the answer to send.
    AskedForUs(Vec<u8>),
    /// The guest's echo of a datagram or of a ping, with what it carries.
    Echo(&'a [u8]),
    /// TCP from the guest, as an IP packet.
    Tcp(&'a [u8]),
    /// Anything else.
    Other,
}

/// Who sent a frame.
pub(super) fn sender(frame: &[u8]) -> Option<[u8; 6]> {
    frame.get(6..12)?.try_into().ok()
}

/// Reads a frame.
pub(super) fn read(frame: &[u8]) -> Frame<'_> {
    let kind = frame.get(12..14);
    let body = frame.get(ETHERNET_HEADER..).unwrap_or_default();
    let found = if kind == Some(&ARP) {
        arp_answer(body).map(Frame::AskedForUs)
    } else if kind == Some(&IPV4) {
        from_guest(body)
    } else {
        None
    };
    found.unwrap_or(Frame::Other)
}

/// A UDP message to the agent's echo, from the port of the probe of this number.
pub(super) fn datagram(probe: u16, payload: &[u8]) -> Vec<u8> {
    let length = (UDP_HEADER + payload.len()) as u16;
    let mut udp = Vec::new();
    udp.extend((OUR_PORT + probe).to_be_bytes());
    udp.extend(ECHO_PORT.to_be_bytes());
    udp.extend(length.to_be_bytes());
    // No checksum: in IPv4 that is allowed, and a switch in memory loses no bits.
    udp.extend([0, 0]);
    udp.extend(payload);
    packet(UDP, &udp)
}

/// A ping of the guest.
pub(super) fn ping(probe: u16, number: u64, payload: &[u8]) -> Vec<u8> {
    packet(ICMP, &icmp::request(OUR_PORT + probe, number as u16, payload))
}

/// An IP packet as a frame to the guest.
pub(super) fn to_guest(ip: &[u8]) -> Vec<u8> {
    ethernet(GUEST_MAC, IPV4, ip)
}

fn packet(protocol: u8, body: &[u8]) -> Vec<u8> {
    let total = (IP_HEADER + body.len()) as u16;
    let mut ip = vec![0x45, 0];
    ip.extend(total.to_be_bytes());
    ip.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    ip.extend(OUR_ADDRESS.octets());
    ip.extend(GUEST_ADDRESS.0.octets());
    let checksum = checksum(&ip);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    ip.extend(body);
    to_guest(&ip)
}

fn from_guest(ip: &[u8]) -> Option<Frame<'_>> {
    let header = usize::from(ip.first()? & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes(ip.get(2..4)?.try_into().ok()?));
    let address = |range| Some(Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(range)?).ok()?));
    if address(12..16)? != GUEST_ADDRESS.0 || address(16..20)? != OUR_ADDRESS {
        return None;
    }
    // Short frames are filled up behind the packet.
    let body = ip.get(header..total)?;
    match *ip.get(9)? {
        UDP => echo(body).map(Frame::Echo),
        ICMP => icmp::reply(body).map(Frame::Echo),
        TCP => ip.get(..total).map(Frame::Tcp),
        _ => None,
    }
}

fn echo(udp: &[u8]) -> Option<&[u8]> {
    let is_echo = udp.get(0..2)? == ECHO_PORT.to_be_bytes();
    let length = usize::from(u16::from_be_bytes(udp.get(4..6)?.try_into().ok()?));
    is_echo.then(|| udp.get(UDP_HEADER..length)).flatten()
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
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|it| u32::from(it[0]) << 8 | u32::from(*it.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What a guest makes of a datagram or a ping: addresses and ports change places, and a request becomes a reply.
    pub(in super::super) fn echoed(question: &[u8]) -> Vec<u8> {
        let mut frame = question.to_vec();
        frame[..6].copy_from_slice(&OUR_MAC);
        frame[6..12].copy_from_slice(&GUEST_MAC);
        let (from, to) = (question[26..30].to_vec(), question[30..34].to_vec());
        frame[26..30].copy_from_slice(&to);
        frame[30..34].copy_from_slice(&from);
        if question[23] == ICMP {
            frame[34] = 0;
            // The checksum counts the kind in its first byte: 8 less there is 8 more here.
            frame[36] = frame[36].wrapping_add(8);
        } else {
            let ports = question[34..38].to_vec();
            frame[34..36].copy_from_slice(&ports[2..]);
            frame[36..38].copy_from_slice(&ports[..2]);
        }
        frame
    }

    #[test]
    fn an_echo_carries_what_was_asked() {
        for question in [datagram(3, b"sixteen bytes ok"), ping(3, 70_000, b"sixteen bytes ok")] {
            assert_eq!(
                checksum(&question[14..34]),
                0,
                "a header with its checksum sums up to nothing"
            );
            let frame = echoed(&question);
            assert_eq!(sender(&frame), Some(GUEST_MAC));
            assert_eq!(read(&frame), Frame::Echo(b"sixteen bytes ok"));
            assert_eq!(read(&question), Frame::Other);
        }
    }

    #[test]
    fn tcp_is_handed_on_without_what_fills_a_frame_up() {
        let frame = echoed(&packet(TCP, &[7; 20]));
        assert_eq!(frame.len(), 60);
        assert_eq!(read(&frame), Frame::Tcp(&frame[14..54]));
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
            for question in [datagram(0, b"0123456789abcdef"), ping(0, 1, b"0123456789abcdef")] {
                let whole = echoed(&question);
                let cut = &whole[..length.min(57)];
                assert_eq!(read(cut), Frame::Other, "{length}");
            }
        }
    }
}
