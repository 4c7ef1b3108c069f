//! What `sterna dirty` saw: its report, and the events that it tells on the way.

mod numbers;
mod spec;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Host, Tool, Word};

pub use numbers::{DirtyEnding, DirtyInterval, DirtySummary, DirtyTimes};
pub use spec::{DirtySpec, PageKind};

/// What stands in the field `schema` of every report of `sterna dirty`.
pub const DIRTY_SCHEMA_NAME: &str = "sterna-dirty";

/// The version of their shape, as `major.minor`.
pub const DIRTY_SCHEMA_VERSION: &str = "1.1";

/// One run of `sterna dirty`: what it was, and what was seen.
///
/// Unknown values are null, never 0. Times named `start_seconds` and `end_seconds` count from the
/// release of the workers. A page is 4 KiB, whatever the kernel joins. Within a major version of the
/// schema fields are only added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DirtyReport {
    /// What was about to begin.
    #[serde(flatten)]
    pub start: DirtyStart,
    /// The numbers of the whole run.
    pub summary: DirtySummary,
    /// One row for each interval; the last may be shorter than the others.
    pub intervals: Vec<DirtyInterval>,
    /// The longest times without progress, longest first; at most 100.
    pub gaps: Vec<DirtyGap>,
    /// The times of all writes as a histogram: cells that are not empty, from short to long.
    pub latency_cells: Vec<LatencyCell>,
    /// The same in mig_mon's 21 buckets: a write is in the first of 1, 2, 4, … 1048576 µs that it
    /// stayed below. Null when writes were not timed.
    pub latency_mig_mon_buckets: Option<Vec<u64>>,
    /// The first corrupt pages that were found; at most 16 of each check.
    pub corruptions: Vec<DirtyCorruption>,
    /// What does not hold for the numbers above, as sentences.
    pub warnings: Vec<String>,
}

/// A run that is about to begin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DirtyStart {
    /// Always `sterna-dirty`; tells this document from other JSON.
    #[schemars(extend("const" = DIRTY_SCHEMA_NAME))]
    pub schema: String,
    /// Version of the shape, `major.minor`. A reader takes every minor version of a major that it knows.
    #[schemars(extend("pattern" = "^1\\.[0-9]+$"))]
    pub schema_version: String,
    /// The program that wrote it.
    pub tool: Tool,
    /// The machine on which it ran.
    pub host: Host,
    /// When the workers were released, as RFC 3339 text in UTC.
    pub started_at: String,
    /// The labels that were given.
    pub labels: BTreeMap<String, String>,
    /// What was to be done.
    pub spec: DirtySpec,
}

/// A line of the stream of events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", content = "data", rename_all = "kebab-case")]
pub enum DirtyEvent {
    /// The first line: the workers are about to be released.
    Start(Box<DirtyStart>),
    /// An interval is over.
    Interval(Box<DirtyInterval>),
    /// Somebody asked by SIGUSR2 how it goes.
    Summary(Box<DirtySummary>),
    /// The last line: it is over.
    Report(Box<DirtyReport>),
}

/// A time in which a worker made no progress although work was due.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DirtyGap {
    /// The worker's number, from 0.
    pub worker: u32,
    /// When it began.
    pub start_seconds: f64,
    /// How long it was, in nanoseconds.
    pub length_ns: u64,
}

/// Writes that took about equally long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyCell {
    /// The shortest time that is counted here, in nanoseconds.
    pub from_ns: u64,
    /// The longest time that is counted here, in nanoseconds.
    pub to_ns: u64,
    /// How many writes took so long.
    pub count: u64,
}

/// The first wrong word of a page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DirtyCorruption {
    /// The page, counted from the start of the memory.
    pub page: u64,
    /// Where in the page the word begins, in bytes.
    pub offset_bytes: u64,
    /// What the word should be.
    pub expected: Word,
    /// What it is.
    pub found: Word,
}

impl DirtyStart {
    /// Of this version's shape.
    pub fn new(tool: Tool, host: Host, started_at: String, spec: DirtySpec) -> DirtyStart {
        DirtyStart {
            schema: DIRTY_SCHEMA_NAME.to_owned(),
            schema_version: DIRTY_SCHEMA_VERSION.to_owned(),
            tool,
            host,
            started_at,
            labels: BTreeMap::new(),
            spec,
        }
    }
}
