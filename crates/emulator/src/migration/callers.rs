//! Who comes to the port of a destination.
//!
//! Any program can connect there: a port scanner, a health check, a client with the wrong number.
//! So each connection is heard on a thread of its own, where one that says nothing keeps nobody out, and only one that introduces itself is a caller.
//!
//! ```text
//!  listener ─ few enough unheard ─► a thread each: handshake, introduction ─┬─► a caller
//!                                       └─ too long ─► cut ─────────────────┴─► a stranger: told why, and counted
//! ```

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sterna_wire::stream::{FrameError, Kind, Message, MessageReader, MessageWriter, ReadError};
use sterna_wire::tls::TlsError;

use crate::link::Inbound;
use crate::transport::{Listener, Protection, Socket, TransportError};

/// How long a connection may take to introduce itself: a source does so at once, also over a network that loses its first packets.
const HEARING_TIME: Duration = Duration::from_secs(2);

/// What a handshake may take besides.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// Connections that are heard at the same time; more wait until there is room.
const MAX_UNHEARD: usize = 64;

/// Strangers that are sent away before the wait is given up: a port under such siege is no place for a migration.
const MAX_STRANGERS: usize = 256;

/// Strangers that are told of one by one.
const MAX_TOLD: usize = 8;

/// How often a wait looks whether it is still wanted.
const SLICE: Duration = Duration::from_millis(50);

/// The same while a connection is being heard.
const SHORT_SLICE: Duration = Duration::from_millis(1);

/// How long a stranger may take to hear why it is none of ours, and how much of what it says is swallowed meanwhile: what nobody has read would take the words back.
const FAREWELL: Duration = Duration::from_millis(200);
const FAREWELL_BYTES: usize = 64 << 10;

/// A connection that has introduced itself.
#[derive(Debug)]
pub struct Caller {
    /// The connection, of which nothing was written yet.
    pub socket: Socket,
    /// What follows the introduction.
    pub inbound: Inbound,
    /// Has read the introduction.
    pub reader: MessageReader,
    /// A `Hello`, a `Channel` or a `Resume`.
    pub introduction: Message,
    /// Grows in the order in which connections came; they may be heard in another.
    pub number: u64,
    peer: String,
}

/// Why there is no caller.
#[derive(Debug)]
pub enum NoCaller {
    /// None came in time.
    Late,
    /// Nobody wants one any more.
    GivenUp,
    /// Too many strangers came.
    Crowded,
    /// We cannot take any.
    Ours(TransportError),
}

/// Those who come to a listener, for as long as this lives; whoever is unheard then is cut.
pub struct Callers<'a> {
    listener: &'a Listener,
    latency: Duration,
    on_stranger: &'a dyn Fn(&str),
    unheard: HashMap<u64, Unheard>,
    admitted: u64,
    strangers: Strangers,
    to_us: Sender<Heard>,
    heard: Receiver<Heard>,
}

/// Those who were sent away.
#[derive(Clone, Debug, Default)]
pub struct Strangers {
    count: usize,
    last: String,
}

struct Unheard {
    socket: Socket,
    peer: String,
    until: Instant,
}

struct Heard {
    number: u64,
    heard: Result<Caller, Unfit>,
}

/// Why a connection has no introduction.
enum Unfit {
    Theirs(String),
    Ours(TransportError),
}

impl<'a> Callers<'a> {
    /// Those who come to `listener`, over a wire with an emulated `latency`; the first strangers are told of one by one.
    pub fn at(
        listener: &'a Listener,
        latency: Duration,
        on_stranger: &'a dyn Fn(&str),
    ) -> Callers<'a> {
        let (to_us, heard) = channel();
        let (unheard, admitted, strangers) = Default::default();
        Callers { listener, latency, on_stranger, unheard, admitted, strangers, to_us, heard }
    }

    /// The next one that has introduced itself.
    ///
    /// # Errors
    /// None by the deadline, or none is wanted or can be had any more.
    pub fn next(
        &mut self,
        deadline: Instant,
        keep_waiting: &dyn Fn() -> bool,
    ) -> Result<Caller, NoCaller> {
        loop {
            self.admit();
            self.cut_the_silent();
            if self.strangers.count > MAX_STRANGERS {
                return Err(NoCaller::Crowded);
            }
            match self.wait(deadline) {
                Some(Heard { number, heard }) if self.unheard.remove(&number).is_some() => {
                    match heard {
                        Ok(caller) => return Ok(Caller { number, ..caller }),
                        Err(Unfit::Ours(error)) => return Err(NoCaller::Ours(error)),
                        Err(Unfit::Theirs(reason)) => self.note_stranger(reason),
                    }
                }
                // It was cut meanwhile, and is told of already.
                Some(_) => {}
                None if Instant::now() >= deadline => return Err(NoCaller::Late),
                None if !keep_waiting() => return Err(NoCaller::GivenUp),
                None => {}
            }
        }
    }

    /// Tells a caller why it is none of ours after all.
    pub fn send_away(&mut self, caller: Caller, reason: &str) {
        let Caller { mut socket, peer, .. } = caller;
        tell(&mut socket, reason);
        self.note_stranger(format!("{peer}: {reason}"));
    }

    /// Who was sent away so far.
    pub fn strangers(&self) -> Strangers {
        self.strangers.clone()
    }

    fn note_stranger(&mut self, reason: String) {
        self.strangers.count += 1;
        if self.strangers.count <= MAX_TOLD {
            (self.on_stranger)(&reason);
        }
        self.strangers.last = reason;
    }

    fn admit(&mut self) {
        while self.unheard.len() < MAX_UNHEARD {
            match self.listener.try_next() {
                Ok(Some(socket)) => self.hear(socket),
                Ok(None) => return,
                // One that is gone again, or no descriptors left: both pass.
                Err(error) => {
                    self.note_stranger(format!("a connection that cannot be taken: {error}"));
                    return std::thread::sleep(SLICE);
                }
            }
        }
    }

    fn hear(&mut self, socket: Socket) {
        let (number, latency, to_us) = (self.admitted, self.latency, self.to_us.clone());
        self.admitted += 1;
        let peer = socket.peer().map_or_else(|| "a local process".to_owned(), |it| it.to_string());
        let protection = self.listener.protection().clone();
        let is_clear = matches!(protection, Protection::Clear);
        let handshake = if is_clear { Duration::ZERO } else { HANDSHAKE_TIME };
        let until = Instant::now() + handshake + HEARING_TIME + latency;
        let handle = match socket.try_clone() {
            Ok(handle) => handle,
            Err(error) => return self.note_stranger(format!("{peer}: {error}")),
        };
        let name = peer.clone();
        let hear = move || {
            let _ = to_us.send(Heard { number, heard: hear(socket, name, &protection, latency) });
        };
        match std::thread::Builder::new().name("caller".to_owned()).spawn(hear) {
            Ok(_) => drop(self.unheard.insert(number, Unheard { socket: handle, peer, until })),
            Err(error) => self.note_stranger(format!("{peer}: no thread can be had: {error}")),
        }
    }

    fn cut_the_silent(&mut self) {
        let now = Instant::now();
        let late: Vec<Unheard> =
            self.unheard.extract_if(|_, it| it.until <= now).map(|it| it.1).collect();
        for Unheard { mut socket, peer, .. } in late {
            let reason = "it has not introduced itself in time";
            if matches!(self.listener.protection(), Protection::Clear) {
                tell(&mut socket, reason);
            }
            socket.shut_down();
            self.note_stranger(format!("{peer}: {reason}"));
        }
    }

    /// For somebody to come, or to be heard.
    fn wait(&self, deadline: Instant) -> Option<Heard> {
        let left = deadline.saturating_duration_since(Instant::now());
        if !self.unheard.is_empty() {
            return self.heard.recv_timeout(SHORT_SLICE.min(left)).ok();
        }
        let slice = SLICE.min(left);
        let slice = Timespec { tv_sec: 0, tv_nsec: slice.subsec_nanos().into() };
        // An error here is one of the listener, too.
        let _ = poll(&mut [PollFd::new(self.listener, PollFlags::IN)], Some(&slice));
        self.heard.try_recv().ok()
    }
}

impl Drop for Callers<'_> {
    fn drop(&mut self) {
        self.unheard.values().for_each(|it| it.socket.shut_down());
    }
}

impl std::fmt::Display for Strangers {
    /// The end of a sentence about those who did not come.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.count {
            0 => Ok(()),
            1 => write!(f, ", but another peer ({})", self.last),
            count => write!(f, ", but {count} strangers (the last: {})", self.last),
        }
    }
}

fn hear(
    socket: Socket,
    peer: String,
    protection: &Protection,
    latency: Duration,
) -> Result<Caller, Unfit> {
    let theirs = |error: &dyn std::fmt::Display| Unfit::Theirs(format!("{peer}: {error}"));
    let mut socket = socket.protected(protection, false).map_err(|error| match error {
        TlsError::File { path, reason } => {
            let text = format!("{}: {reason}", path.display());
            Unfit::Ours(TransportError::Accept(std::io::Error::other(text)))
        }
        error => theirs(&error),
    })?;
    let handle = socket.try_clone().map_err(|error| theirs(&error))?;
    let mut inbound = Inbound::new(handle, latency).map_err(|error| theirs(&error))?;
    let mut reader = MessageReader::default();
    match introduction(&mut reader, &mut inbound) {
        Ok(introduction) => Ok(Caller { socket, inbound, reader, introduction, number: 0, peer }),
        Err(error) => {
            tell(&mut socket, &error.to_string());
            swallow(&mut inbound);
            Err(theirs(&error))
        }
    }
}

/// The first message, if it is one with which a source may begin; of nothing else more than the header is read.
fn introduction(reader: &mut MessageReader, from: &mut Inbound) -> Result<Message, ReadError> {
    let header = reader.header(from)?;
    match header.kind {
        Kind::Hello | Kind::Channel | Kind::Resume => reader.body(from, &header),
        found => Err(FrameError::Unexpected { found, expected: "an introduction" }.into()),
    }
}

fn tell(socket: &mut Socket, reason: &str) {
    let _ = socket.set_write_timeout(Some(FAREWELL));
    let _ = MessageWriter::default().send(socket, &Message::Error(reason.to_owned()));
}

fn swallow(inbound: &mut Inbound) {
    let _ = inbound.set_timeout(Some(FAREWELL));
    let deadline = Instant::now() + FAREWELL;
    let (mut waste, mut swallowed) = ([0; 4096], 0);
    while swallowed < FAREWELL_BYTES && Instant::now() < deadline {
        match std::io::Read::read(inbound, &mut waste) {
            Ok(1..) => swallowed += waste.len(),
            _ => return,
        }
    }
}
