//! Whether some of the candidate's runs are worse than all of the reference's.
//!
//! A test of medians does not see that a part of the runs became much worse, and neither does one of
//! rank sums: 8 of 20 runs that take ten times as long move the rank sum only a little. This test looks
//! at the far end alone. If both sides were alike, any choice of places in the order would be as likely
//! for the candidate as any other, so the chance that it holds all of the worst `k` places is known
//! exactly, whatever the values are distributed like.

/// How many values lie beyond all of the reference's, and how likely that is by chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exceedance {
    /// Values of the candidate above the reference's highest by more than the margin.
    pub count: usize,
    /// The chance of at least so many if both sides were alike: one-sided, and exact where no values
    /// are equal and the margin is 0; else the true chance is smaller.
    pub p_value: f64,
}

/// Counts the values of `b` above all of `a` by more than `margin`.
///
/// Values that are not finite are left out. `None` when a side has no value.
pub fn exceedance(a: &[f64], b: &[f64], margin: f64) -> Option<Exceedance> {
    let finite = |values: &[f64]| -> Vec<f64> {
        values.iter().copied().filter(|it| it.is_finite()).collect()
    };
    let (a, b) = (finite(a), finite(b));
    let highest = a.iter().copied().max_by(f64::total_cmp)?;
    if b.is_empty() {
        return None;
    }
    let count = b.iter().filter(|it| **it - highest > margin).count();
    Some(Exceedance { count, p_value: chance_of_all(count, b.len(), a.len() + b.len()) })
}

/// The least p-value of [`exceedance`] with so many values. `None` when a side has none.
pub fn least_exceedance(count_a: usize, count_b: usize) -> Option<f64> {
    (count_a > 0 && count_b > 0).then(|| chance_of_all(count_b, count_b, count_a + count_b))
}

/// The chance that the first `places` of `all` places fall to the `own` of one side.
fn chance_of_all(places: usize, own: usize, all: usize) -> f64 {
    (0..places).map(|it| (own - it) as f64 / (all - it) as f64).product()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.hypergeom(40, 20, 8).pmf(8)`, and by hand 4/56.
    #[test]
    fn chances_are_those_of_the_hypergeometric_distribution() {
        let reference: Vec<f64> = (0..20).map(f64::from).collect();
        let slow = |it: i32| f64::from(it) + if it < 8 { 100.0 } else { 0.0 };
        let candidate: Vec<f64> = (0..20).map(slow).collect();
        let found = exceedance(&reference, &candidate, 0.0).unwrap();
        assert_eq!(found.count, 8);
        assert!((found.p_value - 0.001_638_001_638).abs() < 1e-11, "{found:?}");
        let small = exceedance(&[1.0, 2.0, 3.0, 4.0], &[0.0, 9.0, 9.0, 9.0], 0.0).unwrap();
        assert!((small.p_value - 4.0 / 56.0).abs() < 1e-12, "{small:?}");
    }

    #[test]
    fn equal_values_and_those_within_the_margin_do_not_count() {
        let found = exceedance(&[1.0, 2.0], &[2.0, 2.5, 4.0], 0.5).unwrap();
        assert_eq!(found.count, 1);
        assert_eq!(exceedance(&[1.0], &[1.0], 0.0).unwrap().p_value, 1.0);
        assert_eq!(exceedance(&[], &[1.0], 0.0), None);
        assert_eq!(exceedance(&[1.0], &[f64::NAN], 0.0), None);
    }

    #[test]
    fn the_least_chance_falls_with_the_number_of_values() {
        assert_eq!(least_exceedance(0, 3), None);
        assert!((least_exceedance(5, 5).unwrap() - 1.0 / 252.0).abs() < 1e-12);
    }
}
