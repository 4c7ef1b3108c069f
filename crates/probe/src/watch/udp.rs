//! Datagrams.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::PollFlags;
use sterna_sys::datagram;

use super::messages::{Heard, Line, Trouble};
use super::{Failure, explained};
use crate::Message;
use crate::message::{MESSAGE_BYTES, PROTOCOL_VERSION, refused_by};

/// Room for the answers that come at once after a freeze.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// A socket that is connected to the responder, so that refusals reach it.
pub(super) struct Udp {
    socket: UdpSocket,
    size: Option<usize>,
    buffer: Vec<u8>,
}

impl Udp {
    pub fn open(address: SocketAddr, size: Option<usize>) -> Result<Udp, Failure> {
        let socket = connect(address, size.is_some())?;
        Ok(Udp { socket, size, buffer: vec![0; 65_536] })
    }
}

/// A socket that stamps what comes.
pub(super) fn connect(address: SocketAddr, whole: bool) -> Result<UdpSocket, Failure> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let open = || -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        datagram::stamp_arrivals(&socket)?;
        let _ = sterna_sys::socket::set_receive_buffer_bytes(&socket, RECEIVE_BUFFER_BYTES);
        if whole {
            datagram::forbid_fragments(&socket, address.is_ipv6())?;
        }
        socket.connect(address)?;
        Ok(socket)
    };
    open().map_err(|error| {
        Failure::Broken(format!("There is no way to {address}: {}", explained(&error)))
    })
}

/// Whether a responder is of another version, as it says.
pub(super) fn check_version(bytes: &[u8]) -> Result<(), Trouble> {
    let Some(theirs) = refused_by(bytes) else { return Ok(()) };
    Err(Trouble::Final(Failure::Broken(format!(
        "The responder speaks version {theirs} of the probe protocol, and this Sterna version {PROTOCOL_VERSION}; use the same Sterna on both sides"
    ))))
}

impl Line for Udp {
    fn waits_for(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        Some((self.socket.as_fd(), PollFlags::IN))
    }

    fn say(&mut self, message: Message, _now_ns: u64) -> io::Result<()> {
        let mut bytes = message.to_bytes().to_vec();
        bytes.resize(self.size.unwrap_or(0).max(MESSAGE_BYTES), 0);
        self.socket.send(&bytes).map(|_| ())
    }

    fn hear(&mut self, _now_ns: u64, heard: &mut Vec<Heard>) -> Result<(), Trouble> {
        loop {
            let arrival = match datagram::receive(&self.socket, &mut self.buffer) {
                Ok(arrival) => arrival,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let bytes = &self.buffer[..arrival.length];
            check_version(bytes)?;
            let Some(message) = Message::from_bytes(bytes) else { continue };
            let told = (message.heard > 0).then_some((message.heard, message.moment));
            heard.push(Heard {
                probe: message.probe,
                number: message.number,
                at_ns: arrival.at_ns,
                told,
            });
        }
    }

    fn turn_to(&mut self, address: SocketAddr) -> Result<(), Failure> {
        self.socket = connect(address, self.size.is_some())?;
        Ok(())
    }

    fn may_be_counted(&self) -> bool {
        true
    }

    fn advice(&self) -> &'static str {
        "is `sterna probe serve --listen ADDRESS` running there, and no firewall between?"
    }
}
