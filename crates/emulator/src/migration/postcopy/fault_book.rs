//! What the destination lacks, who waits for it, and for how long.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sterna_sys::tracking::Fault;
use sterna_wire::control::{FaultLatency, PageFaults};
use sterna_wire::stream::PageRun;
use sterna_workload::Histogram;

use crate::migration::page_set::PageSet;

/// The books of a destination in post-copy, written by the thread that reads faults and by those that place pages.
///
/// A page is marked as there only after it was placed, and both sides of that mark are under one lock.
/// So a fault is either noted before, and ends with the mark, or it comes after, and is told that nothing is missing.
#[derive(Debug)]
pub struct FaultBook {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    missing: PageSet,
    /// Pages that can only be there or missing together.
    unit: u16,
    /// When the faults of each page were read.
    waiting: HashMap<usize, Vec<u64>>,
    latency: Histogram,
    placed_ns: u64,
    told: PageFaults,
    blocked: Blocked,
}

/// Who is blocked, and for how long.
#[derive(Debug, Default)]
struct Blocked {
    /// The worker behind a thread.
    workers: HashMap<u32, usize>,
    /// The page that each worker waits for, and since when.
    waits: Vec<Option<(usize, u64)>>,
    blocked_ns: Vec<u64>,
    all_since_ns: Option<u64>,
    all_blocked_ns: u64,
}

/// How long it took to forget what will come after the switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discard {
    /// In all.
    pub all_ns: u64,
    /// While the guest was stopped.
    pub stopped_ns: u64,
}

/// What a fault needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The page must be asked for.
    Request,
    /// It was asked for already.
    Patience,
    /// It has come meanwhile, so its waiters can be let go.
    Nothing,
}

impl FaultBook {
    /// Books of a guest that lacks `missing`, in units of `unit` pages; `workers` are the threads of its workers, by number.
    pub fn new(
        missing: PageSet,
        unit: u16,
        workers: &[Option<u32>],
        discard: Discard,
    ) -> FaultBook {
        let told = PageFaults {
            discarded_pages: missing.len() as u64,
            discard_ns: discard.all_ns,
            discard_stopped_ns: discard.stopped_ns,
            ..PageFaults::default()
        };
        let threads = workers.iter().enumerate();
        let blocked = Blocked {
            workers: threads.filter_map(|(worker, thread)| Some(((*thread)?, worker))).collect(),
            waits: vec![None; workers.len()],
            blocked_ns: vec![0; workers.len()],
            ..Blocked::default()
        };
        let (waiting, latency, placed_ns) = Default::default();
        FaultBook {
            inner: Mutex::new(Inner { missing, unit, waiting, latency, placed_ns, told, blocked }),
        }
    }

    /// Pages that can only be there or missing together.
    pub fn unit(&self) -> u16 {
        self.lock().unit
    }

    /// Pages that have not come yet.
    pub fn missing_pages(&self) -> usize {
        self.lock().missing.len()
    }

    /// What has come or was never missing, one bit a page; see [`PageSet::to_marks`].
    pub fn received_marks(&self) -> Vec<u8> {
        let inner = self.lock();
        PageSet::full(inner.missing.pages()).without(&inner.missing).to_marks()
    }

    /// The first page that has not come.
    pub fn first_missing(&self) -> Option<usize> {
        self.lock().missing.next_from(0)
    }

    /// The pages that somebody waits for, to be asked for again.
    pub fn awaited(&self) -> Vec<PageRun> {
        let inner = self.lock();
        let mut pages: Vec<usize> = inner.waiting.keys().copied().collect();
        pages.sort_unstable();
        let count = inner.unit;
        pages.into_iter().map(|page| PageRun { first: page as u64, count }).collect()
    }

    /// Notes a fault that was read at `now_ns`.
    pub fn fault(&self, fault: Fault, now_ns: u64) -> Need {
        let inner = &mut *self.lock();
        if !inner.missing.contains(fault.page) {
            return Need::Nothing;
        }
        if !inner.blocked.begin(fault, now_ns) {
            return Need::Patience;
        }
        let waits = inner.waiting.entry(fault.page).or_default();
        waits.push(now_ns);
        inner.told.faults += 1;
        if waits.len() == 1 { Need::Request } else { Need::Patience }
    }

    /// Notes pages that were placed, of which `new_pages` were not there before.
    pub fn placed(&self, runs: &[PageRun], new_pages: usize, now_ns: u64) {
        let inner = &mut *self.lock();
        inner.placed_ns = now_ns;
        let mut all_pages = 0;
        for page in runs.iter().flat_map(|it| it.first..it.first + u64::from(it.count)) {
            let page = page as usize;
            all_pages += 1;
            inner.missing.remove(page);
            if inner.waiting.is_empty() {
                continue;
            }
            for since_ns in inner.waiting.remove(&page).unwrap_or_default() {
                let latency_ns = now_ns.saturating_sub(since_ns);
                inner.latency.record(latency_ns);
                count_in(&mut inner.told.latency_buckets, latency_ns);
            }
            inner.blocked.end(page, now_ns);
        }
        inner.told.duplicates += all_pages - new_pages as u64;
    }

    /// When a page came last, on whatever connection; 0 before the first.
    pub fn placed_ns(&self) -> u64 {
        self.lock().placed_ns
    }

    /// When the fault that has waited longest was read; `None` when nobody waits.
    pub fn oldest_wait_ns(&self) -> Option<u64> {
        self.lock().waiting.values().flatten().min().copied()
    }

    /// For the status.
    pub fn told(&self) -> PageFaults {
        let inner = self.lock();
        PageFaults {
            missing_pages: inner.missing.len() as u64,
            latency: latency(&inner.latency),
            blocked_ns: inner.blocked.blocked_ns.clone(),
            all_blocked_ns: inner.blocked.all_blocked_ns,
            ..inner.told.clone()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blocked {
    /// Whether this wait is new: a thread that is woken for another reason faults again.
    fn begin(&mut self, fault: Fault, now_ns: u64) -> bool {
        let Some(worker) = fault.thread_id.and_then(|it| self.workers.get(&it).copied()) else {
            return true;
        };
        if self.waits[worker].is_some_and(|(page, _)| page == fault.page) {
            return false;
        }
        // A thread waits for one page at a time: the one before has come, and is about to be noted.
        self.end_of(worker, now_ns);
        self.waits[worker] = Some((fault.page, now_ns));
        if self.waits.iter().all(Option::is_some) {
            self.all_since_ns = Some(now_ns);
        }
        true
    }

    fn end(&mut self, page: usize, now_ns: u64) {
        for worker in 0..self.waits.len() {
            if self.waits[worker].is_some_and(|(it, _)| it == page) {
                self.end_of(worker, now_ns);
            }
        }
    }

    fn end_of(&mut self, worker: usize, now_ns: u64) {
        let Some((_, since_ns)) = self.waits[worker].take() else { return };
        self.blocked_ns[worker] += now_ns.saturating_sub(since_ns);
        if let Some(all_since_ns) = self.all_since_ns.take() {
            self.all_blocked_ns += now_ns.saturating_sub(all_since_ns);
        }
    }
}

fn count_in(buckets: &mut Vec<u64>, latency_ns: u64) {
    let index = (latency_ns / 1000).max(1).ilog2() as usize;
    if buckets.len() <= index {
        buckets.resize(index + 1, 0);
    }
    buckets[index] += 1;
}

fn latency(histogram: &Histogram) -> Option<FaultLatency> {
    Some(FaultLatency {
        count: histogram.count(),
        mean_ns: histogram.mean_ns()? as u64,
        p50_ns: histogram.percentile_ns(50.0)?,
        p90_ns: histogram.percentile_ns(90.0)?,
        p99_ns: histogram.percentile_ns(99.0)?,
        p999_ns: histogram.percentile_ns(99.9)?,
        max_ns: histogram.max_ns()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREADS: [Option<u32>; 2] = [Some(70), Some(71)];

    fn book() -> FaultBook {
        let mut missing = PageSet::new(100);
        missing.insert_range(10..20);
        FaultBook::new(missing, 1, &THREADS, Discard { all_ns: 5, stopped_ns: 2 })
    }

    fn fault(page: usize, thread: u32) -> Fault {
        Fault { page, is_write: true, thread_id: Some(thread) }
    }

    fn run(first: u64, count: u16) -> [PageRun; 1] {
        [PageRun { first, count }]
    }

    #[test]
    fn a_page_is_asked_for_once() {
        let book = book();
        assert_eq!(book.fault(fault(12, 70), 100), Need::Request);
        assert_eq!(book.fault(fault(12, 71), 110), Need::Patience);
        assert_eq!(book.fault(fault(12, 70), 115), Need::Patience);
        assert_eq!(book.oldest_wait_ns(), Some(100));
        assert_eq!(book.awaited(), run(12, 1));
        assert_eq!(book.first_missing(), Some(10));
        // Pages 10 to 19 of 100 are missing.
        assert_eq!(book.received_marks()[..4], [0xff, 0x03, 0xf0, 0xff]);
        book.placed(&run(11, 3), 3, 150);
        assert_eq!(book.fault(fault(12, 70), 160), Need::Nothing);
        assert_eq!((book.missing_pages(), book.oldest_wait_ns()), (7, None));
        let told = book.told();
        assert_eq!((told.discarded_pages, told.faults, told.duplicates), (10, 2, 0));
        let latency = told.latency.unwrap();
        assert_eq!((latency.count, latency.max_ns, latency.mean_ns), (2, 50, 45));
    }

    #[test]
    fn waiting_is_counted_for_each_worker_and_for_all_at_once() {
        let book = book();
        book.fault(fault(10, 70), 100);
        book.fault(fault(11, 71), 130);
        // A thread that is none of the workers' is timed, but blocks no worker.
        assert_eq!(book.fault(fault(19, 99), 131), Need::Request);
        book.placed(&run(10, 1), 1, 150);
        book.placed(&run(11, 1), 1, 180);
        let told = book.told();
        assert_eq!((told.blocked_ns, told.all_blocked_ns), (vec![50, 50], 20));
    }

    #[test]
    fn a_new_fault_ends_the_wait_before_it() {
        let book = book();
        book.fault(fault(10, 70), 100);
        // Page 10 was placed, and the worker was quicker than the note of it.
        book.fault(fault(11, 70), 140);
        book.placed(&run(10, 1), 1, 145);
        book.placed(&run(11, 1), 1, 150);
        assert_eq!(book.told().blocked_ns, [50, 0]);
    }

    #[test]
    fn latencies_are_counted_by_powers_of_two() {
        let mut buckets = Vec::new();
        for latency_ns in [0, 1_999, 2_000, 3_999, 4_000, 70_000] {
            count_in(&mut buckets, latency_ns);
        }
        assert_eq!(buckets, [2, 2, 1, 0, 0, 0, 1]);
    }

    #[test]
    fn what_was_there_already_is_a_duplicate() {
        let book = book();
        book.placed(&run(10, 2), 2, 1);
        book.placed(&run(10, 3), 1, 2);
        book.placed(&run(50, 1), 0, 3);
        let told = book.told();
        assert_eq!((told.missing_pages, told.duplicates), (7, 3));
        assert_eq!(told.latency, None);
    }
}
