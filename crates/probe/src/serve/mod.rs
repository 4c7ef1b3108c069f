//! The responder as a program has it: sockets, and loops that answer until the process ends.
//!
//! One loop for datagrams and one for connections, however many clients there are: neither takes a thread for a client.

mod datagrams;
pub mod pages;
pub mod places;
mod streams;

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

pub use datagrams::answer_datagrams;
pub use streams::{Streams, Upgrade};

/// Threads of responders need little.
const STACK_BYTES: usize = 128 << 10;

/// Binds one port for datagrams and for connections.
///
/// # Errors
/// It is taken, or the address is not ours.
pub fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    // With port 0 the one that the first gets may be taken for the other.
    const MOST_ATTEMPTS: usize = 10;
    let mut attempt = 0;
    loop {
        let tcp = TcpListener::bind(address)?;
        attempt += 1;
        match UdpSocket::bind(tcp.local_addr()?) {
            Ok(udp) => return Ok((udp, tcp)),
            Err(_) if address.port() == 0 && attempt < MOST_ATTEMPTS => {}
            Err(error) => return Err(error),
        }
    }
}

/// Starts a thread of a responder: it goes before others, for a probe measures the network and not our place in the queue.
///
/// # Errors
/// No thread can be had.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
    thread.spawn(move || {
        sterna_sys::cpu::raise_priority();
        work();
    })?;
    Ok(())
}
