//! CRC-32C (Castagnoli), as iSCSI and the migration stream use it.

/// CRC-32C of `bytes`; to continue an earlier one, give its result as `seed`, else 0.
#[must_use]
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    // SAFETY: the range is that of a slice.
    unsafe { update(seed, bytes.as_ptr(), bytes.len()) }
}

/// # Safety
/// `from` must point to `bytes` readable bytes.
pub(crate) unsafe fn update(seed: u32, from: *const u8, bytes: usize) -> u32 {
    let mut crc = !seed;
    for index in 0..bytes {
        // SAFETY: `index` stays within the range.
        crc ^= u32::from(unsafe { from.add(index).read_volatile() });
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82F6_3B78 & 0u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}
