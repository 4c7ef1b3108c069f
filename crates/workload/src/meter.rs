//! What a worker tells about itself while it runs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::gaps::GapRing;
use crate::histogram::LiveHistogram;

/// One worker's numbers: the worker stores, anybody loads.
///
/// Two cache lines apart from its neighbours, because processors fetch lines in pairs: readers cost a worker at most
/// one cache miss for each quantum, and workers cost each other nothing.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Meter {
    /// Writes made since the beginning of the workload, earlier crews included.
    pub(crate) writes: AtomicU64,
    pub(crate) last_write: Instant,
    pub(crate) first_write: Instant,
    pub(crate) gaps: GapRing,
    pub(crate) latency: LiveHistogram,
}

/// A time on CLOCK_MONOTONIC that may not have come yet.
#[derive(Debug, Default)]
pub(crate) struct Instant(AtomicU64);

impl Meter {
    pub(crate) fn new(writes: u64) -> Meter {
        Meter {
            writes: AtomicU64::new(writes),
            last_write: Instant::default(),
            first_write: Instant::default(),
            gaps: GapRing::new(),
            latency: LiveHistogram::new(),
        }
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
