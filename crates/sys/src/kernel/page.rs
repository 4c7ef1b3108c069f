//! Copying, clearing and testing pages with what this processor does best.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// The kernels of one kind of processor.
///
/// Every pointer to words is to words shared with threads that may store to them atomically
/// meanwhile, and which live longer than the call. `page` and `from` are whole pages.
#[derive(Clone, Copy)]
pub(super) struct PageKernels {
    /// Copies a page to [`crate::PAGE_BYTES`] bytes that only the caller uses; true if all that was
    /// copied is zero.
    pub(super) copy_out: unsafe fn(from: *const AtomicU64, to: *mut u8) -> bool,
    /// Whether a page is zero.
    pub(super) is_zero: unsafe fn(page: *const AtomicU64) -> bool,
    /// Copies `bytes` (whole pages) out, to bytes that only the caller uses.
    pub(super) copy_out_run: unsafe fn(from: *const AtomicU64, to: *mut u8, bytes: usize),
    /// Copies `bytes` (whole pages) in, from bytes that nobody writes.
    pub(super) copy_in: unsafe fn(from: *const u8, to: *const AtomicU64, bytes: usize),
    /// Stores zero to a whole page.
    pub(super) clear: unsafe fn(page: *const AtomicU64),
}

/// The kernels for this processor.
#[inline]
fn kernels() -> &'static PageKernels {
    static KERNELS: OnceLock<PageKernels> = OnceLock::new();
    KERNELS.get_or_init(choose)
}

#[cfg(target_arch = "x86_64")]
fn choose() -> PageKernels {
    super::x86::page_kernels()
}

#[cfg(not(target_arch = "x86_64"))]
fn choose() -> PageKernels {
    super::portable::PAGE_KERNELS
}

/// See [`PageKernels::copy_out`].
///
/// # Safety
/// `from` must point to a page of a live mapping, `to` to [`crate::PAGE_BYTES`] bytes that nobody
/// else uses.
#[inline]
pub(crate) unsafe fn copy_out(from: *const AtomicU64, to: *mut u8) -> bool {
    // SAFETY: the caller promises what the kernel needs.
    unsafe { (kernels().copy_out)(from, to) }
}

/// See [`PageKernels::copy_out_run`].
///
/// # Safety
/// `from` must point to `bytes` bytes of a live mapping, `to` to as many that nobody else uses;
/// whole pages.
#[inline]
pub(crate) unsafe fn copy_out_run(from: *const AtomicU64, to: *mut u8, bytes: usize) {
    // SAFETY: the caller promises what the kernel needs.
    unsafe { (kernels().copy_out_run)(from, to, bytes) }
}

/// See [`PageKernels::copy_in`].
///
/// # Safety
/// `to` must point to `bytes` bytes of a live mapping, `from` to as many that nobody writes; whole
/// pages.
#[inline]
pub(crate) unsafe fn copy_in(from: *const u8, to: *const AtomicU64, bytes: usize) {
    // SAFETY: the caller promises what the kernel needs.
    unsafe { (kernels().copy_in)(from, to, bytes) }
}

/// See [`PageKernels::is_zero`].
///
/// # Safety
/// `page` must point to a page of a live mapping.
#[inline]
pub(crate) unsafe fn is_zero(page: *const AtomicU64) -> bool {
    // SAFETY: the caller promises what the kernel needs.
    unsafe { (kernels().is_zero)(page) }
}

/// See [`PageKernels::clear`].
///
/// # Safety
/// `page` must point to a page of a live mapping.
#[inline]
pub(crate) unsafe fn clear(page: *const AtomicU64) {
    // SAFETY: the caller promises what the kernel needs.
    unsafe { (kernels().clear)(page) }
}

/// Makes the page of `word` exist by writing the word without changing it.
pub(crate) fn touch(word: &AtomicU64) {
    // Not an `or` of 0, which compilers turn into a plain load.
    let seen = word.load(Relaxed);
    let _ = word.compare_exchange(seen, seen, Relaxed, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::{super::portable, *};
    use crate::{PAGE_BYTES, WORDS_PER_PAGE};

    fn all() -> Vec<(&'static str, PageKernels)> {
        let mut all = vec![("portable", portable::PAGE_KERNELS)];
        #[cfg(target_arch = "x86_64")]
        all.extend(super::super::x86::all_page_kernels());
        all
    }

    fn page_of(fill: impl Fn(usize) -> u64) -> Vec<AtomicU64> {
        (0..WORDS_PER_PAGE).map(|index| AtomicU64::new(fill(index))).collect()
    }

    #[test]
    fn every_kernel_copies_every_byte_to_any_alignment() {
        for (name, kernels) in all() {
            for offset in [0, 1, 7, 8, 31, 63] {
                let page = page_of(|index| (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
                let expected: Vec<u8> =
                    page.iter().flat_map(|it| it.load(Relaxed).to_le_bytes()).collect();
                let mut to = vec![0xEE; PAGE_BYTES + 128];
                // SAFETY: the page is whole, and `to` has room for a page after `offset`.
                let zero =
                    unsafe { (kernels.copy_out)(page.as_ptr(), to.as_mut_ptr().add(offset)) };
                assert!(!zero, "{name}");
                check_surrounded(name, &to, offset, &expected);

                to.fill(0xEE);
                // SAFETY: as above.
                unsafe {
                    (kernels.copy_out_run)(page.as_ptr(), to.as_mut_ptr().add(offset), PAGE_BYTES);
                }
                check_surrounded(name, &to, offset, &expected);

                let back = page_of(|_| 7);
                // SAFETY: as above.
                unsafe { (kernels.copy_in)(to.as_ptr().add(offset), back.as_ptr(), PAGE_BYTES) };
                let words = |page: &[AtomicU64]| -> Vec<u64> {
                    page.iter().map(|it| it.load(Relaxed)).collect()
                };
                assert_eq!(words(&back), words(&page), "{name}");
            }
        }
    }

    fn check_surrounded(name: &str, to: &[u8], offset: usize, expected: &[u8]) {
        assert_eq!(&to[offset..offset + PAGE_BYTES], expected, "{name} at {offset}");
        let outside = to[..offset].iter().chain(&to[offset + PAGE_BYTES..]);
        assert!(outside.into_iter().all(|&it| it == 0xEE), "{name} wrote outside at {offset}");
    }

    #[test]
    fn every_kernel_sees_every_single_bit() {
        for (name, kernels) in all() {
            let page = page_of(|_| 0);
            let mut to = vec![0xEE; PAGE_BYTES];
            let mut is_zero = || {
                // SAFETY: both are whole pages.
                unsafe {
                    let copied = (kernels.copy_out)(page.as_ptr(), to.as_mut_ptr());
                    (copied, (kernels.is_zero)(page.as_ptr()))
                }
            };
            assert_eq!(is_zero(), (true, true), "{name}");
            for (index, word) in page.iter().enumerate() {
                let bit = 1 << ((index * 13) % 64);
                word.store(bit, Relaxed);
                assert_eq!(is_zero(), (false, false), "{name}, word {index}, bit {bit:#x}");
                word.store(0, Relaxed);
            }
            assert_eq!(is_zero(), (true, true), "{name}");
        }
    }

    #[test]
    fn every_kernel_clears_its_page_only() {
        for (name, kernels) in all() {
            let pages: Vec<_> = page_of(|_| 5).into_iter().chain(page_of(|_| 5)).collect();
            // SAFETY: the second half is a whole page.
            unsafe { (kernels.clear)(pages[WORDS_PER_PAGE..].as_ptr()) };
            let sum = |words: &[AtomicU64]| words.iter().map(|it| it.load(Relaxed)).sum::<u64>();
            assert_eq!(sum(&pages[..WORDS_PER_PAGE]), 5 * WORDS_PER_PAGE as u64, "{name}");
            assert_eq!(sum(&pages[WORDS_PER_PAGE..]), 0, "{name}");
        }
    }

    #[test]
    fn touching_changes_nothing() {
        for value in [0, 1, u64::MAX] {
            let word = AtomicU64::new(value);
            touch(&word);
            assert_eq!(word.into_inner(), value);
        }
    }
}
