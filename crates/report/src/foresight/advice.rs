//! The shape of advice.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Evidence, TechniqueOutcome};
use crate::Tool;

/// What stands in the field `schema` of advice.
pub const ADVICE_SCHEMA_NAME: &str = "sterna-advice";

/// The version of its shape, as `major.minor`.
pub const ADVICE_SCHEMA_VERSION: &str = "1.0";

/// The settings that follow from a goal.
///
/// Within a major version of the schema fields are only added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AdviceDocument {
    /// Always `sterna-advice`; tells this document from other JSON.
    #[schemars(extend("const" = ADVICE_SCHEMA_NAME))]
    pub schema: String,
    /// Version of the shape, `major.minor`. A reader takes every minor version of a major that it knows.
    #[schemars(extend("pattern" = "^1\\.[0-9]+$"))]
    pub schema_version: String,
    /// The program that advises.
    pub tool: Tool,
    /// What was asked for.
    pub goal: Goal,
    /// What the advice rests on.
    pub evidence: Evidence,
    /// The simplest setting that keeps the goal with the confidence asked for; null when none does.
    pub best: Option<Choice>,
    /// The second best, where another technique keeps the goal as well.
    pub second: Option<Choice>,
    /// Where nothing keeps the goal: what comes nearest, and which goal it would keep.
    pub nearest: Option<Nearest>,
    /// What would change the answer, in sentences; empty when nothing was found.
    pub would_change: Vec<String>,
    /// How the settings are said to the system asked for, in order.
    pub commands: Vec<Command>,
    /// Fields of the settings that this system cannot say, each with where they would have to be set.
    pub not_expressible: BTreeMap<String, String>,
}

/// What a migration has to keep. A limit that is null was not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Goal {
    /// The longest downtime, in seconds.
    pub max_downtime_seconds: Option<f64>,
    /// The longest total time, in seconds.
    pub max_time_seconds: Option<f64>,
    /// The most lost work, in guest-seconds.
    pub max_lost_work_seconds: Option<f64>,
    /// The share of migrations that has to keep all of these, in 0 to 1.
    pub confidence: f64,
    /// Whether post-copy may be used, where a lost link costs the guest.
    pub allows_postcopy: bool,
    /// Whether the guest may be slowed down.
    pub allows_throttle: bool,
    /// Whether the guest may be paused until its memory is through.
    pub allows_pause: bool,
}

/// Settings, and what they lead to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Choice {
    /// The technique with its settings and what was simulated.
    pub outcome: TechniqueOutcome,
    /// The share of simulated migrations that kept the whole goal, in 0 to 1.
    pub keeps_probability: f64,
    /// The limit that is nearest to being broken, in words; null when nothing was asked for.
    pub binding: Option<String>,
    /// Why these settings, in sentences.
    pub because: Vec<String>,
    /// What is risked, in sentences; empty when nothing is.
    pub risks: Vec<String>,
}

/// The nearest that can be kept, where the goal cannot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Nearest {
    /// The settings that come nearest.
    pub choice: Choice,
    /// The limits that they miss, and what they would keep instead with the confidence asked for.
    pub shortfalls: Vec<Shortfall>,
}

/// One limit that is missed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Shortfall {
    /// Which limit, as in the command line: `max-downtime`, `max-time`, `max-lost-work`, or `completion` where the
    /// migration does not end.
    pub limit: String,
    /// What was asked for, in seconds; null for `completion`.
    pub asked_seconds: Option<f64>,
    /// What would be kept instead, in seconds; null where nothing would be.
    pub kept_seconds: Option<f64>,
}

/// One line that sets something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Command {
    /// The line as it is typed, or a document.
    pub text: String,
    /// When to use it; null for: before the migration, in this order.
    pub when: Option<String>,
}
