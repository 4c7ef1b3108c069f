//! The content of memory before anything is written: incompressible, and known from the seed alone.

use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use sterna_sys::region::Region;

use crate::mix::{GOLDEN, key, mix};
use crate::partition::pieces;

/// Fills pages with content that does not compress, does not repeat and is never zero, using up to `threads` threads.
///
/// [`expected_word`] tells what each word then is.
///
/// # Panics
/// When `pages` is not within the region.
pub fn fill(region: &Region, pages: Range<usize>, seed: u64, threads: usize) {
    let content = Content::new(seed);
    std::thread::scope(|scope| {
        for piece in pieces(pages, threads) {
            scope.spawn(move || piece.for_each(|page| content.write(region, page)));
        }
    });
}

/// What word number `word` (0 to 511) of page number `page` is after [`fill`].
pub fn expected_word(seed: u64, page: usize, word: usize) -> u64 {
    Content::new(seed).page(page).word(word)
}

/// The content of a whole region before the first write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    key: u64,
    mask: u64,
}

/// The content of one page before the first write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageContent {
    key: u64,
    /// All bits, or none for a page that is zero at first.
    mask: u64,
}

/// Keeps the content apart from every other use of the same seed.
const PURPOSE: u64 = 0x6669_6C6C;

impl Content {
    pub(crate) fn new(seed: u64) -> Content {
        Content { key: key(seed, PURPOSE, 0), mask: u64::MAX }
    }

    /// Of pages that are zero at first, but whose later writes still differ from page to page.
    pub(crate) fn blank(seed: u64) -> Content {
        Content { mask: 0, ..Content::new(seed) }
    }

    pub(crate) fn page(&self, page: usize) -> PageContent {
        let key = mix(self.key.wrapping_add((page as u64).wrapping_mul(GOLDEN)));
        PageContent { key, mask: self.mask }
    }

    fn write(&self, region: &Region, page: usize) {
        let content = self.page(page);
        for (index, word) in region.page(page).iter().enumerate() {
            word.store(content.word(index), Relaxed);
        }
    }
}

impl PageContent {
    /// What word number `word` is at first.
    #[inline]
    pub(crate) fn word(&self, word: usize) -> u64 {
        self.random(word) & self.mask
    }

    /// The same as if the page were filled.
    ///
    /// One multiplication for each word, so that filling and checking run at the speed of memory.
    /// The steps are one to one, so the words of a page all differ and at most one of them is zero.
    #[inline]
    pub(crate) fn random(&self, word: usize) -> u64 {
        let x = self.key.wrapping_add((word as u64).wrapping_mul(GOLDEN));
        let x = (x ^ (x >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        x ^ (x >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::region;
    use std::collections::HashSet;

    #[test]
    fn fill_writes_what_is_expected_and_only_there() {
        for threads in [1, 3, 64] {
            let region = region(12);
            fill(&region, 2..11, 5, threads);
            for page in 0..12 {
                for (word, found) in region.page(page).iter().enumerate() {
                    let filled = (2..11).contains(&page);
                    let expected = if filled { expected_word(5, page, word) } else { 0 };
                    assert_eq!(found.load(Relaxed), expected, "page {page}, word {word}");
                }
            }
        }
    }

    #[test]
    fn words_never_repeat_and_bytes_are_even() {
        let mut words = HashSet::new();
        let mut bytes = [0u64; 256];
        for page in 0..256 {
            for word in 0..512 {
                let value = expected_word(1, page, word);
                words.insert(value);
                value.to_le_bytes().iter().for_each(|byte| bytes[usize::from(*byte)] += 1);
            }
        }
        assert_eq!(words.len(), 256 * 512);
        let expected = (256 * 512 * 8 / 256) as f64;
        let chi: f64 = bytes.iter().map(|n| (*n as f64 - expected).powi(2) / expected).sum();
        let z = (chi - 255.0) / (2.0f64 * 255.0).sqrt();
        assert!(z.abs() < 4.0, "byte values are {z:.1} standard deviations from even");
    }

    #[test]
    fn neighbouring_words_differ_in_half_of_their_bits() {
        let flips: u64 = (0..64)
            .flat_map(|page| (0..511).map(move |word| (page, word)))
            .map(|(page, word)| {
                let pair = [expected_word(1, page, word), expected_word(1, page, word + 1)];
                u64::from((pair[0] ^ pair[1]).count_ones())
            })
            .sum();
        let mean = flips as f64 / (64.0 * 511.0);
        assert!((mean - 32.0).abs() < 0.1, "{mean} of 64 bits differ on average");
    }

    #[test]
    fn seeds_differ() {
        assert_ne!(expected_word(1, 0, 0), expected_word(2, 0, 0));
    }
}
