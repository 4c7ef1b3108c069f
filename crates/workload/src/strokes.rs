//! The inner loop: writes without a look at anything else.

use std::ops::Range;
use std::sync::atomic::AtomicU64;

use sterna_sys::WORDS_PER_PAGE;
use sterna_sys::clock::{Cycles, monotonic_ns};

use crate::bitmap::DirtyBitmap;
use crate::meter::Meter;
use crate::method::WriteMethod;
use crate::order::Order;

/// What is done after each write beside the write itself; known to the inner loop at compile time.
pub(crate) trait Observer {
    /// Page number `page` of the region was written.
    fn wrote(&mut self, page: usize);
}

/// Makes `count` writes from write number `index` on.
///
/// `words` are those of `pages`, the worker's own.
/// Compiled once for each combination of order, method and observer, so that nothing is decided for each write.
#[inline]
pub(crate) fn strokes<O: Order, M: WriteMethod, S: Observer>(
    words: &[AtomicU64],
    pages: &Range<usize>,
    order: O,
    method: M,
    index: u64,
    count: usize,
    observer: &mut S,
) {
    for page in order.walk(index).take(count) {
        let start = page * WORDS_PER_PAGE;
        method.write(&words[start..start + WORDS_PER_PAGE], pages.start + page);
        observer.wrote(pages.start + page);
    }
}

/// Observes nothing.
pub(crate) struct Unobserved;

impl Observer for Unobserved {
    #[inline]
    fn wrote(&mut self, _page: usize) {}
}

/// Marks each page as dirty; see [`DirtyBitmap`] for why after the write.
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
    gap_ns: u64,
    last_ticks: u64,
    sum_ns: u64,
    max_ns: u64,
}

impl<'a> Timer<'a> {
    /// Starts timing now; single writes longer than `gap_ns` are noted as gaps.
    #[inline]
    pub(crate) fn start(meter: &'a Meter, cycles: Cycles, gap_ns: u64) -> Timer<'a> {
        Timer { meter, cycles, gap_ns, last_ticks: cycles.now(), sum_ns: 0, max_ns: 0 }
    }

    /// Publishes the quantum and returns the time that its writes took together.
    #[inline]
    pub(crate) fn finish(self) -> u64 {
        self.meter.latency.publish(self.sum_ns, self.max_ns);
        self.sum_ns
    }
}

impl Observer for Timer<'_> {
    #[inline]
    fn wrote(&mut self, _page: usize) {
        let ticks = self.cycles.now();
        // Counters of two processors may differ by a little, so a thread that moved can see time stand back.
        let ns = self.cycles.ns(ticks.saturating_sub(self.last_ticks));
        self.last_ticks = ticks;
        self.meter.latency.record(ns);
        self.sum_ns += ns;
        self.max_ns = self.max_ns.max(ns);
        if ns > self.gap_ns {
            note_gap(self.meter, ns);
        }
    }
}

#[cold]
fn note_gap(meter: &Meter, ns: u64) {
    let now_ns = monotonic_ns();
    meter.gaps.add(now_ns.saturating_sub(ns), now_ns);
}
