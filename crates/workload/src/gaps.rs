//! Gaps in a worker's progress, handed from the worker to whoever asks without either waiting for the other.

use std::sync::atomic::{AtomicU64, Ordering};

/// A time in which a worker made no progress although it had work due, or was paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The worker's number, from 0.
    pub worker: u32,
    /// CLOCK_MONOTONIC when the worker stopped making progress.
    pub start_ns: u64,
    /// CLOCK_MONOTONIC when it went on.
    pub end_ns: u64,
}

impl Gap {
    /// How long the gap was.
    pub fn length_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }
}

/// Joins gaps of the same worker that are at most `within_ns` apart, and sorts them by worker and start.
///
/// The guest feels a pause and a slow page fault right after it as one gap, but they are noted as two.
pub fn joined(mut gaps: Vec<Gap>, within_ns: u64) -> Vec<Gap> {
    gaps.sort_by_key(|gap| (gap.worker, gap.start_ns));
    gaps.dedup_by(|later, earlier| {
        let is_near = later.worker == earlier.worker
            && later.start_ns <= earlier.end_ns.saturating_add(within_ns);
        if is_near {
            earlier.end_ns = earlier.end_ns.max(later.end_ns);
        }
        is_near
    });
    gaps
}

/// Gaps kept between two takings; a few seconds of a worker that stalls every few milliseconds.
const CAPACITY: u64 = 4096;

/// A bounded queue of one worker's gaps: the worker adds, one taker at a time takes.
///
/// When it is full, new gaps are counted as lost: the worker neither waits nor allocates.
#[derive(Debug)]
pub(crate) struct GapRing {
    slots: Box<[(AtomicU64, AtomicU64)]>,
    added: AtomicU64,
    taken: AtomicU64,
    lost: AtomicU64,
}

impl GapRing {
    pub(crate) fn new() -> GapRing {
        GapRing {
            slots: (0..CAPACITY).map(|_| (AtomicU64::new(0), AtomicU64::new(0))).collect(),
            added: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// Adds a gap; for the worker only.
    #[cold]
    pub(crate) fn add(&self, start_ns: u64, end_ns: u64) {
        let added = self.added.load(Ordering::Relaxed);
        if added - self.taken.load(Ordering::Acquire) == CAPACITY {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let slot = self.slot(added);
        slot.0.store(start_ns, Ordering::Relaxed);
        slot.1.store(end_ns, Ordering::Relaxed);
        // Release: whoever sees the new count sees the slot filled.
        self.added.store(added + 1, Ordering::Release);
    }

    /// Moves all gaps to `to`, oldest first; callers take turns.
    pub(crate) fn take(&self, worker: u32, to: &mut Vec<Gap>) {
        let added = self.added.load(Ordering::Acquire);
        for number in self.taken.load(Ordering::Relaxed)..added {
            let slot = self.slot(number);
            let (start_ns, end_ns) =
                (slot.0.load(Ordering::Relaxed), slot.1.load(Ordering::Relaxed));
            to.push(Gap { worker, start_ns, end_ns });
        }
        // Release: the worker may overwrite the slots only after they were read.
        self.taken.store(added, Ordering::Release);
    }

    /// How many gaps found no room.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn slot(&self, number: u64) -> &(AtomicU64, AtomicU64) {
        &self.slots[(number % CAPACITY) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_come_out_once_and_in_order() {
        let ring = GapRing::new();
        let mut taken = Vec::new();
        for round in 0..3 {
            (0..CAPACITY).for_each(|n| ring.add(round * CAPACITY + n, u64::MAX));
            ring.take(7, &mut taken);
        }
        assert_eq!(ring.lost(), 0);
        assert!(taken.iter().map(|gap| gap.start_ns).eq(0..3 * CAPACITY));
        assert!(taken.iter().all(|gap| gap.worker == 7));
    }

    #[test]
    fn near_gaps_of_one_worker_are_one() {
        let gap = |worker, start_ns, end_ns| Gap { worker, start_ns, end_ns };
        let noted = vec![gap(1, 50, 60), gap(0, 110, 120), gap(0, 10, 100), gap(0, 131, 140)];
        let expected = vec![gap(0, 10, 120), gap(0, 131, 140), gap(1, 50, 60)];
        assert_eq!(joined(noted.clone(), 10), expected);
        assert_eq!(joined(noted, 11)[0], gap(0, 10, 140));
        assert_eq!(joined(vec![gap(0, 0, 100), gap(0, 5, 10)], 0), [gap(0, 0, 100)]);
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let ring = GapRing::new();
        (0..CAPACITY + 5).for_each(|n| ring.add(n, n + 3));
        let mut taken = Vec::new();
        ring.take(0, &mut taken);
        assert_eq!((taken.len() as u64, ring.lost()), (CAPACITY, 5));
        assert_eq!(taken.last().map(|gap| (gap.start_ns, gap.length_ns())), Some((4095, 3)));
    }
}
