//! A latency histogram that one thread fills and others read while it does.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use thiserror::Error;

/// Each octave is cut into this many cells, so a cell is at most 1/32 of its own value wide.
const CELLS_PER_OCTAVE_LOG2: u32 = 5;
const CELLS_PER_OCTAVE: u64 = 1 << CELLS_PER_OCTAVE_LOG2;
/// Longer times (about 18 minutes) are counted in the last cell; the exact maximum is kept beside.
const LONGEST_NS: u64 = (1 << 40) - 1;
const CELLS: usize = cell_of(LONGEST_NS) + 1;

/// Times in nanoseconds, in cells whose width is at most 1/32 of their value.
///
/// # The layout of cells
///
/// Below 64 ns each nanosecond has a cell of its own.
/// From there on each octave has 32 cells of equal width: the cell is named by the position of the leading one and the
/// five bits after it, which costs a count of leading zeros, a shift and an addition.
/// A percentile reports the middle of its cell and so is off by at most 1/64, about 1.6 %, never more than the maximum.
///
/// A value is a snapshot: plain numbers that can be merged over workers and subtracted over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    cells: Box<[u64]>,
    sum_ns: u64,
    max_ns: u64,
}

/// A histogram as it travels: only cells that are not empty, by rising number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramParts {
    /// Cell number and its count.
    pub cells: Vec<(u16, u64)>,
    /// The sum of all times.
    pub sum_ns: u64,
    /// The longest time.
    pub max_ns: u64,
}

/// A histogram that arrived names a cell that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("Histogram cell {0} does not exist; cells end at {last}", last = CELLS - 1)]
pub struct NoSuchCell(pub u16);

/// The histogram that a worker fills: one writer, any number of readers, no lock.
///
/// A cell is loaded, raised and stored without a lock prefix, which is right because only its worker stores to it.
/// Each cell is read whole, but a snapshot may be up to one quantum older in its sum and maximum than in its cells,
/// because those two are kept in registers within a quantum.
#[derive(Debug)]
pub(crate) struct LiveHistogram {
    cells: Box<[AtomicU64; CELLS]>,
    sum_ns: AtomicU64,
    max_ns: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { cells: vec![0; CELLS].into(), sum_ns: 0, max_ns: 0 }
    }
}

impl Histogram {
    /// Counts one time.
    pub fn record(&mut self, ns: u64) {
        self.cells[cell_of(ns)] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.cells.iter().sum()
    }

    /// The longest time, exact in a histogram that was only recorded and merged; null when there is none.
    pub fn max_ns(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.max_ns)
    }

    /// The mean time; null when there is none.
    pub fn mean_ns(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum_ns as f64 / count as f64)
    }

    /// The time that `percent` (0 to 100) of all times do not exceed; null when there is none.
    pub fn percentile_ns(&self, percent: f64) -> Option<u64> {
        let count = self.count();
        let wanted = ((percent / 100.0 * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        for (cell, n) in self.cells.iter().enumerate() {
            seen += n;
            if seen >= wanted {
                let (low, high) = bounds(cell);
                return Some((low + (high - low) / 2).min(self.max_ns));
            }
        }
        None
    }

    /// Adds the times of `other`.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.cells.iter_mut().zip(&other.cells) {
            *mine += theirs;
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// What was counted since `earlier`, an older snapshot of the same histogram.
    ///
    /// The maximum of the difference is known exactly only if it is new; otherwise it is the end of its cell.
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        let cells: Box<[u64]> = self
            .cells
            .iter()
            .zip(&earlier.cells)
            .map(|(now, then)| now.saturating_sub(*then))
            .collect();
        let end_of_last = cells.iter().rposition(|n| *n > 0).map_or(0, |cell| bounds(cell).1);
        let is_new = self.max_ns > earlier.max_ns;
        let max_ns = if is_new { self.max_ns } else { end_of_last.min(self.max_ns) };
        Histogram { cells, sum_ns: self.sum_ns.saturating_sub(earlier.sum_ns), max_ns }
    }

    /// The counts in the 21 cells that mig_mon prints, labelled 1, 2, 4, … 1048576 µs: a time is in the first of them
    /// whose label it stays below, and in the last if there is none.
    ///
    /// At the edges, times are off by up to 1/64 of their value.
    pub fn mig_mon_buckets(&self) -> [u64; 21] {
        let mut buckets = [0; 21];
        for (low, high, n) in self.cells() {
            let us = (low + (high - low) / 2) / 1000;
            let bucket = us.checked_ilog2().map_or(0, |log| log as usize + 1);
            buckets[bucket.min(20)] += n;
        }
        buckets
    }

    /// The cells that are not empty: shortest and longest time of each, inclusive, and its count.
    pub fn cells(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.cells.iter().enumerate().filter(|(_, n)| **n > 0).map(|(cell, n)| {
            let (low, high) = bounds(cell);
            (low, high, *n)
        })
    }

    /// The counts in cells of half an octave that are not empty: the shortest time of each, and its count.
    ///
    /// These times are 0, 1, 2, 3, 4, 6, 8, 12, 16, 24 and so on: the powers of two, and the middle between two of them.
    /// A cell of this histogram lies within one of them, so each count is exact.
    pub fn half_octaves(&self) -> Vec<(u64, u64)> {
        let mut coarse: Vec<(u64, u64)> = Vec::new();
        for (low, _, n) in self.cells() {
            let from = half_octave_of(low);
            match coarse.last_mut().filter(|it| it.0 == from) {
                Some(it) => it.1 += n,
                None => coarse.push((from, n)),
            }
        }
        coarse
    }

    /// The form in which a histogram travels.
    pub fn to_parts(&self) -> HistogramParts {
        let full = self.cells.iter().enumerate().filter(|(_, n)| **n > 0);
        HistogramParts {
            cells: full.map(|(cell, n)| (cell as u16, *n)).collect(),
            sum_ns: self.sum_ns,
            max_ns: self.max_ns,
        }
    }

    /// The histogram that `parts` describes.
    ///
    /// # Errors
    /// A cell is out of range, so the parts are not from this program.
    pub fn from_parts(parts: &HistogramParts) -> Result<Histogram, NoSuchCell> {
        let mut histogram =
            Histogram { sum_ns: parts.sum_ns, max_ns: parts.max_ns, ..Histogram::default() };
        for (cell, n) in &parts.cells {
            *histogram.cells.get_mut(usize::from(*cell)).ok_or(NoSuchCell(*cell))? = *n;
        }
        Ok(histogram)
    }
}

impl LiveHistogram {
    pub(crate) fn new() -> LiveHistogram {
        LiveHistogram {
            cells: Box::new([const { AtomicU64::new(0) }; CELLS]),
            sum_ns: AtomicU64::new(0),
            max_ns: AtomicU64::new(0),
        }
    }

    /// Counts one time in its cell; the caller publishes sum and maximum at the end of its quantum.
    #[inline]
    pub(crate) fn record(&self, ns: u64) {
        let cell = &self.cells[cell_of(ns)];
        cell.store(cell.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Adds a quantum's sum and maximum.
    #[inline]
    pub(crate) fn publish(&self, sum_ns: u64, max_ns: u64) {
        self.sum_ns.store(self.sum_ns.load(Relaxed).wrapping_add(sum_ns), Relaxed);
        if max_ns > self.max_ns.load(Relaxed) {
            self.max_ns.store(max_ns, Relaxed);
        }
    }

    /// Counts times that fall evenly: `count` of them, from `longest_ns` on down in steps of `step_ns`.
    ///
    /// Cell by cell, so that an hour in which a million a second were due costs no more than a second.
    pub(crate) fn add_falling(&self, longest_ns: u64, step_ns: f64, count: u64) {
        if count == 0 {
            return;
        }
        // How many of the times are above `ns`.
        let above = |ns: u64| {
            let Some(more_ns) = longest_ns.checked_sub(ns).filter(|it| *it > 0) else { return 0 };
            if step_ns > 0.0 {
                ((more_ns as f64 / step_ns).ceil() as u64).min(count)
            } else {
                count
            }
        };
        let mut counted = 0;
        for cell in (0..=cell_of(longest_ns)).rev() {
            let until = match bounds(cell).0.checked_sub(1) {
                Some(below_ns) => above(below_ns),
                None => count,
            };
            let it = &self.cells[cell];
            it.store(it.load(Relaxed).wrapping_add(until - counted), Relaxed);
            counted = until;
            if counted == count {
                break;
            }
        }
        let shortest_ns = (longest_ns as f64 - step_ns * (count - 1) as f64).max(0.0);
        let sum_ns = (longest_ns as f64 + shortest_ns) / 2.0 * count as f64;
        self.publish(sum_ns as u64, longest_ns);
    }

    pub(crate) fn snapshot(&self) -> Histogram {
        Histogram {
            cells: self.cells.iter().map(|cell| cell.load(Relaxed)).collect(),
            sum_ns: self.sum_ns.load(Relaxed),
            max_ns: self.max_ns.load(Relaxed),
        }
    }
}

/// The number of the cell that counts `ns`.
#[inline]
const fn cell_of(ns: u64) -> usize {
    let ns = if ns > LONGEST_NS { LONGEST_NS } else { ns };
    // The or makes the first two octaves share shift 0, so that cells start at zero without a branch.
    let shift = (ns | CELLS_PER_OCTAVE).ilog2() - CELLS_PER_OCTAVE_LOG2;
    ((shift as usize) << CELLS_PER_OCTAVE_LOG2) + (ns >> shift) as usize
}

/// The shortest time of the half octave in which `ns` lies.
const fn half_octave_of(ns: u64) -> u64 {
    if ns < 2 {
        return ns;
    }
    let octave = 1 << ns.ilog2();
    let half = octave / 2;
    if ns >= octave + half { octave + half } else { octave }
}

/// The shortest and the longest time that `cell` counts.
const fn bounds(cell: usize) -> (u64, u64) {
    let cell = cell as u64;
    if cell < 2 * CELLS_PER_OCTAVE {
        return (cell, cell);
    }
    let shift = cell / CELLS_PER_OCTAVE - 1;
    let low = (cell - shift * CELLS_PER_OCTAVE) << shift;
    (low, low + (1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cells_follow_each_other_without_holes() {
        let mut next = 0;
        for cell in 0..CELLS {
            let (low, high) = bounds(cell);
            assert_eq!(low, next, "cell {cell}");
            assert_eq!((cell_of(low), cell_of(high)), (cell, cell));
            next = high + 1;
        }
        assert_eq!(next, LONGEST_NS + 1);
        assert_eq!(cell_of(u64::MAX), CELLS - 1);
    }

    proptest! {
        #[test]
        fn falling_times_are_counted_as_one_by_one(
            longest_ns in 0u64..10_000_000, step_ns in 0u64..5_000, count in 0u64..3_000,
        ) {
            let (live, mut expected) = (LiveHistogram::new(), Histogram::default());
            live.add_falling(longest_ns, step_ns as f64, count);
            (0..count).for_each(|it| expected.record(longest_ns.saturating_sub(it * step_ns)));
            let found = live.snapshot();
            prop_assert_eq!(&found.cells, &expected.cells);
            prop_assert_eq!(found.max_ns, expected.max_ns);
        }
    }

    #[test]
    fn falling_times_have_their_sum() {
        let live = LiveHistogram::new();
        live.add_falling(1_000, 10.0, 100);
        assert_eq!(live.snapshot().mean_ns(), Some(505.0));
    }

    #[test]
    fn an_empty_histogram_knows_nothing() {
        let empty = Histogram::default();
        assert_eq!((empty.count(), empty.max_ns(), empty.mean_ns()), (0, None, None));
        assert_eq!(empty.percentile_ns(50.0), None);
    }

    #[test]
    fn mig_mon_buckets_hold_what_stays_below_their_label() {
        let bucket = |us: f64| {
            let mut histogram = Histogram::default();
            histogram.record((us * 1000.0) as u64);
            histogram.mig_mon_buckets().iter().position(|n| *n == 1)
        };
        let check = |us: f64, expected: usize| assert_eq!(bucket(us), Some(expected), "{us} us");
        check(0.0, 0);
        check(0.9, 0);
        check(1.1, 1);
        check(1.9, 1);
        check(2.1, 2);
        check(3.9, 2);
        check(1100.0, 11);
        check(500_000.0, 19);
        check(600_000.0, 20);
        check(1e7, 20);
    }

    #[test]
    fn percentiles_of_known_times() {
        let mut histogram = Histogram::default();
        (1..=10_000).for_each(|ns| histogram.record(ns));
        let check = |percent: f64, exact: f64| {
            let found = histogram.percentile_ns(percent).unwrap() as f64;
            assert!((found - exact).abs() <= exact / 60.0 + 1.0, "p{percent} gave {found}");
        };
        check(0.0, 1.0);
        check(50.0, 5000.0);
        check(99.0, 9900.0);
        check(99.9, 9990.0);
        assert_eq!(histogram.max_ns(), Some(10_000));
        assert_eq!(histogram.percentile_ns(100.0).map(|ns| ns <= 10_000), Some(true));
        assert_eq!(histogram.mean_ns(), Some(5000.5));
    }

    #[test]
    fn the_difference_of_two_snapshots_is_what_came_between() {
        let live = LiveHistogram::new();
        let record = |ns| {
            live.record(ns);
            live.publish(ns, ns);
        };
        [100, 5000, 9_000_000].into_iter().for_each(record);
        let earlier = live.snapshot();
        [200, 200, 700].into_iter().for_each(record);
        let delta = live.snapshot().since(&earlier);
        assert_eq!((delta.count(), delta.mean_ns()), (3, Some(1100.0 / 3.0)));
        let max = delta.max_ns().unwrap();
        assert!((700..=722).contains(&max), "the old maximum must not show again, got {max}");
        record(10_000_000);
        assert_eq!(live.snapshot().since(&earlier).max_ns(), Some(10_000_000));
    }

    #[test]
    fn half_octaves_hold_what_lies_between_their_times() {
        let mut histogram = Histogram::default();
        let times = [0, 1, 2, 3, 5, 6, 7, 47, 48, 63, 64, 95, 96, 1_000_000];
        times.into_iter().for_each(|ns| histogram.record(ns));
        let expected = [
            (0, 1),
            (1, 1),
            (2, 1),
            (3, 1),
            (4, 1),
            (6, 2),
            (32, 1),
            (48, 2),
            (64, 2),
            (96, 1),
            (786_432, 1),
        ];
        assert_eq!(histogram.half_octaves(), expected);
        assert_eq!(Histogram::default().half_octaves(), []);
    }

    #[test]
    fn parts_with_an_unknown_cell_are_refused() {
        let parts = HistogramParts { cells: vec![(CELLS as u16, 1)], ..HistogramParts::default() };
        assert_eq!(Histogram::from_parts(&parts), Err(NoSuchCell(CELLS as u16)));
    }

    proptest! {
        #[test]
        fn every_time_is_within_its_cell_and_the_cell_is_narrow(ns in any::<u64>(), shift in 0u32..64) {
            let ns = (ns >> shift).min(LONGEST_NS);
            let (low, high) = bounds(cell_of(ns));
            prop_assert!(low <= ns && ns <= high);
            prop_assert!((high - low) * 32 <= low.max(1) || high == low);
        }

        #[test]
        fn merging_parts_is_recording_all(
            a in proptest::collection::vec(0u64..1 << 36, 0..50), b in proptest::collection::vec(0u64..1 << 36, 0..50),
        ) {
            let of = |times: &[u64]| {
                let mut histogram = Histogram::default();
                times.iter().for_each(|ns| histogram.record(*ns));
                histogram
            };
            let mut merged = of(&a);
            merged.merge(&of(&b));
            let coarse: u64 = merged.half_octaves().iter().map(|it| it.1).sum();
            prop_assert_eq!(coarse, merged.count());
            for cell in 0..CELLS {
                let (low, high) = bounds(cell);
                prop_assert_eq!(half_octave_of(low), half_octave_of(high), "a cell is cut");
            }
            prop_assert_eq!(&merged, &of(&[a, b].concat()));
            prop_assert_eq!(Histogram::from_parts(&merged.to_parts()), Ok(merged));
        }
    }
}
