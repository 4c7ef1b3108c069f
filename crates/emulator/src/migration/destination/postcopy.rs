//! The destination's half of a post-copy: see [`crate::migration::postcopy`].
//!
//! ```text
//!  Discard … State, Listen ─ READY ─ GO ─ run ─ RUNNING ─┬─ Pages, Zero … Finished ─ nothing missing ─ Loaded ─ completed
//!   register for faults, then workers                    └─ any error: incomplete, and the host ends as a process
//! ```

use std::sync::Arc;
use std::time::Instant;

use sterna_sys::process;
use sterna_sys::tracking::Mode;
use sterna_wire::control::Phase;
use sterna_wire::stream::{Kind, PageRun, check_runs};

use super::{Load, LoadError};
use crate::host::guest::WORKER_THREAD;
use crate::migration::page_set::PageSet;
use crate::migration::postcopy::FaultBook;

/// Pages that the source sends after the guest has begun to run here.
pub(super) struct Lacking {
    pages: PageSet,
    discard_ns: u64,
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
