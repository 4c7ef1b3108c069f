//! The report as a whole.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Advice, Circumstances, Clock, CpuSample, Engine, Event, Fleet, GuestSample, Hop, Host, Pass,
    Poll, Probe, Summary, Threshold, Tool, Verdict, Warning,
};

/// What stands in the field `schema` of every report.
pub const SCHEMA_NAME: &str = "sterna-report";

/// The version of the report's shape that this library writes, as `major.minor`.
pub const SCHEMA_VERSION: &str = "1.0";

/// One run of one migration: what was asked for, what was seen, and the numbers made of it.
///
/// Unknown values are null, never 0. Times are in seconds on the pilot's clock, where 0 is the
/// acceptance of the migrate command and negative times are the warm-up; in a run that ended before
/// that command, 0 is its beginning. A page is 4 KiB. Within a major version of the schema fields are
/// only added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Always `sterna-report`; tells this document from other JSON.
    #[schemars(extend("const" = SCHEMA_NAME))]
    pub schema: String,
    /// Version of the shape, `major.minor`. A reader takes every minor version of a major that it knows.
    #[schemars(extend("pattern" = "^1\\.[0-9]+$"))]
    pub schema_version: String,
    /// The program that wrote the report.
    pub tool: Tool,
    /// The machine on which the pilot ran.
    pub host: Host,
    /// When the run began (before the warm-up), as RFC 3339 text in UTC.
    pub started_at: String,
    /// The mechanism that migrated the guest.
    pub engine: Engine,
    /// The scenario as it was run: every field, defaults filled in, in the spelling of the scenario file.
    pub scenario: Map<String, Value>,
    /// The headline numbers.
    pub summary: Summary,
    /// One row for each pass, and one for the transfer at the stop.
    #[serde(default)]
    pub passes: Vec<Pass>,
    /// Every status poll in order.
    #[serde(default)]
    pub timeline: Vec<Poll>,
    /// Samples of the guest's progress in order, warm-up and cool-down included.
    #[serde(default)]
    pub guest: Vec<GuestSample>,
    /// Samples of CPU time and resident memory in order.
    #[serde(default)]
    pub cpu: Vec<CpuSample>,
    /// What happened, in order.
    #[serde(default)]
    pub events: Vec<Event>,
    /// How the clocks of both sides were mapped to the pilot's.
    #[serde(default)]
    pub clocks: Vec<Clock>,
    /// Observers outside the guest; empty when none was asked for.
    #[serde(default)]
    pub probes: Vec<Probe>,
    /// Reasons to trust a number less, with advice.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// What became of the bounds that the run was asked to keep to; absent where none were given. A
    /// run that completed and does not keep to all of them has the exit code 4.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<Threshold>,
    /// What would change how it goes, from what this run showed; empty where nothing needs to change, and where fewer
    /// than two passes were completed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<Advice>,
    /// Several guests over one link; null for one guest. Passes, timeline, samples and events are
    /// then those of each guest, and empty here; the summary is that of the whole: the worst ending,
    /// the total time of all, the worst downtime and blackout, and sums of lost work, passes, pages
    /// and bytes.
    #[serde(default)]
    pub fleet: Option<Fleet>,
    /// The hops of a guest that moved several times; absent for one hop. Passes, timeline, samples and events are then
    /// those of each hop, and empty here; the summary is that of the whole: the ending of the last hop, the worst
    /// downtime and blackout, and sums of total times, lost work, passes, pages and bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hops: Vec<Hop>,
}

impl Report {
    /// A report in which nothing was seen yet. `started_at` is RFC 3339 text in UTC, `scenario` the
    /// resolved scenario.
    pub fn new(
        tool: Tool,
        host: Host,
        engine: Engine,
        started_at: String,
        scenario: Map<String, Value>,
    ) -> Report {
        Report {
            schema: SCHEMA_NAME.to_owned(),
            schema_version: SCHEMA_VERSION.to_owned(),
            tool,
            host,
            started_at,
            engine,
            scenario,
            summary: Summary::default(),
            passes: Vec::new(),
            timeline: Vec::new(),
            guest: Vec::new(),
            cpu: Vec::new(),
            events: Vec::new(),
            clocks: Vec::new(),
            probes: Vec::new(),
            warnings: Vec::new(),
            thresholds: Vec::new(),
            advice: Vec::new(),
            fleet: None,
            hops: Vec::new(),
        }
    }

    /// The same without its series, as of which many fit into memory.
    pub fn without_series(self) -> Report {
        Report {
            passes: Vec::new(),
            timeline: Vec::new(),
            guest: Vec::new(),
            cpu: Vec::new(),
            events: Vec::new(),
            ..self
        }
    }

    /// Whether the guest was kept still after the migration until all memory of both sides had been compared, so that
    /// its times are unknown.
    pub fn is_compared_at_rest(&self) -> bool {
        self.scenario.get("verify").and_then(Value::as_str) == Some("all-memory")
    }

    /// The process exit code for this result: that of [`crate::Verdict::exit_code`], and 4 for a run that completed
    /// without keeping to its thresholds. A run that ended otherwise keeps its own code, which says more.
    pub fn exit_code(&self) -> u8 {
        let Summary { integrity, failed_in, .. } = self.summary;
        let misses_a_threshold = self.misses_a_threshold();
        self.summary.verdict.exit_code(Circumstances { integrity, misses_a_threshold, failed_in })
    }

    /// Whether the guest runs on the destination, but not all thresholds were kept.
    pub fn misses_a_threshold(&self) -> bool {
        let is_over = matches!(self.summary.verdict, Verdict::Completed | Verdict::CompletedForced);
        is_over && !self.thresholds.iter().all(Threshold::is_kept)
    }
}
