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
//! Until a visitor has shown that it may come in, it gets a bounded time, a bounded number of bytes and a bounded number of threads.

pub(crate) mod admission;
mod session;

use std::ffi::OsString;
use std::io;
use std::net::ToSocketAddrs;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sterna_pilot::Interrupt;
use sterna_wire::control::Endpoint;
use sterna_wire::tls::TlsError;

use crate::transport::{Listener, Socket, TransportError};
use admission::Admission;

/// Slices in which the wait for visitors looks for an interrupt.
const SLICE: Duration = Duration::from_millis(50);

/// Visitors that may be at the door at once; more are hung up on.
const MAX_VISITORS: usize = 32;

/// How long sessions may take to end when the host is told to.
const GOODBYE: Duration = Duration::from_secs(4);

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
    listener: Listener,
    endpoint: Endpoint,
    shared: Arc<Shared>,
}

/// What all visitors' threads see.
struct Shared {
    admission: Admission,
    tls_directory: Option<PathBuf>,
    host_command: Vec<OsString>,
    /// Who has the slot, since when.
    taken: Mutex<Option<(String, Instant)>>,
    closing: AtomicBool,
    visitors: AtomicUsize,
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
        let (listener, endpoint) = Listener::bind(&listen)?;
        let shared = Arc::new(Shared {
            admission,
            tls_directory,
            host_command,
            taken: Mutex::default(),
            closing: AtomicBool::new(false),
            visitors: AtomicUsize::new(0),
        });
        Ok(Server { listener, endpoint, shared })
    }

    /// Where it listens, with the port that was chosen.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
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
        while !interrupt.requested() {
            if self.wait_for_visitor()? {
                match self.listener.try_next() {
                    Ok(Some(socket)) => self.receive(socket, &tell),
                    Ok(None) => {}
                    // A visitor that is gone again, or no descriptors left: both pass.
                    Err(_) => std::thread::sleep(SLICE),
                }
            }
        }
        self.shared.closing.store(true, Ordering::Release);
        let deadline = Instant::now() + GOODBYE;
        while self.shared.visitors.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn wait_for_visitor(&self) -> Result<bool, ServerError> {
        let slice = Timespec { tv_sec: 0, tv_nsec: SLICE.as_nanos() as _ };
        let mut fds = [PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&slice)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(ServerError::Wait(error.into())),
        }
    }

    /// Gives a visitor a thread of its own; the session it may become is bound to that thread.
    fn receive(&self, socket: Socket, tell: &Tell) {
        let peer = socket.peer().map_or_else(|| "a local process".to_owned(), |it| it.to_string());
        if self.shared.visitors.fetch_add(1, Ordering::AcqRel) >= MAX_VISITORS {
            self.shared.visitors.fetch_sub(1, Ordering::AcqRel);
            let reason = format!("{MAX_VISITORS} others are at the door already");
            return tell(Notice::Refused { peer, reason });
        }
        let visit = Visit { shared: Arc::clone(&self.shared), tell: Arc::clone(tell), peer };
        // Without a thread the visit ends here, and counts itself off.
        let _ = std::thread::Builder::new()
            .name("visitor".to_owned())
            .spawn(move || visit.serve(socket));
    }
}

/// One visitor.
struct Visit {
    shared: Arc<Shared>,
    tell: Tell,
    peer: String,
}

impl Visit {
    fn serve(self, socket: Socket) {
        let admitted = match self.shared.admission.admit(socket) {
            Ok(admitted) => admitted,
            Err(reason) => return self.refuse(reason),
        };
        match self.take_slot() {
            Ok(slot) => session::serve(admitted, &self, slot),
            Err(reason) => {
                admitted.refuse(&reason);
                self.refuse(reason);
            }
        }
    }

    fn take_slot(&self) -> Result<Slot<'_>, String> {
        let mut taken = lock(&self.shared.taken);
        if let Some((peer, since)) = &*taken {
            return Err(format!(
                "This host serves another pilot, {peer}, since {} s; try again when that run has ended",
                since.elapsed().as_secs()
            ));
        }
        *taken = Some((self.peer.clone(), Instant::now()));
        Ok(Slot { taken: &self.shared.taken })
    }

    fn refuse(&self, reason: String) {
        (self.tell)(Notice::Refused { peer: self.peer.clone(), reason });
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.shared.visitors.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The right to a session, given back however it ends.
struct Slot<'a> {
    taken: &'a Mutex<Option<(String, Instant)>>,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *lock(self.taken) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
