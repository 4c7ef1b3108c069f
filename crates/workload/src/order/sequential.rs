//! One page after the other.

use super::Order;

/// From the first page to the last, over and over.
#[derive(Clone, Copy, Debug)]
pub struct Sequential {
    pages: usize,
}

impl Sequential {
    /// The order over `pages` pages, of which there must be at least one.
    pub fn new(pages: usize) -> Sequential {
        assert!(pages > 0, "an order needs at least one page");
        Sequential { pages }
    }

    /// How many pages there are.
    pub(crate) fn pages(&self) -> usize {
        self.pages
    }
}

impl Order for Sequential {
    type Walk<'a> = SequentialWalk;

    #[inline]
    fn page(&self, index: u64) -> usize {
        (index % self.pages as u64) as usize
    }

    #[inline]
    fn walk(&self, index: u64) -> SequentialWalk {
        SequentialWalk { next: self.page(index), pages: self.pages }
    }
}

/// See [`Order::walk`].
#[derive(Clone, Debug)]
pub struct SequentialWalk {
    next: usize,
    pages: usize,
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
