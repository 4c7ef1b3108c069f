//! What repeated measurements of one number say together.

use super::median;

/// Resamples of a bootstrap: with these the ends of an interval move by less than a tenth of its length from seed to seed.
const RESAMPLES: usize = 2_000;

/// A range that holds the true value with a stated confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The median absolute deviation: the median distance from the median, not scaled.
/// `None` without values; values that are not finite are left out.
pub fn mad(values: &[f64]) -> Option<f64> {
    let middle = median(values)?;
    let finite = values.iter().filter(|it| it.is_finite());
    median(&finite.map(|it| (it - middle).abs()).collect::<Vec<_>>())
}

/// The 95 % bootstrap interval of the median: its 2.5th and 97.5th percentile over resamples.
///
/// The same values and seed give the same interval. It never leaves the range of the values, and
/// with fewer than six of them no such interval holds the true median in 95 % of the cases. `None`
/// with fewer than three values, where it would say nothing.
pub fn median_interval(values: &[f64], seed: u64) -> Option<Interval> {
    let values = usable(values)?;
    let mut random = Random(seed);
    let medians: Vec<f64> =
        (0..RESAMPLES).map(|_| resampled_median(&values, &mut random)).collect();
    Some(middle_95(medians))
}

/// The 95 % bootstrap interval of (median of `b` - median of `a`).
///
/// `None` with fewer than three values on a side.
pub fn difference_interval(a: &[f64], b: &[f64], seed: u64) -> Option<Interval> {
    let (a, b) = (usable(a)?, usable(b)?);
    let mut random = Random(seed);
    let mut difference = || {
        let first = resampled_median(&a, &mut random);
        resampled_median(&b, &mut random) - first
    };
    let differences: Vec<f64> = (0..RESAMPLES).map(|_| difference()).collect();
    Some(middle_95(differences))
}

fn usable(values: &[f64]) -> Option<Vec<f64>> {
    let values: Vec<f64> = values.iter().copied().filter(|it| it.is_finite()).collect();
    (values.len() >= 3).then_some(values)
}

fn middle_95(values: Vec<f64>) -> Interval {
    let at = |percent| super::percentile(&values, percent).unwrap_or(f64::NAN);
    Interval { low: at(2.5), high: at(97.5) }
}

fn resampled_median(values: &[f64], random: &mut Random) -> f64 {
    let mut sample: Vec<f64> = values.iter().map(|_| values[random.below(values.len())]).collect();
    let (half, is_odd) = (sample.len() / 2, sample.len() % 2 == 1);
    let (below, upper, _) = sample.select_nth_unstable_by(half, f64::total_cmp);
    if is_odd {
        return *upper;
    }
    let lower = below.iter().copied().max_by(f64::total_cmp).unwrap_or(*upper);
    (lower + *upper) / 2.0
}

/// The generator splitmix64: small, seeded, and good enough to draw with.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`; for limits far below 2^64 none is preferred.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P(median of a resample of `n` different values is at most the `k`-th of them), `n` odd: the
    /// resample has more than half of its values among the lowest `k`. In closed form.
    fn exact(n: u32, k: u32) -> f64 {
        let p = f64::from(k) / f64::from(n);
        let term = |i: u32| {
            let ways = (0..i).fold(1.0, |ways, j| ways * f64::from(n - j) / f64::from(j + 1));
            ways * p.powi(i as i32) * (1.0 - p).powi((n - i) as i32)
        };
        (n / 2 + 1..=n).map(term).sum()
    }

    #[test]
    fn the_deviation_is_a_median_of_distances() {
        assert_eq!(mad(&[1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0]), Some(1.0));
        // scipy.stats.median_abs_deviation says so too, and numpy.percentile of the ends.
        let values = [3.1, 2.7, 9.9, 4.4, 5.0, 2.2, 7.3];
        assert!((mad(&values).unwrap() - 1.7).abs() < 1e-9);
        for (percent, expected) in [(2.5, 2.275), (40.0, 3.62), (97.5, 9.51)] {
            assert!((super::super::percentile(&values, percent).unwrap() - expected).abs() < 1e-9);
        }
        assert_eq!(mad(&[]), None);
        assert_eq!(mad(&[3.0, f64::NAN]), Some(0.0));
    }

    #[test]
    fn resampled_medians_are_distributed_as_theory_has_it() {
        let values: Vec<f64> = (1..=9).map(f64::from).collect();
        let mut random = Random(5);
        let medians: Vec<f64> =
            (0..40_000).map(|_| resampled_median(&values, &mut random)).collect();
        for k in 1..9 {
            let seen = medians.iter().filter(|it| **it <= f64::from(k)).count() as f64 / 40_000.0;
            assert!((seen - exact(9, k)).abs() < 0.01, "{k}: {seen} against {}", exact(9, k));
        }
    }

    #[test]
    fn an_interval_is_the_same_each_time_and_lies_within_the_values() {
        let values = [10.0, 12.0, 11.0, 13.0, 9.0, 30.0, 10.5];
        let interval = median_interval(&values, 1).unwrap();
        assert_eq!(Some(interval), median_interval(&values, 1));
        // The closed form: 1.0 % of the medians are the lowest value, 99.0 % at most the second highest.
        assert!((exact(7, 1) - 0.010).abs() < 1e-3 && (exact(7, 6) - 0.990).abs() < 1e-3);
        assert_eq!((interval.low, interval.high), (10.0, 13.0));
        assert_eq!(median_interval(&[1.0, 2.0], 1), None);
        let shifted: Vec<f64> = values.iter().map(|it| it + 5.0).collect();
        let difference = difference_interval(&values, &shifted, 3).unwrap();
        assert!(difference.low < 5.0 && difference.high > 5.0 && difference.low > 0.0);
    }

    #[test]
    fn the_interval_holds_the_true_median_nearly_as_often_as_it_says() {
        let mut random = Random(11);
        let uniform = |random: &mut Random| random.next() as f64 / u64::MAX as f64;
        let holds = |_: &u32| {
            let values: Vec<f64> = (0..15).map(|_| uniform(&mut random)).collect();
            let interval = median_interval(&values, 2).unwrap();
            interval.low <= 0.5 && 0.5 <= interval.high
        };
        let held = (0..60_u32).filter(holds).count();
        assert!(held >= 50, "{held} of 60");
    }
}
