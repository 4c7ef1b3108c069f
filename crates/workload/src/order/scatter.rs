//! Where hot pages are.

use super::PLACES;
use crate::mix::{GOLDEN, key, scale};

/// A one-to-one map from ranks to pages that spreads neighbouring ranks evenly over memory.
///
/// Hot pages that lie together would be found in one huge page and one batch of a migration, which no real program's
/// are.
/// Ranks advance by the golden ratio of the number of pages, so that the first ranks of any number leave no large hole;
/// where they begin depends on seed and worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scatter {
    pages: u64,
    step: u64,
    start: u64,
}

impl Scatter {
    /// The map over `pages` pages, of which there must be at least one.
    ///
    /// # Panics
    /// Above 2^32 pages, 16 TiB for one worker, where the product below no longer fits.
    pub(super) fn new(seed: u64, worker: u32, pages: usize) -> Scatter {
        let pages = pages as u64;
        assert!(pages > 0 && pages <= 1 << 32, "an order needs from 1 to 2^32 pages for a worker");
        let golden = scale(GOLDEN, pages).max(1);
        let step = (golden..).find(|step| is_coprime(*step, pages)).unwrap_or(1);
        let start = scale(key(seed, PLACES, u64::from(worker)), pages);
        Scatter { pages, step, start }
    }

    /// The page of `rank`, which must be one of the pages' ranks.
    #[inline]
    pub(super) fn page(&self, rank: u64) -> usize {
        let page = (rank * self.step % self.pages) + self.start;
        (if page >= self.pages { page - self.pages } else { page }) as usize
    }
}

fn is_coprime(mut a: u64, mut b: u64) -> bool {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_has_one_rank() {
        for pages in [1, 2, 3, 6, 64, 1000, 4096, 9973] {
            let scatter = Scatter::new(1, 0, pages);
            let mut found: Vec<usize> = (0..pages as u64).map(|rank| scatter.page(rank)).collect();
            found.sort_unstable();
            assert!(found.into_iter().eq(0..pages), "{pages} pages");
        }
    }

    #[test]
    fn the_first_ranks_leave_no_large_hole() {
        let pages = 100_000;
        let scatter = Scatter::new(7, 3, pages);
        for hot in [10, 100, 1000] {
            let mut places: Vec<usize> = (0..hot).map(|rank| scatter.page(rank)).collect();
            places.sort_unstable();
            let largest = places.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
            assert!(largest < 3 * pages / hot as usize, "{hot} hot pages, a hole of {largest}");
        }
    }
}
