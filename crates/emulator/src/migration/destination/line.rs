//! The link to the source in post-copy, for all threads that ask on it or have to end it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sterna_sys::clock::monotonic_ns;
use sterna_wire::stream::{MAX_LIST_RUNS, Message, MessageWriter, PageRun};

use super::fetch::FetchError;
use crate::migration::faults::Damaging;
use crate::migration::postcopy::FaultBook;
use crate::migration::trouble::Trouble;
use crate::transport::Socket;

/// The way on which requests leave.
pub(super) struct Outlet {
    pub(super) socket: Socket,
    pub(super) writer: MessageWriter,
    pub(super) trouble: Arc<Trouble>,
}

/// Stands while there is a connection; whoever fails first ends it, and its reason is the one that is told.
///
/// While nothing stands requests are not sent: a new link begins with all that is waited for.
pub(super) struct Line<'a> {
    book: &'a FaultBook,
    outlet: Mutex<Option<Outlet>>,
    standing: Mutex<Option<Standing>>,
}

/// To be cut when somebody fails, whoever writes at that moment.
struct Standing {
    sockets: Vec<Socket>,
    since_ns: u64,
    failure: Option<FetchError>,
}

impl<'a> Line<'a> {
    /// Nothing stands yet.
    pub(super) fn new(book: &'a FaultBook) -> Line<'a> {
        Line { book, outlet: Mutex::default(), standing: Mutex::default() }
    }

    /// Stands from now on, over `sockets`, and asks for what somebody waits for already.
    pub(super) fn stand(&self, mut outlet: Outlet, sockets: Vec<Socket>) -> io::Result<()> {
        let standing = Standing { sockets, since_ns: monotonic_ns(), failure: None };
        *lock(&self.standing) = Some(standing);
        // A fault is noted before it takes this lock: either it is asked for here, or by its reader behind.
        let mut slot = lock(&self.outlet);
        let asked = self
            .book
            .awaited()
            .chunks(MAX_LIST_RUNS)
            .try_for_each(|runs| outlet.send(&Message::Request(runs.to_vec())));
        *slot = Some(outlet);
        asked
    }

    /// Falls; gives back the outlet and the reason why it was ended.
    pub(super) fn fall(&self) -> (Option<Outlet>, Option<FetchError>) {
        let failure = lock(&self.standing).take().and_then(|it| it.failure);
        (lock(&self.outlet).take(), failure)
    }

    /// Ends the link, unless somebody has before.
    pub(super) fn end(&self, error: FetchError) {
        if let Some(standing) = &mut *lock(&self.standing)
            && standing.failure.is_none()
        {
            standing.failure = Some(error);
            standing.sockets.iter().for_each(Socket::shut_down);
        }
    }

    /// Sends a message on the way of requests, if there is one.
    pub(super) fn send(&self, message: &Message) -> io::Result<()> {
        lock(&self.outlet).as_mut().map_or(Ok(()), |it| it.send(message))
    }

    /// Asks for pages, now or with the next link.
    pub(super) fn ask(&self, runs: Vec<PageRun>) {
        if let Err(error) = self.send(&Message::Request(runs)) {
            self.end(FetchError::Request(error));
        }
    }

    /// Since when it stands.
    pub(super) fn since_ns(&self) -> Option<u64> {
        lock(&self.standing).as_ref().filter(|it| it.failure.is_none()).map(|it| it.since_ns)
    }
}

impl Outlet {
    fn send(&mut self, message: &Message) -> io::Result<()> {
        let sent = match self.trouble.take_damage() {
            true => self.writer.send(&mut Damaging::new(&mut self.socket), message),
            false => self.writer.send(&mut self.socket, message),
        };
        sent.map(|_| ())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
