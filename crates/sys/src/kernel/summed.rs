//! Copying a page, testing it for zero and summing it up in one walk over it.
//!
//! A sender needs all three for every page. Apart they cost a walk through memory and one more
//! through the cache; together they cost the walk through memory, because the processor sums up
//! while it waits for the next bytes.

use std::sync::{OnceLock, atomic::AtomicU64};

use super::{crc::crc32c, page};
use crate::PAGE_BYTES;

/// Copies a page, sums up the copy, continuing from `seed`, and says whether it is all zero.
///
/// # Safety
/// `from` must point to a page of a live mapping, `to` to [`PAGE_BYTES`] bytes that nobody else
/// uses.
#[inline]
pub(crate) unsafe fn copy_out(from: *const AtomicU64, to: *mut u8, seed: u32) -> (bool, u32) {
    // SAFETY: the caller promises what the kernels need.
    unsafe { (kernel())(from, to, seed) }
}

type Kernel = unsafe fn(from: *const AtomicU64, to: *mut u8, seed: u32) -> (bool, u32);

#[inline]
fn kernel() -> Kernel {
    static KERNEL: OnceLock<Kernel> = OnceLock::new();
    *KERNEL.get_or_init(choose)
}

fn choose() -> Kernel {
    #[cfg(target_arch = "x86_64")]
    if folding::is_available() {
        return folding::copy_out;
    }
    one_by_one
}

/// First the copy, then the sum of the copy, which is still in the nearest cache.
///
/// # Safety
/// See [`copy_out`].
unsafe fn one_by_one(from: *const AtomicU64, to: *mut u8, seed: u32) -> (bool, u32) {
    // SAFETY: the caller promises both; the copy belongs to it alone.
    unsafe {
        let is_zero = page::copy_out(from, to);
        (is_zero, crc32c(seed, std::slice::from_raw_parts(to, PAGE_BYTES)))
    }
}

/// The crc32 instruction takes 8 bytes a cycle and cannot be had in vectors; carry-less
/// multiplication can.
///
/// The remainder of a text is that of another one in which the first 16 bytes were multiplied by
/// x^n and added n bits further on. So sixteen lanes of 16 bytes are carried along: each step
/// multiplies them by x^2048, that is, moves them on by the 256 bytes of all lanes, and adds what is
/// found there. The 256 bytes that remain at the end of a page stand for all of it, and go through
/// the crc32 instruction. Constants are as those for joining lanes in [`super::crc`], for n bits
/// x^(n - 33), one for each half of a lane.
///
/// Vectors of 512 bits, unlike those of the other kernels: with 256 bits the multiplications cost
/// more than the memory (30 against 38 GB/s from memory, 35 against 61 from the cache, where a copy
/// with a sum after it makes 19), and the processors that slow down for wide vectors have none of
/// these multiplications.
#[cfg(target_arch = "x86_64")]
mod folding {
    use std::{arch::asm, arch::x86_64::*, sync::atomic::AtomicU64};

    use super::super::crc::hardware::{multiply, shift_constant};
    use crate::PAGE_BYTES;

    const STEP: usize = 256;

    /// A lane's first half has its own 8 bytes more to go.
    const FOLD: [u64; 8] = {
        let (first, second) = (shift_constant(STEP + 8) as u64, shift_constant(STEP) as u64);
        [first, second, first, second, first, second, first, second]
    };
    const PAGE_SHIFT: u32 = shift_constant(PAGE_BYTES);

    pub(super) fn is_available() -> bool {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("vpclmulqdq")
            && is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("sse4.2")
    }

    /// # Safety
    /// See [`super::copy_out`]; [`is_available`] must have said so.
    #[target_feature(enable = "avx512f,vpclmulqdq,pclmulqdq,sse4.2")]
    pub(super) unsafe fn copy_out(from: *const AtomicU64, to: *mut u8, seed: u32) -> (bool, u32) {
        // SAFETY: the caller promises what the loop needs.
        let (is_zero, folded) = unsafe { copy_and_fold(from, to) };
        let page = folded.iter().fold(0, |crc, word| _mm_crc32_u64(crc, *word));
        // What came before is moved past the page apart from it, so that no page has to wait for
        // the sum of the one before.
        let before = _mm_crc32_u64(0, multiply(u64::from(!seed), PAGE_SHIFT));
        (is_zero, !((before ^ page) as u32))
    }

    /// # Safety
    /// See [`super::copy_out`]; the processor must have AVX-512F and VPCLMULQDQ.
    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    unsafe fn copy_and_fold(from: *const AtomicU64, to: *mut u8) -> (bool, [u64; STEP / 8]) {
        let is_zero: u8;
        let mut folded = [0; STEP / 8];
        // SAFETY: the loop reads exactly a page from `from` and writes one to `to`, by moves that
        // need no alignment; the caller promises both. Besides it reads FOLD and fills `folded`.
        // All registers it changes are named.
        unsafe {
            asm!(
                "vmovdqu64 {fold}, [{constants}]",
                "vpxorq {or}, {or}, {or}",
                "vpxorq {s0}, {s0}, {s0}",
                "vpxorq {s1}, {s1}, {s1}",
                "vpxorq {s2}, {s2}, {s2}",
                "vpxorq {s3}, {s3}, {s3}",
                "2:",
                "vmovdqu64 {a}, [{from} + {at}]",
                "vmovdqu64 {b}, [{from} + {at} + 64]",
                "vmovdqu64 {c}, [{from} + {at} + 128]",
                "vmovdqu64 {d}, [{from} + {at} + 192]",
                "vmovdqu64 [{to} + {at}], {a}",
                "vmovdqu64 [{to} + {at} + 64], {b}",
                "vmovdqu64 [{to} + {at} + 128], {c}",
                "vmovdqu64 [{to} + {at} + 192], {d}",
                "vpclmulqdq {t0}, {s0}, {fold}, 0x00",
                "vpclmulqdq {t1}, {s1}, {fold}, 0x00",
                "vpclmulqdq {t2}, {s2}, {fold}, 0x00",
                "vpclmulqdq {t3}, {s3}, {fold}, 0x00",
                "vpclmulqdq {s0}, {s0}, {fold}, 0x11",
                "vpclmulqdq {s1}, {s1}, {fold}, 0x11",
                "vpclmulqdq {s2}, {s2}, {fold}, 0x11",
                "vpclmulqdq {s3}, {s3}, {fold}, 0x11",
                "vpxorq {t0}, {t0}, {a}",
                "vpxorq {t1}, {t1}, {b}",
                "vpxorq {t2}, {t2}, {c}",
                "vpxorq {t3}, {t3}, {d}",
                "vpxorq {s0}, {s0}, {t0}",
                "vpxorq {s1}, {s1}, {t1}",
                "vpxorq {s2}, {s2}, {t2}",
                "vpxorq {s3}, {s3}, {t3}",
                "vporq {a}, {a}, {b}",
                "vporq {c}, {c}, {d}",
                "vporq {or}, {or}, {a}",
                "vporq {or}, {or}, {c}",
                "add {at}, 256",
                "jnz 2b",
                "vmovdqu64 [{folded}], {s0}",
                "vmovdqu64 [{folded} + 64], {s1}",
                "vmovdqu64 [{folded} + 128], {s2}",
                "vmovdqu64 [{folded} + 192], {s3}",
                "vptestmq k1, {or}, {or}",
                "kortestw k1, k1",
                "setz {is_zero}",
                constants = in(reg) FOLD.as_ptr(),
                folded = in(reg) folded.as_mut_ptr(),
                // Counting from -PAGE_BYTES up to zero spares a comparison.
                from = in(reg) from.cast::<u8>().wrapping_add(PAGE_BYTES),
                to = in(reg) to.wrapping_add(PAGE_BYTES),
                at = inout(reg) PAGE_BYTES.wrapping_neg() => _,
                is_zero = out(reg_byte) is_zero,
                fold = out(zmm_reg) _, or = out(zmm_reg) _,
                a = out(zmm_reg) _, b = out(zmm_reg) _, c = out(zmm_reg) _, d = out(zmm_reg) _,
                s0 = out(zmm_reg) _, s1 = out(zmm_reg) _, s2 = out(zmm_reg) _, s3 = out(zmm_reg) _,
                t0 = out(zmm_reg) _, t1 = out(zmm_reg) _, t2 = out(zmm_reg) _, t3 = out(zmm_reg) _,
                out("k1") _,
                options(nostack),
            );
        }
        (is_zero != 0, folded)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::WORDS_PER_PAGE;

    fn all() -> Vec<(&'static str, Kernel)> {
        let mut all: Vec<(&'static str, Kernel)> = vec![("one by one", one_by_one)];
        #[cfg(target_arch = "x86_64")]
        if folding::is_available() {
            all.push(("folding", folding::copy_out));
        } else {
            eprintln!("skipped: this processor has no AVX-512 with VPCLMULQDQ");
        }
        all
    }

    /// Copies `page` to odd addresses by every kernel and compares with the slow way.
    fn check(page: &[AtomicU64], seed: u32) {
        let expected: Vec<u8> = page.iter().flat_map(|it| it.load(Relaxed).to_ne_bytes()).collect();
        for (name, kernel) in all() {
            for offset in [0, 1, 31] {
                let mut to = vec![0xEE; PAGE_BYTES + 64];
                // SAFETY: the page is whole, and `to` has room for a page after `offset`.
                let (is_zero, sum) =
                    unsafe { kernel(page.as_ptr(), to.as_mut_ptr().add(offset), seed) };
                assert_eq!(is_zero, expected.iter().all(|it| *it == 0), "{name}");
                assert_eq!(sum, crc32c(seed, &expected), "{name}, seed {seed:#x}");
                assert_eq!(&to[offset..offset + PAGE_BYTES], expected, "{name}");
                let outside = to[..offset].iter().chain(&to[offset + PAGE_BYTES..]);
                assert!(outside.into_iter().all(|it| *it == 0xEE), "{name} wrote outside");
            }
        }
    }

    #[test]
    fn every_kernel_gives_copy_sum_and_zero_test() {
        let page: Vec<AtomicU64> = (0..WORDS_PER_PAGE).map(|_| AtomicU64::new(0)).collect();
        for seed in [0, 1, 0x1234_5678, u32::MAX] {
            check(&page, seed);
        }
        for (index, word) in page.iter().enumerate() {
            word.store(1 << (index * 13 % 64), Relaxed);
            check(&page, 7);
            word.store(0, Relaxed);
        }
        for (index, word) in page.iter().enumerate() {
            word.store((index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15), Relaxed);
        }
        for seed in [0, 1, 0x8000_0000, u32::MAX] {
            check(&page, seed);
        }
    }
}
