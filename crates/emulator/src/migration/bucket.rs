//! Keeping to a bandwidth limit.

use std::sync::atomic::Ordering;

use sterna_converge::bucket;

use crate::shared_link::SharedWire;

/// A token bucket: bytes may leave when time has paid for them.
///
/// Time is passed in, so that the bucket can be tested without waiting; its arithmetic is in [`sterna_converge::bucket`].
#[derive(Debug, Clone)]
pub struct TokenBucket {
    bytes_per_second: Option<u64>,
    paid: Paid,
}

/// When the bucket would be empty if nothing more were taken: time up to now is credit, time ahead is debt.
#[derive(Debug, Clone)]
enum Paid {
    Own(u64),
    /// Buckets of several processes are one. Each looks before it takes, so all of them may take at once; their quanta are so much smaller that together they are one.
    Shared(SharedWire),
}

impl TokenBucket {
    /// A bucket that lets `bytes_per_second` pass, or everything.
    pub fn new(bytes_per_second: Option<u64>) -> TokenBucket {
        TokenBucket { bytes_per_second, paid: Paid::Own(0) }
    }

    /// A bucket that is one with those of other processes, which must have the same rate.
    pub fn shared(bytes_per_second: Option<u64>, wire: SharedWire) -> TokenBucket {
        TokenBucket { bytes_per_second, paid: Paid::Shared(wire) }
    }

    /// Changes the rate from now on; what was taken stays taken.
    pub fn set_rate(&mut self, bytes_per_second: Option<u64>) {
        self.bytes_per_second = bytes_per_second;
    }

    /// Most bytes that should be taken at once, so that no burst exceeds a quantum; at least `least`.
    pub fn quantum_bytes(&self, least: u64, most: u64) -> u64 {
        let Some(rate) = self.bytes_per_second else { return most };
        let sharers = match &self.paid {
            Paid::Own(_) => 1,
            Paid::Shared(wire) => wire.sharers(),
        };
        bucket::quantum_bytes(rate, sharers, least, most)
    }

    /// How long to wait before the next bytes may leave.
    pub fn wait_ns(&self, now_ns: u64) -> u64 {
        match self.bytes_per_second {
            Some(_) => self.paid_until_ns().saturating_sub(now_ns),
            None => 0,
        }
    }

    /// Takes bytes that leave now. Unused time counts for at most one quantum.
    pub fn take(&mut self, bytes: u64, now_ns: u64) {
        let Some(rate) = self.bytes_per_second else { return };
        let pay = |until_ns: u64| bucket::pay(until_ns, bytes, rate, now_ns);
        match &mut self.paid {
            Paid::Own(until_ns) => *until_ns = pay(*until_ns),
            Paid::Shared(wire) => {
                let word = wire.paid_until();
                let _ = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |it| Some(pay(it)));
            }
        }
    }

    fn paid_until_ns(&self) -> u64 {
        match &self.paid {
            Paid::Own(until_ns) => *until_ns,
            Paid::Shared(wire) => wire.paid_until().load(Ordering::Acquire),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_link::SharedLink;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    /// Sends `chunk` as often as allowed for `span_ns`, looking every `step_ns`; returns (time, bytes) of each send.
    fn run(bucket: &mut TokenBucket, chunk: u64, step_ns: u64, span_ns: u64) -> Vec<(u64, u64)> {
        let mut sent = Vec::new();
        let mut now = SECOND;
        while now < SECOND + span_ns {
            match bucket.wait_ns(now) {
                0 => {
                    bucket.take(chunk, now);
                    sent.push((now, chunk));
                }
                wait => now += wait.max(step_ns),
            }
        }
        sent
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let mut bucket = TokenBucket::new(None);
        bucket.take(u64::MAX, 5);
        assert_eq!(bucket.wait_ns(5), 0);
        assert_eq!(bucket.quantum_bytes(1, 1 << 20), 1 << 20);
    }

    #[test]
    fn quanta_follow_the_rate_within_bounds() {
        let quantum = |rate| TokenBucket::new(Some(rate)).quantum_bytes(4096, 1 << 20);
        assert_eq!(quantum(1), 4096);
        assert_eq!(quantum(10_000_000), 100_000);
        assert_eq!(quantum(u64::MAX), 1 << 20);
    }

    #[test]
    fn idle_time_is_worth_one_quantum_only() {
        let mut bucket = TokenBucket::new(Some(1_000_000));
        bucket.take(10_000, SECOND);
        assert_eq!(bucket.wait_ns(SECOND), 0);
        bucket.take(10_000, SECOND);
        assert_eq!(bucket.wait_ns(SECOND), 10_000_000);
    }

    #[test]
    fn several_that_share_a_wire_keep_to_its_rate_together() {
        let rate = 50_000_000;
        let link = SharedLink::new(4).unwrap();
        let wire = || SharedWire::open(link.path()).unwrap();
        let chunk = TokenBucket::shared(Some(rate), wire()).quantum_bytes(4096, 1 << 20);
        assert_eq!(chunk, 125_000, "a quantum of 10 ms for all of them");
        let mut buckets: Vec<TokenBucket> =
            (0..4).map(|_| TokenBucket::shared(Some(rate), wire())).collect();
        let mut sent = 0;
        for now in (SECOND..2 * SECOND).step_by(100_000) {
            // All of them look before one takes.
            let ready: Vec<bool> = buckets.iter().map(|it| it.wait_ns(now) == 0).collect();
            for (bucket, _) in buckets.iter_mut().zip(ready).filter(|it| it.1) {
                bucket.take(chunk, now);
                sent += chunk;
            }
        }
        let share = sent as f64 / rate as f64;
        assert!((0.98..1.02).contains(&share), "{share}");
    }

    proptest! {
        #[test]
        fn no_window_of_a_second_exceeds_the_rate_by_more_than_a_quantum_and_a_chunk(
            rate in 100_000u64..1_000_000_000,
            step_ns in 1u64..3_000_000,
        ) {
            let mut bucket = TokenBucket::new(Some(rate));
            let chunk = bucket.quantum_bytes(4096, 1 << 20);
            let sent = run(&mut bucket, chunk, step_ns, 3 * SECOND);
            let total: u64 = sent.iter().map(|it| it.1).sum();
            let (rate, chunk) = (rate as f64, chunk as f64);
            prop_assert!(total as f64 <= rate * 3.01 + 2.0 * chunk);
            prop_assert!(total as f64 >= rate * 3.0 * 0.99 - 2.0 * chunk);
        }
    }
}
