//! The arithmetic of a token bucket; who holds the state is the caller's choice.
//!
//! The state is one moment: when the bucket would be empty if nothing more were taken. Time up to now is credit, time ahead is debt.

/// Longest time worth of tokens that may gather: the size of a burst.
///
/// QEMU hands out the budget of 100 ms at once and overshoots by a tenth of a second's rate; 10 ms keep a limit honest over short times too.
pub const QUANTUM_NS: u64 = 10_000_000;

/// Most bytes to take at once at `bytes_per_second` among `sharers` of one bucket, so that no burst exceeds a quantum; between `least` and `most`.
pub fn quantum_bytes(bytes_per_second: u64, sharers: u64, least: u64, most: u64) -> u64 {
    (u128::from(bytes_per_second) * u128::from(QUANTUM_NS / sharers) / 1_000_000_000)
        .clamp(u128::from(least), u128::from(most)) as u64
}

/// The bucket's moment after `bytes` were taken at `now_ns`, when it was `paid_until_ns` before. Unused time counts for at most one quantum.
pub fn pay(paid_until_ns: u64, bytes: u64, bytes_per_second: u64, now_ns: u64) -> u64 {
    paid_until_ns
        .max(now_ns.saturating_sub(QUANTUM_NS))
        .saturating_add(cost_ns(bytes, bytes_per_second))
}

/// How long `bytes` take at a rate; a rate of 0 counts as 1.
pub fn cost_ns(bytes: u64, bytes_per_second: u64) -> u64 {
    (u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second.max(1))) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_time_is_worth_one_quantum_and_debt_is_kept() {
        let second = 1_000_000_000;
        assert_eq!(pay(0, 1_000, 1_000_000, second), second - QUANTUM_NS + 1_000_000);
        assert_eq!(pay(second + 5, 1_000, 1_000_000, second), second + 5 + 1_000_000);
        assert_eq!(cost_ns(7, 0), 7_000_000_000);
    }

    #[test]
    fn quanta_follow_the_rate_and_the_sharers_within_bounds() {
        assert_eq!(quantum_bytes(10_000_000, 1, 4096, 1 << 20), 100_000);
        assert_eq!(quantum_bytes(10_000_000, 4, 4096, 1 << 20), 25_000);
        assert_eq!(quantum_bytes(1, 1, 4096, 1 << 20), 4096);
        assert_eq!(quantum_bytes(u64::MAX, 1, 4096, 1 << 20), 1 << 20);
    }
}
