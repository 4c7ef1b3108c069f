//! A few pages that take most of the writes.

use super::scatter::Scatter;
use super::{Draws, Order, PURPOSE, reached};
use crate::mix::{draw, key, scale};
use crate::spec::HotSet;

/// A share of the pages takes a share of the writes; uniform draws within both.
///
/// A single draw decides both: below a threshold it is for a hot page, and in either case the part of the number line
/// that it fell in is stretched over the pages there.
#[derive(Clone, Copy, Debug)]
pub struct HotSetOrder {
    key: u64,
    scatter: Scatter,
    hot: Part,
    cold: Part,
    /// Draws below this are for hot pages.
    threshold: u64,
    /// The share of writes for hot pages.
    share: f64,
}

/// Some ranks, and the draws that are for them.
#[derive(Clone, Copy, Debug)]
struct Part {
    first: u64,
    ranks: u64,
    /// What stretches these draws over the whole number line: a factor with so many binary places.
    stretch: u64,
    places: u32,
}

/// All draws, 2^64.
const ALL: u128 = 1 << 64;

impl HotSetOrder {
    /// The order of `worker` under `seed` over `pages` pages, of which there must be at least one.
    ///
    /// At least one page is hot. When all are, or no write is for the others, or all are, the draws are uniform over
    /// what is left.
    pub fn new(shares: HotSet, seed: u64, worker: u32, pages: usize) -> HotSetOrder {
        let scatter = Scatter::new(seed, worker, pages);
        let all = pages as u64;
        let part = |whole: u128, hundredths: u32| whole * u128::from(hundredths) / 10_000;
        let hot = (part(u128::from(all), shares.pages().hundredths()) as u64).clamp(1, all);
        let for_hot = if hot == all { ALL } else { part(ALL, shares.writes().hundredths()) };
        HotSetOrder {
            key: key(seed, PURPOSE, u64::from(worker)),
            scatter,
            hot: Part::new(0, hot, for_hot),
            cold: Part::new(hot, all - hot, ALL - for_hot),
            threshold: u64::try_from(for_hot).unwrap_or(u64::MAX),
            share: for_hot as f64 / ALL as f64,
        }
    }

    pub(super) fn expected_distinct(&self, writes: u64) -> f64 {
        let part = |part: &Part, share: f64| match part.ranks {
            0 => 0.0,
            ranks => reached(ranks as f64, share, writes),
        };
        part(&self.hot, self.share) + part(&self.cold, 1.0 - self.share)
    }
}

impl Part {
    fn new(first: u64, ranks: u64, draws: u128) -> Part {
        // As many places as leave the factor below 2^64.
        let places = draws.saturating_sub(1).checked_ilog2().unwrap_or(0);
        let stretch = (1 << (u64::BITS + places)) / draws.max(1);
        let stretch = u64::try_from(stretch).unwrap_or(u64::MAX);
        Part { first, ranks, stretch, places }
    }

    /// The rank of a draw that is counted from the first one for this part.
    #[inline]
    fn rank(&self, draw: u64) -> u64 {
        let stretched = (u128::from(draw) * u128::from(self.stretch)) >> self.places;
        self.first + scale(stretched as u64, self.ranks)
    }
}

impl Order for HotSetOrder {
    type Walk<'a> = Draws<'a, HotSetOrder>;

    #[inline]
    fn page(&self, index: u64) -> usize {
        let draw = draw(self.key, index);
        // The largest threshold stands for all draws; the one draw that equals it takes the first cold rank or, where
        // there is none, wraps to rank 0.
        let rank = if draw < self.threshold {
            self.hot.rank(draw)
        } else {
            self.cold.rank(draw - self.threshold)
        };
        self.scatter.page(rank)
    }

    #[inline]
    fn walk(&self, index: u64) -> Draws<'_, HotSetOrder> {
        Draws { order: self, index }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{chi_square_z, tally};
    use super::*;
    use crate::spec::Pattern;

    fn order(text: &str, pages: usize) -> HotSetOrder {
        let Ok(Pattern::HotSet(shares)) = text.parse() else { panic!("{text}") };
        HotSetOrder::new(shares, 5, 1, pages)
    }

    #[test]
    fn pages_get_the_writes_they_should() {
        let check = |text: &str, pages: usize, hot: usize, share: f64| {
            let order = order(text, pages);
            let draws = pages * 500;
            let by_page = tally(pages, order.walk(0), draws);
            let by_rank: Vec<u64> =
                (0..pages as u64).map(|rank| by_page[order.scatter.page(rank)]).collect();
            let mean = |pages: usize, share: f64| draws as f64 * share / pages as f64;
            let (hot_mean, cold_mean) = (mean(hot, share), mean(pages - hot, 1.0 - share));
            let expected: Vec<f64> =
                (0..pages).map(|rank| if rank < hot { hot_mean } else { cold_mean }).collect();
            let z = chi_square_z(&by_rank, &expected);
            assert!(z.abs() < 4.0, "{text}, {pages} pages: {z:.1} standard deviations away");
        };
        check("hot-set(10%,90%)", 2000, 200, 0.9);
        check("hot-set(1%,50%)", 1999, 19, 0.5);
        check("hot-set(50%,20%)", 100, 50, 0.2);
    }

    #[test]
    fn extremes_stay_within_their_part() {
        let check = |text: &str, pages: usize, expected: usize| {
            let order = order(text, pages);
            let counts = tally(pages, order.walk(u64::MAX - 100_000), 100_000);
            assert_eq!(counts.iter().filter(|n| **n > 0).count(), expected, "{text}");
        };
        check("hot-set(10%,100%)", 100, 10);
        check("hot-set(10%,0%)", 100, 90);
        check("hot-set(100%,0%)", 100, 100);
        check("hot-set(0.01%,100%)", 100, 1);
        check("hot-set(50%,50%)", 1, 1);
    }
}
