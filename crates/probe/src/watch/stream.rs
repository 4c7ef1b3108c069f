//! One long connection, as a client of the guest has it, that is dialled anew when it breaks.
//!
//! ```text
//!   Away ──dial──► Dialling ──connected──► Open
//!    ▲                │ refused, 1 s over     │ reset, closed
//!    └────────────────┴───────────────────────┘
//! ```

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::PollFlags;
use socket2::{Domain, Socket, Type};
use sterna_sys::clock::monotonic_ns;
use sterna_sys::datagram;

use super::messages::{Heard, Line, Trouble};
use super::{DiskSeen, Extra, Failure, words};
use crate::Message;
use crate::disk::remote;
use crate::message::MESSAGE_BYTES;

/// Between the end of one attempt and the next.
const DIAL_AGAIN_NS: u64 = 20_000_000;
/// An attempt that was not answered for so long is given up: the kernel would ask again only after this time, and then twice as long.
const DIAL_PATIENCE_NS: u64 = 1_000_000_000;
/// What is not sent yet; with more the connection is as good as broken, and messages are dropped.
const MOST_WAITING_BYTES: usize = 8 << 20;

/// Connections and how they ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// How many came about.
    pub established: u64,
    /// How long it took to establish the first, nanoseconds.
    pub first_ns: Option<u64>,
    /// Those that broke.
    pub broken: Vec<Reestablished>,
}

/// A connection that broke, and the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reestablished {
    /// When it was seen to be broken.
    pub broken_ns: u64,
    /// When there was a new one; `None` while there is none.
    pub established_ns: Option<u64>,
    /// What the system said.
    pub reason: String,
    /// Attempts that failed in between.
    pub attempts: u64,
}

/// What is said on a connection.
pub(super) enum Speech {
    /// Messages, which come back as they are.
    Echo,
    /// Numbers of records to write, which come back when they are safe.
    Records {
        /// Bytes of each.
        record_bytes: usize,
        /// Where the responder writes, as it says.
        seen: DiskSeen,
    },
}

/// A connection, or the lack of one.
pub(super) struct Dialled {
    address: SocketAddr,
    speech: Speech,
    state: State,
    connections: Connections,
    probe: u64,
    /// Why the last attempt failed, until it was told.
    complaint: Option<io::Error>,
}

enum State {
    Away {
        again_ns: u64,
    },
    /// Messages wait for the connection, as a client's do; an attempt that fails loses them.
    Dialling {
        socket: Socket,
        since_ns: u64,
        outgoing: VecDeque<u8>,
    },
    Open(Open),
}

struct Open {
    stream: TcpStream,
    outgoing: VecDeque<u8>,
    incoming: Vec<u8>,
    /// Whether the other side has greeted, where it does.
    is_greeted: bool,
}

impl Speech {
    pub fn records(record_bytes: usize) -> Speech {
        Speech::Records { record_bytes, seen: DiskSeen::default() }
    }

    fn greeting(&self, probe: u64) -> Vec<u8> {
        match self {
            Speech::Echo => Vec::new(),
            Speech::Records { record_bytes, .. } => remote::greeting(probe, *record_bytes).to_vec(),
        }
    }
}

impl Dialled {
    pub fn new(address: SocketAddr, speech: Speech) -> Dialled {
        let state = State::Away { again_ns: 0 };
        let probe = super::messages::nonce();
        let connections = Connections::default();
        Dialled { address, speech, state, connections, probe, complaint: None }
    }

    fn tend(&mut self, now_ns: u64) {
        match &self.state {
            State::Away { again_ns } if *again_ns <= now_ns => self.dial(now_ns),
            State::Dialling { socket, since_ns, .. } => match socket.take_error() {
                Ok(None) if socket.peer_addr().is_ok() => self.establish(now_ns),
                Ok(None) if now_ns.saturating_sub(*since_ns) < DIAL_PATIENCE_NS => {}
                Ok(None) => self.lose(now_ns, ErrorKind::TimedOut.into()),
                Ok(Some(error)) | Err(error) => self.lose(now_ns, error),
            },
            _ => {}
        }
    }

    fn dial(&mut self, now_ns: u64) {
        let dial = || -> io::Result<Socket> {
            let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            socket.set_tcp_nodelay(true)?;
            let _ = datagram::stamp_arrivals(&socket);
            match socket.connect(&self.address.into()) {
                Err(error) if error.raw_os_error() == Some(IN_PROGRESS) => Ok(socket),
                other => other.map(|()| socket),
            }
        };
        match dial() {
            Ok(socket) => {
                self.state =
                    State::Dialling { socket, since_ns: now_ns, outgoing: VecDeque::new() };
            }
            Err(error) => self.lose(now_ns, error),
        }
    }

    fn establish(&mut self, now_ns: u64) {
        let away = State::Away { again_ns: now_ns };
        let state = std::mem::replace(&mut self.state, away);
        let State::Dialling { socket, since_ns, outgoing: waiting } = state else { return };
        self.connections.established += 1;
        self.connections.first_ns.get_or_insert(now_ns.saturating_sub(since_ns));
        if let Some(last) = self.connections.broken.last_mut() {
            last.established_ns.get_or_insert(now_ns);
        }
        let greeting = self.speech.greeting(self.probe ^ self.connections.established);
        self.state = State::Open(Open {
            stream: socket.into(),
            outgoing: greeting.into_iter().chain(waiting).collect(),
            incoming: Vec::new(),
            is_greeted: matches!(self.speech, Speech::Echo),
        });
    }

    /// There is no connection any more, or there still is none.
    fn lose(&mut self, now_ns: u64, error: io::Error) {
        let was_open = matches!(self.state, State::Open(_));
        self.state = State::Away { again_ns: now_ns + DIAL_AGAIN_NS };
        if was_open {
            self.connections.broken.push(Reestablished {
                broken_ns: now_ns,
                established_ns: None,
                reason: words(&error),
                attempts: 0,
            });
        } else if let Some(last) = self.connections.broken.last_mut() {
            last.attempts += 1;
        }
        self.complaint = Some(error);
    }

    /// Takes what the other side has said in full.
    fn read_answers(&mut self, at_ns: u64, heard: &mut Vec<Heard>) -> Result<(), Trouble> {
        let State::Open(open) = &mut self.state else { return Ok(()) };
        match &mut self.speech {
            Speech::Echo => {
                while let Some(bytes) = open.incoming.first_chunk::<MESSAGE_BYTES>() {
                    let message = Message::from_bytes(bytes);
                    open.incoming.drain(..MESSAGE_BYTES);
                    let Some(Message { probe, number, .. }) = message else {
                        return Err(Trouble::Final(Failure::Broken(format!(
                            "{} is no echo: something else came back than was sent",
                            self.address
                        ))));
                    };
                    heard.push(Heard { probe, number, at_ns, told: None });
                }
            }
            Speech::Records { seen, .. } => {
                if !open.is_greeted {
                    match remote::welcome(&mut open.incoming) {
                        Ok(None) => return Ok(()),
                        Ok(Some(path)) => {
                            open.is_greeted = true;
                            seen.files.push(path);
                        }
                        Err(reason) => return Err(Trouble::Final(Failure::Broken(reason))),
                    }
                }
                while let Some(bytes) = open.incoming.first_chunk::<8>() {
                    let number = u64::from_be_bytes(*bytes);
                    open.incoming.drain(..8);
                    seen.acknowledged += 1;
                    seen.last = Some(number);
                    heard.push(Heard { probe: self.probe, number, at_ns, told: None });
                }
            }
        }
        Ok(())
    }
}

const IN_PROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

impl Line for Dialled {
    fn waits_for(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.state {
            State::Away { .. } => None,
            State::Dialling { socket, .. } => Some((socket.as_fd(), PollFlags::OUT)),
            State::Open(open) if open.outgoing.is_empty() => {
                Some((open.stream.as_fd(), PollFlags::IN))
            }
            State::Open(open) => Some((open.stream.as_fd(), PollFlags::IN | PollFlags::OUT)),
        }
    }

    fn say(&mut self, message: Message, now_ns: u64) -> io::Result<()> {
        self.probe = message.probe;
        self.tend(now_ns);
        let outgoing = match &mut self.state {
            State::Away { .. } => return Ok(()),
            State::Dialling { outgoing, .. } => outgoing,
            State::Open(open) => &mut open.outgoing,
        };
        if outgoing.len() < MOST_WAITING_BYTES {
            match self.speech {
                Speech::Echo => outgoing.extend(message.to_bytes()),
                Speech::Records { .. } => outgoing.extend(message.number.to_be_bytes()),
            }
        }
        if let State::Open(open) = &mut self.state
            && let Err(error) = open.flush()
        {
            self.lose(now_ns, error);
        }
        Ok(())
    }

    fn hear(&mut self, now_ns: u64, heard: &mut Vec<Heard>) -> Result<(), Trouble> {
        self.tend(now_ns);
        if let Some(error) = self.complaint.take() {
            return Err(error.into());
        }
        let mut buffer = [0; 16 << 10];
        loop {
            let State::Open(open) = &mut self.state else { return Ok(()) };
            let arrival = open.flush().and_then(|()| datagram::receive(&open.stream, &mut buffer));
            match arrival {
                Ok(it) if it.length > 0 => {
                    open.incoming.extend(&buffer[..it.length]);
                    self.read_answers(it.at_ns, heard)?;
                }
                Ok(_) => self.lose(monotonic_ns(), ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.lose(monotonic_ns(), error),
            }
        }
    }

    /// The connection of now may live on; the next goes there.
    fn turn_to(&mut self, address: SocketAddr) -> Result<(), Failure> {
        self.address = address;
        Ok(())
    }

    fn extra(&self) -> Extra {
        match &self.speech {
            Speech::Echo => Extra::Tcp(self.connections.clone()),
            Speech::Records { seen, .. } => Extra::Disk(seen.clone()),
        }
    }

    fn advice(&self) -> &'static str {
        match self.speech {
            Speech::Echo => {
                "is `sterna probe serve --listen ADDRESS` running there, and no firewall between?"
            }
            Speech::Records { .. } => {
                "is `sterna probe serve --listen ADDRESS --disk DIRECTORY` running there?"
            }
        }
    }
}

impl Open {
    /// Sends as much as the kernel takes.
    fn flush(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            let (first, second) = self.outgoing.as_slices();
            let part = if first.is_empty() { second } else { first };
            match self.stream.write(part) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
