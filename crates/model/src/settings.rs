//! How the guest is moved.

use sterna_scenario::{AutoConverge, SwitchoverDecision};

/// Settings of a migration: plain pre-copy, and every technique that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What the stream may use until the switchover; `None` for as much as there is.
    pub max_bytes_per_second: Option<u64>,
    /// Whether that limit also holds while the guest is stopped.
    pub limit_in_switchover: bool,
    /// How long the guest may be stopped.
    pub downtime_limit_ns: u64,
    /// What the switchover is planned with instead of the estimate.
    pub switchover_bytes_per_second: Option<u64>,
    /// What is held against what can be sent within the downtime limit.
    pub switchover: SwitchoverDecision,
    /// Whether pages of zeros are found.
    pub finds_zero_pages: bool,
    /// Parallel connections.
    pub multifd: Option<Multifd>,
    /// Differences instead of pages: the size of the cache.
    pub xbzrle_cache_bytes: Option<u64>,
    /// Slows all processors down.
    pub auto_converge: Option<AutoConverge>,
    /// The dirty rate that each processor may have.
    pub dirty_limit_bytes_per_second: Option<u64>,
    /// What the background stream of a post-copy may use; `None` for as much as there is.
    pub postcopy_bytes_per_second: Option<u64>,
    /// Whether pages that are asked for in post-copy pass the background stream.
    pub postcopy_preempts: bool,
    /// Passes that must be complete before the migration may end.
    pub hold_passes: u32,
}

/// Parallel connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multifd {
    /// How many.
    pub channels: u32,
    /// How their pages are compressed.
    pub compression: Compression,
}

/// How pages are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// By zlib.
    Zlib,
    /// By zstd.
    Zstd,
}

impl Default for Settings {
    /// Plain pre-copy with QEMU's limits: 1 Gbit/s of a scenario, 300 ms.
    fn default() -> Settings {
        Settings {
            max_bytes_per_second: Some(125_000_000),
            limit_in_switchover: false,
            downtime_limit_ns: 300_000_000,
            switchover_bytes_per_second: None,
            switchover: SwitchoverDecision::Effective,
            finds_zero_pages: true,
            multifd: None,
            xbzrle_cache_bytes: None,
            auto_converge: None,
            dirty_limit_bytes_per_second: None,
            postcopy_bytes_per_second: None,
            postcopy_preempts: true,
            hold_passes: 0,
        }
    }
}
