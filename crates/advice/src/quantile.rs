//! Quantiles of simulated outcomes.

use sterna_report::foresight::Interval;

/// The middle nine tenths of the values; `None` where there are none.
pub fn interval(values: impl IntoIterator<Item = f64>) -> Option<Interval> {
    let mut values: Vec<f64> = values.into_iter().filter(|it| it.is_finite()).collect();
    values.sort_unstable_by(f64::total_cmp);
    Some(Interval { p5: at(&values, 0.05)?, p50: at(&values, 0.5)?, p95: at(&values, 0.95)? })
}

/// The value below which this share of the values lies; they are sorted.
pub fn at(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = share.clamp(0.0, 1.0) * last as f64;
    let (low, part) = (place.floor() as usize, place.fract());
    let high = (low + 1).min(last);
    Some(sorted[low] + (sorted[high] - sorted[low]) * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_and_one_values_give_their_ranks() {
        let it = interval((0..=100).rev().map(f64::from)).unwrap();
        assert_eq!((it.p5, it.p50, it.p95), (5.0, 50.0, 95.0));
        assert_eq!(interval([]), None);
        assert_eq!(interval([f64::NAN, 7.0]).unwrap().p95, 7.0);
    }
}
