//! Datagrams: echoes, counts, clocks and streams.

use std::io::{self, ErrorKind};
use std::net::UdpSocket;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sterna_sys::clock::monotonic_ns;

use crate::{Answer, Moment, Responder};

/// The largest that can come.
const LARGEST_BYTES: usize = 65_535;

/// So many are answered before streams have their turn.
const BATCH: usize = 64;

/// Answers whatever comes, and plays what was asked for; returns only when the socket is broken.
///
/// # Errors
/// The socket cannot be waited for.
pub fn answer_datagrams(socket: &UdpSocket, mut responder: Responder) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let mut buffer = vec![0; LARGEST_BYTES];
    loop {
        let due_ns = responder.play_due(monotonic_ns(), |to, frame, bytes| {
            // What cannot be sent now is lost, as pictures are.
            let _ = socket.send_to(&frame.padded(bytes), to);
        });
        wait(socket, due_ns)?;
        for _ in 0..BATCH {
            match socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    if let Answer::Back(length) =
                        responder.answer(&mut buffer, length, from, Moment::now())
                    {
                        let _ = socket.send_to(&buffer[..length], from);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // Others are those of earlier answers that nobody wanted.
                Err(_) => {}
            }
        }
    }
}

fn wait(socket: &UdpSocket, due_ns: Option<u64>) -> io::Result<()> {
    let timeout = due_ns.map(|due_ns| {
        let left_ns = due_ns.saturating_sub(monotonic_ns());
        Timespec {
            tv_sec: (left_ns / 1_000_000_000).cast_signed(),
            tv_nsec: (left_ns % 1_000_000_000).cast_signed(),
        }
    });
    match poll(&mut [PollFd::new(socket, PollFlags::IN)], timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
