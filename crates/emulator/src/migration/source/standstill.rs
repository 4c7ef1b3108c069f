//! How long the guest may stand still while nothing moves.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sterna_wire::control::{HostConfig, Phase};

use super::connection::STALL_TIMEOUT;
use crate::migration::connections::Connections;
use crate::migration::gate::Gate;
use crate::migration::pacer::Pacer;
use crate::migration::progress::Progress;

/// Shortest time without progress that counts: long for a network that hiccups or a machine that is busy, short for whoever waits for the guest.
const LEAST: Duration = Duration::from_secs(5);

/// A user who allows a longer downtime has more patience; that much more.
const DOWNTIME_LIMITS: u32 = 10;

/// Bytes that leave at once and are paid for afterwards, beside the state of the devices.
const BURST_BYTES: u64 = 64 << 10;

/// How long a destination may need to forget a GiB that post-copy brings later, without reading meanwhile.
const FORGETTING_PER_GIB: Duration = Duration::from_secs(1);

/// How often it looks.
const LOOK: Duration = Duration::from_millis(50);

/// Gives a migration up when its guest stands still and nothing moves.
///
/// While the guest runs, a peer that hangs costs nothing, and the scenario's limits are what ends the migration.
/// From the stop to the commit point the guest pays for each moment, and it is still whole at the source: better to let it run on than to wait for a peer that may never answer.
///
/// Progress is what the peer's machine acknowledges, since our own buffers take megabytes that nobody will read, and since a slow way takes seconds for what they hold.
/// What the pacer lets through counts as well: a limit may keep everything waiting.
pub(super) struct Standstill {
    ending: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the watch looks at.
pub(super) struct Watched {
    pub(super) gate: Arc<Gate>,
    pub(super) progress: Arc<Progress>,
    pub(super) pacer: Arc<Pacer>,
    pub(super) connections: Connections,
    pub(super) config: Arc<HostConfig>,
}

impl Standstill {
    /// Watches until it is dropped.
    pub(super) fn watch(watched: Watched) -> std::io::Result<Standstill> {
        let (ending, ended) = channel();
        let thread = std::thread::Builder::new()
            .name("standstill".to_owned())
            .spawn(move || watched.watch(&ended))?;
        Ok(Standstill { ending: Some(ending), thread: Some(thread) })
    }
}

impl Drop for Standstill {
    fn drop(&mut self) {
        drop(self.ending.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Watched {
    fn watch(&self, ended: &Receiver<()>) {
        let mut marks = Vec::new();
        let mut moved_at = Instant::now();
        while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            let mut now = self.connections.marks();
            now.push(self.pacer.sent_bytes());
            if now != marks || !self.is_urgent() {
                (marks, moved_at) = (now, Instant::now());
                continue;
            }
            let patience = patience(&self.config, self.gate.downtime_limit_ns());
            if moved_at.elapsed() > patience {
                return self.give_up(patience);
            }
        }
    }

    /// Whether the guest stands still, or shall and does not: a side that hangs keeps even an order to stop from being obeyed.
    fn is_urgent(&self) -> bool {
        match self.progress.phase() {
            Phase::Switchover => true,
            Phase::Active => self.gate.wants_pause() || self.gate.wants_postcopy(),
            _ => false,
        }
    }

    fn give_up(&self, patience: Duration) {
        let why = match self.progress.phase() {
            Phase::Active => "although the guest was to be stopped",
            _ => "while the guest stood still",
        };
        let text =
            format!("The destination has taken nothing for {:.1} s {why}", patience.as_secs_f64());
        if self.gate.give_up(text) {
            self.connections.cut();
        }
    }
}

/// How long nothing may move: ten downtime limits, but 5 to 30 s, and what the way and the work need besides.
pub(super) fn patience(config: &HostConfig, downtime_limit_ns: u64) -> Duration {
    let chosen = Duration::from_nanos(downtime_limit_ns).saturating_mul(DOWNTIME_LIMITS);
    let round_trip = Duration::from_nanos(config.link_latency_ns).saturating_mul(2);
    let limit = config.max_bandwidth_bytes_per_second.filter(|_| config.limit_in_switchover);
    let slowest = [config.link_bytes_per_second, limit].into_iter().flatten().min();
    let burst = slowest.map_or(Duration::ZERO, |rate| {
        let bytes = config.device_state_bytes.saturating_add(BURST_BYTES);
        Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64)
    });
    let gib = config.memory_bytes as f64 / f64::from(1 << 30);
    let forgetting =
        config.postcopy.as_ref().map_or(Duration::ZERO, |_| FORGETTING_PER_GIB.mul_f64(gib));
    chosen.clamp(LEAST, STALL_TIMEOUT) + round_trip + burst + forgetting
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_wire::control::{Side, Techniques};

    fn config() -> HostConfig {
        HostConfig {
            side: Side::Source,
            paused: false,
            memory_bytes: 1 << 30,
            ballast_bytes: 0,
            workload: String::new(),
            huge_pages: "none".to_owned(),
            prealloc: true,
            locked: false,
            cpus: Vec::new(),
            numa_nodes: Vec::new(),
            tracker: "auto".to_owned(),
            sample_interval_ns: 1,
            max_bandwidth_bytes_per_second: None,
            limit_in_switchover: false,
            downtime_limit_ns: 0,
            zero_page: true,
            multifd: None,
            postcopy: None,
            device_state_bytes: 36 << 10,
            link_latency_ns: 0,
            link_bytes_per_second: None,
            techniques: Techniques::default(),
            answers_probes: false,
            faults: String::new(),
            tls_name: None,
            breakage: None,
        }
    }

    #[test]
    fn patience_follows_the_downtime_limit_and_the_way() {
        #[track_caller]
        fn check(config: &HostConfig, downtime_limit_ms: u64, expected_ms: u64) {
            let found = patience(config, downtime_limit_ms * 1_000_000);
            assert_eq!(found, Duration::from_millis(expected_ms));
        }
        check(&config(), 300, 5_000);
        check(&config(), 1_200, 12_000);
        check(&config(), 3_600_000, 30_000);
        check(&HostConfig { link_latency_ns: 300_000_000, ..config() }, 300, 5_600);
        // 100 KiB leave at once and take two seconds.
        let slow = Some(50 << 10);
        check(&HostConfig { link_bytes_per_second: slow, ..config() }, 300, 7_000);
        let limited = HostConfig { max_bandwidth_bytes_per_second: slow, ..config() };
        check(&limited, 300, 5_000);
        check(&HostConfig { limit_in_switchover: true, ..limited }, 300, 7_000);
    }
}
