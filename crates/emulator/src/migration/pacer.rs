//! One limit for all connections of a migration.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sterna_sys::clock::monotonic_ns;

use super::bucket::TokenBucket;
use super::gate::Gate;

/// Sleeps are cut into slices of this length, so that a cancel or a new limit is noticed.
const SLICE: Duration = Duration::from_millis(10);

/// Lets bytes leave when both the scenario's limit and the emulated wire have room for them, and counts them.
///
/// Tokens are taken before bytes are sent, whichever thread sends them.
/// QEMU's multifd threads count what they have sent only afterwards, so that each of them is a packet ahead of the limit; here sixteen connections keep to a limit as well as one does.
#[derive(Debug)]
pub struct Pacer {
    gate: Arc<Gate>,
    is_limited: AtomicBool,
    buckets: Mutex<Buckets>,
    sent_bytes: AtomicU64,
}

#[derive(Debug)]
struct Buckets {
    /// The limit of the scenario.
    limit: TokenBucket,
    /// The emulated wire.
    wire: TokenBucket,
}

/// The migration was cancelled while bytes waited to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

impl Pacer {
    /// A pacer that keeps to the gate's limit and to the emulated wire.
    pub fn new(gate: Arc<Gate>, wire: TokenBucket) -> Pacer {
        let buckets = Buckets { limit: TokenBucket::new(gate.max_bytes_per_second()), wire };
        Pacer {
            gate,
            is_limited: AtomicBool::new(true),
            buckets: Mutex::new(buckets),
            sent_bytes: AtomicU64::new(0),
        }
    }

    /// Whether the scenario's limit holds from now on; the wire's rate always does.
    pub fn set_limited(&self, is_limited: bool) {
        self.is_limited.store(is_limited, Ordering::Relaxed);
    }

    /// Most bytes to send at once, so that no burst exceeds what the limits allow in 10 ms; between `least` and `most`.
    pub fn quantum_bytes(&self, least: u64, most: u64) -> u64 {
        let buckets = self.lock();
        let quantum = |bucket: &TokenBucket| bucket.quantum_bytes(least, most);
        let wire = quantum(&buckets.wire);
        match self.is_limited.load(Ordering::Relaxed) {
            true => quantum(&buckets.limit).min(wire),
            false => wire,
        }
    }

    /// How long the emulated wire is busy with what has left already.
    pub fn wire_wait(&self) -> Duration {
        Duration::from_nanos(self.lock().wire.wait_ns(monotonic_ns()))
    }

    /// Waits until bytes may leave.
    pub fn wait(&self) -> Result<(), Cancelled> {
        self.admit(&mut self.lock())
    }

    /// Waits until `bytes` may leave and takes them; several threads are served one after the other.
    pub fn acquire(&self, bytes: u64) -> Result<(), Cancelled> {
        // The lock is held while waiting: whoever comes later would have to wait for these bytes too.
        let mut buckets = self.lock();
        self.admit(&mut buckets)?;
        self.pay(&mut buckets, bytes);
        Ok(())
    }

    /// Counts bytes that leave now, whatever the limits say.
    pub fn take(&self, bytes: u64) {
        self.pay(&mut self.lock(), bytes);
    }

    /// Bytes that have left so far, on all connections.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    fn admit(&self, buckets: &mut Buckets) -> Result<(), Cancelled> {
        loop {
            let is_limited = self.is_limited.load(Ordering::Relaxed);
            let limit = self.gate.max_bytes_per_second().filter(|_| is_limited);
            buckets.limit.set_rate(limit);
            let now_ns = monotonic_ns();
            let wait_ns = buckets.limit.wait_ns(now_ns).max(buckets.wire.wait_ns(now_ns));
            if wait_ns == 0 {
                return Ok(());
            }
            if self.gate.is_cancelled() {
                return Err(Cancelled);
            }
            std::thread::sleep(Duration::from_nanos(wait_ns).min(SLICE));
        }
    }

    fn pay(&self, buckets: &mut Buckets, bytes: u64) {
        let now_ns = monotonic_ns();
        buckets.limit.take(bytes, now_ns);
        buckets.wire.take(bytes, now_ns);
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn many_threads_keep_to_one_limit() {
        let rate = 20_000_000;
        let pacer = Pacer::new(Arc::new(Gate::new(1, Some(rate))), TokenBucket::new(None));
        let chunk = pacer.quantum_bytes(4096, 512 << 10);
        let started = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    while pacer.sent_bytes() < 6_000_000 {
                        pacer.acquire(chunk).unwrap();
                    }
                });
            }
        });
        let allowed = rate as f64 * started.elapsed().as_secs_f64() + 2.0 * chunk as f64;
        assert!((pacer.sent_bytes() as f64) <= allowed, "{} > {allowed}", pacer.sent_bytes());
    }

    #[test]
    fn a_lifted_limit_and_a_cancel_end_a_wait() {
        let gate = Arc::new(Gate::new(1, Some(1)));
        let pacer = Pacer::new(Arc::clone(&gate), TokenBucket::new(None));
        pacer.take(1000);
        pacer.set_limited(false);
        assert_eq!(pacer.acquire(1000), Ok(()));
        pacer.set_limited(true);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                pacer.take(1000);
                pacer.wait()
            });
            assert!(gate.cancel());
            assert_eq!(waiting.join().unwrap(), Err(Cancelled));
        });
        assert_eq!(pacer.sent_bytes(), 3000);
    }
}
