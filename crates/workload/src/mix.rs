//! The one source of pseudo-randomness: pure functions from numbers to well-mixed numbers.

/// 2^64 divided by the golden ratio, odd: multiples of it spread evenly over the 64-bit circle.
pub(crate) const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Mixes all bits of `x` into all bits of the result, one to one.
///
/// This is the finaliser of SplitMix64 (Stafford's variant 13): two multiplications, no state, so that
/// independent calls overlap in the processor.
#[inline]
pub(crate) fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Number `index` of the sequence that `key` names.
#[inline]
pub(crate) fn draw(key: u64, index: u64) -> u64 {
    mix(key.wrapping_add(index.wrapping_mul(GOLDEN)))
}

/// A key for one of several independent sequences under the same seed.
#[inline]
pub(crate) fn key(seed: u64, purpose: u64, member: u64) -> u64 {
    mix(mix(mix(seed ^ GOLDEN).wrapping_add(purpose)).wrapping_add(member.wrapping_mul(GOLDEN)))
}

/// The upper half of the product: maps a full-range `x` to `0..bound` without a division.
#[inline]
pub(crate) fn scale(x: u64, bound: u64) -> u64 {
    ((u128::from(x) * u128::from(bound)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_splitmix64() {
        // The published generator with state 0 adds the constant before it mixes, hence indices from 1.
        let published = [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F_u64];
        for (index, expected) in published.into_iter().enumerate() {
            assert_eq!(draw(0, index as u64 + 1), expected);
        }
    }

    #[test]
    fn scale_covers_the_range_and_stays_inside() {
        for bound in [1, 2, 3, 1000, u64::MAX] {
            assert_eq!(scale(0, bound), 0);
            assert_eq!(scale(u64::MAX, bound), bound - 1);
        }
    }

    #[test]
    fn keys_differ_by_seed_purpose_and_member() {
        let keys = [key(1, 0, 0), key(2, 0, 0), key(1, 1, 0), key(1, 0, 1), key(1, 1, 1)];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys[i + 1..].iter().all(|b| a != b));
        }
    }
}
