//! Which bytes of two pages differ.
//!
//! Both are copies that only the caller uses, so these are plain loads.

use std::sync::OnceLock;

use crate::PAGE_BYTES;

/// 64 bytes of a page are one word of a map.
const WORDS: usize = PAGE_BYTES / 64;

/// One bit for each byte of a page, the lowest of the first word for the first byte; set where two
/// pages differ.
pub type DiffMap = [u64; WORDS];

/// Compares two pages byte by byte.
#[must_use]
pub fn diff_map(old: &[u8; PAGE_BYTES], new: &[u8; PAGE_BYTES]) -> DiffMap {
    static KERNEL: OnceLock<Kernel> = OnceLock::new();
    let kernel = KERNEL.get_or_init(choose);
    // SAFETY: `choose` picks a kernel for which this processor has the instructions.
    unsafe { kernel(old, new) }
}

/// The processor must have the instructions that the kernel is made of.
type Kernel = unsafe fn(old: &[u8; PAGE_BYTES], new: &[u8; PAGE_BYTES]) -> DiffMap;

fn choose() -> Kernel {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") {
            return x86::diff_map_avx2;
        }
        // Every processor of this architecture has SSE2.
        x86::diff_map_sse2
    }
    #[cfg(not(target_arch = "x86_64"))]
    diff_map_portable
}

/// Word by word, because most words are equal; bytes are looked at only where a word differs.
#[cfg_attr(target_arch = "x86_64", allow(dead_code))]
fn diff_map_portable(old: &[u8; PAGE_BYTES], new: &[u8; PAGE_BYTES]) -> DiffMap {
    let mut map = [0; WORDS];
    let words = |page: &[u8; PAGE_BYTES], at: usize| {
        page.as_chunks::<8>().0.get(at).map_or(0, |bytes| u64::from_le_bytes(*bytes))
    };
    for at in 0..PAGE_BYTES / 8 {
        let differing = (words(old, at) ^ words(new, at)).to_le_bytes();
        if differing != [0; 8] {
            let bits = (0..8).fold(0, |bits, byte| bits | u64::from(differing[byte] != 0) << byte);
            map[at / 8] |= bits << (at % 8 * 8);
        }
    }
    map
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{DiffMap, PAGE_BYTES, WORDS};

    /// # Safety
    /// The processor must have AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn diff_map_avx2(old: &[u8; PAGE_BYTES], new: &[u8; PAGE_BYTES]) -> DiffMap {
        let mut map = [0; WORDS];
        for (word, bits) in map.iter_mut().enumerate() {
            let half = |at: usize| {
                // SAFETY: `at` is at most 4064, so 32 bytes from it lie within both pages; the loads
                // need no alignment.
                let (old, new) = unsafe {
                    (
                        _mm256_loadu_si256(old.as_ptr().add(at).cast()),
                        _mm256_loadu_si256(new.as_ptr().add(at).cast()),
                    )
                };
                !_mm256_movemask_epi8(_mm256_cmpeq_epi8(old, new)) as u32
            };
            *bits = u64::from(half(word * 64)) | u64::from(half(word * 64 + 32)) << 32;
        }
        map
    }

    /// # Safety
    /// The processor must have SSE2, as all of this architecture do.
    #[target_feature(enable = "sse2")]
    pub(super) unsafe fn diff_map_sse2(old: &[u8; PAGE_BYTES], new: &[u8; PAGE_BYTES]) -> DiffMap {
        let mut map = [0; WORDS];
        for (word, bits) in map.iter_mut().enumerate() {
            for quarter in 0..4 {
                let at = word * 64 + quarter * 16;
                // SAFETY: `at` is at most 4080, so 16 bytes from it lie within both pages; the loads
                // need no alignment.
                let (old, new) = unsafe {
                    (
                        _mm_loadu_si128(old.as_ptr().add(at).cast()),
                        _mm_loadu_si128(new.as_ptr().add(at).cast()),
                    )
                };
                let equal = _mm_movemask_epi8(_mm_cmpeq_epi8(old, new)) as u32;
                *bits |= u64::from(!equal & 0xffff) << (quarter * 16);
            }
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<(&'static str, Kernel)> {
        #[allow(unused_mut)]
        let mut all: Vec<(&'static str, Kernel)> =
            vec![("chosen", choose()), ("portable", |old, new| diff_map_portable(old, new))];
        #[cfg(target_arch = "x86_64")]
        all.push(("sse2", x86::diff_map_sse2));
        all
    }

    #[test]
    fn every_kernel_sees_every_byte_and_no_other() {
        let mut old = [0; PAGE_BYTES];
        for (at, byte) in old.iter_mut().enumerate() {
            *byte = (at * 7) as u8;
        }
        for (name, kernel) in all() {
            // SAFETY: the list has only kernels that this processor can run.
            let map = |new: &[u8; PAGE_BYTES]| unsafe { kernel(&old, new) };
            assert_eq!(map(&old), [0; WORDS], "{name}");
            for at in 0..PAGE_BYTES {
                let mut new = old;
                new[at] ^= 1 << (at % 8);
                let mut expected = [0; WORDS];
                expected[at / 64] = 1 << (at % 64);
                assert_eq!(map(&new), expected, "{name}, byte {at}");
            }
            let mut new = old;
            new.iter_mut().for_each(|it| *it = !*it);
            assert_eq!(map(&new), [u64::MAX; WORDS], "{name}");
        }
    }
}
