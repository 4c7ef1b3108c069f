//! The shape of a prediction.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Tool;

/// What stands in the field `schema` of a prediction.
pub const PREDICTION_SCHEMA_NAME: &str = "sterna-prediction";

/// The version of its shape, as `major.minor`.
pub const PREDICTION_SCHEMA_VERSION: &str = "1.0";

/// How the migration of a guest would go, with each of several techniques.
///
/// Every number is an interval, because neither the guest nor the link is known exactly. Unknown values are null,
/// never 0. Within a major version of the schema fields are only added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prediction {
    /// Always `sterna-prediction`; tells this document from other JSON.
    #[schemars(extend("const" = PREDICTION_SCHEMA_NAME))]
    pub schema: String,
    /// Version of the shape, `major.minor`. A reader takes every minor version of a major that it knows.
    #[schemars(extend("pattern" = "^1\\.[0-9]+$"))]
    pub schema_version: String,
    /// The program that predicted.
    pub tool: Tool,
    /// What the prediction rests on.
    pub evidence: Evidence,
    /// Simulated migrations for each technique; each draws its own guest and link from what is uncertain.
    pub draws: u32,
    /// Seed of these draws. The same evidence, draws and seed give the same prediction.
    pub seed: u64,
    /// One row for each technique, the simplest first.
    pub outcomes: Vec<TechniqueOutcome>,
}

/// What a prediction rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// What kind of evidence it is.
    pub kind: EvidenceKind,
    /// The file that it was read from; null for figures of the command line.
    pub file: Option<String>,
    /// Guest memory, in bytes.
    pub memory_bytes: u64,
    /// Guest memory that is not zero, in bytes; null when that was not seen, and then all of it is taken as content.
    pub content_bytes: Option<u64>,
    /// Virtual processors; null when the evidence does not say.
    pub vcpus: Option<u32>,
    /// Windows in which distinct written bytes were counted, shortest first. Empty where only a rate is known.
    pub windows: Vec<DirtyWindow>,
    /// The fitted dirty curve at windows of 0.1, 0.3, 1, 3, 10, 30 and 100 seconds; empty without windows.
    pub dirty_curve: Vec<DirtyWindow>,
    /// How the guest seems to write: in order, at random, or unknown where the windows cannot tell.
    pub shape: CurveShape,
    /// What carried the migration, and how fast.
    pub link: LinkEvidence,
    /// What was not measured and was assumed, in sentences. Each widens the true uncertainty.
    pub assumptions: Vec<String>,
}

/// What kind of evidence there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceKind {
    /// Passes of an earlier migration of this guest.
    Passes,
    /// A memory size and a dirty rate, without the shape of the load: intervals are wide.
    Figures,
}

/// How a guest seems to write its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CurveShape {
    /// Page after page, again and again.
    Sweep,
    /// At random places, some more often than others.
    Random,
    /// The windows cannot tell; both were drawn.
    Unknown,
}

/// Distinct bytes written within a window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DirtyWindow {
    /// Length of the window, in seconds.
    pub window_seconds: f64,
    /// Distinct pages written within it x 4 KiB.
    pub bytes: u64,
}

/// What is known of the link.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LinkEvidence {
    /// What the link carries while nothing limits the stream, in bytes per second; null where only a limit was seen,
    /// and then as much as one connection can send is assumed.
    pub bytes_per_second: Option<f64>,
    /// Whether that was seen; false where it was given or assumed.
    pub is_measured: bool,
    /// By how much single windows of the stream scattered, as a share of the mean (standard deviation).
    pub spread: f64,
}

/// A value that is uncertain: nine of ten simulated migrations lie between `p5` and `p95`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// 5 % lie below.
    pub p5: f64,
    /// Half lie below.
    pub p50: f64,
    /// 5 % lie above.
    pub p95: f64,
}

/// How a migration with one technique would go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TechniqueOutcome {
    /// The technique in one or two words, for example `post-copy`.
    pub technique: String,
    /// The settings that make it, by their path in a scenario; empty for the settings that the evidence has.
    pub settings: BTreeMap<String, String>,
    /// The share of simulated migrations in which the guest got to the destination before the limit of time, in 0 to 1.
    pub completes_probability: f64,
    /// Of those: how many were only ended by a pause or a limit, in 0 to 1.
    pub forced_probability: f64,
    /// Total time in seconds, of those that completed; null when none did.
    pub total_time_seconds: Option<Interval>,
    /// Downtime in seconds, of those that completed; null when none did.
    pub downtime_seconds: Option<Interval>,
    /// Bytes on the wire, of all.
    pub wire_bytes: Interval,
    /// Lost work in guest-seconds, of those that completed; null when none did.
    pub lost_work_seconds: Option<Interval>,
    /// The most that the guest was throttled, in percent, at the median; 0 = it never was.
    pub throttle_percent: f64,
}
