//! What a measured throughput means for migrations.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What follows from the throughput that was measured.
///
/// Derived, not measured: memory is sent once at that throughput, and then as QEMU's algorithm has it. A
/// pass ends when no more is pending than can be sent within the downtime limit, less what half of a
/// stretch of 50 ms sends; pages are written at random all over the memory, each write at a page of its
/// own choice; those that are still pending do not become dirty a second time; at most 30 passes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamEstimate {
    /// The throughput it is derived from: bytes of bulk pages per second, as they arrived.
    pub throughput_bytes_per_second: f64,
    /// Which way these pages went; where both were measured, the slower one.
    pub way: super::LaneWay,
    /// One row for each size of a guest.
    pub sizes: Vec<EstimateForSize>,
}

/// What follows for a guest of one size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EstimateForSize {
    /// The guest's memory.
    pub memory_bytes: u64,
    /// How long its memory takes once.
    pub send_seconds: f64,
    /// The dirty rates up to which a migration ends by itself, one for each downtime limit.
    pub ceilings: Vec<Ceiling>,
}

/// The largest dirty rate under one downtime limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ceiling {
    /// The downtime limit.
    pub downtime_seconds: f64,
    /// Pages written per second, in bytes, up to which a migration still converges within it. Null
    /// when any rate does, since all of the memory can be sent within the limit.
    pub dirty_rate_bytes_per_second: Option<f64>,
}
