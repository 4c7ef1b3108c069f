//! What `sterna dirty` was asked to do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was to be done, defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DirtySpec {
    /// Memory of all workers together.
    pub memory_bytes: u64,
    /// How many threads write, each to a part of the memory.
    pub workers: u32,
    /// In which order pages are written.
    pub pattern: String,
    /// What a write does to its page.
    pub method: String,
    /// The touch rate as it was asked for.
    pub rate: String,
    /// The same in bytes per second; null when there is no limit, or when it is a share.
    pub rate_bytes_per_second: Option<f64>,
    /// Whether what a stall kept back is made up for.
    pub catch_up: bool,
    /// What decides the order of pages and their content.
    pub seed: u64,
    /// Whether each write is timed.
    pub latency: bool,
    /// Other ways of writing at certain times, in their short text; null when there are none.
    pub phases: Option<String>,
    /// Whether the phases begin again after the last.
    pub repeat: bool,
    /// The kind of page that was asked for.
    pub huge_pages: PageKind,
    /// The size of the page that most of the memory was in when the workers were released.
    pub page_bytes: u64,
    /// How much of the memory was in huge pages then; null where the kernel does not tell.
    pub huge_bytes: Option<u64>,
    /// Whether the memory is locked.
    pub locked: bool,
    /// The memory nodes that it was taken from; null when that was left to the kernel.
    pub numa_nodes: Option<Vec<usize>>,
    /// The processors that workers may use; null when that was left to the kernel.
    pub cpus: Option<Vec<usize>>,
    /// Whether all pages are given back to the kernel after each round.
    pub remap: bool,
    /// Whether each page is checked before it is written.
    pub verify: bool,
    /// Whether all pages are checked at the end.
    pub verify_final: bool,
    /// How long it was to last; null until a signal.
    pub duration_seconds: Option<f64>,
    /// The time between two rows of `intervals`.
    pub interval_seconds: f64,
    /// The workload in its short text, which a scenario's control connection uses, too.
    pub text: String,
}

/// A kind of page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PageKind {
    /// Pages of 4 KiB; transparent huge pages are turned off.
    #[serde(rename = "none")]
    None,
    /// Pages of 4 KiB that the kernel joins to 2 MiB where it can.
    #[serde(rename = "thp")]
    Thp,
    /// Reserved huge pages of 2 MiB.
    #[serde(rename = "2MiB")]
    Size2MiB,
    /// Reserved huge pages of 1 GiB.
    #[serde(rename = "1GiB")]
    Size1GiB,
}
