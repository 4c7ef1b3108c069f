//! Dirty tracking by the writers themselves, where the kernel cannot do it.

use std::sync::atomic::{AtomicU64, Ordering};

/// One bit for each page, set by whoever writes the page, taken by whoever copies it.
///
/// # The order that loses nothing
///
/// A writer stores to its page first and sets the bit after that.
/// A drain takes the bits first and copies the pages after that.
/// Look at any one write: if the drain took its bit, then the store came before the bit and the copy comes after it, so
/// the copy has the store.
/// If the drain came too early for the bit, the bit is still there for the next drain, and the page is copied again.
/// Setting the bit before the store would break this: a drain between the two takes the bit, copies the old content,
/// and nothing is left to tell that the page changed.
///
/// It is tempting to look first and skip the atomic operation when the bit is set already, as most writes of a hot page
/// would find it.
/// That loses pages on real processors: the store may wait in the store buffer while the look that follows it is done
/// already and finds the old bit; a drain then takes that bit and copies before the store arrives.
/// Only an operation that waits for the store buffer keeps the two in order, and the unconditional `fetch_or` is one,
/// so skipping would save nothing.
///
/// Release on the setting side and acquire on the taking side state the same for the memory model.
#[derive(Debug)]
pub struct DirtyBitmap {
    words: Vec<AtomicU64>,
    pages: usize,
}

impl DirtyBitmap {
    /// A bitmap for `pages` pages, all clean.
    pub fn new(pages: usize) -> DirtyBitmap {
        let words = (0..pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        DirtyBitmap { words, pages }
    }

    /// How many pages the bitmap has.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Marks `page` as written; call this after the store to it.
    ///
    /// # Panics
    /// When the bitmap has no such page.
    #[inline]
    pub fn mark(&self, page: usize) {
        self.words[page / 64].fetch_or(1 << (page % 64), Ordering::Release);
    }

    /// Marks every page, as before the first pass.
    pub fn set_all(&self) {
        for (index, word) in self.words.iter().enumerate() {
            let pages_here = (self.pages - index * 64).min(64);
            word.store(u64::MAX >> (64 - pages_here), Ordering::Release);
        }
    }

    /// Takes all marks, reports them as runs (first page, count) in rising order, and returns how many pages they were.
    ///
    /// A page that is reported may be copied at once or after the drain, but not before.
    pub fn drain(&self, on_dirty: &mut dyn FnMut(usize, usize)) -> u64 {
        let mut runs = Runs { first: 0, count: 0, total: 0, on_dirty };
        for (index, word) in self.words.iter().enumerate() {
            // A plain look keeps clean stretches from being written to, which would slow the workers down.
            // A mark that it misses is one that came after it, and waits for the next drain.
            if word.load(Ordering::Relaxed) != 0 {
                runs.add_word(index * 64, word.swap(0, Ordering::AcqRel));
            }
        }
        runs.finish()
    }
}

/// Joins neighbouring pages to runs, also over the ends of words.
struct Runs<'a> {
    first: usize,
    count: usize,
    total: u64,
    on_dirty: &'a mut dyn FnMut(usize, usize),
}

impl Runs<'_> {
    fn add_word(&mut self, mut first: usize, mut bits: u64) {
        while bits != 0 {
            let clean = bits.trailing_zeros();
            first += clean as usize;
            bits >>= clean;
            let dirty = bits.trailing_ones();
            self.add(first, dirty as usize);
            first += dirty as usize;
            bits = bits.checked_shr(dirty).unwrap_or(0);
        }
    }

    fn add(&mut self, first: usize, count: usize) {
        if self.count > 0 && self.first + self.count == first {
            self.count += count;
        } else {
            self.flush();
            (self.first, self.count) = (first, count);
        }
    }

    fn flush(&mut self) {
        if self.count > 0 {
            self.total += self.count as u64;
            (self.on_dirty)(self.first, self.count);
        }
    }

    fn finish(mut self) -> u64 {
        self.flush();
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drained(bitmap: &DirtyBitmap) -> (Vec<(usize, usize)>, u64) {
        let mut runs = Vec::new();
        let total = bitmap.drain(&mut |first, count| runs.push((first, count)));
        (runs, total)
    }

    #[test]
    fn runs_are_joined_over_words() {
        let check = |pages: usize, marked: &[usize], expected: &[(usize, usize)]| {
            let bitmap = DirtyBitmap::new(pages);
            marked.iter().for_each(|page| bitmap.mark(*page));
            let total = expected.iter().map(|run| run.1 as u64).sum();
            assert_eq!(drained(&bitmap), (expected.to_vec(), total));
            assert_eq!(drained(&bitmap), (vec![], 0), "a drain leaves nothing behind");
        };
        check(0, &[], &[]);
        check(1, &[0], &[(0, 1)]);
        check(200, &[63, 64, 65, 199], &[(63, 3), (199, 1)]);
        check(200, &[5, 3, 4, 4], &[(3, 3)]);
        check(64, &(0..64).collect::<Vec<_>>(), &[(0, 64)]);
    }

    #[test]
    fn set_all_marks_each_page_and_no_more() {
        for pages in [1, 63, 64, 65, 128, 1000] {
            let bitmap = DirtyBitmap::new(pages);
            bitmap.set_all();
            assert_eq!(drained(&bitmap), (vec![(0, pages)], pages as u64));
        }
    }

    proptest! {
        #[test]
        fn a_drain_reports_exactly_what_was_marked(marked in proptest::collection::btree_set(0usize..500, 0..300)) {
            let bitmap = DirtyBitmap::new(500);
            marked.iter().for_each(|page| bitmap.mark(*page));
            let (runs, total) = drained(&bitmap);
            let pages: Vec<usize> = runs.iter().flat_map(|(first, count)| *first..first + count).collect();
            prop_assert_eq!(total, marked.len() as u64);
            prop_assert_eq!(pages, marked.into_iter().collect::<Vec<_>>());
        }
    }
}
