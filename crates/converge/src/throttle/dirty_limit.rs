//! Dirty limit: only those workers are slowed down that dirty more than their share.

use std::ops::Range;

/// Time between two measurements of the workers' dirty rates (QEMU: `DIRTYLIMIT_CALC_TIME_MS`).
const MEASURE_NS: u64 = 1_000_000_000;

/// A worker runs for so long before it rests.
const RUN_NS: u64 = 10_000_000;

/// QEMU's tolerance: a rate that is off by no more is let be.
const TOLERANCE_BYTES_PER_SECOND: u64 = 25 << 20;

/// Half the limit or twice it: farther away than this the rest is computed, nearer it is felt for.
const LINEAR_PERCENT: u64 = 50;

/// A rest lasts at most so many times the running before it.
const MOST_RESTS: u64 = 99;

/// How long each worker rests after each 10 ms of running, so that it dirties at its limit.
///
/// # QEMU's algorithm, and what differs
/// QEMU lets a virtual processor sleep each time when its ring of dirty pages is full, and adjusts the length of that sleep once a second by the rate measured: proportionally when the rate is far off, by a tenth of the ring's time when it is near.
/// Here the ring's place is taken by 10 ms of running, because a worker does not know which of its writes dirtied a page for the first time; a rest and the running before it together are QEMU's ring time.
/// QEMU lets be whatever is within 25 MB/s of the limit, since it is made for guests of gigabytes a second; here a tenth of the limit counts if that is less, so that small guests are held to small limits.
/// Rates are distinct pages of a worker's own memory, found by looking at the tracker once a second; what these looks find is kept for the next synchronisation, as in QEMU, and bounds no pass.
#[derive(Clone, Debug)]
pub struct DirtyLimit {
    limit_bytes_per_second: u64,
    workers: Vec<WorkerLimit>,
    is_limiting: bool,
    measured_ns: u64,
}

/// One worker's rate, and how it is held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerLimit {
    /// Its pages.
    pages: Range<usize>,
    dirty_pages: u64,
    /// Dirty rate over the last second; `None` before the first measurement.
    pub bytes_per_second: Option<u64>,
    /// Rest after each 10 ms of running.
    pub rest_ns: u64,
}

impl DirtyLimit {
    /// Limits for workers with these pages; they apply from [`DirtyLimit::begin`] on.
    pub fn new(
        limit_bytes_per_second: u64,
        pages: impl IntoIterator<Item = Range<usize>>,
    ) -> DirtyLimit {
        let worker =
            |pages| WorkerLimit { pages, dirty_pages: 0, bytes_per_second: None, rest_ns: 0 };
        DirtyLimit {
            limit_bytes_per_second,
            workers: pages.into_iter().map(worker).collect(),
            is_limiting: false,
            measured_ns: 0,
        }
    }

    /// Begins to measure; the guest was seen to write too fast.
    pub fn begin(&mut self, now_ns: u64) {
        if !self.is_limiting {
            self.is_limiting = true;
            self.restart(now_ns);
        }
    }

    /// Whether the limits apply.
    pub fn is_limiting(&self) -> bool {
        self.is_limiting
    }

    /// Whether it is time to look at the tracker.
    pub fn is_due(&self, now_ns: u64) -> bool {
        self.is_limiting && now_ns >= self.measured_ns + MEASURE_NS
    }

    /// When it is time to look next; `None` before limits apply.
    pub fn next_measure_ns(&self) -> Option<u64> {
        self.is_limiting.then_some(self.measured_ns + MEASURE_NS)
    }

    /// Counts pages of one worker, where it is known whose they are.
    pub fn found_by(&mut self, worker: usize, pages: u64) {
        if let Some(it) = self.workers.get_mut(worker).filter(|_| self.is_limiting) {
            it.dirty_pages += pages;
        }
    }

    /// Counts pages that a look or a synchronisation has found.
    pub fn found(&mut self, first: usize, count: usize) {
        for worker in self.workers.iter_mut().filter(|_| self.is_limiting) {
            let start = first.max(worker.pages.start);
            let end = (first + count).min(worker.pages.end);
            worker.dirty_pages += end.saturating_sub(start) as u64;
        }
    }

    /// Ends a measurement and decides how long each worker rests from now on.
    pub fn adjust(&mut self, now_ns: u64, page_bytes: u64) -> Vec<u64> {
        let length_ns = u128::from(now_ns.saturating_sub(self.measured_ns).max(1));
        for worker in &mut self.workers {
            let bytes = u128::from(worker.dirty_pages) * u128::from(page_bytes);
            let rate = (bytes * 1_000_000_000 / length_ns) as u64;
            worker.bytes_per_second = Some(rate);
            worker.rest_ns = next_rest_ns(self.limit_bytes_per_second, rate, worker.rest_ns);
        }
        self.restart(now_ns);
        self.workers.iter().map(|it| it.rest_ns).collect()
    }

    /// The workers as they were last measured.
    pub fn workers(&self) -> &[WorkerLimit] {
        &self.workers
    }

    /// The largest share of time that a worker rests, in percent.
    pub fn throttle_percent(&self) -> f64 {
        self.workers.iter().map(WorkerLimit::throttle_percent).fold(0.0, f64::max)
    }

    fn restart(&mut self, now_ns: u64) {
        self.measured_ns = now_ns;
        self.workers.iter_mut().for_each(|it| it.dirty_pages = 0);
    }
}

impl WorkerLimit {
    /// The share of time that it rests, in percent.
    pub fn throttle_percent(&self) -> f64 {
        self.rest_ns as f64 / (self.rest_ns + RUN_NS) as f64 * 100.0
    }
}

/// The rest that brings `rate` to `limit`, when `rest_ns` is the one that led to `rate`.
fn next_rest_ns(limit: u64, rate: u64, rest_ns: u64) -> u64 {
    if rate == 0 {
        return 0;
    }
    let (least, most) = (limit.min(rate), limit.max(rate));
    if most - least <= TOLERANCE_BYTES_PER_SECOND.min(limit / 10) {
        return rest_ns;
    }
    let round_ns = rest_ns + RUN_NS;
    let by_ns = if (most - least).saturating_mul(100) / most > LINEAR_PERCENT {
        // What makes a round longer by the factor most / least.
        let percent = (most - least).saturating_mul(100) / most;
        round_ns * percent / (100 - percent.min(99))
    } else {
        round_ns / 10
    };
    let next_ns = if rate > limit { rest_ns + by_ns } else { rest_ns.saturating_sub(by_ns) };
    next_ns.min(MOST_RESTS * RUN_NS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;
    const MB: u64 = 1_000_000;

    #[test]
    fn rests_follow_the_rate() {
        #[track_caller]
        fn check(limit: u64, rate: u64, rest_ms: u64, expected_ns: u64) {
            assert_eq!(next_rest_ns(limit * MB, rate * MB, rest_ms * MS), expected_ns);
        }
        // Within a tenth, or within QEMU's tolerance.
        check(10, 11, 7, 7 * MS);
        check(10, 9, 7, 7 * MS);
        check(1000, 1026, 7, 7 * MS);
        // Four times too fast: rounds four times as long.
        check(10, 40, 0, 30 * MS);
        // Half too fast is felt for: a tenth of a round.
        check(10, 15, 10, 12 * MS);
        check(10, 6, 10, 8 * MS);
        check(10, 1, 5, 0);
        // Never more than 99 %, and nobody who dirties nothing rests.
        check(1, 100_000, 900, 990 * MS);
        check(10, 0, 500, 0);
    }

    #[test]
    fn only_who_is_too_fast_rests() {
        let mut it = DirtyLimit::new(10 * MB, [0..10_000, 10_000..20_000]);
        it.found(0, 20_000);
        assert!(!it.is_due(10_000 * MS), "nothing is measured before it is needed");
        it.begin(10_000 * MS);
        assert!(!it.is_due(10_999 * MS) && it.is_due(11_000 * MS));
        it.found(0, 9_900);
        it.found(9_990, 20);
        let rests = it.adjust(11_000 * MS, 4096);
        assert_eq!(rests.len(), 2);
        assert!(rests[0] > 20 * MS, "{rests:?}");
        assert_eq!(rests[1], 0);
        assert_eq!(it.workers()[0].bytes_per_second, Some(9_910 * 4096));
        assert_eq!(it.workers()[1].bytes_per_second, Some(10 * 4096));
        assert!(it.throttle_percent() > 60.0);
        assert!(!it.is_due(11_500 * MS));
    }

    proptest! {
        #[test]
        fn a_guest_whose_rate_follows_its_time_ends_near_the_limit(
            limit in 2u64..500,
            free_rate in 1u64..5_000,
        ) {
            let (limit, free_rate) = (limit * MB, free_rate * MB);
            let mut rest_ns = 0;
            let rate = |rest_ns: u64| free_rate * RUN_NS / (RUN_NS + rest_ns);
            for _ in 0..60 {
                rest_ns = next_rest_ns(limit, rate(rest_ns), rest_ns);
            }
            let (found, reachable) = (rate(rest_ns), free_rate.min(limit).max(free_rate / 100));
            // Steps of a tenth overshoot by about as much.
            let slack = TOLERANCE_BYTES_PER_SECOND.min(reachable / 10) + reachable / 8 + 1;
            prop_assert!(found.abs_diff(reachable) <= slack, "{found} for {reachable}");
        }
    }
}
