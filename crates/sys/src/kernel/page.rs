//! Copying, clearing and testing pages.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{PAGE_BYTES, WORDS_PER_PAGE};

/// # Safety
/// `from` must point to a page of a live mapping, `to` to [`PAGE_BYTES`] writable bytes that nobody else uses.
pub(crate) unsafe fn copy_out(from: *const AtomicU64, to: *mut u8) -> bool {
    let mut all = 0;
    for index in 0..WORDS_PER_PAGE {
        // SAFETY: `index` stays within the page on both sides, as the caller promises.
        unsafe {
            let word = (*from.add(index)).load(Relaxed);
            to.cast::<u64>().add(index).write_unaligned(word);
            all |= word;
        }
    }
    all == 0
}

/// # Safety
/// `to` must point to `bytes` bytes of a live mapping, `from` to as many readable ones; a multiple of 8.
pub(crate) unsafe fn copy_in(from: *const u8, to: *const AtomicU64, bytes: usize) {
    for index in 0..bytes / 8 {
        // SAFETY: `index` stays within the range on both sides, as the caller promises.
        unsafe { (*to.add(index)).store(from.cast::<u64>().add(index).read_unaligned(), Relaxed) };
    }
}

/// # Safety
/// `page` must point to a page of a live mapping.
pub(crate) unsafe fn is_zero(page: *const AtomicU64) -> bool {
    // SAFETY: the caller promises a whole page.
    let words = unsafe { std::slice::from_raw_parts(page, WORDS_PER_PAGE) };
    words.iter().all(|it| it.load(Relaxed) == 0)
}

/// # Safety
/// `page` must point to a page of a live mapping.
pub(crate) unsafe fn clear(page: *const AtomicU64) {
    // SAFETY: the caller promises a whole page.
    let words = unsafe { std::slice::from_raw_parts(page, WORDS_PER_PAGE) };
    words.iter().for_each(|it| it.store(0, Relaxed));
    let _ = PAGE_BYTES;
}

/// Makes the page of `word` exist by writing the word without changing it.
pub(crate) fn touch(word: &AtomicU64) {
    // Not an `or` of 0, which compilers turn into a plain load.
    let seen = word.load(Relaxed);
    let _ = word.compare_exchange(seen, seen, Relaxed, Relaxed);
}
