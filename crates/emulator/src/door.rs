//! A listening socket whose visitors cannot harm each other: what a host and a stream server have in common.
//!
//! ```text
//!  open ──► keep: accept ── a place ──► a thread of the connection's own ──► Turns::take ──► a session
//!                   │ none, and the oldest silent connection is closed for it │ taken: refused, by name
//!                   └─ over ──► see_off: those inside get a moment to end
//! ```
//!
//! See [`Places`] for who loses a place, and why.

use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sterna_probe::serve::places::{Place, Places};
use sterna_wire::control::Endpoint;

use crate::host::server::ServerError;
use crate::transport::{Listener, Socket, TransportError};

/// Slices in which the wait for visitors looks whether it is over.
const SLICE: Duration = Duration::from_millis(50);

/// Connections that may be open at once, a session's own included.
const MOST_CONNECTIONS: usize = 32;

/// The same from one address.
const MOST_OF_A_PEER: usize = 16;

/// How long those inside may take to end.
const GOODBYE: Duration = Duration::from_secs(4);

/// A listening socket.
pub(crate) struct Door {
    listener: Listener,
    endpoint: Endpoint,
    places: Places,
}

/// A connection that has a place, until this is dropped.
pub(crate) struct Visitor {
    /// Its address.
    pub peer: String,
    /// The place, which it may lose until it has shown that it may come in.
    pub place: Place,
}

/// The one session that may be under way.
#[derive(Default)]
pub(crate) struct Turns(Mutex<Option<(String, Instant)>>);

/// The right to a session, given back however it ends.
pub(crate) struct Turn<'a>(&'a Turns);

/// Who has the turn, and for how many seconds.
pub(crate) struct Taken {
    pub peer: String,
    pub seconds: u64,
}

impl Door {
    pub fn open(listen: &Endpoint) -> Result<Door, TransportError> {
        let (listener, endpoint) = Listener::bind(listen)?;
        let places = Places::new(MOST_CONNECTIONS, MOST_OF_A_PEER);
        Ok(Door { listener, endpoint, places })
    }

    /// Where it listens, with the port that was chosen.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Gives each visitor a thread of its own, in which `visit` runs, until `is_over`; what a visitor is sent away for at the door, `refuse` is told.
    pub fn keep(
        &self,
        is_over: impl Fn() -> bool,
        visit: impl Fn(Visitor, Socket) + Clone + Send + 'static,
        refuse: impl Fn(String, String),
    ) -> Result<(), ServerError> {
        while !is_over() {
            if !self.wait()? {
                continue;
            }
            match self.listener.try_next() {
                Ok(Some(socket)) => match self.count(&socket) {
                    Ok(visitor) => spawn(visitor, socket, visit.clone()),
                    Err((peer, reason)) => refuse(peer, reason),
                },
                Ok(None) => {}
                // A visitor that is gone again, or no descriptors left: both pass.
                Err(_) => std::thread::sleep(SLICE),
            }
        }
        Ok(())
    }

    /// Waits a little for those who are still inside.
    pub fn see_off(&self) {
        let deadline = Instant::now() + GOODBYE;
        while self.places.taken() > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn wait(&self) -> Result<bool, ServerError> {
        let slice = Timespec { tv_sec: 0, tv_nsec: SLICE.as_nanos() as _ };
        let mut fds = [PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&slice)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(ServerError::Wait(error.into())),
        }
    }

    fn count(&self, socket: &Socket) -> Result<Visitor, (String, String)> {
        let peer = socket.peer().map_or_else(|| "a local process".to_owned(), |it| it.to_string());
        let handle = match socket.try_clone() {
            Ok(handle) => handle,
            Err(error) => return Err((peer, format!("no descriptors are left: {error}"))),
        };
        match self.places.take(socket.peer(), move || handle.shut_down()) {
            Ok(place) => Ok(Visitor { peer, place }),
            Err(error) => Err((peer, error.to_string())),
        }
    }
}

impl Turns {
    /// A session for this visitor, unless another has one.
    pub fn take(&self, peer: &str) -> Result<Turn<'_>, Taken> {
        let mut taken = lock(&self.0);
        if let Some((peer, since)) = &*taken {
            return Err(Taken { peer: peer.clone(), seconds: since.elapsed().as_secs() });
        }
        *taken = Some((peer.to_owned(), Instant::now()));
        Ok(Turn(self))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *lock(&self.0.0) = None;
    }
}

/// What a thread left behind that panicked is still whole: each change here is one step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(visitor: Visitor, socket: Socket, visit: impl Fn(Visitor, Socket) + Send + 'static) {
    let thread = std::thread::Builder::new().name("visitor".to_owned());
    // Without a thread the visit ends here, and counts itself off.
    let _ = thread.spawn(move || visit(visitor, socket));
}
