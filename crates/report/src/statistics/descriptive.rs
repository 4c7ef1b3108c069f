//! Order statistics.

/// The median: the middle value, or the mean of the middle two. `None` without values.
pub fn median(values: &[f64]) -> Option<f64> {
    percentile(values, 50.0)
}

/// The value below which `percent` of the values lie, with linear interpolation between neighbours:
/// 0 is the minimum, 100 the maximum, 50 the median.
///
/// Values that are not finite are left out. `None` when no value remains or `percent` is not
/// within 0 to 100.
pub fn percentile(values: &[f64], percent: f64) -> Option<f64> {
    if !(0.0..=100.0).contains(&percent) {
        return None;
    }
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let rank = percent / 100.0 * last as f64;
    let below = sorted[rank.floor() as usize];
    let above = sorted[rank.ceil() as usize];
    Some(below + (above - below) * rank.fract())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_median_is_the_middle_and_nothing_has_none() {
        let table: [(&[f64], Option<f64>); 6] = [
            (&[], None),
            (&[7.0], Some(7.0)),
            (&[3.0, 1.0, 2.0], Some(2.0)),
            (&[4.0, 1.0, 2.0, 3.0], Some(2.5)),
            (&[f64::NAN, 5.0], Some(5.0)),
            (&[f64::NAN], None),
        ];
        for (values, expected) in table {
            assert_eq!(median(values), expected, "{values:?}");
        }
    }

    #[test]
    fn percentiles_interpolate_between_neighbours() {
        let values = [10.0, 20.0, 30.0, 40.0, 50.0];
        let table = [
            (0.0, Some(10.0)),
            (25.0, Some(20.0)),
            (90.0, Some(46.0)),
            (100.0, Some(50.0)),
            (-1.0, None),
            (100.1, None),
            (f64::NAN, None),
        ];
        for (percent, expected) in table {
            assert_eq!(percentile(&values, percent), expected, "{percent}");
        }
    }

    proptest! {
        #[test]
        fn a_percentile_grows_with_the_percent_and_stays_within_the_values(
            values in prop::collection::vec(-1e9..1e9f64, 1..50),
            low in 0.0..=100.0f64,
            high in 0.0..=100.0f64,
        ) {
            let (low, high) = (low.min(high), low.max(high));
            let (at_low, at_high) = (percentile(&values, low).unwrap(), percentile(&values, high).unwrap());
            prop_assert!(at_low <= at_high);
            prop_assert!(percentile(&values, 0.0).unwrap() <= at_low);
            prop_assert!(at_high <= percentile(&values, 100.0).unwrap());
        }
    }
}
