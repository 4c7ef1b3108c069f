//! Questions on the link: who has this address? They show when a guest's place on the network is known again, before any of its programs runs.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::PollFlags;
use sterna_sys::datagram::{self, ArpSocket, arp_question};
use sterna_sys::interface;

use super::messages::{Heard, Line, Trouble};
use super::{Extra, Failure, words};
use crate::Message;

/// Who answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArpSeen {
    /// The Ethernet address that answers came from last.
    pub mac: Option<[u8; 6]>,
    /// How often that changed.
    pub changes: u64,
    /// How often the owner said unasked where it is (gratuitous ARP), as a guest does after a move.
    pub announcements: u64,
}

/// A link and the question.
///
/// Answers carry no number. One that comes is taken for that to the newest question; so a time under way is at least as long as it is said to be, and lost answers are told by their count.
pub(super) struct Arp {
    socket: ArpSocket,
    question: [u8; 28],
    wanted: Ipv4Addr,
    seen: ArpSeen,
    newest: Option<Message>,
}

impl Arp {
    pub fn open(address: SocketAddr, name: Option<&str>) -> Result<Arp, Failure> {
        let IpAddr::V4(wanted) = address.ip() else {
            let ip = address.ip();
            return Err(Failure::Unsupported(format!(
                "ARP asks for IPv4 addresses, and {ip} is none; use `sterna probe icmp`"
            )));
        };
        let (name, ours) = match name {
            Some(name) => (name.to_owned(), own_address(name)?),
            None => leading_to(wanted)?,
        };
        let (index, mac) = interface::ethernet(&name).map_err(|error| {
            Failure::Unsupported(format!(
                "The interface {name} is no Ethernet ({}); name the one that {wanted} is on with --interface",
                words(&error)
            ))
        })?;
        let socket = ArpSocket::open(index).map_err(|error| {
            Failure::Unsupported(format!(
                "No raw socket can be had on {name} ({}); run as root or with CAP_NET_RAW",
                words(&error)
            ))
        })?;
        // Without a stamp the moment of reading has to do.
        let _ = datagram::stamp_arrivals(&socket);
        let question = arp_question(mac, ours, wanted);
        Ok(Arp { socket, question, wanted, seen: ArpSeen::default(), newest: None })
    }

    /// The address from which an answer of the owner came.
    fn owner(&self, packet: &[u8]) -> Option<([u8; 6], bool)> {
        let is_arp = packet.get(..6)? == [0, 1, 8, 0, 6, 4];
        if !is_arp || packet.get(14..18)? != self.wanted.octets() {
            return None;
        }
        let mac = packet.get(8..14)?.try_into().ok()?;
        let asks_for = packet.get(24..28)?;
        let is_unasked = asks_for == self.wanted.octets();
        let is_answer = packet.get(6..8)? == [0, 2] && !is_unasked;
        (is_answer || is_unasked).then_some((mac, is_unasked))
    }
}

impl Line for Arp {
    fn waits_for(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        Some((self.socket.as_fd(), PollFlags::IN))
    }

    fn say(&mut self, message: Message, _now_ns: u64) -> io::Result<()> {
        self.newest = Some(message);
        self.socket.broadcast(&self.question)
    }

    fn hear(&mut self, _now_ns: u64, heard: &mut Vec<Heard>) -> Result<(), Trouble> {
        let mut buffer = [0; 128];
        loop {
            let arrival = match datagram::receive(&self.socket, &mut buffer) {
                Ok(arrival) => arrival,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let Some((mac, is_unasked)) = self.owner(&buffer[..arrival.length]) else { continue };
            let has_changed = self.seen.mac.replace(mac).is_some_and(|it| it != mac);
            self.seen.changes += u64::from(has_changed);
            if is_unasked {
                self.seen.announcements += 1;
            } else if let Some(Message { probe, number, .. }) = self.newest {
                heard.push(Heard { probe, number, at_ns: arrival.at_ns, told: None });
            }
        }
    }

    fn turn_to(&mut self, _address: SocketAddr) -> Result<(), Failure> {
        Ok(())
    }

    fn extra(&self) -> Extra {
        Extra::Arp(self.seen.clone())
    }

    fn advice(&self) -> &'static str {
        "is it up, and on the same link as this machine?"
    }
}

fn own_address(name: &str) -> Result<Ipv4Addr, Failure> {
    match interface::address(name) {
        Ok(IpAddr::V4(address)) => Ok(address),
        Ok(_) => Ok(Ipv4Addr::UNSPECIFIED),
        Err(error) => Err(Failure::Broken(format!(
            "There is no interface {name} with an address ({}); `ip address` lists them",
            words(&error)
        ))),
    }
}

/// The interface by which an address is reached, and ours there.
fn leading_to(wanted: Ipv4Addr) -> Result<(String, Ipv4Addr), Failure> {
    let failed = |why: String| {
        Failure::Broken(format!(
            "No interface leads to {wanted} ({why}); name one with --interface"
        ))
    };
    let local = || -> io::Result<SocketAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        // Sends nothing; it only asks for the way.
        socket.connect((wanted, 9))?;
        socket.local_addr()
    };
    let ours = local().map_err(|error| failed(words(&error)))?.ip();
    let names = std::fs::read_to_string("/proc/net/dev").map_err(|error| failed(words(&error)))?;
    let mut names = names.lines().filter_map(|it| Some(it.split_once(':')?.0.trim().to_owned()));
    let found = names.find(|name| interface::address(name).is_ok_and(|it| it == ours));
    match (found, ours) {
        (Some(name), IpAddr::V4(ours)) => Ok((name, ours)),
        _ => Err(failed(format!("no interface has {ours}"))),
    }
}
