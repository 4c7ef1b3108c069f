//! Uniform draws.

use super::{Draws, Order, PURPOSE, reached};
use crate::mix::{draw, key, scale};

/// Uniform draws with repeats.
#[derive(Clone, Copy, Debug)]
pub struct Random {
    key: u64,
    pages: u64,
}

impl Random {
    /// The order of `worker` under `seed` over `pages` pages, of which there must be at least one.
    pub fn new(seed: u64, worker: u32, pages: usize) -> Random {
        assert!(pages > 0, "an order needs at least one page");
        Random { key: key(seed, PURPOSE, u64::from(worker)), pages: pages as u64 }
    }

    pub(super) fn expected_distinct(&self, writes: u64) -> f64 {
        reached(self.pages as f64, 1.0, writes)
    }
}

impl Order for Random {
    type Walk<'a> = Draws<'a, Random>;

    #[inline]
    fn page(&self, index: u64) -> usize {
        scale(draw(self.key, index), self.pages) as usize
    }

    #[inline]
    fn walk(&self, index: u64) -> Draws<'_, Random> {
        Draws { order: self, index }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{chi_square_z, tally};
    use super::*;

    #[test]
    fn random_pages_are_uniform() {
        for (seed, pages) in [(1, 2), (1, 64), (7, 1000), (42, 4096)] {
            let counts = tally(pages, Random::new(seed, 0, pages).walk(0), pages * 200);
            let z = chi_square_z(&counts, &vec![200.0; pages]);
            assert!(z.abs() < 4.0, "seed {seed}, {pages} pages: {z:.1} standard deviations away");
        }
    }

    #[test]
    fn successive_random_pages_are_independent() {
        // Pairs (page n, page n+1) and (page n, page n+7) over 32 pages fill 1024 cells evenly.
        let order = Random::new(3, 0, 32);
        for distance in [1, 7] {
            let pairs = (0..).map(|index| order.page(index) * 32 + order.page(index + distance));
            let z = chi_square_z(&tally(1024, pairs, 204_800), &[200.0; 1024]);
            assert!(z.abs() < 4.0, "distance {distance}: {z:.1} standard deviations away");
        }
    }
}
