//! The program that listens: clients come one after another, and none of them can harm the next.
//!
//! ```text
//!  listen ── accept ──► a visitor's thread ──┬── a lane of the session under way ──► handed to it
//!     ▲                      │               └── first request, token ── slot free ──► a session
//!     │                      │ garbage, silence, strangers: sent away        │ taken: refused, by name
//!     └──────────────────────┴──────────────────────────── it has ended ◄────┘
//! ```
//!
//! The door is that of a listening host, see [`crate::host::server`]: until a visitor has shown that it may come in, it gets a bounded time, a bounded number of bytes and a bounded number of threads.

mod session;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sterna_pilot::Interrupt;
use sterna_report::stream::StreamSideSummary;
use sterna_wire::control::{self, Endpoint, Reply};
use sterna_wire::trial::{LANE_BYTES, Lane, MAGIC};

use crate::door::{Door, Turn, Turns, Visitor, lock};
use crate::host::server::ServerError;
use crate::host::server::admission::{Admission, Admitted, first_bytes, first_word, first_words};
use crate::transport::Socket;

use session::Session;

/// Longest time a data connection may take for its first words, beside a handshake.
const FIRST_WORDS: Duration = Duration::from_secs(5);

const STEP: Duration = Duration::from_millis(100);

/// What a server is given.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where to listen; the port may be 0.
    pub listen: Endpoint,
    /// The secret that clients have to know; `None` lets everybody in who can reach a loopback address or a Unix socket.
    pub token: Option<String>,
    /// Certificates; needed for everything but loopback and Unix sockets, and heeded there too.
    pub tls_directory: Option<PathBuf>,
    /// Most memory that a trial may take here.
    pub most_memory_bytes: u64,
    /// Whether to end after one trial.
    pub once: bool,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A trial has begun.
    Begun {
        /// The client's address.
        peer: String,
        /// What is tried, in a few words.
        what: String,
    },
    /// A trial has ended.
    Ended {
        /// The client's address.
        peer: String,
        /// What was seen here.
        summary: Box<StreamSideSummary>,
    },
    /// A visitor was sent away, or left before anything began.
    Refused {
        /// Its address.
        peer: String,
        /// Why.
        reason: String,
    },
}

/// A server that listens.
pub struct StreamServer {
    door: Door,
    shared: Arc<Shared>,
}

type Tell = Arc<dyn Fn(Notice) + Send + Sync>;

/// What all visitors' threads see.
struct Shared {
    admission: Admission,
    most_memory_bytes: u64,
    turns: Turns,
    /// Where lanes go that name the session under way.
    expected: Mutex<Option<Expected>>,
    closing: AtomicBool,
    is_done: AtomicBool,
}

/// The session that lanes may belong to.
struct Expected {
    session: [u8; 16],
    lanes: Sender<(Lane, Socket)>,
}

impl StreamServer {
    /// Listens, but lets nobody in yet.
    ///
    /// # Errors
    /// The address, the certificates, or what other machines can reach without certificates and token.
    pub fn bind(options: &ServeOptions) -> Result<StreamServer, ServerError> {
        let admission = Admission::under_rules(
            &options.listen,
            options.token.clone(),
            options.tls_directory.as_deref(),
        )?;
        let door = Door::open(&options.listen)?;
        let shared = Arc::new(Shared {
            admission,
            most_memory_bytes: options.most_memory_bytes,
            turns: Turns::default(),
            expected: Mutex::default(),
            closing: AtomicBool::new(false),
            is_done: AtomicBool::new(false),
        });
        Ok(StreamServer { door, shared })
    }

    /// Where it listens, with the port that was chosen.
    pub fn endpoint(&self) -> &Endpoint {
        self.door.endpoint()
    }

    /// Serves clients until `interrupt` is requested, or with `once` until a trial has ended.
    ///
    /// # Errors
    /// The listening socket failed.
    pub fn run(
        self,
        once: bool,
        interrupt: &Interrupt,
        tell: impl Fn(Notice) + Send + Sync + 'static,
    ) -> Result<(), ServerError> {
        let tell: Tell = Arc::new(tell);
        let (shared, to_visit) = (Arc::clone(&self.shared), Arc::clone(&tell));
        let visit = move |visitor: Visitor, socket: Socket| {
            Visit { shared: Arc::clone(&shared), tell: Arc::clone(&to_visit), visitor }
                .serve(socket);
        };
        let is_done = || once && self.shared.is_done.load(Ordering::Acquire);
        let refuse = |peer, reason| tell(Notice::Refused { peer, reason });
        self.door.keep(|| interrupt.requested() || is_done(), visit, refuse)?;
        self.shared.closing.store(true, Ordering::Release);
        self.door.see_off();
        Ok(())
    }
}

/// One visitor.
struct Visit {
    shared: Arc<Shared>,
    tell: Tell,
    visitor: Visitor,
}

impl Visit {
    fn serve(self, socket: Socket) {
        if let Err(reason) = self.let_in(socket) {
            (self.tell)(Notice::Refused { peer: self.visitor.peer.clone(), reason });
        }
    }

    /// A lane, or a client; whatever is neither is sent away.
    fn let_in(&self, socket: Socket) -> Result<(), String> {
        let text = |error: std::io::Error| format!("the connection failed: {error}");
        self.shared.admission.check_owner(&socket)?;
        socket.set_read_timeout(Some(STEP)).map_err(text)?;
        socket.set_write_timeout(Some(FIRST_WORDS)).map_err(text)?;
        let begins = first_bytes(&socket)?;
        // Pages may go in clear where all else is encrypted; whoever sends them has learnt the session where it was.
        let is_clear_lane = begins == MAGIC[..2];
        let mut socket = if is_clear_lane { socket } else { self.shared.admission.open(socket)? };
        let word = first_word(&mut socket)?;
        if word == MAGIC {
            return self.lane(socket);
        }
        if is_clear_lane {
            return Err("it does not speak this protocol".to_owned());
        }
        let Admitted { mut socket, welcome } = self.shared.admission.hear(socket, word)?;
        if !self.visitor.place.speaks() {
            return Err("its connection was closed for another one".to_owned());
        }
        let slot = match self.take_slot() {
            Ok(slot) => slot,
            Err(reason) => {
                Admitted { socket, welcome }.refuse(&reason);
                return Err(reason);
            }
        };
        let said = control::send(&mut socket, &Reply::Welcome(welcome));
        said.map_err(|error| format!("it did not wait for an answer: {error}"))?;
        let (shared, tell, peer) = (&*self.shared, &self.tell, &*self.visitor.peer);
        Session { shared, tell, peer, slot: Some(slot) }.serve(socket)
    }

    fn lane(&self, mut socket: Socket) -> Result<(), String> {
        let mut bytes = [0; LANE_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        first_words(&mut socket, &mut bytes[4..])?;
        let lane = Lane::decode(&bytes).map_err(|error| error.to_string())?;
        let expected = lock(&self.shared.expected);
        let ours = expected.as_ref().filter(|it| it.session == lane.session);
        let ours = ours.ok_or("its data connection belongs to no trial that is under way")?;
        ours.lanes.send((lane, socket)).map_err(|_| "its trial has ended".to_owned())
    }

    fn take_slot(&self) -> Result<Slot<'_>, String> {
        let turn = self.shared.turns.take(&self.visitor.peer).map_err(|by| {
            format!(
                "This server is busy with {}, since {} s; try again when that trial has ended",
                by.peer, by.seconds
            )
        })?;
        Ok(Slot { shared: &self.shared, _turn: turn })
    }
}

/// The right to a session and to its lanes, given back however it ends.
struct Slot<'a> {
    shared: &'a Shared,
    _turn: Turn<'a>,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *lock(&self.shared.expected) = None;
    }
}
