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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::Message;

    /// A responder at work, its address, and a second handle on its socket, to send in its name.
    fn responder() -> (SocketAddr, UdpSocket) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let handle = socket.try_clone().unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || answer_datagrams(&socket, Responder::new(64)));
        (address, handle)
    }

    /// How many messages of the probe have reached the responder, this one included.
    fn heard(address: SocketAddr, probe: u64) -> u64 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.send_to(&Message::new(probe, 0).to_bytes(), address).unwrap();
        let mut answer = [0; 64];
        let length = socket.recv(&mut answer).unwrap();
        Message::from_bytes(&answer[..length]).unwrap().heard
    }

    #[test]
    fn two_responders_do_not_answer_each_other_after_one_forged_datagram() {
        let ((one, _), (other, in_its_name)) = (responder(), responder());
        in_its_name.send_to(&Message::new(9, 0).to_bytes(), one).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!((heard(one, 9), heard(other, 9)), (2, 1));
    }

    #[test]
    fn a_responder_does_not_answer_itself_after_one_forged_datagram() {
        let (address, in_its_name) = responder();
        in_its_name.send_to(&Message::new(9, 0).to_bytes(), address).unwrap();
        in_its_name.send_to(b"unknown", address).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(heard(address, 9), 2);
    }
}
