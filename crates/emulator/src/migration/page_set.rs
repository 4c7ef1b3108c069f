//! A set of guest pages: which are pending, which were sent before.

use std::ops::Range;

use sterna_wire::stream::PageRun;

/// Most pages of a run that is made here: no run ends within a page of 2 MiB because it got too long.
const LONGEST_RUN: u16 = u16::MAX / 512 * 512;

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

    /// A set that holds all of `pages` pages.
    pub fn full(pages: usize) -> PageSet {
        let mut set = PageSet::new(pages);
        set.insert_range(0..pages);
        set
    }

    /// A set of the pages that are marked: page `8 * i + b` by bit `b` of byte `i`. Marks behind the last page are left out.
    pub fn from_marks(pages: usize, marks: &[u8]) -> PageSet {
        let mut set = PageSet::full(pages);
        for (index, word) in set.words.iter_mut().enumerate() {
            let marks = marks.get(index * 8..).unwrap_or_default();
            let bytes = std::array::from_fn(|it| marks.get(it).copied().unwrap_or(0));
            *word &= u64::from_le_bytes(bytes);
        }
        set.count()
    }

    /// Those pages that `other` does not hold; both are over as many pages.
    pub fn without(&self, other: &PageSet) -> PageSet {
        let words = self.words.iter().zip(&other.words).map(|(ours, theirs)| ours & !theirs);
        PageSet { words: words.collect(), pages: self.pages, len: 0 }.count()
    }

    /// The same, and each of its pages as a part of `unit` pages that hold together.
    pub fn widened(&self, unit: usize) -> PageSet {
        let mut set = self.clone();
        if unit > 1 {
            for run in self.runs() {
                let (first, end) =
                    (run.first as usize, run.first as usize + usize::from(run.count));
                set.insert_range(first / unit * unit..self.pages.min(end.next_multiple_of(unit)));
            }
        }
        set
    }

    /// One bit a page, as [`PageSet::from_marks`] reads them.
    pub fn to_marks(&self) -> Vec<u8> {
        let mut marks: Vec<u8> = self.words.iter().flat_map(|it| it.to_le_bytes()).collect();
        marks.truncate(self.pages.div_ceil(8));
        marks
    }

    fn count(self) -> PageSet {
        let len = self.words.iter().map(|it| it.count_ones() as usize).sum();
        PageSet { len, ..self }
    }

    /// Pages in the set.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Pages that could be in it.
    pub fn pages(&self) -> usize {
        self.pages
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

    /// The set as runs of adjacent pages in ascending order.
    pub fn runs(&self) -> Vec<PageRun> {
        let mut runs: Vec<PageRun> = Vec::new();
        let mut next = self.find(0..self.pages);
        while let Some(page) = next {
            match runs.last_mut() {
                Some(run)
                    if run.first + u64::from(run.count) == page as u64
                        && run.count < LONGEST_RUN =>
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
        let expected = [run(3, 2), run(7, 1), run(10_000, 65_024), run(75_024, 4976)];
        assert_eq!(set.runs(), expected);
        assert_eq!(PageSet::new(0).runs(), []);
    }

    proptest! {
        #[test]
        fn marks_and_differences_are_those_of_sets(
            pages in 1usize..300,
            ours in prop::collection::btree_set(0usize..300, 0..40),
            theirs in prop::collection::btree_set(0usize..300, 0..40),
        ) {
            let set = |of: &BTreeSet<usize>| {
                let mut set = PageSet::new(pages);
                of.iter().filter(|it| **it < pages).for_each(|it| set.insert_range(*it..*it + 1));
                set
            };
            let (left, right) = (set(&ours), set(&theirs));
            let marks = left.to_marks();
            prop_assert_eq!(marks.len(), pages.div_ceil(8));
            prop_assert_eq!(PageSet::from_marks(pages, &marks).runs(), left.runs());
            let difference = left.without(&right);
            let expected: Vec<usize> = ours.difference(&theirs).copied().filter(|it| *it < pages).collect();
            prop_assert_eq!(difference.len(), expected.len());
            prop_assert!(expected.iter().all(|it| difference.contains(*it)));
            prop_assert_eq!(PageSet::full(pages).without(&left).len(), pages - left.len());
            let wide = left.widened(8);
            let held = (0..pages).filter(|it| ours.iter().any(|ours| *ours < pages && ours / 8 == it / 8));
            prop_assert!(held.clone().all(|it| wide.contains(it)));
            prop_assert_eq!(wide.len(), held.count());
        }

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
