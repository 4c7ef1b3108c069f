//! A host that listens: pilots come over the network, one after another.
//!
//! ```text
//!  listen ── accept ──► a visitor's thread: handshake, first request, token ── slot free ──► a session
//!     ▲                      │ garbage, silence, strangers: sent away             │ taken: refused, by name
//!     └──────────────────────┴──────────────────────── its process has ended ◄────┘
//! ```
//!
//! Each session is a process of its own, as in a local run: its memory is gone with it, and what kills it kills nothing else.
//! This process only carries the bytes of the control connection to it and back.
//!
//! Until a connection has shown that it may come in, it gets a bounded time, a bounded number of bytes and one of a bounded number of places, which it loses to a later one while it is silent.
//! A session ends with its pilot: when that closes the connection, takes none of its answers for 30 s, or asks for nothing.

pub(crate) mod admission;
mod session;

use std::ffi::OsString;
use std::io;
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sterna_pilot::Interrupt;
use sterna_wire::control::Endpoint;
use sterna_wire::tls::TlsError;

use crate::door::{Door, Turn, Turns, Visitor};
use crate::transport::{Socket, TransportError};
use admission::Admission;

/// What a listening host is given.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where to listen; the port may be 0.
    pub listen: Endpoint,
    /// The secret that pilots have to know; `None` lets everybody in who can reach a loopback address or a Unix socket.
    pub token: Option<String>,
    /// Certificates; needed for everything but loopback and Unix sockets, and heeded there too.
    pub tls_directory: Option<PathBuf>,
    /// A program and its arguments that call [`crate::host::serve`] on standard input.
    pub host_command: Vec<OsString>,
}

/// Why a host cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address.
    #[error(transparent)]
    Listen(#[from] TransportError),
    /// The certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Beyond this machine, nothing goes in clear.
    #[error(
        "--listen {0} can be reached from other machines, so it needs certificates: give --tls-dir DIR, which `sterna certs DIR --host NAME` makes"
    )]
    NeedsTls(String),
    /// Beyond this machine, nobody comes in unknown.
    #[error("--listen {0} can be reached from other machines, so it needs a token")]
    NeedsToken(String),
    /// Waiting for visitors failed.
    #[error("Waiting for pilots failed: {0}")]
    Wait(io::Error),
}

/// Something that happened at the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A pilot came in.
    Begun {
        /// Its address.
        peer: String,
        /// The process that serves it.
        pid: u32,
    },
    /// A pilot's session has ended, and everything of it is gone.
    Ended {
        /// The address.
        peer: String,
        /// How its process ended.
        how: String,
    },
    /// A visitor was sent away.
    Refused {
        /// Its address.
        peer: String,
        /// Why.
        reason: String,
    },
}

/// A listening host.
pub struct Server {
    door: Door,
    shared: Arc<Shared>,
}

/// What all visitors' threads see.
struct Shared {
    admission: Admission,
    tls_directory: Option<PathBuf>,
    host_command: Vec<OsString>,
    turns: Turns,
    closing: AtomicBool,
}

type Tell = Arc<dyn Fn(Notice) + Send + Sync>;

impl Server {
    /// Listens, but lets nobody in yet.
    ///
    /// # Errors
    /// See [`ServerError`]; nothing is listening then.
    pub fn bind(options: ServerOptions) -> Result<Server, ServerError> {
        let ServerOptions { listen, token, tls_directory, host_command } = options;
        let admission = Admission::under_rules(&listen, token, tls_directory.as_deref())?;
        let door = Door::open(&listen)?;
        let shared = Arc::new(Shared {
            admission,
            tls_directory,
            host_command,
            turns: Turns::default(),
            closing: AtomicBool::new(false),
        });
        Ok(Server { door, shared })
    }

    /// Where it listens, with the port that was chosen.
    pub fn endpoint(&self) -> &Endpoint {
        self.door.endpoint()
    }

    /// Serves pilots until `interrupt` is requested; sessions under way are ended then.
    ///
    /// # Errors
    /// The listening socket failed.
    pub fn run(
        self,
        interrupt: &Interrupt,
        tell: impl Fn(Notice) + Send + Sync + 'static,
    ) -> Result<(), ServerError> {
        let tell: Tell = Arc::new(tell);
        let (shared, to_visit) = (Arc::clone(&self.shared), Arc::clone(&tell));
        let visit = move |visitor: Visitor, socket: Socket| {
            Visit { shared: Arc::clone(&shared), tell: Arc::clone(&to_visit), visitor }
                .serve(socket);
        };
        let refuse = |peer, reason| tell(Notice::Refused { peer, reason });
        self.door.keep(|| interrupt.requested(), visit, refuse)?;
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
        let admitted = match self.shared.admission.admit(socket) {
            Ok(admitted) => admitted,
            Err(reason) => return self.refuse(reason),
        };
        if !self.visitor.place.speaks() {
            return self.refuse("its connection was closed for another one".to_owned());
        }
        match self.take_turn() {
            Ok(turn) => session::serve(admitted, &self, turn),
            Err(reason) => {
                admitted.refuse(&reason);
                self.refuse(reason);
            }
        }
    }

    fn take_turn(&self) -> Result<Turn<'_>, String> {
        self.shared.turns.take(&self.visitor.peer).map_err(|by| {
            format!(
                "This host serves another pilot, {}, since {} s; try again when that run has ended",
                by.peer, by.seconds
            )
        })
    }

    fn refuse(&self, reason: String) {
        (self.tell)(Notice::Refused { peer: self.visitor.peer.clone(), reason });
    }
}

/// Whether only this machine can reach it. A name that cannot be resolved is judged by the attempt to listen.
pub fn is_local(endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Unix(_) => true,
        Endpoint::Tcp(address) => match address.to_socket_addrs() {
            Ok(mut all) => all.all(|it| it.ip().is_loopback()),
            Err(_) => true,
        },
    }
}

/// An endpoint as people write it.
pub(crate) fn show(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Unix(text) | Endpoint::Tcp(text) => text.clone(),
    }
}
