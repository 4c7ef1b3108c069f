//! CRC-32C (Castagnoli), as iSCSI and the migration stream use it.
//!
//! The polynomial is kept bit-reversed, as the processor's instruction has it: bit 31 of a
//! remainder stands for x^0.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// CRC-32C of `bytes`; to continue an earlier one, give its result as `seed`, else 0.
#[must_use]
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    !match hardware_kernel() {
        // SAFETY: the range is that of a slice.
        Some(kernel) => unsafe { kernel(!seed, bytes.as_ptr(), bytes.len()) },
        None => update_by_table(!seed, bytes.iter().copied()),
    }
}

/// [`crc32c`] of words that other threads may be writing; each is read once.
pub(crate) fn crc32c_of_words(seed: u32, words: &[AtomicU64]) -> u32 {
    !match hardware_kernel() {
        // SAFETY: the range is that of a slice.
        Some(kernel) => unsafe { kernel(!seed, words.as_ptr().cast(), size_of_val(words)) },
        None => update_by_table(!seed, words.iter().flat_map(|it| it.load(Relaxed).to_ne_bytes())),
    }
}

/// Continues the bare remainder `crc`, without the inversions before and after, over `bytes`
/// readable bytes.
type Kernel = unsafe fn(crc: u32, from: *const u8, bytes: usize) -> u32;

/// The assembly for this processor, if there is some.
#[inline]
fn hardware_kernel() -> Option<Kernel> {
    static KERNEL: OnceLock<Option<Kernel>> = OnceLock::new();
    *KERNEL.get_or_init(choose)
}

fn choose() -> Option<Kernel> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("sse4.2") && is_x86_feature_detected!("pclmulqdq") {
        return Some(hardware::update);
    }
    None
}

const POLYNOMIAL: u32 = 0x82F6_3B78;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = times_x(crc);
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// Multiplies by x, modulo the polynomial.
const fn times_x(crc: u32) -> u32 {
    (crc >> 1) ^ (POLYNOMIAL & 0_u32.wrapping_sub(crc & 1))
}

fn update_by_table(crc: u32, bytes: impl Iterator<Item = u8>) -> u32 {
    bytes.fold(crc, |crc, byte| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)])
}

/// The crc32 instruction takes 8 bytes a cycle, but its result three cycles later. So three streams
/// run through memory side by side, each a lane of a block, and are joined at its end.
///
/// Joining moves the remainder of a lane past the bytes of the lanes after it, that is, multiplies
/// it by x^(8 × bytes). One carry-less multiplication by a constant does so, and the crc32
/// instruction itself reduces the product: it takes 64 bits and multiplies by x^32 on its way. A
/// product of two reversed numbers is one place short, therefore the constant for n bits is x^(n -
/// 33).
#[cfg(target_arch = "x86_64")]
pub(super) mod hardware {
    use std::arch::{asm, x86_64::*};

    use super::times_x;

    /// Bytes of a lane: a page is one block and 16 bytes.
    const LONG: usize = 1360;
    /// For what is left of a long run, and for frame headers.
    const SHORT: usize = 64;

    const LONG_SHIFTS: [u32; 2] = [shift_constant(2 * LONG), shift_constant(LONG)];
    const SHORT_SHIFTS: [u32; 2] = [shift_constant(2 * SHORT), shift_constant(SHORT)];

    /// x^(8 × bytes - 33) modulo the polynomial.
    pub(in super::super) const fn shift_constant(bytes: usize) -> u32 {
        let mut power = 0x8000_0000; // x^0
        let mut left = 8 * bytes - 33;
        while left > 0 {
            power = times_x(power);
            left -= 1;
        }
        power
    }

    /// # Safety
    /// `from` must point to `bytes` readable bytes; the processor must have SSE4.2 and PCLMULQDQ.
    #[target_feature(enable = "sse4.2,pclmulqdq")]
    pub(super) unsafe fn update(mut crc: u32, mut from: *const u8, mut bytes: usize) -> u32 {
        // SAFETY: each step takes as many bytes as are counted off, and no more than are left.
        unsafe {
            while bytes >= 3 * LONG {
                crc = block(crc, from, LONG, LONG_SHIFTS);
                from = from.add(3 * LONG);
                bytes -= 3 * LONG;
            }
            while bytes >= 3 * SHORT {
                crc = block(crc, from, SHORT, SHORT_SHIFTS);
                from = from.add(3 * SHORT);
                bytes -= 3 * SHORT;
            }
            tail(crc, from, bytes)
        }
    }

    /// Three lanes of `lane` bytes, a positive multiple of 8.
    ///
    /// # Safety
    /// `from` must point to 3 × `lane` readable bytes.
    #[inline]
    #[target_feature(enable = "sse4.2,pclmulqdq")]
    unsafe fn block(crc: u32, from: *const u8, lane: usize, shifts: [u32; 2]) -> u32 {
        let (mut first, mut second, mut third) = (u64::from(crc), 0_u64, 0_u64);
        // SAFETY: the loop reads 8 bytes at a time from each lane, within the range that the caller
        // promises, and writes no memory; assembly, because others may write what it reads (see
        // `Region`).
        unsafe {
            asm!(
                "2:",
                "crc32 {first}, qword ptr [{from}]",
                "crc32 {second}, qword ptr [{from} + {lane}]",
                "crc32 {third}, qword ptr [{from} + 2*{lane}]",
                "add {from}, 8",
                "cmp {from}, {end}",
                "jne 2b",
                first = inout(reg) first,
                second = inout(reg) second,
                third = inout(reg) third,
                from = inout(reg) from => _,
                lane = in(reg) lane,
                end = in(reg) from.wrapping_add(lane),
                options(nostack, readonly),
            );
        }
        let moved = multiply(first, shifts[0]) ^ multiply(second, shifts[1]);
        (third ^ _mm_crc32_u64(0, moved)) as u32
    }

    /// Carry-less product of two remainders; not yet reduced.
    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    pub(in super::super) fn multiply(crc: u64, constant: u32) -> u64 {
        let product = _mm_clmulepi64_si128::<0>(
            _mm_cvtsi64_si128(crc.cast_signed()),
            _mm_cvtsi64_si128(i64::from(constant)),
        );
        _mm_cvtsi128_si64(product).cast_unsigned()
    }

    /// # Safety
    /// `from` must point to `bytes` readable bytes.
    #[inline]
    #[target_feature(enable = "sse4.2")]
    unsafe fn tail(crc: u32, from: *const u8, bytes: usize) -> u32 {
        let mut crc = u64::from(crc);
        let end = from.wrapping_add(bytes);
        let words_end = from.wrapping_add(bytes & !7);
        // SAFETY: the first loop ends at the last whole 8 bytes, the second at the last byte;
        // neither writes memory.
        unsafe {
            asm!(
                "2:",
                "cmp {from}, {words_end}",
                "je 3f",
                "crc32 {crc}, qword ptr [{from}]",
                "add {from}, 8",
                "jmp 2b",
                "3:",
                "cmp {from}, {end}",
                "je 4f",
                "crc32 {crc:e}, byte ptr [{from}]",
                "inc {from}",
                "jmp 3b",
                "4:",
                crc = inout(reg) crc,
                from = inout(reg) from => _,
                words_end = in(reg) words_end,
                end = in(reg) end,
                options(nostack, readonly),
            );
        }
        crc as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_table(seed: u32, bytes: &[u8]) -> u32 {
        !update_by_table(!seed, bytes.iter().copied())
    }

    #[test]
    fn known_values() {
        let check = |bytes: &[u8], expected: u32| {
            assert_eq!(crc32c(0, bytes), expected, "{bytes:?}");
            assert_eq!(by_table(0, bytes), expected, "{bytes:?} by table");
        };
        check(b"", 0);
        check(b"a", 0xC1D0_4330);
        check(b"123456789", 0xE306_9283);
        check(&[0; 32], 0x8A91_36AA);
        check(&[0xFF; 32], 0x62A8_AB43);
        check(&(0..32).collect::<Vec<u8>>(), 0x46DD_794E);
    }

    #[test]
    fn every_length_and_alignment_agrees_with_the_table() {
        let bytes: Vec<u8> =
            (0..9000_u32).map(|it| (it.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let lengths = (0..420).chain([4079, 4080, 4081, 4095, 4096, 4097, 8159, 8160, 8192, 8990]);
        for length in lengths {
            for start in [0, 1, 3, 8] {
                let part = &bytes[start..start + length];
                let seed = (length as u32).wrapping_mul(0x0101_0101);
                assert_eq!(crc32c(seed, part), by_table(seed, part), "{start} + {length}");
            }
        }
    }

    #[test]
    fn pieces_chain() {
        let bytes: Vec<u8> = (0..10_000_u32).map(|it| ((it * it) >> 3) as u8).collect();
        let whole = crc32c(0, &bytes);
        for cut in [0, 1, 191, 4080, 4096, 9999] {
            assert_eq!(crc32c(crc32c(0, &bytes[..cut]), &bytes[cut..]), whole, "cut at {cut}");
        }
    }

    #[test]
    fn one_bit_changes_the_sum() {
        let mut page = vec![0_u8; 4096];
        let before = crc32c(0, &page);
        for bit in (0..4096 * 8).step_by(509) {
            page[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(crc32c(0, &page), before, "bit {bit}");
            page[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
