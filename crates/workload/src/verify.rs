//! Checks every word of a stopped guest's memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use sterna_sys::region::Region;

use crate::fill::Content;
use crate::first_write::FirstWrites;
use crate::image::Images;
use crate::partition::pieces;
use crate::replay::{page_writes, page_writes_since_remap};
use crate::spec::Spec;

/// How a guest's memory is used: first the workload, then the ballast, then pages that were never touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Pages that workers write; filled before.
    pub workload_pages: usize,
    /// Pages that are filled and then left alone.
    pub ballast_pages: usize,
    /// All pages of the guest; those beyond workload and ballast are zero.
    pub total_pages: usize,
}

/// The first wrong word of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// The page, counted from the start of the guest's memory.
    pub page: usize,
    /// Where in the page the word starts.
    pub offset_bytes: usize,
    /// What the word should be.
    pub expected: u64,
    /// What it is.
    pub found: u64,
}

/// What a check of all memory found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Pages looked at, each of them whole.
    pub pages_checked: u64,
    /// Pages with at least one wrong word.
    pub corrupt_pages: u64,
    /// The first [`Verification::SHOWN`] of them, by rising page.
    pub corrupt: Vec<Corruption>,
}

impl Layout {
    /// The pages that are filled: workload and ballast.
    pub fn filled(&self) -> Range<usize> {
        0..self.workload_pages + self.ballast_pages
    }
}

impl Verification {
    /// How many corrupt pages are described in detail; all of them are counted.
    pub const SHOWN: usize = 16;

    /// Whether every word was as expected.
    pub fn is_clean(&self) -> bool {
        self.corrupt_pages == 0
    }

    pub(crate) fn add(&mut self, corruption: Option<Corruption>) {
        self.pages_checked += 1;
        if let Some(corruption) = corruption {
            self.corrupt_pages += 1;
            if self.corrupt.len() < Self::SHOWN {
                self.corrupt.push(corruption);
            }
        }
    }

    pub(crate) fn append(&mut self, later: Verification) {
        self.pages_checked += later.pages_checked;
        self.corrupt_pages += later.corrupt_pages;
        self.corrupt.extend(later.corrupt);
        self.corrupt.truncate(Self::SHOWN);
    }
}

/// Compares every word of every page with what it must be when the crew's state has the numbers `counts`, which without
/// phases are just the writes of each worker.
///
/// Nobody may write meanwhile, or the check finds corruption that is none.
/// Pages that must be zero are only read, so those never touched still get no memory of their own.
///
/// # Panics
/// When the layout does not fit the region or the spec, or the numbers are not as many as the spec's state has.
pub fn verify(
    region: &Region,
    layout: &Layout,
    spec: &Spec,
    counts: &[u64],
    threads: usize,
) -> Verification {
    verify_with(region, layout, spec, counts, threads, &FirstWrites::default())
}

/// The same, with what workers found before their first writes: a page that was wrong then is corrupt, even if it was
/// made right since.
///
/// # Panics
/// As [`verify`].
pub fn verify_with(
    region: &Region,
    layout: &Layout,
    spec: &Spec,
    counts: &[u64],
    threads: usize,
    first_writes: &FirstWrites,
) -> Verification {
    assert!(layout.total_pages <= region.pages(), "the layout has more pages than the region");
    assert!(layout.filled().end <= layout.total_pages, "the layout's parts exceed its total");
    assert_eq!(layout.workload_pages, spec.pages(), "layout and spec disagree on the workload");
    let writes = page_writes(spec, counts, threads);
    let images = Images::new(spec.method, spec.seed);
    let content = Content::new(spec.seed);
    let wrong = &first_writes.wrong;
    let mut all =
        Check { region, content, images: &images, layout, writes: &writes, wrong }.all(threads);
    // Those that were not described are only known by their number.
    all.corrupt_pages += first_writes.corrupt_pages.saturating_sub(wrong.len() as u64);
    all
}

/// The same for memory that was never filled, and whose pages workers gave back after each round; see
/// [`CrewOptions::remap`](crate::CrewOptions::remap).
///
/// # Panics
/// When there are phases: which of their writes came after the last round cannot be told from the numbers.
pub fn verify_remapped(
    region: &Region,
    spec: &Spec,
    counts: &[u64],
    threads: usize,
) -> Verification {
    let pages = spec.pages();
    assert!(pages <= region.pages(), "the workload has more pages than the region");
    let layout = Layout { workload_pages: pages, ballast_pages: 0, total_pages: pages };
    let writes = page_writes_since_remap(spec, counts, threads);
    let images = Images::blank(spec.method, spec.seed);
    let content = Content::blank(spec.seed);
    let wrong = &BTreeMap::new();
    Check { region, content, images: &images, layout: &layout, writes: &writes, wrong }.all(threads)
}

impl Check<'_> {
    fn all(self, threads: usize) -> Verification {
        let mut all = Verification::default();
        std::thread::scope(|scope| {
            let parts: Vec<_> = pieces(0..self.layout.total_pages, threads)
                .into_iter()
                .map(|pages| scope.spawn(move || self.pages(pages)))
                .collect();
            for part in parts {
                all.append(part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
        });
        all
    }
}

#[derive(Clone, Copy)]
struct Check<'a> {
    region: &'a Region,
    content: Content,
    images: &'a Images,
    layout: &'a Layout,
    writes: &'a [u64],
    /// Pages that were wrong before they were written for the first time after a resume.
    wrong: &'a BTreeMap<usize, Corruption>,
}

impl Check<'_> {
    fn pages(&self, pages: Range<usize>) -> Verification {
        let mut found = Verification::default();
        let known = |page: usize| self.wrong.get(&page).copied();
        pages.for_each(|page| found.add(self.page(page).or_else(|| known(page))));
        found
    }

    fn page(&self, page: usize) -> Option<Corruption> {
        if page < self.layout.workload_pages {
            check_page(self.region, self.images, page, self.writes[page])
        } else if self.layout.filled().contains(&page) {
            let content = self.content.page(page);
            let words = self.region.page(page).iter().enumerate();
            let difference = words
                .fold(0, |all, (index, word)| all | (word.load(Relaxed) ^ content.word(index)));
            if difference == 0 {
                None
            } else {
                self.first_difference(page, |word| content.word(word))
            }
        } else if self.region.is_zero(page) {
            None
        } else {
            self.first_difference(page, |_| 0)
        }
    }

    fn first_difference(&self, page: usize, expected: impl Fn(usize) -> u64) -> Option<Corruption> {
        self.region.page(page).iter().enumerate().find_map(|(index, word)| {
            let (expected, found) = (expected(index), word.load(Relaxed));
            (expected != found).then_some(Corruption {
                page,
                offset_bytes: index * size_of::<u64>(),
                expected,
                found,
            })
        })
    }
}

/// Compares one page of the workload with what it must be after it was written `writes` times.
pub(crate) fn check_page(
    region: &Region,
    images: &Images,
    page: usize,
    writes: u64,
) -> Option<Corruption> {
    let words = region.page(page).first_chunk()?;
    let (word, expected, found) = images.page(page, writes).first_difference(words)?;
    Some(Corruption { page, offset_bytes: word * size_of::<u64>(), expected, found })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fill::{expected_word, fill};
    use crate::method::stamp_word;
    use crate::partition::{order, partition};
    use crate::spec::Pattern;
    use crate::testing::region;
    use sterna_units::Bytes;

    const LAYOUT: Layout = Layout { workload_pages: 40, ballast_pages: 30, total_pages: 100 };
    const COUNTS: [u64; 2] = [1234, 77];

    fn spec(pattern: Pattern) -> Spec {
        Spec { workers: 2, pattern, ..Spec::of(Bytes(40 * 4096)) }
    }

    /// A guest as it is after `COUNTS` writes, made without the workers.
    fn guest(spec: &Spec) -> Region {
        let region = region(LAYOUT.total_pages);
        fill(&region, LAYOUT.filled(), spec.seed, 2);
        for (worker, count) in (0u32..).zip(COUNTS) {
            for index in 0..count {
                let page = partition(spec, worker).start + order(spec, worker).page(index);
                region.page(page)[stamp_word(page)].fetch_add(1, Relaxed);
            }
        }
        region
    }

    #[test]
    fn an_intact_guest_is_clean() {
        for pattern in Pattern::ALL {
            let spec = spec(*pattern);
            let found = verify(&guest(&spec), &LAYOUT, &spec, &COUNTS, 3);
            assert_eq!(found, Verification { pages_checked: 100, ..Verification::default() });
        }
    }

    #[test]
    fn one_wrong_bit_anywhere_is_found() {
        let spec = spec(Pattern::Random);
        let region = guest(&spec);
        for (page, word, bit) in
            [(0, 0, 0), (39, 511, 63), (40, 7, 5), (69, 0, 1), (70, 0, 0), (99, 511, 9)]
        {
            region.page(page)[word].fetch_xor(1 << bit, Relaxed);
            let found = verify(&region, &LAYOUT, &spec, &COUNTS, 2);
            let value = region.page(page)[word].fetch_xor(1 << bit, Relaxed);
            let expected = value ^ (1 << bit);
            let corruption = Corruption { page, offset_bytes: word * 8, expected, found: value };
            assert_eq!((found.corrupt_pages, found.corrupt), (1, vec![corruption]));
        }
        assert!(verify(&region, &LAYOUT, &spec, &COUNTS, 2).is_clean());
    }

    #[test]
    fn a_page_one_write_behind_is_found_at_its_stamp() {
        for pattern in Pattern::ALL {
            let spec = spec(*pattern);
            let region = guest(&spec);
            region.page(11)[stamp_word(11)].fetch_sub(1, Relaxed);
            let found = verify(&region, &LAYOUT, &spec, &COUNTS, 1);
            assert_eq!(found.corrupt_pages, 1);
            let corruption = found.corrupt[0];
            assert_eq!((corruption.page, corruption.offset_bytes), (11, stamp_word(11) * 8));
            assert_eq!(corruption.expected, corruption.found + 1);
        }
    }

    #[test]
    fn wrong_counts_are_found() {
        let spec = spec(Pattern::Sequential);
        let found = verify(&guest(&spec), &LAYOUT, &spec, &[1234, 78], 1);
        assert_eq!(found.corrupt_pages, 1);
    }

    #[test]
    fn many_corrupt_pages_are_counted_and_the_first_are_shown() {
        let spec = spec(Pattern::Random);
        let region = guest(&spec);
        (30..90).for_each(|page| region.page(page)[100].store(0xBAD, Relaxed));
        let found = verify(&region, &LAYOUT, &spec, &COUNTS, 4);
        assert_eq!((found.pages_checked, found.corrupt_pages), (100, 60));
        assert!(found.corrupt.iter().map(|corruption| corruption.page).eq(30..46));
        assert_eq!(found.corrupt[0].expected, expected_word(1, 30, 100));
    }
}
