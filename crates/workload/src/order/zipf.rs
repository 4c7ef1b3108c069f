//! Few pages that are written very often, and many that are written now and then.

use std::sync::Arc;

use super::power::power;
use super::scatter::Scatter;
use super::{Draws, Order, PURPOSE, reached};
use crate::mix::{GOLDEN, draw, key, scale};
use crate::spec::Skew;

/// Draws in which the page of rank k (from 1) comes up in proportion to 1 / k^θ.
///
/// # One draw, one table that fits the cache
///
/// The usual generators reject some draws and draw again, so that the n-th page depends on how many were rejected
/// before, and an order that can be asked for any index is out of reach.
/// Walker's alias method rejects nothing: a draw picks a cell of a table and, by a threshold within the cell, either
/// the cell's own outcome or its alias.
/// With an outcome for each page the table would be as large as the cache lines that the workload writes, and compete
/// with them.
/// So neighbouring ranks share an outcome: the first 256 have one each, and from there on 1/128 of a rank's own number
/// share one, and are drawn uniformly within it.
/// Each outcome has exactly its due; within one, a page gets up to θ/256 too much or too little, less than half a
/// percent for the usual θ, which would take a hundred thousand writes of each page to see.
#[derive(Clone, Debug)]
pub struct Zipf {
    key: u64,
    scatter: Scatter,
    cells: Arc<[Cell]>,
    outcomes: Arc<[(Ranks, f64)]>,
}

/// A cell of the alias table, with all that a draw needs.
#[derive(Clone, Copy, Debug)]
struct Cell {
    /// Draws that are below this within the cell are for its own outcome.
    threshold: u64,
    own: Ranks,
    alias: Ranks,
}

/// Ranks that are equally likely; from 0.
#[derive(Clone, Copy, Debug)]
struct Ranks {
    first: u32,
    count: u32,
}

/// Outcomes have one rank each up to twice this rank, and this part of their rank from there on.
const FINENESS: u64 = 128;

impl Zipf {
    /// The order of `worker` under `seed` over `pages` pages, of which there must be from 1 to 2^32.
    pub fn new(skew: Skew, seed: u64, worker: u32, pages: usize) -> Zipf {
        let scatter = Scatter::new(seed, worker, pages);
        let outcomes = outcomes(skew.theta(), pages as u64);
        let key = key(seed, PURPOSE, u64::from(worker));
        Zipf { key, scatter, cells: alias_table(&outcomes).into(), outcomes: outcomes.into() }
    }

    pub(super) fn expected_distinct(&self, writes: u64) -> f64 {
        let reach = |(ranks, share): &(Ranks, f64)| reached(f64::from(ranks.count), *share, writes);
        self.outcomes.iter().map(reach).sum()
    }

    #[inline]
    fn rank(&self, index: u64) -> u64 {
        let product = u128::from(draw(self.key, index)) * self.cells.len() as u128;
        let (cell, within) = (&self.cells[(product >> 64) as usize], product as u64);
        let ranks = if within < cell.threshold { cell.own } else { cell.alias };
        u64::from(ranks.first) + scale(within.wrapping_mul(GOLDEN), u64::from(ranks.count))
    }
}

impl Order for Zipf {
    type Walk<'a> = Draws<'a, Zipf>;

    #[inline]
    fn page(&self, index: u64) -> usize {
        self.scatter.page(self.rank(index))
    }

    #[inline]
    fn walk(&self, index: u64) -> Draws<'_, Zipf> {
        Draws { order: self, index }
    }
}

/// All outcomes with their share of draws.
fn outcomes(theta: f64, pages: u64) -> Vec<(Ranks, f64)> {
    let mut outcomes = Vec::new();
    let mut first = 0;
    while first < pages {
        let count = ((first + 1) / FINENESS).clamp(1, pages - first);
        let ranks = Ranks { first: first as u32, count: count as u32 };
        outcomes.push((ranks, weight(theta, first + 1, count)));
        first += count;
    }
    let total: f64 = outcomes.iter().map(|outcome| outcome.1).sum();
    outcomes.iter_mut().for_each(|outcome| outcome.1 /= total);
    outcomes
}

/// The sum of k^-θ over `count` values of k from `first` on, by the value in the middle and the curvature there.
fn weight(theta: f64, first: u64, count: u64) -> f64 {
    let count = count as f64;
    let middle = first as f64 + (count - 1.0) / 2.0;
    let curvature = theta * (theta + 1.0) * (count * count - 1.0) / (24.0 * middle * middle);
    count * power(middle, -theta) * (1.0 + curvature)
}

/// Vose's construction: cells with too little get the rest from one with too much, until all are even.
fn alias_table(outcomes: &[(Ranks, f64)]) -> Vec<Cell> {
    let count = outcomes.len() as f64;
    let mut shares: Vec<f64> = outcomes.iter().map(|outcome| outcome.1 * count).collect();
    let mut cells: Vec<Cell> = outcomes
        .iter()
        .map(|(ranks, _)| Cell { threshold: u64::MAX, own: *ranks, alias: *ranks })
        .collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) =
        (0..outcomes.len()).partition(|index| shares[*index] < 1.0);
    while let (Some(less), Some(&more)) = (small.pop(), large.last()) {
        // The cast saturates, as it should.
        cells[less].threshold = (shares[less] * 2.0f64.powi(64)) as u64;
        cells[less].alias = outcomes[more].0;
        shares[more] -= 1.0 - shares[less];
        if shares[more] < 1.0 {
            large.pop();
            small.push(more);
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::super::testing::{chi_square_z, tally};
    use super::*;
    use crate::spec::Pattern;

    fn order(text: &str, pages: usize) -> Zipf {
        let Ok(Pattern::Zipf(skew)) = text.parse() else { panic!("{text}") };
        Zipf::new(skew, 5, 0, pages)
    }

    /// Theory without any of the shortcuts, as the share of each rank.
    fn shares(theta: f64, pages: usize) -> Vec<f64> {
        let weights: Vec<f64> = (1..=pages).map(|rank| (rank as f64).powf(-theta)).collect();
        let total: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / total).collect()
    }

    #[test]
    fn pages_get_the_writes_they_should() {
        for (text, theta, pages) in [
            ("zipf(0.99)", 0.99, 3000),
            ("zipf(0.5)", 0.5, 2000),
            ("zipf(1.2)", 1.2, 600),
            ("zipf(0.99)", 0.99, 1),
        ] {
            let order = order(text, pages);
            let shares = shares(theta, pages);
            let draws = (10.0 / shares.last().unwrap()) as usize;
            let by_page = tally(pages, order.walk(0), draws);
            let by_rank: Vec<u64> =
                (0..pages as u64).map(|rank| by_page[order.scatter.page(rank)]).collect();
            let expected: Vec<f64> = shares.iter().map(|share| share * draws as f64).collect();
            if pages == 1 {
                assert_eq!(by_rank, [draws as u64]);
                continue;
            }
            let z = chi_square_z(&by_rank, &expected);
            assert!(z.abs() < 4.0, "{text}, {pages} pages: {z:.1} standard deviations away");
        }
    }

    #[test]
    fn outcomes_cover_all_ranks_with_their_due() {
        for pages in [1, 2, 255, 256, 257, 1000, 100_000] {
            let outcomes = outcomes(0.99, pages);
            let shares = shares(0.99, pages as usize);
            let mut next = 0;
            for (ranks, share) in &outcomes {
                assert_eq!(ranks.first, next);
                next += ranks.count;
                let exact: f64 = shares[ranks.first as usize..next as usize].iter().sum();
                assert!((share / exact - 1.0).abs() < 1e-8, "{ranks:?} of {pages}");
            }
            assert_eq!(u64::from(next), pages);
        }
        let largest = outcomes(0.99, 1 << 32).len() * size_of::<Cell>();
        assert!(largest < 80_000, "{largest} bytes for 16 TiB");
    }

    #[test]
    fn the_table_gives_each_outcome_its_share() {
        let outcomes = outcomes(0.7, 5000);
        let cells = alias_table(&outcomes);
        let mut shares = vec![0.0; 5000];
        for cell in &cells {
            let own = cell.threshold as f64 / 2.0f64.powi(64);
            shares[cell.own.first as usize] += own / cells.len() as f64;
            shares[cell.alias.first as usize] += (1.0 - own) / cells.len() as f64;
        }
        for (ranks, share) in &outcomes {
            assert!((shares[ranks.first as usize] / share - 1.0).abs() < 1e-9, "{ranks:?}");
        }
    }
}
