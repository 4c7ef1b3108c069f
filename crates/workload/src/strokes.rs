//! The inner loop: writes without a look at anything else.

use std::ops::Range;

use sterna_sys::clock::{Cycles, monotonic_ns};
use sterna_sys::page_write::PageWords;

use crate::bitmap::DirtyBitmap;
use crate::meter::Meter;
use crate::method::WriteMethod;
use crate::order::Order;
use crate::pace::Due;

/// What is done before and after each write beside the write itself; known to the inner loop at compile time.
pub(crate) trait Observer {
    /// Page number `page` of the region will be written next; `words` are its content.
    #[inline]
    fn before(&mut self, _words: &PageWords, _page: usize) {}

    /// Page number `page` of the region was written.
    fn wrote(&mut self, page: usize);

    /// So much time of the write under way was not the write's.
    fn excuse(&mut self, _ticks: u64) {}
}

/// Makes `count` writes from write number `index` on.
///
/// `words` are those of `pages`, the worker's own.
/// Compiled once for each combination of order, method and observer, so that nothing is decided for each write.
///
/// # Why pages are asked for early
///
/// A write of a random page waits for main memory, some 100 ns, and the processor overlaps only as many of these waits
/// as it has instructions in flight: about 25 writes' worth.
/// The order of pages is a function, though, so a second walk that is ahead of the first can ask for cache lines long
/// before they are written, which overlaps as many waits as the memory takes at a time: two to three times the pages per
/// second, also in order, where the hardware does not foresee a step of a page and something.
/// A page that is asked for is not yet written: faults, dirty marks and stalls come with the write itself.
#[inline]
pub(crate) fn strokes<O: Order, M: WriteMethod, S: Observer>(
    words: &[PageWords],
    pages: &Range<usize>,
    order: &O,
    method: M,
    index: u64,
    count: usize,
    observer: &mut S,
) {
    let coming = order.walk(index.wrapping_add(M::AHEAD));
    for (page, soon) in order.walk(index).zip(coming).take(count) {
        method.prefetch(&words[soon], pages.start + soon);
        observer.before(&words[page], pages.start + page);
        method.write(&words[page], pages.start + page);
        observer.wrote(pages.start + page);
    }
    method.settle();
}

/// Observes nothing.
pub(crate) struct Unobserved;

impl Observer for Unobserved {
    #[inline]
    fn wrote(&mut self, _page: usize) {}
}

/// Marks each page as dirty; see [`DirtyBitmap`] for why after the write.
///
/// The mark is an atomic operation, which also makes stores past the cache visible before it.
impl Observer for &DirtyBitmap {
    #[inline]
    fn wrote(&mut self, page: usize) {
        self.mark(page);
    }
}

/// One observer and then another.
impl<A: Observer, B: Observer> Observer for (A, &mut B) {
    #[inline]
    fn wrote(&mut self, page: usize) {
        self.0.wrote(page);
        self.1.wrote(page);
    }

    fn excuse(&mut self, ticks: u64) {
        self.0.excuse(ticks);
        self.1.excuse(ticks);
    }
}

/// Times each write.
///
/// The counter is read once for each write: a write's time runs from the end of the one before, so it includes the
/// few nanoseconds that the loop itself takes, and no stall can hide between two writes.
/// The counter does not wait for loads and stores that are still under way; what a write waits for in the kernel
/// (faults, preemption) is charged to it exactly, while cache misses that overlap share their time.
pub(crate) struct Timer<'a> {
    meter: &'a Meter,
    cycles: Cycles,
    long: LongWrites,
    last_ticks: u64,
    sum_ns: u64,
    max_ns: u64,
    schedule: Option<Schedule>,
    since_due_sum_ns: u64,
    since_due_max_ns: u64,
}

/// When the writes of a quantum are due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// When the quantum began.
    pub(crate) began_ns: u64,
    /// Nothing was to be written before this: pages that are due are gathered, and that is no delay.
    pub(crate) gathered_until_ns: u64,
    /// Its writes.
    pub(crate) due: Due,
}

/// From when on a write is noted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LongWrites {
    /// As a gap.
    pub(crate) gap_ns: u64,
    /// As a stall.
    pub(crate) stall_ns: u64,
}

impl LongWrites {
    #[inline]
    pub(crate) fn shortest_ns(self) -> u64 {
        self.gap_ns.min(self.stall_ns)
    }

    /// Notes a time without progress, if it is long enough, and the write that it is about, if it is one.
    #[cold]
    pub(crate) fn note(self, meter: &Meter, start_ns: u64, end_ns: u64, page: Option<usize>) {
        let ns = end_ns.saturating_sub(start_ns);
        if ns > self.gap_ns {
            meter.gaps.add(start_ns, end_ns, None);
        }
        if ns > self.stall_ns {
            meter.stalls.add(start_ns, end_ns, page);
        }
    }
}

impl<'a> Timer<'a> {
    /// Starts timing now; single writes that are `long` are noted.
    #[inline]
    pub(crate) fn start(
        meter: &'a Meter,
        cycles: Cycles,
        long: LongWrites,
        schedule: Option<Schedule>,
    ) -> Timer<'a> {
        let last_ticks = cycles.now();
        let (sum_ns, max_ns, since_due_sum_ns, since_due_max_ns) = (0, 0, 0, 0);
        Timer {
            meter,
            cycles,
            long,
            last_ticks,
            sum_ns,
            max_ns,
            schedule,
            since_due_sum_ns,
            since_due_max_ns,
        }
    }

    /// Records how long after its moment a write was done, which ended as much after the quantum's beginning as its
    /// writes have taken.
    #[inline]
    fn record_since_due(&mut self) {
        let Some(schedule) = &mut self.schedule else { return };
        let due = &mut schedule.due;
        // Whole nanoseconds are enough: they are off by less than one for each write of a quantum.
        let due_ns = due.next_ns.max(schedule.gathered_until_ns);
        due.next_ns = due.next_ns.saturating_add(due.interval_ns as u64);
        let ns = (schedule.began_ns + self.sum_ns).saturating_sub(due_ns);
        self.meter.since_due.record(ns);
        self.since_due_sum_ns += ns;
        self.since_due_max_ns = self.since_due_max_ns.max(ns);
    }

    /// Publishes the quantum and returns the time that its writes took together.
    #[inline]
    pub(crate) fn finish(self) -> u64 {
        self.meter.latency.publish(self.sum_ns, self.max_ns);
        self.meter.since_due.publish(self.since_due_sum_ns, self.since_due_max_ns);
        self.sum_ns
    }
}

impl Observer for Timer<'_> {
    #[inline]
    fn wrote(&mut self, page: usize) {
        let ticks = self.cycles.now();
        // Counters of two processors may differ by a little, so a thread that moved can see time stand back.
        let ns = self.cycles.ns(ticks.saturating_sub(self.last_ticks));
        self.last_ticks = ticks;
        self.meter.latency.record(ns);
        self.sum_ns += ns;
        self.max_ns = self.max_ns.max(ns);
        self.record_since_due();
        if ns > self.long.shortest_ns() {
            note_write(self.long, self.meter, ns, page);
        }
    }

    fn excuse(&mut self, ticks: u64) {
        self.last_ticks += ticks;
    }
}

#[cold]
fn note_write(long: LongWrites, meter: &Meter, ns: u64, page: usize) {
    let now_ns = monotonic_ns();
    long.note(meter, now_ns.saturating_sub(ns), now_ns, Some(page));
}

/// What timing each write costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimingCost {
    /// One look at the clock, in ns.
    pub clock_ns: f64,
    /// What is done with it for each write, in ns.
    pub record_ns: f64,
}

impl TimingCost {
    /// Measures it on this machine, in about 10 ms; the least of several tries, since others may disturb.
    pub fn measured() -> TimingCost {
        const TRIES: usize = 16;
        const WRITES: u64 = 1 << 14;
        let cycles = *Cycles::calibrated();
        let meter = Meter::new(&crate::state::WorkerState::default());
        let never = LongWrites { gap_ns: u64::MAX, stall_ns: u64::MAX };
        let each_ns = |work: &mut dyn FnMut()| {
            let start_ns = monotonic_ns();
            work();
            monotonic_ns().saturating_sub(start_ns) as f64 / WRITES as f64
        };
        let least = |work: &mut dyn FnMut()| {
            (0..TRIES).map(|_| each_ns(work)).fold(f64::INFINITY, f64::min)
        };
        let clock_ns = least(&mut || {
            (0..WRITES).for_each(|_| {
                std::hint::black_box(cycles.now());
            });
        });
        let both_ns = least(&mut || {
            let mut timer = Timer::start(&meter, cycles, never, None);
            (0..WRITES as usize).for_each(|page| timer.wrote(page));
            timer.finish();
        });
        TimingCost { clock_ns, record_ns: (both_ns - clock_ns).max(0.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_of_timing_is_measured_and_small() {
        let TimingCost { clock_ns, record_ns } = TimingCost::measured();
        eprintln!("the clock takes {clock_ns:.1} ns, recording {record_ns:.1} ns");
        assert!(clock_ns > 0.0 && record_ns >= 0.0);
        // Far above what is wanted, because tests are hardly optimised and share the machine.
        assert!(record_ns < 1000.0, "{record_ns} ns");
    }
}
