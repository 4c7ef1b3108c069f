//! The guest's network on one side: answers to probes and pictures for viewers, as long as the guest runs there.
//!
//! A guest that is stopped answers nobody, and what reaches it is lost. Where it goes on, it says so to all who have looked
//! for it there, as a hypervisor announces a guest that has moved; until that is heard, probes go where it was.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sterna_probe::playout::PlayRequest;
use sterna_probe::{Answer, Message, Moment, Responder};
use sterna_sys::clock::monotonic_ns;
use sterna_workload::Crew;

use super::guest::Guest;

/// The name of the thread.
const THREAD: &str = "guest-network";

/// What is said to those who look for the guest once it runs here; repeated, for datagrams may be lost.
pub const ANNOUNCEMENT: [u8; 16] = *b"StrnGuestIsHere.";
const ANNOUNCEMENTS: u32 = 5;

/// What an observer sends to the place where the guest will be; it gets no answer before the guest is there.
pub const KNOCK: [u8; 4] = *b"who?";

/// How often it is looked whether the guest runs.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000 };

/// More do not look at one guest.
const MOST_OBSERVERS: usize = 16;
const MOST_PROBES: usize = 64;

/// Answers until it is dropped.
pub struct Network {
    /// Where probes go; only programs of this machine reach it.
    pub address: SocketAddr,
    shall_end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    /// Plugs the guest in.
    pub fn open(guest: Arc<Guest>) -> io::Result<Network> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let shall_end = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&shall_end);
        let thread = std::thread::Builder::new().name(THREAD.to_owned()).spawn(move || {
            sterna_sys::cpu::raise_priority();
            let responder = Responder::new(MOST_PROBES);
            Port { socket, guest, responder, observers: Vec::new(), announced: 0 }.run(&end);
        })?;
        Ok(Network { address, shall_end, thread: Some(thread) })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.shall_end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Port {
    socket: UdpSocket,
    guest: Arc<Guest>,
    responder: Responder,
    observers: Vec<SocketAddr>,
    /// How often it was said that the guest is here, since it is.
    announced: u32,
}

impl Port {
    fn run(mut self, shall_end: &AtomicBool) {
        let mut buffer = [0; 2048];
        while !shall_end.load(Ordering::Relaxed) {
            let is_running = self.is_running();
            self.announce(is_running);
            if is_running {
                self.play();
            }
            let mut waiting = [PollFd::new(&self.socket, PollFlags::IN)];
            let _ = poll(&mut waiting, Some(&LOOK_EVERY));
            loop {
                let (length, from) = match self.socket.recv_from(&mut buffer) {
                    Ok(heard) => heard,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => continue,
                };
                if asks(&buffer[..length])
                    && !self.observers.contains(&from)
                    && self.observers.len() < MOST_OBSERVERS
                {
                    self.observers.push(from);
                }
                // Asked for each datagram: one that comes after the stop is not answered any more.
                if self.is_running()
                    && let Answer::Back(length) =
                        self.responder.answer(&mut buffer, length, from, Moment::now())
                {
                    let _ = self.socket.send_to(&buffer[..length], from);
                }
            }
        }
    }

    fn is_running(&self) -> bool {
        self.guest.crew().is_some_and(Crew::is_running)
    }

    /// Pictures for those who watch; a guest that stood still leaves some out.
    fn play(&mut self) {
        let socket = &self.socket;
        self.responder.play_due(monotonic_ns(), |to, frame, bytes| {
            // What cannot be sent now is lost, as pictures are.
            let _ = socket.send_to(&frame.padded(bytes), to);
        });
    }

    fn announce(&mut self, is_running: bool) {
        if !is_running {
            self.announced = 0;
        } else if self.announced < ANNOUNCEMENTS && !self.observers.is_empty() {
            self.announced += 1;
            for observer in &self.observers {
                let _ = self.socket.send_to(&ANNOUNCEMENT, observer);
            }
        }
    }
}

/// Whether a datagram is one that only an observer sends: the announcement of another guest is none, or two guests would announce themselves to each other.
fn asks(datagram: &[u8]) -> bool {
    datagram == KNOCK
        || PlayRequest::from_bytes(datagram).is_some()
        || Message::from_bytes(datagram).is_some_and(Message::is_question)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_an_observer_sends_makes_its_sender_an_observer() {
        let question = Message::new(1, 2);
        let request = PlayRequest { cookie: 1, session: 2, interval_ns: 3, frame_bytes: 4 };
        assert!(asks(&KNOCK) && asks(&question.to_bytes()) && asks(&request.to_bytes()));
        let answer = Message { heard: 1, ..question }.to_bytes();
        for datagram in [&ANNOUNCEMENT[..], &answer[..], b"", b"unknown"] {
            assert!(!asks(datagram), "{datagram:?}");
        }
    }
}
