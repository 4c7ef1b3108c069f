//! The stand-in for the state of a guest's virtual devices: bytes that follow from the seed, so that the other side can
//! tell whether they arrived.
//!
//! Both sides make them before the guest is stopped, so that only sending and comparing them is downtime.

/// The state of devices that make `bytes` bytes.
pub fn state(bytes: u64, seed: u64) -> Vec<u8> {
    let byte =
        |at: u64| ((at ^ seed.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8;
    (0..bytes).map(byte).collect()
}

/// What is wrong with a state that arrived, if something is.
pub fn difference(found: &[u8], expected: &[u8]) -> Option<String> {
    if found.len() != expected.len() {
        return Some(format!("it has {} bytes in place of {}", found.len(), expected.len()));
    }
    let at = found.iter().zip(expected).position(|(found, expected)| found != expected)?;
    Some(format!("byte {at} of {} is not what the guest had", found.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_a_missing_byte_and_another_seed_are_found() {
        let good = state(1000, 7);
        assert_eq!(difference(&good, &good), None);
        for at in [0, 1, 500, 999] {
            let mut bad = good.clone();
            bad[at] ^= 4;
            let words = format!("byte {at} of 1000 is not what the guest had");
            assert_eq!(difference(&bad, &good), Some(words));
        }
        assert!(difference(&state(1000, 8), &good).is_some());
        assert_eq!(difference(&[], &good).unwrap(), "it has 0 bytes in place of 1000");
        assert_eq!(difference(&[], &[]), None);
    }
}
