//! What `sterna stream` was asked to do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was to be done, defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamSpec {
    /// What travels.
    pub mode: StreamMode,
    /// Whether requests and their pages had a connection of their own.
    pub preempt: bool,
    /// Which way pages travel, seen from the client.
    pub direction: StreamDirection,
    /// Connections for bulk, each way.
    pub channels: u16,
    /// Bytes that were sent at once.
    pub block_bytes: u64,
    /// Memory of each source; null where one block was sent over and over.
    pub memory_bytes: Option<u64>,
    /// Whether pages were put into memory where they arrived; otherwise they were read and dropped.
    pub place: bool,
    /// The workload that dirtied the source's memory meanwhile, in its short text; null without one.
    pub dirty: Option<String>,
    /// The limit of each direction; null without one.
    pub bandwidth_bytes_per_second: Option<f64>,
    /// How long it was to last; null until that many bytes, or a signal.
    pub duration_seconds: Option<f64>,
    /// Bytes of pages that were to be sent each way; null without such a number.
    pub bytes: Option<u64>,
    /// The time between two rows of `intervals`.
    pub interval_seconds: f64,
    /// Virtual processors that each wait for a page.
    pub vcpus: u16,
    /// Pages asked for ahead of each that was waited for.
    pub prefetch: u16,
    /// Whether pages were to be sent from where they are.
    pub zero_copy: bool,
    /// Whether the connections that carry pages were encrypted.
    pub tls: bool,
    /// `none`, `zlib` or `zstd`.
    pub compression: String,
    /// How hard the compressor tried; null for its default.
    pub compression_level: Option<u8>,
    /// The congestion control that was asked for; null for the default of a migration.
    pub congestion: Option<String>,
    /// The class of service that was asked for (DSCP); null without one.
    pub dscp: Option<u8>,
    /// The buffer for sending that was asked for; null where it was left to the kernel.
    pub send_buffer_bytes: Option<u64>,
    /// The buffer for receiving that was asked for; null where it was left to the kernel.
    pub receive_buffer_bytes: Option<u64>,
    /// Our own address that was asked for; null where it was left to the kernel.
    pub bind: Option<String>,
}

/// What travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StreamMode {
    /// Bulk pages that nobody waits for.
    #[default]
    Precopy,
    /// Pages that are asked for.
    Postcopy,
    /// Both at once.
    Both,
}

/// Which way pages travel, seen from the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StreamDirection {
    /// To the server: the client is the source.
    #[default]
    Send,
    /// To the client: it is the destination.
    Receive,
    /// Both ways at once.
    Both,
}
