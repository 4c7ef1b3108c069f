//! What `ping` sends: the kernel of the other machine answers, and no program has to run there.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::PollFlags;
use socket2::{Domain, Protocol, Socket, Type};
use sterna_sys::datagram;

use super::messages::{Heard, Line, Trouble};
use super::{Failure, explained, words};
use crate::Message;
use crate::message::MESSAGE_BYTES;

const HEADER_BYTES: usize = 8;

/// A socket for echoes of one family.
pub(super) struct Icmp {
    socket: Socket,
    is_raw: bool,
    is_ipv6: bool,
    identifier: u16,
    size: Option<usize>,
    buffer: Vec<u8>,
}

impl Icmp {
    pub fn open(address: SocketAddr, size: Option<usize>) -> Result<Icmp, Failure> {
        let (socket, is_raw) = open(address.ip())?;
        let mut icmp = Icmp {
            socket,
            is_raw,
            is_ipv6: address.is_ipv6(),
            identifier: super::messages::nonce() as u16,
            size,
            buffer: vec![0; 65_536],
        };
        icmp.turn_to(address)?;
        Ok(icmp)
    }

    fn request(&self, message: Message) -> Vec<u8> {
        let mut packet = vec![if self.is_ipv6 { 128 } else { 8 }, 0, 0, 0];
        packet.extend(self.identifier.to_be_bytes());
        packet.extend((message.number as u16).to_be_bytes());
        packet.extend(message.to_bytes());
        packet.resize(HEADER_BYTES + self.size.unwrap_or(0).max(MESSAGE_BYTES), 0);
        // The kernel fills in that of ICMPv6, which covers addresses too.
        if !self.is_ipv6 {
            let sum = checksum(&packet).to_be_bytes();
            packet[2..4].copy_from_slice(&sum);
        }
        packet
    }
}

/// The unprivileged kind, or a raw one.
fn open(address: IpAddr) -> Result<(Socket, bool), Failure> {
    let (domain, protocol) = match address {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    if let Ok(socket) = Socket::new(domain, Type::DGRAM, Some(protocol)) {
        return Ok((socket, false));
    }
    match Socket::new(domain, Type::RAW, Some(protocol)) {
        Ok(socket) => Ok((socket, true)),
        Err(error) => Err(Failure::Unsupported(format!(
            "No socket for ICMP can be had ({}); run as root, or let groups use one: sysctl -w net.ipv4.ping_group_range='0 2147483647'",
            words(&error)
        ))),
    }
}

impl Line for Icmp {
    fn waits_for(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        Some((self.socket.as_fd(), PollFlags::IN))
    }

    fn say(&mut self, message: Message, _now_ns: u64) -> io::Result<()> {
        self.socket.send(&self.request(message)).map(|_| ())
    }

    fn hear(&mut self, _now_ns: u64, heard: &mut Vec<Heard>) -> Result<(), Trouble> {
        loop {
            let arrival = match datagram::receive(&self.socket, &mut self.buffer) {
                Ok(arrival) => arrival,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let bytes = &self.buffer[..arrival.length];
            let Some(message) = reply(bytes, self.is_raw, self.is_ipv6) else { continue };
            let (probe, number, at_ns) = (message.probe, message.number, arrival.at_ns);
            heard.push(Heard { probe, number, at_ns, told: None });
        }
    }

    fn turn_to(&mut self, address: SocketAddr) -> Result<(), Failure> {
        if address.is_ipv6() != self.is_ipv6 {
            (self.socket, self.is_raw) = open(address.ip())?;
            self.is_ipv6 = address.is_ipv6();
        }
        let set_up = || -> io::Result<()> {
            self.socket.set_nonblocking(true)?;
            datagram::stamp_arrivals(&self.socket)?;
            let _ = sterna_sys::socket::set_receive_buffer_bytes(&self.socket, 4 << 20);
            if self.size.is_some() {
                datagram::forbid_fragments(&self.socket, self.is_ipv6)?;
            }
            self.socket.connect(&address.into())
        };
        set_up().map_err(|error| {
            Failure::Broken(format!("There is no way to {}: {}", address.ip(), explained(&error)))
        })
    }

    fn advice(&self) -> &'static str {
        "is it up, and does it answer pings?"
    }
}

/// The message in a reply; a raw socket of IPv4 shows the header of IP too.
fn reply(bytes: &[u8], is_raw: bool, is_ipv6: bool) -> Option<Message> {
    let skipped = match is_raw && !is_ipv6 {
        true => usize::from(bytes.first()? & 0x0f) * 4,
        false => 0,
    };
    let packet = bytes.get(skipped..)?;
    let kind = if is_ipv6 { 129 } else { 0 };
    let is_reply = *packet.first()? == kind;
    is_reply.then(|| Message::from_bytes(packet.get(HEADER_BYTES..)?)).flatten()
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

    #[test]
    fn replies_are_told_from_the_rest() {
        let message = Message::new(7, 8);
        let packet = [&[0, 0, 0, 0, 0, 0, 0, 0][..], &message.to_bytes(), b"padding"].concat();
        assert_eq!(reply(&packet, false, false), Some(message));
        let header = [&[0x46; 24][..], &packet].concat();
        assert_eq!(reply(&header, true, false), Some(message));
        assert_eq!(reply(&packet, false, true), None);
        for length in 0..MESSAGE_BYTES + HEADER_BYTES {
            assert_eq!(reply(&packet[..length], false, false), None);
        }
        let mut request = packet.clone();
        request[0] = 8;
        assert_eq!(reply(&request, false, false), None);
        assert_eq!(checksum(&[0x45, 0, 0, 0x30, 0xba, 0]), !0xff30);
    }
}
