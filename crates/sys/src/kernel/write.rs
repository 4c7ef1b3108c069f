//! Whole pages written in the ways in which programs write memory, for workloads.
//!
//! All functions take words that other threads may read or write meanwhile, as [`crate::region::Region`] explains.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::WORDS_PER_PAGE;

/// The words of one page of live memory.
pub type PageWords = [AtomicU64; WORDS_PER_PAGE];

/// The words of one page that nobody else writes.
pub type PlainWords = [u64; WORDS_PER_PAGE];

/// A unit of 128 bytes.
pub type WideUnit = [u64; 16];

/// The kernels of one kind of processor.
#[derive(Clone, Copy)]
pub(super) struct WriteKernels {
    pub(super) repeat: fn(&PageWords, u64),
    pub(super) repeat_past_cache: fn(&PageWords, u64),
    pub(super) repeat_wide: fn(&PageWords, &WideUnit),
    pub(super) mix_in: fn(&PageWords, &PlainWords),
    pub(super) mixed_past_cache: fn(&PageWords, &PlainWords, u64, usize),
}

pub(super) const PORTABLE: WriteKernels = WriteKernels {
    repeat: portable::repeat,
    repeat_past_cache: portable::repeat,
    repeat_wide: portable::repeat_wide,
    mix_in: portable::mix_in,
    mixed_past_cache: portable::mixed,
};

#[inline]
fn kernels() -> &'static WriteKernels {
    static KERNELS: OnceLock<WriteKernels> = OnceLock::new();
    KERNELS.get_or_init(choose)
}

#[cfg(target_arch = "x86_64")]
fn choose() -> WriteKernels {
    super::x86_write::kernels()
}

#[cfg(not(target_arch = "x86_64"))]
fn choose() -> WriteKernels {
    PORTABLE
}

/// Stores `value` to every word, by stores of eight bytes.
#[inline]
pub fn repeat(page: &PageWords, value: u64) {
    (kernels().repeat)(page, value);
}

/// The same past the cache where the processor can; see [`settle`].
#[inline]
pub fn repeat_past_cache(page: &PageWords, value: u64) {
    (kernels().repeat_past_cache)(page, value);
}

/// Stores `unit` over and over, as wide as the processor stores.
#[inline]
pub fn repeat_wide(page: &PageWords, unit: &WideUnit) {
    (kernels().repeat_wide)(page, unit);
}

/// Changes every word to its exclusive or with the one in the same place of `with`.
///
/// A word that another thread writes meanwhile may lose that write.
#[inline]
pub fn mix_in(page: &PageWords, with: &PlainWords) {
    (kernels().mix_in)(page, with);
}

/// Stores each of the first `count` words of `with`, exclusive or `key`, and `key` alone to the words after them; past
/// the cache where the processor can; see [`settle`].
///
/// `count` is rounded down to a multiple of 4.
#[inline]
pub fn mixed_past_cache(page: &PageWords, with: &PlainWords, key: u64, count: usize) {
    (kernels().mixed_past_cache)(page, with, key, count.min(WORDS_PER_PAGE) / 4 * 4);
}

/// Makes stores past the cache visible to other threads before all later ones, as ordinary stores are.
///
/// Within the thread that made them, and for later stores to the same words, nothing is needed.
#[inline]
pub fn settle() {
    #[cfg(target_arch = "x86_64")]
    super::x86_write::settle();
}

/// Asks for the cache line of `word`, which is soon to be written; never faults and never waits.
#[inline]
pub fn prefetch(word: &AtomicU64) {
    #[cfg(target_arch = "x86_64")]
    super::x86_write::prefetch(word);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = word;
}

mod portable {
    use super::*;

    pub(super) fn repeat(page: &PageWords, value: u64) {
        page.iter().for_each(|word| word.store(value, Relaxed));
    }

    pub(super) fn repeat_wide(page: &PageWords, unit: &WideUnit) {
        for (word, value) in page.iter().zip(unit.iter().cycle()) {
            word.store(*value, Relaxed);
        }
    }

    pub(super) fn mix_in(page: &PageWords, with: &PlainWords) {
        for (word, value) in page.iter().zip(with) {
            word.store(word.load(Relaxed) ^ value, Relaxed);
        }
    }

    pub(super) fn mixed(page: &PageWords, with: &PlainWords, key: u64, count: usize) {
        for (index, (word, value)) in page.iter().zip(with).enumerate() {
            word.store(if index < count { value ^ key } else { key }, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::array;

    use super::*;

    /// Aligned as the pages of a region are, without which one of the kernels would not be used.
    #[repr(align(4096))]
    struct Pages([PageWords; 3]);

    fn page_of(words: &PlainWords) -> PageWords {
        array::from_fn(|index| AtomicU64::new(words[index]))
    }

    fn all() -> Vec<(&'static str, WriteKernels)> {
        let mut all = vec![("portable", PORTABLE)];
        #[cfg(target_arch = "x86_64")]
        all.extend(super::super::x86_write::all_kernels());
        all
    }

    fn pad() -> PlainWords {
        array::from_fn(|index| (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// Runs a kernel on the middle one of three pages and returns that, after a look at the others.
    fn written(name: &str, kernel: impl Fn(&PageWords)) -> PlainWords {
        let Pages(pages) = &Pages(array::from_fn(|_| page_of(&pad().map(|word| !word))));
        kernel(&pages[1]);
        settle();
        let plain = |page: &PageWords| page.each_ref().map(|word| word.load(Relaxed));
        for other in [0, 2] {
            assert_eq!(plain(&pages[other]), pad().map(|word| !word), "{name} wrote outside");
        }
        plain(&pages[1])
    }

    #[test]
    fn every_kernel_writes_every_word_of_its_page_only() {
        let unit: WideUnit = array::from_fn(|lane| lane as u64 * 77 + 5);
        for (name, kernels) in all() {
            assert_eq!(written(name, |page| (kernels.repeat)(page, 7)), [7; WORDS_PER_PAGE]);
            let past = written(name, |page| (kernels.repeat_past_cache)(page, u64::MAX));
            assert_eq!(past, [u64::MAX; WORDS_PER_PAGE], "{name}");
            let wide = written(name, |page| (kernels.repeat_wide)(page, &unit));
            assert_eq!(wide, array::from_fn(|index| unit[index % 16]), "{name}");
            let mixed = written(name, |page| (kernels.mix_in)(page, &pad()));
            assert_eq!(mixed, [u64::MAX; WORDS_PER_PAGE], "{name}");
            for count in [0, 4, 8, 124, 256, 508, 512] {
                let found =
                    written(name, |page| (kernels.mixed_past_cache)(page, &pad(), 99, count));
                let expected =
                    array::from_fn(|index| if index < count { pad()[index] ^ 99 } else { 99 });
                assert_eq!(found, expected, "{name}, {count} words");
            }
        }
    }

    #[test]
    fn a_later_store_wins_over_one_past_the_cache() {
        let page = page_of(&pad());
        for round in 0..1000 {
            repeat_past_cache(&page, round);
            let word = &page[round as usize % WORDS_PER_PAGE];
            word.store(!round, Relaxed);
            assert_eq!(word.load(Relaxed), !round);
            settle();
            let left = page.iter().filter(|word| word.load(Relaxed) == round).count();
            assert_eq!((left, word.load(Relaxed)), (WORDS_PER_PAGE - 1, !round));
        }
    }

    #[test]
    fn prefetching_changes_nothing() {
        let page = page_of(&pad());
        page.iter().for_each(prefetch);
        assert_eq!(page.map(AtomicU64::into_inner), pad());
    }
}
