//! The destination's half of a post-copy: see [`crate::migration::postcopy`].
//!
//! ```text
//!  Discard … State, Listen ─ READY ─ GO ─ run ─ RUNNING ─┬─ Pages, Zero … Finished ─ nothing missing ─ Loaded ─ completed
//!   register for faults, then workers                    └─ any error: incomplete, and the host ends as a process
//! ```

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sterna_sys::process;
use sterna_sys::tracking::{Mode, Uffd};
use sterna_wire::control::Phase;
use sterna_wire::stream::{Kind, Message, MessageWriter, PageRun, ReadError, check_runs};

use super::{Load, LoadError, unexpected};
use crate::host::guest::WORKER_THREAD;
use crate::host::session::FAULT_THREAD;
use crate::migration::breakage::Moment;
use crate::migration::page_set::PageSet;
use crate::migration::postcopy::{AttendError, FaultBook, PlaceError, Placer, attend};
use crate::transport::Socket;

/// Longest silence of the source while pages are missing.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// Pages that the source sends after the guest has begun to run here.
pub(super) struct Lacking {
    pages: PageSet,
    discard_ns: u64,
}

/// Why the guest's memory will never be whole.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Attend(#[from] AttendError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("The source says that it has sent everything, but {0} pages never came")]
    NeverCame(usize),
    #[error("No thread can be had for the page faults: {0}")]
    Thread(#[source] io::Error),
}

impl From<ReadError> for FetchError {
    fn from(error: ReadError) -> FetchError {
        FetchError::Place(error.into())
    }
}

/// The way back to the source, which two threads share.
struct Outlet {
    socket: Socket,
    writer: MessageWriter,
}

impl Outlet {
    fn send(&mut self, message: &Message) -> io::Result<()> {
        self.writer.send(&mut self.socket, message).map(|_| ())
    }
}

impl Load<'_> {
    /// Forgets what is there of pages that will come after the switch.
    pub(super) fn discard(&mut self, runs: &[PageRun]) -> Result<(), LoadError> {
        let region = &self.guest.region;
        check_runs(Kind::Discard, runs, region.pages() as u64)?;
        let began = Instant::now();
        if self.lacking.is_none() {
            region.keep_pages_small().map_err(LoadError::Discard)?;
        }
        let lacking = self
            .lacking
            .get_or_insert_with(|| Lacking { pages: PageSet::new(region.pages()), discard_ns: 0 });
        for run in runs {
            let (first, count) = (run.first as usize, usize::from(run.count));
            region.discard(first, count).map_err(LoadError::Discard)?;
            lacking.pages.insert_range(first..first + count);
        }
        lacking.discard_ns += began.elapsed().as_nanos() as u64;
        Ok(())
    }

    /// From here on nobody reads a page that is missing; no worker exists yet.
    pub(super) fn expect_faults(&mut self) -> Result<(), LoadError> {
        // A switch at a moment when nothing was pending discards nothing.
        let pages = self.guest.region.pages();
        self.lacking.get_or_insert_with(|| Lacking { pages: PageSet::new(pages), discard_ns: 0 });
        Ok(self.guest.region.uffd()?.register(Mode::Missing)?)
    }

    /// Fetches what the guest lacks while it runs; the outcome is in the progress.
    pub(super) fn fetch_rest(&mut self) {
        let Some(Lacking { pages, discard_ns }) = self.lacking.take() else { return };
        let book = Arc::new(FaultBook::new(pages, &self.worker_threads(), discard_ns));
        self.progress.watch_faults(Arc::clone(&book));
        let fetched = self.fetch(&book);
        self.progress.stamp(|it, now_ns| it.ended_ns = Some(now_ns));
        let Err(error) = fetched else {
            return self.progress.update(|it| it.phase = Phase::Completed);
        };
        let missing = book.missing_pages();
        self.progress.update(|it| {
            it.phase = Phase::Incomplete;
            it.error = Some(format!("{error}; {missing} pages are missing"));
        });
        self.tell_and_drain(&error.to_string());
    }

    fn fetch(&mut self, book: &FaultBook) -> Result<(), FetchError> {
        let guest = self.guest;
        let uffd = guest.region.uffd().map_err(LoadError::from)?;
        let socket = self.socket.try_clone().map_err(LoadError::from)?;
        let outlet = Mutex::new(Outlet { socket, writer: std::mem::take(&mut self.writer) });
        let stop = AtomicBool::new(false);
        let attend_faults = || {
            let request = &mut |runs| lock(&outlet).send(&Message::Request(runs));
            let ended = attend(uffd, book, request, &stop);
            // Ends the reading too.
            ended.inspect_err(|_| lock(&outlet).socket.shut_down())
        };
        let (fetched, attended) = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name(FAULT_THREAD.to_owned());
            let attendant = thread.spawn_scoped(scope, attend_faults).map_err(FetchError::Thread);
            let fetched = attendant.as_ref().map_or(Ok(()), |_| self.receive(uffd, book));
            stop.store(true, Ordering::Release);
            let attended = attendant.map(|it| it.join().unwrap_or(Ok(())));
            (fetched, attended)
        });
        self.writer = outlet.into_inner().unwrap_or_else(PoisonError::into_inner).writer;
        // The thread that serves faults cuts the connection when it gives up, so its reason comes first.
        attended??;
        fetched?;
        Ok(self.send(&Message::Loaded).map(|_| ()).map_err(LoadError::from)?)
    }

    /// Takes pages until the source says that nothing follows.
    fn receive(&mut self, uffd: &Uffd, book: &FaultBook) -> Result<(), FetchError> {
        let mut placer = Placer::new(uffd, book, self.guest.region.pages() as u64);
        self.inbound.set_timeout(Some(SILENCE_TIMEOUT)).map_err(LoadError::from)?;
        loop {
            let header = self.reader.header(&mut self.inbound)?;
            if matches!(header.kind, Kind::Pages | Kind::Zero) {
                placer.take(&header, &mut self.inbound)?;
                self.strike(Moment::Postcopy);
                continue;
            }
            match self.reader.body(&mut self.inbound, &header)? {
                Message::Finished => break,
                other => return Err(unexpected(other.kind(), "memory").into()),
            }
        }
        match book.missing_pages() {
            0 => Ok(()),
            missing => Err(FetchError::NeverCame(missing)),
        }
    }

    /// The threads of the workers, by number.
    fn worker_threads(&self) -> Vec<Option<u32>> {
        let threads = process::thread_cpu_ns(std::process::id()).unwrap_or_default();
        let thread_of = |worker: u32| {
            let name = format!("{WORKER_THREAD}-{worker}");
            threads.iter().rev().find(|it| it.name == name).map(|it| it.tid)
        };
        (0..self.guest.spec.workers).map(thread_of).collect()
    }
}

fn lock(outlet: &Mutex<Outlet>) -> MutexGuard<'_, Outlet> {
    outlet.lock().unwrap_or_else(PoisonError::into_inner)
}
