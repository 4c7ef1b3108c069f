//! Which page a worker writes at its n-th write.

use crate::mix::{draw, key, scale};
use crate::spec::Pattern;

/// The page order of one worker: a pure function from write index to page.
///
/// # Why an order carries no state
///
/// The obvious random order is a generator whose state each worker moves on at every write.
/// Three things go wrong with it here.
/// The state would have to travel with the migration and be right to the last write, or the destination would go on
/// with another sequence.
/// What a page must contain at the end could be known only by running the generator again from the very first write,
/// on one thread for each worker.
/// And each draw waits for the one before it, which keeps the processor from overlapping the cache misses that random
/// writes consist of.
///
/// So the order is a function instead: page n comes from mixing `key + n * odd constant`, scaled down to the number of
/// pages by the high half of a multiplication.
/// A worker's whole position is one number, its count of writes.
/// Going on after migration means starting at that count; replaying splits the range of counts over as many threads as
/// there are; and neighbouring draws depend on nothing but their index.
/// Patterns to come (Zipf, hot set, stride) are further functions of the same draw.
///
/// The scaled draw is not perfectly uniform: a page may be preferred by one part in 2^64 / pages, far below what any
/// run can show.
pub trait Order: Copy + Send + Sync {
    /// The pages written from some index on, without end.
    type Walk: Iterator<Item = usize>;

    /// The page of write number `index` (from 0), relative to the worker's first page.
    fn page(&self, index: u64) -> usize;

    /// The same as calling [`Order::page`] for `index`, `index + 1`, …, but cheaper where a step is.
    fn walk(&self, index: u64) -> Self::Walk;
}

/// From the first page to the last, over and over.
#[derive(Clone, Copy, Debug)]
pub struct Sequential {
    pages: usize,
}

/// Uniform draws with repeats.
#[derive(Clone, Copy, Debug)]
pub struct Random {
    key: u64,
    pages: u64,
}

/// Any order, for callers outside the hot loop.
#[derive(Clone, Copy, Debug)]
pub enum AnyOrder {
    /// See [`Sequential`].
    Sequential(Sequential),
    /// See [`Random`].
    Random(Random),
}

/// Keeps page draws apart from every other use of the same seed.
const PURPOSE: u64 = 0x7061_6765;

impl Sequential {
    /// The order over `pages` pages, of which there must be at least one.
    pub fn new(pages: usize) -> Sequential {
        assert!(pages > 0, "an order needs at least one page");
        Sequential { pages }
    }
}

impl Random {
    /// The order of `worker` under `seed` over `pages` pages, of which there must be at least one.
    pub fn new(seed: u64, worker: u32, pages: usize) -> Random {
        assert!(pages > 0, "an order needs at least one page");
        Random { key: key(seed, PURPOSE, u64::from(worker)), pages: pages as u64 }
    }
}

impl AnyOrder {
    /// The order that `pattern` means for `worker` under `seed` over `pages` pages.
    pub fn new(pattern: Pattern, seed: u64, worker: u32, pages: usize) -> AnyOrder {
        match pattern {
            Pattern::Sequential => AnyOrder::Sequential(Sequential::new(pages)),
            Pattern::Random => AnyOrder::Random(Random::new(seed, worker, pages)),
        }
    }

    /// The page of write number `index`, relative to the worker's first page.
    pub fn page(&self, index: u64) -> usize {
        match self {
            AnyOrder::Sequential(order) => order.page(index),
            AnyOrder::Random(order) => order.page(index),
        }
    }
}

impl Order for Sequential {
    type Walk = SequentialWalk;

    #[inline]
    fn page(&self, index: u64) -> usize {
        (index % self.pages as u64) as usize
    }

    #[inline]
    fn walk(&self, index: u64) -> SequentialWalk {
        SequentialWalk { next: self.page(index), pages: self.pages }
    }
}

impl Order for Random {
    type Walk = RandomWalk;

    #[inline]
    fn page(&self, index: u64) -> usize {
        scale(draw(self.key, index), self.pages) as usize
    }

    #[inline]
    fn walk(&self, index: u64) -> RandomWalk {
        RandomWalk { order: *self, index }
    }
}

/// See [`Order::walk`].
#[derive(Clone, Debug)]
pub struct SequentialWalk {
    next: usize,
    pages: usize,
}

/// See [`Order::walk`].
#[derive(Clone, Debug)]
pub struct RandomWalk {
    order: Random,
    index: u64,
}

impl Iterator for SequentialWalk {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let page = self.next;
        self.next = if page + 1 == self.pages { 0 } else { page + 1 };
        Some(page)
    }
}

impl Iterator for RandomWalk {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let page = self.order.page(self.index);
        self.index = self.index.wrapping_add(1);
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pearson's statistic of observed counts against equal expectation, in standard deviations from its mean.
    fn chi_square_z(counts: &[u64]) -> f64 {
        let total: u64 = counts.iter().sum();
        let expected = total as f64 / counts.len() as f64;
        let chi: f64 = counts.iter().map(|c| (*c as f64 - expected).powi(2) / expected).sum();
        let freedom = (counts.len() - 1) as f64;
        (chi - freedom) / (2.0 * freedom).sqrt()
    }

    #[test]
    fn random_pages_are_uniform() {
        for (seed, pages) in [(1, 2), (1, 64), (7, 1000), (42, 4096)] {
            let mut counts = vec![0; pages];
            for page in Random::new(seed, 0, pages).walk(0).take(pages * 200) {
                counts[page] += 1;
            }
            let z = chi_square_z(&counts);
            assert!(z.abs() < 4.0, "seed {seed}, {pages} pages: {z:.1} standard deviations away");
        }
    }

    #[test]
    fn successive_random_pages_are_independent() {
        // Pairs (page n, page n+1) and (page n, page n+7) over 32 pages fill 1024 cells evenly.
        let order = Random::new(3, 0, 32);
        for distance in [1, 7] {
            let mut counts = vec![0; 1024];
            for index in 0..200_000 {
                counts[order.page(index) * 32 + order.page(index + distance)] += 1;
            }
            let z = chi_square_z(&counts);
            assert!(z.abs() < 4.0, "distance {distance}: {z:.1} standard deviations away");
        }
    }

    #[test]
    fn workers_and_seeds_have_orders_of_their_own() {
        let first = |seed, worker| Random::new(seed, worker, 1 << 20).walk(0).take(64).collect();
        let base: Vec<usize> = first(1, 0);
        let same = |other: Vec<usize>| base.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert_eq!(same(first(1, 0)), 64);
        assert!(same(first(1, 1)) < 4);
        assert!(same(first(2, 0)) < 4);
    }

    #[test]
    fn a_random_order_never_changes() {
        // These pages are what a peer of another version replays: changing them is a protocol change.
        let pages: Vec<usize> = Random::new(1, 0, 16384).walk(0).take(6).collect();
        assert_eq!(pages, [13154, 15794, 883, 5780, 2532, 3700]);
    }

    proptest! {
        #[test]
        fn walking_from_anywhere_is_the_same_as_asking(
            pattern in proptest::sample::select(Pattern::ALL), pages in 1usize..5000, start in any::<u64>(),
        ) {
            let start = start.min(u64::MAX - 64);
            let walked: Vec<usize> = match AnyOrder::new(pattern, 9, 3, pages) {
                AnyOrder::Sequential(order) => order.walk(start).take(64).collect(),
                AnyOrder::Random(order) => order.walk(start).take(64).collect(),
            };
            let order = AnyOrder::new(pattern, 9, 3, pages);
            let asked: Vec<usize> = (start..start + 64).map(|index| order.page(index)).collect();
            prop_assert!(asked.iter().all(|page| *page < pages));
            prop_assert_eq!(walked, asked);
        }
    }
}
