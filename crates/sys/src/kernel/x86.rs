//! The kernels in x86-64 assembly.
//!
//! AVX2 rather than AVX-512: a page copy is bound by memory well before it is bound by either, and
//! older processors lower their clock for the wider one.

use std::{arch::asm, sync::atomic::AtomicU64};

use super::{page::PageKernels, portable};
use crate::PAGE_BYTES;

pub(super) fn page_kernels() -> PageKernels {
    if is_x86_feature_detected!("avx2") { AVX2 } else { BASELINE }
}

/// For tests: every set that this processor can run.
#[cfg(test)]
pub(super) fn all_page_kernels() -> Vec<(&'static str, PageKernels)> {
    let mut all = vec![("baseline", BASELINE)];
    if is_x86_feature_detected!("avx2") {
        all.push(("avx2", AVX2));
    }
    all
}

/// Copies by string instructions, which every processor does well from a page on; looks at pages
/// word by word.
const BASELINE: PageKernels = PageKernels {
    copy_out_run: copy_out_by_string,
    copy_in: copy_in_by_string,
    clear: clear_by_string,
    ..portable::PAGE_KERNELS
};

const AVX2: PageKernels = PageKernels {
    copy_out: copy_out_avx2,
    is_zero: is_zero_avx2,
    copy_out_run: copy_out_run_avx2,
    ..BASELINE
};

/// # Safety
/// See [`PageKernels::copy_out`]; the processor must have AVX2.
#[target_feature(enable = "avx2")]
unsafe fn copy_out_avx2(from: *const AtomicU64, to: *mut u8) -> bool {
    // SAFETY: the caller promises a whole page on both sides.
    unsafe { copy_or_avx2(from.cast(), to, PAGE_BYTES) }
}

/// # Safety
/// See [`PageKernels::copy_out_run`]; the processor must have AVX2.
#[target_feature(enable = "avx2")]
unsafe fn copy_out_run_avx2(from: *const AtomicU64, to: *mut u8, bytes: usize) {
    if bytes > 0 {
        // SAFETY: the caller promises `bytes` bytes, whole pages, on both sides.
        unsafe { copy_or_avx2(from.cast(), to, bytes) };
    }
}

/// Copies, and says whether all was zero; both cost the same, being bound by memory.
///
/// # Safety
/// `from` must be readable and `to` writable for `bytes` bytes, a positive multiple of 128.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn copy_or_avx2(from: *const u8, to: *mut u8, bytes: usize) -> bool {
    let is_zero: u8;
    // SAFETY: the loop reads exactly `bytes` from `from` and writes as many to `to`, by moves that
    // need no alignment; the caller promises both ranges. All registers it changes are named.
    unsafe {
        asm!(
            "vpxor {or0}, {or0}, {or0}",
            "vpxor {or1}, {or1}, {or1}",
            "2:",
            "vmovdqu {a}, [{from} + {at}]",
            "vmovdqu {b}, [{from} + {at} + 32]",
            "vmovdqu {c}, [{from} + {at} + 64]",
            "vmovdqu {d}, [{from} + {at} + 96]",
            "vmovdqu [{to} + {at}], {a}",
            "vmovdqu [{to} + {at} + 32], {b}",
            "vmovdqu [{to} + {at} + 64], {c}",
            "vmovdqu [{to} + {at} + 96], {d}",
            "vpor {a}, {a}, {b}",
            "vpor {c}, {c}, {d}",
            "vpor {or0}, {or0}, {a}",
            "vpor {or1}, {or1}, {c}",
            "add {at}, 128",
            "jnz 2b",
            "vpor {or0}, {or0}, {or1}",
            "vptest {or0}, {or0}",
            "setz {is_zero}",
            // Counting from -bytes up to zero spares a comparison.
            from = in(reg) from.wrapping_add(bytes),
            to = in(reg) to.wrapping_add(bytes),
            at = inout(reg) bytes.wrapping_neg() => _,
            is_zero = out(reg_byte) is_zero,
            or0 = out(ymm_reg) _, or1 = out(ymm_reg) _,
            a = out(ymm_reg) _, b = out(ymm_reg) _, c = out(ymm_reg) _, d = out(ymm_reg) _,
            options(nostack),
        );
    }
    is_zero != 0
}

/// # Safety
/// See [`PageKernels::is_zero`]; the processor must have AVX2.
#[target_feature(enable = "avx2")]
unsafe fn is_zero_avx2(page: *const AtomicU64) -> bool {
    let is_zero: u8;
    // SAFETY: the loop reads at most PAGE_BYTES from `page`, which the caller promises, and writes
    // nothing.
    unsafe {
        asm!(
            "2:",
            "vmovdqu {a}, [{page} + {at}]",
            "vmovdqu {b}, [{page} + {at} + 64]",
            "vpor {a}, {a}, [{page} + {at} + 32]",
            "vpor {b}, {b}, [{page} + {at} + 96]",
            "vpor {a}, {a}, {b}",
            "vptest {a}, {a}",
            "jnz 3f",
            "add {at}, 128",
            "jnz 2b",
            "3:",
            // Both ways out leave the zero flag as the answer: set by the last addition, or cleared
            // by the test.
            "setz {is_zero}",
            page = in(reg) page.cast::<u8>().wrapping_add(PAGE_BYTES),
            at = inout(reg) PAGE_BYTES.wrapping_neg() => _,
            is_zero = out(reg_byte) is_zero,
            a = out(ymm_reg) _, b = out(ymm_reg) _,
            options(nostack, readonly),
        );
    }
    is_zero != 0
}

/// # Safety
/// See [`PageKernels::copy_out_run`].
unsafe fn copy_out_by_string(from: *const AtomicU64, to: *mut u8, bytes: usize) {
    // SAFETY: the caller promises `bytes` bytes on both sides.
    unsafe { copy_by_string(from.cast(), to, bytes) }
}

/// # Safety
/// See [`PageKernels::copy_in`].
unsafe fn copy_in_by_string(from: *const u8, to: *const AtomicU64, bytes: usize) {
    // SAFETY: the caller promises `bytes` bytes on both sides, and atomics may be written through
    // shared references.
    unsafe { copy_by_string(from, to.cast_mut().cast(), bytes) }
}

/// # Safety
/// `from` must be readable and `to` writable for `bytes` bytes, and they must not overlap.
unsafe fn copy_by_string(from: *const u8, to: *mut u8, bytes: usize) {
    // SAFETY: the instruction touches exactly these ranges, and the ABI keeps the direction flag
    // clear.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") bytes => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
}

/// # Safety
/// See [`PageKernels::clear`].
unsafe fn clear_by_string(page: *const AtomicU64) {
    // SAFETY: the instruction writes exactly one page, which the caller promises, and the ABI keeps
    // the direction flag clear.
    unsafe {
        asm!(
            "rep stosb",
            inout("rcx") PAGE_BYTES => _,
            inout("rdi") page.cast_mut() => _,
            in("al") 0_u8,
            options(nostack, preserves_flags),
        );
    }
}
