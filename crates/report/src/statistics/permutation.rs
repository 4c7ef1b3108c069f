//! Whether two sets of measurements differ by more than chance.
//!
//! The obvious test compares means, and one run that the machine disturbed spoils it. This one
//! compares ranks: if both sides were alike, each way to deal the ranks out to the two sides would
//! be as likely as any other, and the p-value is the share of the ways that are at least as uneven
//! as what was seen. Nothing is assumed about how measurements scatter, ties are counted as they
//! are, and the share is counted and not estimated while there are at most [`MOST_EXACT`] values.

use super::repeats::Random;

/// Up to this many values on both sides together all ways are counted.
pub const MOST_EXACT: usize = 80;

/// Ways that are drawn where they are too many to be counted.
const DRAWS: u32 = 50_000;

/// The two-sided p-value of the permutation test of rank sums: twice the smaller tail, at most 1.
///
/// Values that are not finite are left out. `None` when a side has no value.
pub fn permutation_test(a: &[f64], b: &[f64], seed: u64) -> Option<f64> {
    let finite = |values: &[f64]| -> Vec<f64> {
        values.iter().copied().filter(|it| it.is_finite()).collect()
    };
    let (a, b) = (finite(a), finite(b));
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let ranks = doubled_ranks(&a, &b);
    let seen: usize = ranks[..a.len()].iter().sum();
    let (low, high) = if ranks.len() <= MOST_EXACT {
        exact_tails(&ranks, a.len(), seen)
    } else {
        drawn_tails(&ranks, a.len(), seen, seed)
    };
    Some((2.0 * f64::min(low, high)).min(1.0))
}

/// The least p-value that so many values can give: with few of them no difference, however large,
/// can be distinguished from chance. `None` when a side has none.
pub fn least_p_value(count_a: usize, count_b: usize) -> Option<f64> {
    let (few, many) = (count_a.min(count_b), count_a.max(count_b));
    if few == 0 {
        return None;
    }
    let ways = (1..=few).fold(1.0, |ways, i| ways * (many + i) as f64 / i as f64);
    Some(f64::min(1.0, 2.0 / ways))
}

/// A p-value among others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weighted {
    /// The p-value.
    pub p_value: f64,
    /// Which part of the allowed error it may spend, compared with the weights of the others.
    pub weight: f64,
}

/// The p-values adjusted for their number after Holm: each may be compared with the error that is
/// allowed for all of them together, of which each gets a part by its weight.
pub fn holm(tests: &[Weighted]) -> Vec<f64> {
    let strength = |it: &usize| tests[*it].p_value / tests[*it].weight;
    let mut order: Vec<usize> = (0..tests.len()).collect();
    order.sort_by(|a, b| strength(a).total_cmp(&strength(b)));
    let mut left: f64 = tests.iter().map(|it| it.weight).sum();
    let mut adjusted = vec![0.0; tests.len()];
    let mut most: f64 = 0.0;
    for index in order {
        most = most.max((strength(&index) * left).min(1.0));
        adjusted[index] = most;
        left -= tests[index].weight;
    }
    adjusted
}

/// Twice the rank of each value among all, equal values sharing their mean rank: whole numbers.
fn doubled_ranks(a: &[f64], b: &[f64]) -> Vec<usize> {
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    let rank = |value: &f64| {
        let below = all.iter().filter(|it| *it < value).count();
        let equal = all.iter().filter(|it| *it == value).count();
        2 * below + equal + 1
    };
    all.iter().map(rank).collect()
}

/// The shares of ways with a sum at most, and at least, as large as seen.
fn exact_tails(ranks: &[usize], count: usize, seen: usize) -> (f64, f64) {
    // Where no values are equal all doubled ranks are even, and half the sums are enough.
    let step = if ranks.iter().all(|it| it % 2 == 0) { 2 } else { 1 };
    let seen = seen / step;
    let most: usize = ranks.iter().sum::<usize>() / step;
    // ways[k][s]: ways to choose k of the ranks so far with the sum s. Counts beyond 2^53 are
    // rounded, which costs less than 1e-14 of a share.
    let mut ways = vec![vec![0.0_f64; most + 1]; count + 1];
    ways[0][0] = 1.0;
    let mut reached = 0;
    for (index, rank) in ranks.iter().map(|it| it / step).enumerate() {
        // No sum of the ranks so far is larger than all of them together.
        reached += rank;
        for k in (1..=count.min(index + 1)).rev() {
            let (fewer, here) = ways.split_at_mut(k);
            for (to, from) in here[0][rank..=reached].iter_mut().zip(&fewer[k - 1]) {
                *to += from;
            }
        }
    }
    let all: f64 = ways[count].iter().sum();
    let low: f64 = ways[count][..=seen].iter().sum();
    let high: f64 = ways[count][seen..].iter().sum();
    (low / all, high / all)
}

/// The same from ways that are drawn; what was seen counts as one of them, so that no share is 0.
fn drawn_tails(ranks: &[usize], count: usize, seen: usize, seed: u64) -> (f64, f64) {
    let mut random = Random(seed);
    let mut deck = ranks.to_vec();
    let (mut low, mut high) = (1_u32, 1_u32);
    for _ in 0..DRAWS {
        for place in 0..count {
            let other = place + random.below(deck.len() - place);
            deck.swap(place, other);
        }
        let sum: usize = deck[..count].iter().sum();
        low += u32::from(sum <= seen);
        high += u32::from(sum >= seen);
    }
    let share = |count: u32| f64::from(count) / f64::from(DRAWS + 1);
    (share(low), share(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(a: &[f64], b: &[f64], expected: f64) {
        let found = permutation_test(a, b, 1).unwrap();
        assert!((found - expected).abs() < 1e-9, "{found} against {expected}");
        assert!((permutation_test(b, a, 1).unwrap() - expected).abs() < 1e-9, "not symmetric");
    }

    /// `scipy.stats.permutation_test` 1.x over all arrangements, of the sum of pooled midranks; where
    /// there are no ties, `scipy.stats.mannwhitneyu(method="exact")` says the same.
    #[test]
    fn p_values_are_those_of_scipy() {
        check(
            &[1.83, 0.5, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.3],
            &[0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.2, 1.29],
            0.129_905_388_728_918_13,
        );
        check(&[1.0, 2.0, 3.0, 4.0, 5.0], &[6.0, 7.0, 8.0, 9.0, 10.0], 0.007_936_507_936_507_936);
        check(
            &[1.0, 2.0, 2.0, 3.0, 3.0, 3.0],
            &[2.0, 3.0, 3.0, 4.0, 4.0, 5.0, 5.0],
            0.058_275_058_275_058_27,
        );
        check(
            &[10.2, 9.8, 10.0, 10.1, 9.9, 10.3, 9.7],
            &[10.4, 10.9, 10.6, 11.0, 10.8, 10.5, 10.7, 9.95],
            0.003_729_603_729_603_729_6,
        );
        check(&[0.0, 0.0, 1.0, 1.0], &[0.0, 1.0, 1.0, 1.0, 1.0, 0.0], 1.0);
    }

    #[test]
    fn drawn_ways_say_what_counted_ones_say() {
        let a: Vec<f64> = (0..20).map(|it| f64::from(it * it % 37)).collect();
        let b: Vec<f64> = (0..20).map(|it| f64::from(it * it % 41) + 6.0).collect();
        let ranks = doubled_ranks(&a, &b);
        let seen = ranks[..20].iter().sum();
        let (exact, drawn) = (exact_tails(&ranks, 20, seen), drawn_tails(&ranks, 20, seen, 9));
        assert!((exact.0 - drawn.0).abs() < 0.01 && (exact.1 - drawn.1).abs() < 0.01);
        let many: Vec<f64> = (0..60).map(f64::from).collect();
        let more: Vec<f64> = many.iter().map(|it| it + 100.0).collect();
        assert!(permutation_test(&many, &more, 1).unwrap() < 1e-4);
        assert!(permutation_test(&many, &many, 1).unwrap() > 0.9);
    }

    #[test]
    fn few_values_can_show_nothing() {
        assert_eq!(permutation_test(&[], &[1.0], 1), None);
        assert_eq!(least_p_value(3, 3), Some(0.1));
        assert_eq!(least_p_value(1, 1), Some(1.0));
        assert_eq!(least_p_value(0, 9), None);
        let p = permutation_test(&[1.0, 2.0, 3.0], &[7.0, 8.0, 9.0], 1).unwrap();
        assert!((p - 0.1).abs() < 1e-12, "the most different that three can be");
    }

    #[test]
    fn equal_values_differ_by_nothing() {
        check(&[5.0; 12], &[5.0; 12], 1.0);
        check(&[5.0; 3], &[5.0, f64::NAN], 1.0);
    }

    #[test]
    fn holm_multiplies_and_never_falls() {
        let holm = |p_values: &[f64]| {
            let weight = 1.0;
            let tests: Vec<Weighted> =
                p_values.iter().map(|it| Weighted { p_value: *it, weight }).collect();
            super::holm(&tests)
        };
        let found = holm(&[0.01, 0.04, 0.03, 0.005]);
        let expected = [0.03, 0.06, 0.06, 0.02];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert_eq!(holm(&[]), [0.0; 0]);
    }

    #[test]
    fn a_weight_of_three_is_three_parts_of_the_error() {
        let tests = [(0.006, 3.0), (0.006, 1.0), (0.5, 1.0)];
        let tests = tests.map(|(p_value, weight)| Weighted { p_value, weight });
        let found = holm(&tests);
        // 0.006 x 5 / 3, then 0.006 x 2, then 0.5.
        let expected = [0.01, 0.012, 0.5];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
    }
}
