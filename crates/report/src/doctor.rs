//! What `sterna doctor` found.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Host, Tool};

/// What stands in the field `schema` of the findings.
pub const DOCTOR_SCHEMA_NAME: &str = "sterna-doctor";

/// The version of their shape, as `major.minor`.
pub const DOCTOR_SCHEMA_VERSION: &str = "1.0";

/// What this machine offers for migration tests, and what is missing.
///
/// Unknown values are null, never 0. Within a major version of the schema fields, findings and facts
/// are only added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Findings {
    /// Always `sterna-doctor`; tells this document from other JSON.
    #[schemars(extend("const" = DOCTOR_SCHEMA_NAME))]
    pub schema: String,
    /// Version of the shape, `major.minor`. A reader takes every minor version of a major that it knows.
    #[schemars(extend("pattern" = "^1\\.[0-9]+$"))]
    pub schema_version: String,
    /// The program that looked.
    pub tool: Tool,
    /// The machine that it looked at.
    pub host: Host,
    /// Whether a bare `sterna run` works here; null when that was not found out.
    pub default_run: Option<FindingStatus>,
    /// Everything that was looked for.
    pub findings: Vec<Finding>,
}

/// One thing that was looked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Its name, unique, and the same in every version.
    pub name: String,
    /// What it belongs to.
    pub group: String,
    /// Whether it can be used.
    pub status: FindingStatus,
    /// Whether a bare `sterna run` cannot do without it.
    pub is_required: bool,
    /// What was seen, for people; null when it could not be found out.
    pub value: Option<String>,
    /// What was seen, for programs: quantities with their unit in the name, null for what is unknown.
    pub facts: BTreeMap<String, Value>,
    /// What cannot be done without it, or is done worse; null when nothing is missing.
    pub consequence: Option<String>,
    /// The way to get it; null when nothing is missing.
    pub remedy: Option<String>,
}

/// Whether a thing can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FindingStatus {
    /// As much as anybody needs.
    Ok,
    /// Partly, or with a drawback.
    Limited,
    /// Not at all.
    Missing,
}
