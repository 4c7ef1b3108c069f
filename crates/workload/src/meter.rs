//! What a worker tells about itself while it runs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use std::io;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::first_write::Book;
use crate::gaps::EventRing;
use crate::histogram::LiveHistogram;
use crate::state::WorkerState;
use crate::verify::{Corruption, Verification};

/// One worker's numbers: the worker stores, anybody loads.
///
/// Two cache lines apart from its neighbours, because processors fetch lines in pairs: readers cost a worker at most
/// one cache miss for each quantum, and workers cost each other nothing.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Meter {
    /// Writes made since the beginning of the workload, earlier crews included.
    pub(crate) writes: AtomicU64,
    /// The same by segment.
    pub(crate) by_segment: Box<[AtomicU64]>,
    /// Running time since the beginning; as of the last quantum.
    pub(crate) elapsed_ns: AtomicU64,
    /// Pages per second without a limit; 0 while not known.
    pub(crate) full_speed: AtomicU64,
    pub(crate) last_write: Instant,
    pub(crate) first_write: Instant,
    pub(crate) gaps: EventRing,
    pub(crate) stalls: EventRing,
    /// How long each write took.
    pub(crate) latency: LiveHistogram,
    /// How long after the moment at which it was due each write was done; see [`crate::Crew::since_due`].
    pub(crate) since_due: LiveHistogram,
    /// Time spent on checking pages before their first write, as far as the schedule leaves it out.
    pub(crate) checking_ns: AtomicU64,
    /// When the worker began to check pages before their first write after the latest resume.
    pub(crate) checks_began: Instant,
    /// What checking before the first write after a resume found.
    pub(crate) first_writes: Mutex<Book>,
    /// What checking before each write found.
    pub(crate) found: Mutex<Verification>,
    /// Why pages cannot be given back.
    pub(crate) remap_error: OnceLock<io::Error>,
}

/// A time on CLOCK_MONOTONIC that may not have come yet.
#[derive(Debug, Default)]
pub(crate) struct Instant(AtomicU64);

impl Meter {
    pub(crate) fn new(state: &WorkerState) -> Meter {
        Meter {
            writes: AtomicU64::new(state.writes.iter().sum()),
            by_segment: state.writes.iter().map(|writes| AtomicU64::new(*writes)).collect(),
            elapsed_ns: AtomicU64::new(state.elapsed_ns),
            full_speed: AtomicU64::new(state.full_speed),
            last_write: Instant::default(),
            first_write: Instant::default(),
            gaps: EventRing::new(),
            stalls: EventRing::new(),
            latency: LiveHistogram::new(),
            since_due: LiveHistogram::new(),
            checking_ns: AtomicU64::new(0),
            checks_began: Instant::default(),
            first_writes: Mutex::default(),
            found: Mutex::default(),
            remap_error: OnceLock::new(),
        }
    }

    /// How far the worker has come; exact while it is paused.
    pub(crate) fn state(&self) -> WorkerState {
        WorkerState {
            full_speed: self.full_speed.load(Relaxed),
            elapsed_ns: self.elapsed_ns.load(Relaxed),
            writes: self.by_segment.iter().map(|writes| writes.load(Relaxed)).collect(),
        }
    }

    /// What was found before first writes; the worker holds it while it writes.
    pub(crate) fn first_writes(&self) -> MutexGuard<'_, Book> {
        self.first_writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the first reason why pages cannot be given back.
    #[cold]
    pub(crate) fn note_remap_error(&self, error: io::Error) {
        let _ = self.remap_error.set(error);
    }

    /// Counts pages that were looked at.
    pub(crate) fn note_checked(&self, found: impl Iterator<Item = Option<Corruption>>) {
        let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.for_each(|corruption| all.add(corruption));
    }
}

impl Instant {
    /// The clock starts at boot, so no stamp is ever 0.
    const NOT_YET: u64 = 0;

    #[inline]
    pub(crate) fn set(&self, ns: u64) {
        self.0.store(ns, Relaxed);
    }

    pub(crate) fn clear(&self) {
        self.set(Instant::NOT_YET);
    }

    pub(crate) fn get(&self) -> Option<u64> {
        Some(self.0.load(Relaxed)).filter(|ns| *ns != Instant::NOT_YET)
    }
}
