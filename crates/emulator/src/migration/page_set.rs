//! A set of guest pages: which are pending, which were sent before.

use std::ops::Range;

use sterna_wire::stream::PageRun;

/// One bit a page, owned by one thread.
///
/// The sender walks it in ever the same direction, as a hypervisor scans its RAM, so finding the next page must not depend on how many lie in between: whole empty words are skipped.
#[derive(Debug, Clone)]
pub struct PageSet {
    words: Vec<u64>,
    pages: usize,
    len: usize,
}

impl PageSet {
    /// An empty set over `pages` pages.
    pub fn new(pages: usize) -> PageSet {
        PageSet { words: vec![0; pages.div_ceil(64)], pages, len: 0 }
    }

    /// Pages in the set.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no page is in the set.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether a page is in the set.
    pub fn contains(&self, page: usize) -> bool {
        self.words[page / 64] >> (page % 64) & 1 == 1
    }

    /// Adds a page; whether it was new.
    pub fn insert(&mut self, page: usize) -> bool {
        let (word, bit) = (page / 64, 1 << (page % 64));
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.len += usize::from(is_new);
        is_new
    }

    /// Adds a range of pages.
    pub fn insert_range(&mut self, range: Range<usize>) {
        let mut page = range.start;
        while page < range.end {
            let end = range.end.min((page / 64 + 1) * 64);
            let mask = mask(page % 64, end - page);
            let word = &mut self.words[page / 64];
            self.len += (mask & !*word).count_ones() as usize;
            *word |= mask;
            page = end;
        }
    }

    /// Removes a page.
    pub fn remove(&mut self, page: usize) {
        let (word, bit) = (page / 64, 1 << (page % 64));
        self.len -= usize::from(self.words[word] & bit != 0);
        self.words[word] &= !bit;
    }

    /// The first page at or behind `from`, and behind the end from the start again.
    pub fn next_from(&self, from: usize) -> Option<usize> {
        if self.is_empty() {
            return None;
        }
        self.find(from..self.pages).or_else(|| self.find(0..from))
    }

    /// The set as runs of adjacent pages in ascending order, each at most as long as a [`PageRun`] can be.
    pub fn runs(&self) -> Vec<PageRun> {
        let mut runs: Vec<PageRun> = Vec::new();
        let mut next = self.find(0..self.pages);
        while let Some(page) = next {
            match runs.last_mut() {
                Some(run)
                    if run.first + u64::from(run.count) == page as u64 && run.count < u16::MAX =>
                {
                    run.count += 1;
                }
                _ => runs.push(PageRun { first: page as u64, count: 1 }),
            }
            next = self.find(page + 1..self.pages);
        }
        runs
    }

    fn find(&self, range: Range<usize>) -> Option<usize> {
        let mut page = range.start;
        while page < range.end {
            let rest = self.words[page / 64] >> (page % 64);
            if rest != 0 {
                let found = page + rest.trailing_zeros() as usize;
                return (found < range.end).then_some(found);
            }
            page = (page / 64 + 1) * 64;
        }
        None
    }
}

/// `count` ones from bit `from`; `from + count` is at most 64.
fn mask(from: usize, count: usize) -> u64 {
    (u64::MAX >> (64 - count)) << from
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_walk_is_circular_and_skips_gaps() {
        let mut set = PageSet::new(1000);
        set.insert_range(10..12);
        set.insert(700);
        assert_eq!(set.next_from(0), Some(10));
        assert_eq!(set.next_from(11), Some(11));
        assert_eq!(set.next_from(12), Some(700));
        assert_eq!(set.next_from(701), Some(10));
        assert_eq!(PageSet::new(5).next_from(3), None);
    }

    #[test]
    fn runs_are_joined_and_none_is_longer_than_a_run_can_be() {
        let mut set = PageSet::new(100_000);
        set.insert_range(3..5);
        set.insert(7);
        set.insert_range(10_000..80_000);
        let run = |first, count| PageRun { first, count };
        let expected = [run(3, 2), run(7, 1), run(10_000, u16::MAX), run(75_535, 4465)];
        assert_eq!(set.runs(), expected);
        assert_eq!(PageSet::new(0).runs(), []);
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(
            pages in 1usize..400,
            steps in prop::collection::vec((0u8..3, 0usize..400, 1usize..130), 0..60),
        ) {
            let mut set = PageSet::new(pages);
            let mut oracle = BTreeSet::new();
            for (step, page, count) in steps {
                let page = page % pages;
                match step {
                    0 => prop_assert_eq!(set.insert(page), oracle.insert(page)),
                    1 => {
                        let range = page..pages.min(page + count);
                        set.insert_range(range.clone());
                        oracle.extend(range);
                    }
                    _ => {
                        set.remove(page);
                        oracle.remove(&page);
                    }
                }
                prop_assert_eq!(set.len(), oracle.len());
                prop_assert_eq!(set.contains(page), oracle.contains(&page));
                let next = oracle.range(page..).next().or_else(|| oracle.first()).copied();
                prop_assert_eq!(set.next_from(page), next);
            }
        }
    }
}
