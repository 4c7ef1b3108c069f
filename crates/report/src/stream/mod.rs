//! What `sterna stream` saw: its report, and the events that it tells on the way.

mod estimate;
mod numbers;
mod spec;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Host, Tool};

pub use estimate::{Ceiling, EstimateForSize, StreamEstimate};
pub use numbers::{
    LaneWay, RequestTimes, StreamEnding, StreamInterval, StreamLane, StreamSide, StreamSideSummary,
    StreamTcp, StreamTimes, ZeroCopyUse,
};
pub use spec::{StreamDirection, StreamMode, StreamSpec};

/// What stands in the field `schema` of every report of `sterna stream`.
pub const STREAM_SCHEMA_NAME: &str = "sterna-stream";

/// The version of their shape, as `major.minor`.
pub const STREAM_SCHEMA_VERSION: &str = "1.0";

/// One run of `sterna stream`: what it was, and what both sides saw.
///
/// Unknown values are null, never 0. Times named `start_seconds` and `end_seconds` count from the
/// beginning of the trial, each side by its own clock. Bytes of pages are counted as memory has
/// them, whatever they take on the wire. Within a major version of the schema fields are only added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamReport {
    /// What was about to begin.
    #[serde(flatten)]
    pub start: StreamStart,
    /// The numbers of the whole trial.
    pub summary: StreamSummary,
    /// One row for each interval of each side, as they became known; the last of each may be shorter
    /// than the others.
    pub intervals: Vec<StreamInterval>,
    /// What does not hold for the numbers above, as sentences.
    pub warnings: Vec<String>,
}

/// A trial that is about to begin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamStart {
    /// Always `sterna-stream`; tells this document from other JSON.
    #[schemars(extend("const" = STREAM_SCHEMA_NAME))]
    pub schema: String,
    /// Version of the shape, `major.minor`. A reader takes every minor version of a major that it knows.
    #[schemars(extend("pattern" = "^1\\.[0-9]+$"))]
    pub schema_version: String,
    /// The program that wrote it.
    pub tool: Tool,
    /// The machine of the client.
    pub host: Host,
    /// When it began, as RFC 3339 text in UTC.
    pub started_at: String,
    /// Where the server is, as it was reached.
    pub server_address: String,
    /// The release of the server's program; null when it does not tell.
    pub server_release: Option<String>,
    /// What was to be done.
    pub spec: StreamSpec,
}

/// The numbers of a whole trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamSummary {
    /// Why it ended.
    pub ended_by: StreamEnding,
    /// What broke it; null when nothing did.
    pub error: Option<String>,
    /// From the beginning until the client had seen the end.
    pub duration_seconds: f64,
    /// What the client saw.
    pub client: StreamSideSummary,
    /// What the server saw; null when it did not come to tell.
    pub server: Option<StreamSideSummary>,
    /// What follows for migrations; null without bulk, or when nothing arrived.
    pub estimate: Option<StreamEstimate>,
}

/// A line of the stream of events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", content = "data", rename_all = "kebab-case")]
pub enum StreamEvent {
    /// The first line: it is about to begin.
    Start(Box<StreamStart>),
    /// An interval of one side is over.
    Interval(Box<StreamInterval>),
    /// The last line: it is over.
    Report(Box<StreamReport>),
}

impl StreamStart {
    /// Of this version's shape.
    pub fn new(tool: Tool, host: Host, started_at: String, spec: StreamSpec) -> StreamStart {
        StreamStart {
            schema: STREAM_SCHEMA_NAME.to_owned(),
            schema_version: STREAM_SCHEMA_VERSION.to_owned(),
            tool,
            host,
            started_at,
            server_address: String::new(),
            server_release: None,
            spec,
        }
    }
}
