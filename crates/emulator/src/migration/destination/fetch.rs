//! Fetching what the guest lacks while it runs.
//!
//! ```text
//!  migration        Pages, Zero … from the main connection, until Finished
//!  migration-fault  page faults in, Request … out, and Pages, Zero … from the connection for requested pages
//!  migration-urg    the latter, where they cannot be waited for together
//!  migration-door   a source that comes back after its link was lost
//! ```
//!
//! Without a connection for requested pages, requests leave by the main one, and all pages come by it.
//!
//! ```text
//!     ┌───────────── the source is back: tell what is here ──────────────┐
//!     ▼                                                                  │
//!  follow a link ─ lost ─► paused: workers run on what is there, and wait┘
//!     ├─ Finished, or lost, and nothing is missing ─► completed
//!     └─ the source lies, or has nothing more, or the kernel refuses ─► incomplete
//! ```

use std::io::{self, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::Duration;

use sterna_sys::clock::monotonic_ns;
use sterna_sys::tracking::Uffd;
use sterna_wire::control::Phase;
use sterna_wire::stream::{HEADER_BYTES, Kind, Message, PageRun, ReadError, Received, capability};

use super::attend::{Errand, Incoming, attend};
use super::doorman::{Doorman, Link};
use super::line::{Line, Outlet};
use super::{Load, LoadError, unexpected};
use crate::host::session::{DOOR_THREAD, FAULT_THREAD, URGENT_THREAD};
use crate::migration::breakage::{Defect, Moment};
use crate::migration::channels::Further;
use crate::migration::postcopy::{FaultBook, PlaceError, Placer, hurry, is_link_lost};

/// Longest silence of the source on all connections while pages are missing.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest wait for a page that was asked for; then the source counts as gone, since the guest stands still for no other.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How often a silent connection is looked after.
const LOOK: Duration = Duration::from_millis(100);

/// How often a host without a link looks whether it shall end.
const SLICE: Duration = Duration::from_millis(10);

/// Links in a row that brought no page; then another one would not either.
const MAX_FRUITLESS: u32 = 20;

/// Why a link ended, or why the guest's memory will not become whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("Reading the page faults failed: {0}")]
    Faults(#[source] io::Error),
    #[error("Asking the source for a page failed: {0}")]
    Request(#[source] io::Error),
    #[error("The source has not sent a page that the guest waits for within {} s", LONGEST_WAIT.as_secs())]
    Silence,
    #[error("The source has sent nothing for {:.1} s", .0.as_secs_f64())]
    Quiet(Duration),
    #[error("The source has come back on a new connection")]
    Replaced,
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("The source says that it has sent everything, but {0} pages never came")]
    NeverCame(usize),
    #[error("{count} new connections have brought no page; the last error: {0}", count = MAX_FRUITLESS)]
    Fruitless(String),
    #[error("The host ends while it waits for the source to come back: {0}")]
    Left(String),
    #[error("No thread can be had for post-copy: {0}")]
    Thread(#[source] io::Error),
}

impl From<ReadError> for FetchError {
    fn from(error: ReadError) -> FetchError {
        FetchError::Place(error.into())
    }
}

impl FetchError {
    /// Whether a new link may help.
    fn is_link_lost(&self) -> bool {
        match self {
            FetchError::Request(_)
            | FetchError::Silence
            | FetchError::Quiet(_)
            | FetchError::Replaced => true,
            FetchError::Place(PlaceError::Read(error))
            | FetchError::Load(LoadError::Read(error)) => is_link_lost(error),
            FetchError::Load(error) => matches!(error, LoadError::Io(_)),
            _ => false,
        }
    }
}

/// What the threads of all links share.
pub(super) struct Fetching<'a> {
    pub(super) uffd: &'a Uffd,
    pub(super) book: &'a FaultBook,
    pub(super) line: Line<'a>,
    ram_pages: u64,
}

impl Load<'_> {
    /// Returns when all memory is there.
    pub(super) fn fetch(&mut self, book: &FaultBook) -> Result<(), FetchError> {
        let guest = self.guest;
        let fetching = Fetching {
            uffd: guest.region.uffd().map_err(LoadError::from)?,
            book,
            line: Line::new(book),
            ram_pages: guest.region.pages() as u64,
        };
        let (listener, closing) = (Arc::clone(&self.listener), self.closing);
        let stop = AtomicBool::new(false);
        let takes_pages = self.urgent.as_ref().is_some_and(|it| it.inbound.pollable().is_some());
        let (returns, returned) = channel();
        let (errands, given) = channel();
        std::thread::scope(|scope| {
            let (fetching, stop) = (&fetching, &stop);
            let line = &fetching.line;
            let attend = move || {
                hurry();
                let attended = attend(fetching, takes_pages.then_some(&given), stop);
                attended.unwrap_or_else(|error| line.end(FetchError::Faults(error)));
            };
            let mut started = spawn(scope, FAULT_THREAD, attend).map(drop);
            if self.capabilities & capability::RECOVER != 0 {
                let (session, latency) = (self.session, self.latency);
                let has_urgent = self.urgent.is_some();
                let attend_door = move || {
                    let listener = &*listener;
                    Doorman { listener, session, latency, has_urgent, closing, stop }
                        .run(line, &returns);
                };
                started = started.and(spawn(scope, DOOR_THREAD, attend_door).map(drop));
            }
            let fetched = started.and_then(|()| self.fetch_by_links(fetching, &returned, &errands));
            stop.store(true, Ordering::Release);
            fetched
        })
    }

    fn fetch_by_links(
        &mut self,
        fetching: &Fetching<'_>,
        returned: &Receiver<Link>,
        errands: &Sender<Errand>,
    ) -> Result<(), FetchError> {
        let mut fruitless = 0;
        self.faults.begin_postcopy(monotonic_ns());
        let mut followed = self.follow(fetching, errands);
        while let Err(error) = followed {
            if !error.is_link_lost() {
                return Err(error);
            }
            if fruitless >= MAX_FRUITLESS {
                return Err(FetchError::Fruitless(error.to_string()));
            }
            let missing = fetching.book.missing_pages();
            self.pause(&error, missing);
            let link = self.await_return(&error, returned)?;
            followed = self.take_up(link, fetching).and_then(|()| self.follow(fetching, errands));
            let is_fruitless = fetching.book.missing_pages() == missing;
            fruitless = if is_fruitless { fruitless + 1 } else { 0 };
        }
        Ok(())
    }

    /// Takes pages until the source has sent all, or the link is lost.
    fn follow(
        &mut self,
        fetching: &Fetching<'_>,
        errands: &Sender<Errand>,
    ) -> Result<(), FetchError> {
        let line = &fetching.line;
        let (outlet, incoming) = self.split_urgent()?;
        let has_urgent = incoming.is_some();
        let handles =
            outlet.socket.try_clone().and_then(|it| Ok(vec![it, self.socket.try_clone()?]));
        let asked = line.stand(outlet, handles.map_err(LoadError::from)?);
        std::thread::scope(|scope| {
            let mut received = asked.map_err(FetchError::Request);
            let urgent = incoming.map(|it| give(scope, fetching, it, errands)).transpose();
            let urgent = urgent.unwrap_or_else(|error| {
                received = Err(error);
                None
            });
            received = received.and_then(|()| self.receive(fetching));
            if urgent.is_some() && received.is_ok() {
                received = line.send(&Message::Finished).map_err(FetchError::Request);
            }
            received.unwrap_or_else(|error| line.end(error));
            // Nobody takes pages from this link any more when its sender is gone.
            if let Some(urgent) = urgent {
                let _ = urgent.recv();
            }
        });
        let (outlet, failure) = line.fall();
        if let Some(outlet) = outlet.filter(|_| !has_urgent) {
            self.writer = outlet.writer;
        }
        self.judge(failure, fetching.book.missing_pages())
    }

    /// Whether a link that has ended leaves something to fetch.
    ///
    /// What the source owes is known here to the page: it has named all of it before the guest began to run, and each page is counted when it is placed.
    /// So where none is missing the memory is whole, also when the link breaks before the source has said that it has finished.
    fn judge(&self, failure: Option<FetchError>, missing: usize) -> Result<(), FetchError> {
        match failure {
            Some(error) if missing == 0 && error.is_link_lost() => {
                let text = format!("The link was lost behind the last page: {error}");
                self.progress.note("link-lost", text);
                Ok(())
            }
            Some(error) => Err(error),
            None if missing == 0 => Ok(()),
            None => Err(FetchError::NeverCame(missing)),
        }
    }

    /// Without a connection for requested pages, requests leave by the main one.
    fn split_urgent(&mut self) -> Result<(Outlet, Option<Incoming>), LoadError> {
        if let Some(Further { socket, writer, inbound, reader, trouble, .. }) = self.urgent.take() {
            let (ours, its) = (socket.try_clone()?, Arc::clone(&trouble));
            let inbound = BufReader::new(inbound);
            let incoming = Incoming { inbound, reader, socket: ours, trouble: its };
            return Ok((Outlet { socket, writer, trouble }, Some(incoming)));
        }
        let socket = self.socket.try_clone()?;
        let writer = std::mem::take(&mut self.writer);
        Ok((Outlet { socket, writer, trouble: Arc::default() }, None))
    }

    fn receive(&mut self, fetching: &Fetching<'_>) -> Result<(), FetchError> {
        self.inbound.set_timeout(Some(SILENCE_TIMEOUT)).map_err(LoadError::from)?;
        let mut placer = fetching.placer();
        let patience = self.patience();
        loop {
            self.suffer();
            self.await_more(fetching, patience)?;
            let header = self.reader.header(&mut self.inbound)?;
            self.taken_bytes += HEADER_BYTES as u64 + u64::from(header.body_bytes);
            if matches!(header.kind, Kind::Pages | Kind::Zero) {
                placer.take(&header, &mut self.inbound)?;
                self.strike(Moment::Postcopy);
                continue;
            }
            match self.reader.body(&mut self.inbound, &header)? {
                Message::Finished => return Ok(()),
                other => return Err(unexpected(other.kind(), "memory").into()),
            }
        }
    }

    /// How long the source may send nothing, on any connection: what it sends on this one may have to wait for pages that were asked for, and for a limit of its own.
    fn patience(&self) -> Duration {
        let impatient = self.defects.iter().find_map(|it| match it {
            Defect::Impatient(wait) => Some(*wait),
            _ => None,
        });
        impatient.unwrap_or(SILENCE_TIMEOUT.max(self.slowest_page * 4))
    }

    fn await_more(
        &mut self,
        fetching: &Fetching<'_>,
        patience: Duration,
    ) -> Result<(), FetchError> {
        let began_ns = monotonic_ns();
        while !self.inbound.is_readable(LOOK.min(patience)).map_err(ReadError::from)? {
            if fetching.is_silent() {
                return Err(FetchError::Silence);
            }
            let since_ns = fetching.book.placed_ns().max(began_ns);
            let silence = Duration::from_nanos(monotonic_ns().saturating_sub(since_ns));
            if silence > patience {
                return Err(FetchError::Quiet(silence));
            }
        }
        Ok(())
    }

    fn pause(&self, error: &FetchError, missing: usize) {
        self.socket.shut_down();
        self.progress.update(|it| {
            it.phase = Phase::PostcopyPaused;
            it.error = Some(format!("{error}; {missing} pages are missing"));
        });
    }

    /// Waits for the source for as long as somebody wants the guest.
    fn await_return(
        &self,
        error: &FetchError,
        returned: &Receiver<Link>,
    ) -> Result<Link, FetchError> {
        loop {
            match returned.recv_timeout(SLICE) {
                Ok(link) => return Ok(link),
                Err(_) if self.closing.load(Ordering::Acquire) => {
                    return Err(FetchError::Left(error.to_string()));
                }
                Err(RecvTimeoutError::Timeout) => {}
                // Nobody can come back.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(SLICE),
            }
        }
    }

    /// Goes on with a new link, after the source was told what is here.
    fn take_up(&mut self, link: Link, fetching: &Fetching<'_>) -> Result<(), FetchError> {
        let Link { socket, writer, inbound, reader, urgent } = link;
        (self.on_connect)(socket.try_clone().map_err(LoadError::from)?);
        if let Some(urgent) = &urgent {
            (self.on_connect)(urgent.socket.try_clone().map_err(LoadError::from)?);
            self.troubles.add(urgent).map_err(LoadError::from)?;
        }
        (self.socket, self.writer, self.inbound, self.reader, self.urgent) =
            (socket, writer, inbound, reader, urgent);
        self.suffer();
        self.strike(Moment::Recovery);
        // It strikes once, or no link would ever do.
        self.defects.retain(|it| *it != Defect::Disconnect(Moment::Recovery));
        self.claim_page(fetching)?;
        // Newer links wait behind this one, so it must not hang in a network that takes nothing.
        self.socket.set_write_timeout(Some(LONGEST_WAIT)).map_err(LoadError::from)?;
        for part in Received::frames(&fetching.book.received_marks()) {
            self.send(&Message::Received(part)).map_err(LoadError::from)?;
        }
        self.progress.update(|it| {
            it.phase = Phase::Postcopy;
            it.error = None;
        });
        Ok(())
    }

    /// The lie that a lost page is here, committed on purpose.
    fn claim_page(&mut self, fetching: &Fetching<'_>) -> Result<(), FetchError> {
        let Some(at) = self.defects.iter().position(|it| *it == Defect::ClaimPage) else {
            return Ok(());
        };
        self.defects.swap_remove(at);
        fetching.claim_one_page().map_err(|error| PlaceError::Place(error).into())
    }
}

impl Fetching<'_> {
    pub(super) fn placer(&self) -> Placer<'_> {
        Placer::new(self.uffd, self.book, self.ram_pages)
    }

    /// Whether somebody has waited for too long, the time without a link not counted.
    fn is_silent(&self) -> bool {
        let longest_ns = LONGEST_WAIT.as_nanos() as u64;
        self.book.oldest_wait_ns().zip(self.line.since_ns()).is_some_and(|(waits_ns, stands_ns)| {
            monotonic_ns().saturating_sub(waits_ns.max(stands_ns)) > longest_ns
        })
    }

    fn claim_one_page(&self) -> io::Result<()> {
        let Some(page) = self.book.first_missing() else { return Ok(()) };
        let count = self.book.unit();
        self.uffd.zero_page(page)?;
        self.book.placed(
            &[PageRun { first: page as u64, count }],
            usize::from(count),
            monotonic_ns(),
        );
        Ok(())
    }
}

/// Has requested pages taken from a connection: by the thread that reads the faults, or by one of its own. The channel ends when nobody takes from it any more.
fn give<'scope>(
    scope: &'scope Scope<'scope, '_>,
    fetching: &'scope Fetching<'_>,
    mut incoming: Incoming,
    errands: &Sender<Errand>,
) -> Result<Receiver<()>, FetchError> {
    let (done, ended) = channel();
    if incoming.inbound.get_ref().pollable().is_some() {
        let _ = errands.send(Errand { incoming, done });
        return Ok(ended);
    }
    let take = move || {
        hurry();
        let mut placer = fetching.placer();
        let taken = loop {
            match incoming.take(&mut placer) {
                Ok(true) => {}
                ended => break ended,
            }
        };
        taken.map(drop).unwrap_or_else(|error| fetching.line.end(error));
        drop(done);
    };
    spawn(scope, URGENT_THREAD, take)?;
    Ok(ended)
}

fn spawn<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, ()>, FetchError> {
    let thread = Builder::new().name(name.to_owned());
    thread.spawn_scoped(scope, work).map_err(FetchError::Thread)
}
