//! What one write does to its page.

use std::sync::atomic::Ordering::Relaxed;

use sterna_sys::WORDS_PER_PAGE;
use sterna_sys::page_write::{self, PageWords};

use crate::image::Images;
use crate::mix::GOLDEN;

/// A way of writing a page, known to the inner loop at compile time.
///
/// # Why each write adds one, and does not store its number
///
/// A write could simply store its own number as the page's stamp.
/// If migration then loses one write, the page is wrong only until the worker happens to write it again; under a
/// working set that is written over and over, nearly every loss would be masked before anybody looks.
/// A stamp that is read, raised and stored tells how many writes arrived since the beginning, so a page that once fell
/// behind stays behind for ever, and the check at the end finds it however much was written in between.
///
/// So every method reads the stamp, and takes what it writes to the rest of the page from it: the n-th write of a page
/// always leaves the same content, a function of seed, page and n.
/// The price is one cache line read before a page is overwritten, which costs nothing while it is asked for early.
/// `zero` alone cannot: a page that reads zero tells that it was written, but not how often, so a loss is found only
/// where the page was never zero before, or was the last to be written.
///
/// [`Method`](crate::spec::Method) says what each leaves in its page.
pub(crate) trait WriteMethod: Copy {
    /// How many writes early a page is asked for.
    const AHEAD: u64;

    /// Asks for what the write of page number `page` needs first.
    fn prefetch(&self, words: &PageWords, page: usize);

    /// Performs one write on the words of page number `page` of the region.
    fn write(&self, words: &PageWords, page: usize);

    /// Called after some writes, before anybody is told of them.
    fn settle(&self);
}

/// Adds one to the page's stamp word; `touch` and `counter`.
///
/// The load and the store need no lock prefix, because each page has one writer only.
/// The stamp starts at the page's fill content, so it is no more compressible than the rest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counter;

/// Writes the whole page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole<'a> {
    pub(crate) images: &'a Images,
}

/// Which word of page number `page` carries its stamp.
///
/// Multiples of the golden ratio spread over the page, so that neighbouring pages use different cache sets at every
/// level; always taking the first word would crowd all stamps into one set out of 64.
#[inline]
pub fn stamp_word(page: usize) -> usize {
    const SHIFT: u32 = u64::BITS - WORDS_PER_PAGE.ilog2();
    ((page as u64).wrapping_mul(GOLDEN) >> SHIFT) as usize
}

impl WriteMethod for Counter {
    /// As many lines as the processor can wait for at once, and some.
    const AHEAD: u64 = 64;

    #[inline]
    fn prefetch(&self, words: &PageWords, page: usize) {
        page_write::prefetch(&words[stamp_word(page)]);
    }

    #[inline]
    fn write(&self, words: &PageWords, page: usize) {
        let stamp = &words[stamp_word(page)];
        stamp.store(stamp.load(Relaxed).wrapping_add(1), Relaxed);
    }

    #[inline]
    fn settle(&self) {}
}

impl WriteMethod for Whole<'_> {
    /// The rest of a page comes in order, which the processor foresees by itself.
    const AHEAD: u64 = 3;

    #[inline]
    fn prefetch(&self, words: &PageWords, page: usize) {
        page_write::prefetch(&words[stamp_word(page)]);
    }

    #[inline]
    fn write(&self, words: &PageWords, page: usize) {
        self.images.write(words, page);
    }

    #[inline]
    fn settle(&self) {
        page_write::settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::array;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn stamps_use_all_words_and_cache_sets_evenly() {
        let pages = 1 << 16;
        let mut words = vec![0u64; WORDS_PER_PAGE];
        // A cache of 1024 sets of 64 bytes: ten address bits above the line.
        let mut sets = vec![0u64; 1024];
        for page in 0..pages {
            words[stamp_word(page)] += 1;
            sets[(page * 64 + stamp_word(page) / 8) % 1024] += 1;
        }
        let spread = |counts: &[u64]| (counts.iter().min().copied(), counts.iter().max().copied());
        assert_eq!(words.iter().sum::<u64>(), pages as u64);
        let (fewest, most) = spread(&words);
        assert!(fewest >= Some(120) && most <= Some(136), "words {fewest:?} to {most:?}");
        let (fewest, most) = spread(&sets);
        assert!(fewest >= Some(56) && most <= Some(72), "sets {fewest:?} to {most:?}");
    }

    #[test]
    fn counting_raises_the_stamp_and_nothing_else() {
        let words: PageWords = array::from_fn(|index| AtomicU64::new(index as u64));
        words[stamp_word(3)].store(u64::MAX, Relaxed);
        Counter.write(&words, 3);
        for (index, word) in words.iter().enumerate() {
            let expected = if index == stamp_word(3) { 0 } else { index as u64 };
            assert_eq!(word.load(Relaxed), expected);
        }
    }
}
