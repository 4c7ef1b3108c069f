//! The destination's half of a post-copy: see [`crate::migration::postcopy`].
//!
//! ```text
//!  Discard … State, Listen ─ READY ─ GO ─ run ─ RUNNING ─┬─ Pages, Zero … Finished ─ nothing missing ─ Loaded ─ completed
//!   register for faults, then workers                    ├─ the link is lost: paused, until the source is back
//!                                                        └─ any other error: incomplete, and the host ends as a process
//! ```

use std::sync::Arc;
use std::time::Instant;

use sterna_sys::process;
use sterna_sys::tracking::Mode;
use sterna_wire::control::Phase;
use sterna_wire::stream::{FrameError, Kind, Message, PAGE_BYTES, PageRun, check_runs};

use super::{Load, LoadError};
use crate::host::guest::WORKER_THREAD;
use crate::migration::page_set::PageSet;
use crate::migration::postcopy::{Discard, FaultBook};

/// Pages that the source sends after the guest has begun to run here.
pub(super) struct Lacking {
    pages: PageSet,
    discard: Discard,
}

impl Lacking {
    fn none(ram_pages: usize) -> Lacking {
        Lacking { pages: PageSet::new(ram_pages), discard: Discard::default() }
    }

    /// Whether this page is still to come.
    pub(super) fn has(&self, page: usize) -> bool {
        self.pages.contains(page)
    }
}

impl Load<'_> {
    /// Forgets what is there of pages that will come after the switch.
    pub(super) fn discard(&mut self, runs: &[PageRun]) -> Result<(), LoadError> {
        let region = &self.guest.region;
        check_runs(Kind::Discard, runs, region.pages() as u64)?;
        self.check_units(runs)?;
        let began = Instant::now();
        if self.lacking.is_none() && self.unit_pages() == 1 {
            region.keep_pages_small().map_err(LoadError::Discard)?;
        }
        let lacking = self.lacking.get_or_insert_with(|| Lacking::none(region.pages()));
        for run in runs {
            let (first, count) = (run.first as usize, usize::from(run.count));
            region.discard(first, count).map_err(LoadError::Discard)?;
            lacking.pages.insert_range(first..first + count);
        }
        let took_ns = began.elapsed().as_nanos() as u64;
        lacking.discard.all_ns += took_ns;
        lacking.discard.stopped_ns += took_ns;
        Ok(())
    }

    /// The guest is about to be stopped; what was discarded so far was no downtime.
    pub(super) fn prepared(&mut self) -> Result<(), LoadError> {
        let pages = self.guest.region.pages();
        self.lacking.get_or_insert_with(|| Lacking::none(pages)).discard.stopped_ns = 0;
        self.send(&Message::Prepared)?;
        Ok(())
    }

    /// Pages that can only be there or missing together.
    fn unit_pages(&self) -> usize {
        self.guest.region.page_bytes() as usize / PAGE_BYTES
    }

    /// A part of a large page cannot be forgotten.
    fn check_units(&self, runs: &[PageRun]) -> Result<(), LoadError> {
        let unit = self.unit_pages() as u64;
        let is_whole = |it: &&PageRun| {
            it.first.is_multiple_of(unit) && u64::from(it.count).is_multiple_of(unit)
        };
        let Some(part) = runs.iter().find(|it| !is_whole(it)) else { return Ok(()) };
        let detail = format!(
            "run of {} pages at page {} is no whole number of pages of {unit} x 4 KiB",
            part.count, part.first
        );
        Err(FrameError::Malformed { kind: Kind::Discard, detail }.into())
    }

    /// From here on nobody reads a page that is missing; no worker exists yet.
    pub(super) fn expect_faults(&mut self) -> Result<(), LoadError> {
        // A switch at a moment when nothing was pending discards nothing.
        let pages = self.guest.region.pages();
        self.lacking.get_or_insert_with(|| Lacking::none(pages));
        Ok(self.guest.region.uffd()?.register(Mode::Missing)?)
    }

    /// Fetches what the guest lacks while it runs; the outcome is in the progress.
    pub(super) fn fetch_rest(&mut self) {
        let Some(Lacking { pages, discard }) = self.lacking.take() else { return };
        let unit = self.unit_pages() as u16;
        let book = Arc::new(FaultBook::new(pages, unit, &self.worker_threads(), discard));
        self.progress.watch_faults(Arc::clone(&book));
        let fetched = self.fetch(&book);
        self.progress.stamp(|it, now_ns| it.ended_ns = Some(now_ns));
        let Err(error) = fetched else {
            self.progress.update(|it| it.phase = Phase::Completed);
            // A source that does not hear it learns it from the pilot.
            let _ = self.send(&Message::Loaded);
            return;
        };
        let missing = book.missing_pages();
        self.progress.update(|it| {
            it.phase = Phase::Incomplete;
            it.error = Some(format!("{error}; {missing} pages are missing"));
        });
        self.tell_and_drain(&error.to_string());
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
