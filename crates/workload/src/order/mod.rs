//! Which page a worker writes at its n-th write.

mod hot_set;
mod power;
mod random;
mod scatter;
mod sequential;
mod stride;
#[cfg(test)]
mod testing;
mod zipf;

pub use hot_set::HotSetOrder;
pub use random::Random;
pub use sequential::Sequential;
pub use stride::Stride;
pub use zipf::Zipf;

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
/// there are; neighbouring draws depend on nothing but their index; and the pages that come next can be asked for early,
/// which is what the inner loop does to have memory at hand.
/// Uneven patterns map the same draw to the rank of a page, without rejecting any draw, and ranks to pages.
///
/// The scaled draw is not perfectly uniform: a page may be preferred by one part in 2^64 / pages, far below what any
/// run can show.
pub trait Order: Clone + Send + Sync {
    /// The pages written from some index on, without end.
    type Walk<'a>: Iterator<Item = usize>
    where
        Self: 'a;

    /// The page of write number `index` (from 0), relative to the worker's first page.
    fn page(&self, index: u64) -> usize;

    /// The same as calling [`Order::page`] for `index`, `index + 1`, …, but cheaper where a step is.
    fn walk(&self, index: u64) -> Self::Walk<'_>;
}

/// Any order, for callers outside the hot loop.
#[derive(Clone, Debug)]
pub enum AnyOrder {
    /// See [`Sequential`].
    Sequential(Sequential),
    /// See [`Random`].
    Random(Random),
    /// See [`Zipf`].
    Zipf(Zipf),
    /// See [`HotSetOrder`].
    HotSet(HotSetOrder),
    /// See [`Stride`].
    Stride(Stride),
}

/// Evaluates `$body` with `$order` as the one that it is, so that the body is compiled for each.
macro_rules! with_order {
    ($any:expr, $order:ident => $body:expr) => {
        match $any {
            $crate::order::AnyOrder::Sequential($order) => $body,
            $crate::order::AnyOrder::Random($order) => $body,
            $crate::order::AnyOrder::Zipf($order) => $body,
            $crate::order::AnyOrder::HotSet($order) => $body,
            $crate::order::AnyOrder::Stride($order) => $body,
        }
    };
}
pub(crate) use with_order;

/// Keeps page draws apart from every other use of the same seed.
const PURPOSE: u64 = 0x7061_6765;

/// Keeps the places of hot pages apart as well.
const PLACES: u64 = 0x706C_6163;

impl AnyOrder {
    /// The order that `pattern` means for `worker` under `seed` over `pages` pages, of which there must be at least one.
    ///
    /// [`Pattern::Once`] is a sequential order of which only the first round is used.
    pub fn new(pattern: Pattern, seed: u64, worker: u32, pages: usize) -> AnyOrder {
        match pattern {
            Pattern::Sequential | Pattern::Once => AnyOrder::Sequential(Sequential::new(pages)),
            Pattern::Random => AnyOrder::Random(Random::new(seed, worker, pages)),
            Pattern::Zipf(skew) => AnyOrder::Zipf(Zipf::new(skew, seed, worker, pages)),
            Pattern::HotSet(shares) => {
                AnyOrder::HotSet(HotSetOrder::new(shares, seed, worker, pages))
            }
            Pattern::Stride(step) => AnyOrder::Stride(Stride::new(step, pages)),
        }
    }

    /// The page of write number `index`, relative to the worker's first page.
    pub fn page(&self, index: u64) -> usize {
        with_order!(self, order => order.page(index))
    }

    /// How often the page of write number `index` was written before it, where that is known without replaying.
    pub(crate) fn round(&self, index: u64) -> Option<u64> {
        match self {
            AnyOrder::Sequential(order) => Some(index / order.pages() as u64),
            AnyOrder::Stride(order) => Some(index / order.pages() as u64),
            AnyOrder::Random(_) | AnyOrder::Zipf(_) | AnyOrder::HotSet(_) => None,
        }
    }

    /// How many different pages `writes` writes in a row reach: exactly where each round is the same, on average where
    /// pages are drawn.
    pub(crate) fn expected_distinct(&self, writes: u64) -> f64 {
        match self {
            AnyOrder::Sequential(order) => (order.pages() as u64).min(writes) as f64,
            AnyOrder::Stride(order) => (order.pages() as u64).min(writes) as f64,
            AnyOrder::Random(order) => order.expected_distinct(writes),
            AnyOrder::Zipf(order) => order.expected_distinct(writes),
            AnyOrder::HotSet(order) => order.expected_distinct(writes),
        }
    }
}

/// How many of `pages` equally likely pages are reached by `writes` draws, each of which is for one of them with
/// probability `share`.
fn reached(pages: f64, share: f64, writes: u64) -> f64 {
    // ln(1 - p) * writes, exact also for tiny p.
    let missed = (-share / pages).ln_1p() * writes as f64;
    -pages * missed.exp_m1()
}

/// The walk of an order of which each page is as cheap to ask for as the next.
#[derive(Clone, Debug)]
pub struct Draws<'a, O> {
    order: &'a O,
    index: u64,
}

impl<O: Order> Iterator for Draws<'_, O> {
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

    #[test]
    fn workers_and_seeds_have_orders_of_their_own() {
        for pattern in Pattern::ALL {
            let first = |seed, worker| -> Vec<usize> {
                let order = AnyOrder::new(*pattern, seed, worker, 1 << 20);
                (0..64).map(|index| order.page(index)).collect()
            };
            let base = first(1, 0);
            let same = |other: Vec<usize>| base.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert_eq!(same(first(1, 0)), 64);
            let is_drawn = AnyOrder::new(*pattern, 1, 0, 8).round(0).is_none();
            let most = if is_drawn { 3 } else { 64 };
            assert!(same(first(1, 1)) <= most && same(first(2, 0)) <= most, "{pattern}");
        }
    }

    #[test]
    fn an_order_never_changes() {
        // These pages are what a peer of another version replays: changing them is a protocol change.
        let check = |pattern: &str, expected: [usize; 6]| {
            let order = AnyOrder::new(pattern.parse().unwrap(), 1, 0, 16384);
            let pages: Vec<usize> = (0..6).map(|index| order.page(index)).collect();
            assert_eq!(pages, expected, "{pattern}");
        };
        check("random", [13154, 15794, 883, 5780, 2532, 3700]);
        check("stride(5000)", [0, 5000, 10000, 15000, 1, 5001]);
    }

    #[test]
    fn the_expected_reach_is_that_of_real_draws() {
        for pattern in Pattern::ALL {
            let pages = 5000;
            let order = AnyOrder::new(*pattern, 3, 0, pages);
            for writes in [0, 1, 100, 4999, 20_000] {
                let mut is_reached = vec![false; pages];
                (0..writes).for_each(|index| is_reached[order.page(index)] = true);
                let reached = is_reached.iter().filter(|it| **it).count() as f64;
                let expected = order.expected_distinct(writes);
                let tolerance = 1.0 + reached * 0.03;
                assert!(
                    (reached - expected).abs() < tolerance,
                    "{pattern}, {writes}: {reached}, {expected}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn walking_from_anywhere_is_the_same_as_asking(
            pattern in proptest::sample::select(Pattern::ALL), pages in 1usize..5000, start in any::<u64>(),
        ) {
            let start = start.min(u64::MAX - 64);
            let order = AnyOrder::new(pattern, 9, 3, pages);
            let walked: Vec<usize> = with_order!(&order, order => order.walk(start).take(64).collect());
            let asked: Vec<usize> = (start..start + 64).map(|index| order.page(index)).collect();
            prop_assert!(asked.iter().all(|page| *page < pages));
            prop_assert_eq!(walked, asked);
        }
    }
}
