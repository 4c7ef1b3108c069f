//! The write kernels in x86-64 assembly.

use std::{arch::asm, sync::atomic::AtomicU64};

use super::write::{PORTABLE, PageWords, PlainWords, WideUnit, WriteKernels};
use crate::PAGE_BYTES;

pub(super) fn kernels() -> WriteKernels {
    if is_x86_feature_detected!("avx2") { AVX2 } else { BASELINE }
}

/// For tests: every set that this processor can run.
#[cfg(test)]
pub(super) fn all_kernels() -> Vec<(&'static str, WriteKernels)> {
    let mut all = vec![("baseline", BASELINE)];
    if is_x86_feature_detected!("avx2") {
        all.push(("avx2", AVX2));
    }
    all
}

const BASELINE: WriteKernels = WriteKernels { repeat, repeat_past_cache, ..PORTABLE };

/// The functions in here are safe to name, since [`kernels`] gives them only to processors that have AVX2.
const AVX2: WriteKernels = WriteKernels {
    // SAFETY: the processor has AVX2, as said above.
    repeat_wide: |page, unit| unsafe { repeat_wide_avx2(page, unit) },
    // SAFETY: as above.
    mix_in: |page, with| unsafe { mix_in_avx2(page, with) },
    mixed_past_cache: |page, with, key, count| {
        // SAFETY: as above; the kernel stays within the page for any count of at most one.
        unsafe { mixed_past_cache_avx2(page, with, key, count.min(with.len()) / 4 * 4) }
    },
    ..BASELINE
};

/// The end of a page, from which the loops count up to zero: that spares a comparison.
fn end(page: &PageWords) -> *mut u8 {
    page.as_ptr().cast_mut().cast::<u8>().wrapping_add(PAGE_BYTES)
}

fn repeat(page: &PageWords, value: u64) {
    // SAFETY: the loop writes exactly the page, which may be written through a shared reference because its words are
    // atomic.
    unsafe {
        asm!(
            "2:",
            "mov qword ptr [{end} + {at}], {value}",
            "mov qword ptr [{end} + {at} + 8], {value}",
            "mov qword ptr [{end} + {at} + 16], {value}",
            "mov qword ptr [{end} + {at} + 24], {value}",
            "mov qword ptr [{end} + {at} + 32], {value}",
            "mov qword ptr [{end} + {at} + 40], {value}",
            "mov qword ptr [{end} + {at} + 48], {value}",
            "mov qword ptr [{end} + {at} + 56], {value}",
            "add {at}, 64",
            "jnz 2b",
            end = in(reg) end(page),
            at = inout(reg) PAGE_BYTES.wrapping_neg() => _,
            value = in(reg) value,
            options(nostack),
        );
    }
}

fn repeat_past_cache(page: &PageWords, value: u64) {
    // SAFETY: as for `repeat`; the page is aligned to words, which is all that this store needs.
    unsafe {
        asm!(
            "2:",
            "movnti qword ptr [{end} + {at}], {value}",
            "movnti qword ptr [{end} + {at} + 8], {value}",
            "movnti qword ptr [{end} + {at} + 16], {value}",
            "movnti qword ptr [{end} + {at} + 24], {value}",
            "movnti qword ptr [{end} + {at} + 32], {value}",
            "movnti qword ptr [{end} + {at} + 40], {value}",
            "movnti qword ptr [{end} + {at} + 48], {value}",
            "movnti qword ptr [{end} + {at} + 56], {value}",
            "add {at}, 64",
            "jnz 2b",
            end = in(reg) end(page),
            at = inout(reg) PAGE_BYTES.wrapping_neg() => _,
            value = in(reg) value,
            options(nostack),
        );
    }
}

/// # Safety
/// The processor must have AVX2.
#[target_feature(enable = "avx2")]
unsafe fn repeat_wide_avx2(page: &PageWords, unit: &WideUnit) {
    // SAFETY: the loop reads exactly the unit and writes exactly the page, by moves that need no alignment.
    unsafe {
        asm!(
            "vmovdqu {a}, [{unit}]",
            "vmovdqu {b}, [{unit} + 32]",
            "vmovdqu {c}, [{unit} + 64]",
            "vmovdqu {d}, [{unit} + 96]",
            "2:",
            "vmovdqu [{end} + {at}], {a}",
            "vmovdqu [{end} + {at} + 32], {b}",
            "vmovdqu [{end} + {at} + 64], {c}",
            "vmovdqu [{end} + {at} + 96], {d}",
            "add {at}, 128",
            "jnz 2b",
            unit = in(reg) unit.as_ptr(),
            end = in(reg) end(page),
            at = inout(reg) PAGE_BYTES.wrapping_neg() => _,
            a = out(ymm_reg) _, b = out(ymm_reg) _, c = out(ymm_reg) _, d = out(ymm_reg) _,
            options(nostack),
        );
    }
}

/// # Safety
/// The processor must have AVX2.
#[target_feature(enable = "avx2")]
unsafe fn mix_in_avx2(page: &PageWords, with: &PlainWords) {
    // SAFETY: the loop reads exactly the page and `with`, and writes exactly the page, by moves that need no alignment.
    unsafe {
        asm!(
            "2:",
            "vmovdqu {a}, [{with} + {at}]",
            "vmovdqu {b}, [{with} + {at} + 32]",
            "vpxor {a}, {a}, [{end} + {at}]",
            "vpxor {b}, {b}, [{end} + {at} + 32]",
            "vmovdqu [{end} + {at}], {a}",
            "vmovdqu [{end} + {at} + 32], {b}",
            "add {at}, 64",
            "jnz 2b",
            with = in(reg) with.as_ptr().cast::<u8>().wrapping_add(PAGE_BYTES),
            end = in(reg) end(page),
            at = inout(reg) PAGE_BYTES.wrapping_neg() => _,
            a = out(ymm_reg) _, b = out(ymm_reg) _,
            options(nostack),
        );
    }
}

/// # Safety
/// The processor must have AVX2, and `count` must be a multiple of 4 and at most 512.
#[target_feature(enable = "avx2")]
unsafe fn mixed_past_cache_avx2(page: &PageWords, with: &PlainWords, key: u64, count: usize) {
    let is_aligned = page.as_ptr().cast::<u8>().addr().is_multiple_of(32);
    if !is_aligned {
        // Pages of a region always are; the store faults on anything else.
        return (PORTABLE.mixed_past_cache)(page, with, key, count);
    }
    let start = page.as_ptr().cast_mut().cast::<u8>();
    let split_bytes = count * size_of::<u64>();
    // SAFETY: both loops together write exactly the page, aligned as the store needs, and the first reads as much of
    // `with` as it writes; either is left out when its part is empty.
    unsafe {
        asm!(
            "vmovq {key:x}, {value}",
            "vpbroadcastq {key}, {key:x}",
            "xor {at:e}, {at:e}",
            "cmp {at}, {split}",
            "je 3f",
            "2:",
            "vpxor {a}, {key}, [{with} + {at}]",
            "vmovntdq [{start} + {at}], {a}",
            "add {at}, 32",
            "cmp {at}, {split}",
            "jb 2b",
            "3:",
            "cmp {at}, {bytes}",
            "je 5f",
            "4:",
            "vmovntdq [{start} + {at}], {key}",
            "add {at}, 32",
            "cmp {at}, {bytes}",
            "jb 4b",
            "5:",
            value = in(reg) key,
            with = in(reg) with.as_ptr(),
            start = in(reg) start,
            split = in(reg) split_bytes,
            bytes = const PAGE_BYTES,
            at = out(reg) _,
            key = out(ymm_reg) _, a = out(ymm_reg) _,
            options(nostack),
        );
    }
}

#[inline]
pub(super) fn settle() {
    // SAFETY: the instruction orders stores and does nothing else.
    unsafe { asm!("sfence", options(nostack, preserves_flags)) }
}

#[inline]
pub(super) fn prefetch(word: &AtomicU64) {
    // SAFETY: the instruction changes no memory that a program can see. Processors that do not know it do nothing.
    unsafe {
        asm!("prefetchw [{}]", in(reg) word.as_ptr(), options(nostack, preserves_flags, readonly));
    }
}
