//! The kernels in relaxed atomics: right everywhere, fast nowhere.

use std::{
    slice,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::page::PageKernels;
use crate::{PAGE_BYTES, WORDS_PER_PAGE};

pub(super) const PAGE_KERNELS: PageKernels =
    PageKernels { copy_out, is_zero, copy_out_run, copy_in, clear };

/// # Safety
/// See [`PageKernels::copy_out`].
pub(super) unsafe fn copy_out(from: *const AtomicU64, to: *mut u8) -> bool {
    // SAFETY: the caller promises a whole page on both sides.
    unsafe { copy_or(from, to, PAGE_BYTES) == 0 }
}

/// # Safety
/// See [`PageKernels::copy_out_run`].
pub(super) unsafe fn copy_out_run(from: *const AtomicU64, to: *mut u8, bytes: usize) {
    // SAFETY: the caller promises `bytes` bytes on both sides.
    unsafe { copy_or(from, to, bytes) };
}

/// Copies, and gives all words or-ed together.
unsafe fn copy_or(from: *const AtomicU64, to: *mut u8, bytes: usize) -> u64 {
    // SAFETY: the caller promises `bytes` bytes on both sides.
    let words = unsafe { slice::from_raw_parts(from, bytes / size_of::<u64>()) };
    let mut all = 0;
    for (index, word) in words.iter().enumerate() {
        let word = word.load(Relaxed);
        // SAFETY: as above; `to` need not be aligned.
        unsafe { to.cast::<u64>().add(index).write_unaligned(word) };
        all |= word;
    }
    all
}

/// # Safety
/// See [`PageKernels::copy_in`].
pub(super) unsafe fn copy_in(from: *const u8, to: *const AtomicU64, bytes: usize) {
    // SAFETY: the caller promises `bytes` bytes on both sides.
    let words = unsafe { slice::from_raw_parts(to, bytes / size_of::<u64>()) };
    for (index, word) in words.iter().enumerate() {
        // SAFETY: as above; `from` need not be aligned.
        word.store(unsafe { from.cast::<u64>().add(index).read_unaligned() }, Relaxed);
    }
}

/// # Safety
/// See [`PageKernels::is_zero`].
pub(super) unsafe fn is_zero(page: *const AtomicU64) -> bool {
    // SAFETY: the caller promises a whole page.
    let words = unsafe { slice::from_raw_parts(page, WORDS_PER_PAGE) };
    words.iter().all(|it| it.load(Relaxed) == 0)
}

/// # Safety
/// See [`PageKernels::clear`].
pub(super) unsafe fn clear(page: *const AtomicU64) {
    // SAFETY: the caller promises a whole page.
    let words = unsafe { slice::from_raw_parts(page, WORDS_PER_PAGE) };
    words.iter().for_each(|it| it.store(0, Relaxed));
}
