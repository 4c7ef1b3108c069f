//! What the tests of several orders need.

/// Pearson's statistic of observed counts against expected ones, in standard deviations from its mean.
///
/// Every expected count should be at least 5.
pub(super) fn chi_square_z(observed: &[u64], expected: &[f64]) -> f64 {
    let cells = observed.iter().zip(expected);
    let chi: f64 = cells.map(|(found, mean)| (*found as f64 - mean).powi(2) / mean).sum();
    let freedom = (observed.len() - 1) as f64;
    (chi - freedom) / (2.0 * freedom).sqrt()
}

/// How often each of `pages` pages comes up in `count` draws.
pub(super) fn tally(pages: usize, draws: impl Iterator<Item = usize>, count: usize) -> Vec<u64> {
    let mut counts = vec![0; pages];
    draws.take(count).for_each(|page| counts[page] += 1);
    counts
}
