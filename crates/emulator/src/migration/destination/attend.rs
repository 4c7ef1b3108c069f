//! The thread that reads faults, asks for pages, and takes those that were asked for.
//!
//! One thread does both, so that a page which comes finds awake who has asked for it, as with a call that is answered.
//! Where the connection cannot be polled beside the faults (encrypted, or with an emulated delay) a thread of its own takes the pages.

use std::io::{self, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use sterna_sys::clock::monotonic_ns;
use sterna_sys::tracking::Uffd;
use sterna_wire::stream::{Kind, MAX_LIST_RUNS, Message, MessageReader, PageRun};

use super::fetch::{FetchError, Fetching};
use super::unexpected;
use crate::link::Inbound;
use crate::migration::postcopy::{FaultBook, Need, Placer};
use crate::migration::trouble::Trouble;
use crate::transport::Socket;

/// How often the thread looks whether it is still needed when nothing happens.
const SLICE: Duration = Duration::from_millis(20);

/// The same while it has no connection to take pages from: one may come.
const SHORT_SLICE: Duration = Duration::from_millis(1);

/// The way on which requested pages come, where it is not the main connection.
pub(super) struct Incoming {
    /// A frame with one page comes in one call.
    pub(super) inbound: BufReader<Inbound>,
    pub(super) reader: MessageReader,
    pub(super) socket: Socket,
    /// What is to go wrong on it.
    pub(super) trouble: Arc<Trouble>,
}

/// A connection whose pages are to be taken, and who wants to know how it ended.
pub(super) struct Errand {
    pub(super) incoming: Incoming,
    pub(super) done: Sender<()>,
}

/// Attends to faults until `stop` is set, also while there is nobody to ask, and to the connections that come as `errands`, if any can come.
///
/// # Errors
/// The kernel does not give its faults.
pub(super) fn attend(
    fetching: &Fetching<'_>,
    errands: Option<&Receiver<Errand>>,
    stop: &AtomicBool,
) -> io::Result<()> {
    let (uffd, line) = (fetching.uffd, &fetching.line);
    let mut current: Option<(Errand, Placer<'_>)> = None;
    while !stop.load(Ordering::Acquire) {
        let socket = current.as_ref().and_then(|it| it.0.incoming.inbound.get_ref().pollable());
        let may_come = errands.is_some() && socket.is_none();
        let slice = if may_come { SHORT_SLICE } else { SLICE };
        let mut fds = vec![PollFd::new(uffd, PollFlags::IN)];
        fds.extend(socket.as_ref().map(|it| PollFd::new(it, PollFlags::IN)));
        wait(&mut fds, slice)?;
        let has_faults = !fds[0].revents().is_empty();
        let has_pages = fds.get(1).is_some_and(|it| !it.revents().is_empty());
        if has_faults {
            let runs = read(uffd, fetching.book)?;
            if !runs.is_empty() {
                line.ask(runs);
            }
        }
        if has_pages && let Some((errand, placer)) = &mut current {
            match errand.incoming.take(placer) {
                Ok(true) => {}
                ended => {
                    ended.map(drop).unwrap_or_else(|error| line.end(error));
                    let _ = errand.done.send(());
                    current = None;
                }
            }
        }
        if current.is_none() {
            let next = errands.and_then(|it| it.try_recv().ok());
            current = next.map(|it| (it, fetching.placer()));
        }
    }
    Ok(())
}

fn wait(fds: &mut [PollFd<'_>], slice: Duration) -> io::Result<()> {
    let timeout = Timespec { tv_sec: 0, tv_nsec: slice.subsec_nanos().into() };
    match poll(fds, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Incoming {
    /// Takes what has come; false when nothing follows.
    pub(super) fn take(&mut self, placer: &mut Placer<'_>) -> Result<bool, FetchError> {
        loop {
            self.trouble.suffer(&self.socket);
            let header = self.reader.header(&mut self.inbound)?;
            if matches!(header.kind, Kind::Pages | Kind::Zero) {
                placer.take(&header, &mut self.inbound)?;
            } else {
                return match self.reader.body(&mut self.inbound, &header)? {
                    Message::Finished => Ok(false),
                    other => Err(unexpected(other.kind(), "requested memory").into()),
                };
            }
            if self.inbound.buffer().is_empty() {
                return Ok(true);
            }
        }
    }
}

/// Takes the faults that are there, and returns the pages to ask for.
fn read(uffd: &Uffd, book: &FaultBook) -> io::Result<Vec<PageRun>> {
    let mut runs = Vec::new();
    let count = book.unit();
    while runs.len() < MAX_LIST_RUNS
        && let Some(fault) = uffd.read_fault()?
    {
        match book.fault(fault, monotonic_ns()) {
            Need::Request => runs.push(PageRun { first: fault.page as u64, count }),
            Need::Patience => {}
            // Placing the page woke its waiters; one that fell asleep just then is woken here.
            Need::Nothing => uffd.wake(fault.page, usize::from(count))?,
        }
    }
    Ok(runs)
}
