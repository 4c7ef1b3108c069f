//! MigrationPolicies: what is in one, which one wins, what holds then, and how a scenario becomes one.

pub mod bandwidth;
mod experimental;
mod known;
mod scenario;
mod winner;

use serde_json::{Map, Value, json};

use crate::labels;
use crate::stress::ParametersError;

pub use experimental::ExperimentalField;
pub(crate) use known::require_known;
pub use winner::{Fit, cluster_defaults, effective, fit, gigabytes, name, winner};

/// A policy of our own, before it has a selector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicySpec {
    /// Whether the guest may be slowed down.
    pub allow_auto_converge: Option<bool>,
    /// Whether to go over to post-copy at the timeout.
    pub allow_post_copy: Option<bool>,
    /// Whether to pause or go over at the timeout.
    pub allow_workload_disruption: Option<bool>,
    /// Bytes a second.
    pub bandwidth_bytes_per_second: Option<u64>,
    /// Seconds for each GB of the guest.
    pub completion_timeout_per_gib: Option<i64>,
    /// Milliseconds of standstill; from KubeVirt 1.9 on, behind a feature gate.
    pub max_downtime_ms: Option<u64>,
    /// What is still being tried out; from KubeVirt 1.9 on.
    pub experimental: Vec<ExperimentalField>,
}

/// A field that no policy can express, or none of this cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inexpressible {
    /// The field, dotted.
    pub field: String,
    /// Where it would have to be set.
    pub instead: String,
}

/// The feature gates of which a policy with `maxDowntimeMs` needs one.
pub const DOWNTIME_GATES: [&str; 2] = [STALL_GATE, TUNING_GATE];

const EITHER_GATE: &[&str] = &DOWNTIME_GATES;

/// The feature gate of the stall detector.
const STALL_GATE: &str = "MigrationStallDetection";
/// The feature gate of a downtime that grows by itself.
const TUNING_GATE: &str = "MigrationDowntimeTuning";

impl PolicySpec {
    /// As an object that selects the guests of a run.
    pub fn object(&self, run_id: &str) -> Value {
        let mut spec = Map::new();
        let selectors = json!({"virtualMachineInstanceSelector": {
            labels::MANAGED_BY: labels::US,
            labels::RUN_ID: run_id,
        }});
        spec.insert("selectors".to_owned(), selectors);
        let mut put = |key: &str, value: Option<Value>| {
            value.map(|it| spec.insert(key.to_owned(), it));
        };
        put("allowAutoConverge", self.allow_auto_converge.map(Value::from));
        put("allowPostCopy", self.allow_post_copy.map(Value::from));
        put("allowWorkloadDisruption", self.allow_workload_disruption.map(Value::from));
        let bandwidth = self.bandwidth_bytes_per_second.map(|it| bandwidth::quantity(it as f64));
        put("bandwidthPerMigration", bandwidth.map(Value::from));
        put("completionTimeoutPerGiB", self.completion_timeout_per_gib.map(Value::from));
        put("maxDowntimeMs", self.max_downtime_ms.map(Value::from));
        if !self.experimental.is_empty() {
            let fields = self.experimental.iter();
            spec.insert("experimental".to_owned(), experimental::object(fields));
        }
        json!({
            "apiVersion": "migrations.kubevirt.io/v1alpha1",
            "kind": "MigrationPolicy",
            "metadata": {
                "name": policy_name(run_id),
                "labels": {
                    labels::NAME: "migration-stress",
                    labels::MANAGED_BY: labels::US,
                    labels::RUN_ID: run_id,
                    labels::ROLE: "policy",
                },
            },
            "spec": spec,
        })
    }

    /// Refuses what KubeVirt's webhook refuses on every cluster.
    pub(crate) fn check(&self) -> Result<(), ParametersError> {
        let mut groups: Vec<&str> =
            self.experimental.iter().map(ExperimentalField::group).collect();
        groups.retain(|it| ["downtimeTuning", "stallDetector"].contains(it));
        groups.sort_unstable();
        groups.dedup();
        if let [first, second] = groups[..] {
            return Err(ParametersError::Value {
                field: "experimental",
                value: format!("{first} and {second}"),
                way_out: "each has its own idea of the downtime; choose one of them".to_owned(),
            });
        }
        Ok(())
    }

    /// What is not kept as it was asked for, in words.
    pub fn notes(&self) -> Vec<String> {
        let bandwidth = self.bandwidth_bytes_per_second.map(|it| it as f64);
        bandwidth.and_then(bandwidth::note).into_iter().collect()
    }

    /// Fields for which the cluster lacks a feature gate: KubeVirt's webhook would refuse the policy because of them.
    pub fn without_gate(&self, gates: &[String]) -> Vec<Inexpressible> {
        let downtime = self.max_downtime_ms.map(|_| ("maxDowntimeMs".to_owned(), EITHER_GATE));
        let fields = self.experimental.iter().map(|it| (it.whole_path(), it.gates()));
        let missing = downtime
            .into_iter()
            .chain(fields)
            .filter(|(_, needed)| !needed.is_empty() && !has_one_of(gates, needed));
        let inexpressible = |(field, needed): (String, &[&str])| Inexpressible {
            field: format!("spec.{field}"),
            instead: format!(
                "it needs the feature gate {} in KubeVirt's spec.configuration.developerConfiguration.featureGates",
                needed.join(" or ")
            ),
        };
        missing.map(inexpressible).collect()
    }
}

fn has_one_of(gates: &[String], needed: &[&str]) -> bool {
    gates.iter().any(|gate| needed.contains(&gate.as_str()))
}

/// The policy of a run.
pub fn policy_name(run_id: &str) -> String {
    format!("sterna-{run_id}")
}
