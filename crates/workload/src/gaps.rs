//! Gaps in a worker's progress and single writes that took long, handed from the worker to whoever asks without either
//! waiting for the other.

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

/// A single write that took long, or a sleep that ended late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// The worker's number, from 0.
    pub worker: u32,
    /// The page that was written, counted from the start of the region; None where the worker overslept.
    pub page: Option<usize>,
    /// CLOCK_MONOTONIC when the write began, or when the sleep should have ended.
    pub start_ns: u64,
    /// How long it took, or by how much the sleep was late.
    pub length_ns: u64,
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

/// Events kept between two takings; a few seconds of a worker that stalls every few milliseconds.
const CAPACITY: u64 = 4096;

/// What a worker notes: a time, and the page that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) page: Option<usize>,
}

/// A bounded queue of one worker's events: the worker adds, one taker at a time takes.
///
/// When it is full, new events are counted as lost: the worker neither waits nor allocates.
#[derive(Debug)]
pub(crate) struct EventRing {
    slots: Box<[Slot]>,
    added: AtomicU64,
    taken: AtomicU64,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    start_ns: AtomicU64,
    end_ns: AtomicU64,
    page: AtomicU64,
}

/// No page has this number.
const NO_PAGE: u64 = u64::MAX;

impl EventRing {
    pub(crate) fn new() -> EventRing {
        EventRing {
            slots: (0..CAPACITY).map(|_| Slot::default()).collect(),
            added: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// Adds an event; for the worker only.
    #[cold]
    pub(crate) fn add(&self, start_ns: u64, end_ns: u64, page: Option<usize>) {
        let added = self.added.load(Ordering::Relaxed);
        if added - self.taken.load(Ordering::Acquire) == CAPACITY {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let slot = self.slot(added);
        slot.start_ns.store(start_ns, Ordering::Relaxed);
        slot.end_ns.store(end_ns, Ordering::Relaxed);
        slot.page.store(page.map_or(NO_PAGE, |page| page as u64), Ordering::Relaxed);
        // Release: whoever sees the new count sees the slot filled.
        self.added.store(added + 1, Ordering::Release);
    }

    /// Hands all events to `on_event`, oldest first; callers take turns.
    pub(crate) fn take(&self, mut on_event: impl FnMut(Event)) {
        let added = self.added.load(Ordering::Acquire);
        for number in self.taken.load(Ordering::Relaxed)..added {
            let slot = self.slot(number);
            let page = slot.page.load(Ordering::Relaxed);
            on_event(Event {
                start_ns: slot.start_ns.load(Ordering::Relaxed),
                end_ns: slot.end_ns.load(Ordering::Relaxed),
                page: (page != NO_PAGE).then_some(page as usize),
            });
        }
        // Release: the worker may overwrite the slots only after they were read.
        self.taken.store(added, Ordering::Release);
    }

    /// How many events found no room.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn slot(&self, number: u64) -> &Slot {
        &self.slots[(number % CAPACITY) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_once_and_in_order() {
        let ring = EventRing::new();
        let mut taken = Vec::new();
        for round in 0..3 {
            (0..CAPACITY).for_each(|n| ring.add(round * CAPACITY + n, u64::MAX, Some(7)));
            ring.take(|event| taken.push(event));
        }
        assert_eq!(ring.lost(), 0);
        assert!(taken.iter().map(|event| event.start_ns).eq(0..3 * CAPACITY));
        assert!(taken.iter().all(|event| event.page == Some(7)));
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
        let ring = EventRing::new();
        (0..CAPACITY + 5).for_each(|n| ring.add(n, n + 3, None));
        let mut taken = Vec::new();
        ring.take(|event| taken.push(event));
        assert_eq!((taken.len() as u64, ring.lost()), (CAPACITY, 5));
        let last = Event { start_ns: 4095, end_ns: 4098, page: None };
        assert_eq!(taken.last(), Some(&last));
    }
}
