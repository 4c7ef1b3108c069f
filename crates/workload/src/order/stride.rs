//! Every n-th page.

use std::num::NonZeroU32;

use super::Order;

/// Every n-th page, then every n-th from the second page on, and so on, until each page was written once; then again.
///
/// Simply adding n modulo the number of pages would leave pages out whenever the two have a common divisor.
/// Here a round is cut into n lanes, one for each remainder; lanes of the first remainders may be longer by one page.
#[derive(Clone, Copy, Debug)]
pub struct Stride {
    pages: usize,
    step: usize,
    /// Pages in a short lane.
    lane: usize,
    /// How many lanes are longer by one.
    longer: usize,
}

impl Stride {
    /// The order over `pages` pages, of which there must be at least one.
    pub fn new(step: NonZeroU32, pages: usize) -> Stride {
        assert!(pages > 0, "an order needs at least one page");
        let step = step.get() as usize;
        Stride { pages, step, lane: pages / step, longer: pages % step }
    }

    /// How many pages there are.
    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    /// The place of `page` within a round, from 0.
    pub(crate) fn place(&self, page: usize) -> usize {
        let (lane, along) = (page % self.step, page / self.step);
        lane * self.lane + lane.min(self.longer) + along
    }
}

impl Order for Stride {
    type Walk<'a> = StrideWalk;

    #[inline]
    fn page(&self, index: u64) -> usize {
        let place = (index % self.pages as u64) as usize;
        let in_longer = self.longer * (self.lane + 1);
        let (lane, along) = if place < in_longer {
            (place / (self.lane + 1), place % (self.lane + 1))
        } else {
            // With more steps than pages all lanes have one page, and this is never reached.
            let rest = place - in_longer;
            (self.longer + rest / self.lane, rest % self.lane)
        };
        lane + along * self.step
    }

    #[inline]
    fn walk(&self, index: u64) -> StrideWalk {
        StrideWalk { next: self.page(index), pages: self.pages, step: self.step }
    }
}

/// See [`Order::walk`].
#[derive(Clone, Debug)]
pub struct StrideWalk {
    next: usize,
    pages: usize,
    step: usize,
}

impl Iterator for StrideWalk {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let page = self.next;
        self.next = match page + self.step {
            further if further < self.pages => further,
            _ => self.next_lane(page),
        };
        Some(page)
    }
}

impl StrideWalk {
    /// The start of the lane after that of `page`, of which it is the last page.
    fn next_lane(&self, page: usize) -> usize {
        let lane = page % self.step + 1;
        if lane == self.step.min(self.pages) { 0 } else { lane }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_round_reaches_each_page_once(step in 1u32..300, pages in 1usize..300) {
            let order = Stride::new(NonZeroU32::new(step).unwrap(), pages);
            let mut round: Vec<usize> = order.walk(0).take(pages).collect();
            for (place, page) in round.iter().enumerate() {
                prop_assert_eq!(order.place(*page), place);
            }
            let neighbours = round.windows(2).filter(|pair| pair[1] == pair[0] + step as usize).count();
            prop_assert_eq!(neighbours, pages - pages.min(step as usize));
            round.sort_unstable();
            prop_assert!(round.into_iter().eq(0..pages));
        }
    }
}
