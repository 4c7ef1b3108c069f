//! virt-launcher's own account of a migration, as its log has it.

use jiff::Timestamp;
use serde_json::json;

use super::flight::Flight;
use super::model::standing;
use super::{Simulation, lock};

/// Simulated seconds between two lines.
const LINE_SECONDS: f64 = 4.0;

impl Simulation {
    /// The lines that are due, one every few simulated seconds.
    pub(super) fn tell_log(&self, uid: &str, flight: &mut Flight, elapsed: f64) {
        while flight.lines as f64 * LINE_SECONDS <= elapsed {
            let at = flight.lines as f64 * LINE_SECONDS;
            flight.lines += 1;
            let line = line(uid, flight, at);
            let key = (flight.guest.0.clone(), flight.source_pod.clone());
            lock(&self.server.shared).logs.entry(key).or_default().push(line);
        }
    }
}

fn line(uid: &str, flight: &Flight, at: f64) -> String {
    let standing = standing(&flight.load, at);
    let mib = |bytes: u64| bytes >> 20;
    let mbps = |rate: f64| (rate * 8.0 / 1e6) as u64;
    let (load, expected) = (&flight.load, standing.remaining_bytes as f64);
    let message = format!(
        "Migration info for {uid}: TimeElapsed:{}ms DataProcessed:{}MiB DataRemaining:{}MiB DataTotal:{}MiB MemoryProcessed:{}MiB MemoryRemaining:{}MiB MemoryTotal:{}MiB MemoryBandwidth:{}Mbps DirtyRate:{}Mbps Iteration:{} PostcopyRequests:0 ConstantPages:0 NormalPages:{} NormalData:{}MiB ExpectedDowntime:{}ms DiskMbps:0",
        (at * 1e3) as u64,
        mib(standing.processed_bytes),
        mib(standing.remaining_bytes),
        mib(load.memory_bytes),
        mib(standing.processed_bytes),
        mib(standing.remaining_bytes),
        mib(load.memory_bytes),
        mbps(load.bandwidth_bytes_per_second),
        mbps(load.dirty_bytes_per_second),
        standing.iteration,
        standing.processed_bytes / 4096,
        mib(standing.processed_bytes),
        (expected / load.bandwidth_bytes_per_second * 1e3) as u64,
    );
    json!({
        "component": "virt-launcher", "level": "info", "msg": message,
        "timestamp": Timestamp::now().to_string(),
    })
    .to_string()
}
