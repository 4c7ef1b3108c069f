//! MigrationPolicies: which one wins, what holds then, and how a scenario becomes one.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use sterna_scenario::{Downtime, LimitAction, Scenario, TlsMode, Trigger};

use crate::labels;
use crate::views::{MigrationConfiguration, Policy};

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
}

/// A field of a scenario that no policy can express.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inexpressible {
    /// The field, dotted.
    pub field: &'static str,
    /// Where it would have to be set.
    pub instead: String,
}

/// The feature gates of which a policy with `maxDowntimeMs` needs one.
pub const DOWNTIME_GATES: [&str; 2] = ["MigrationStallDetection", "MigrationDowntimeTuning"];

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
        let bandwidth = self.bandwidth_bytes_per_second.map(|it| it.to_string());
        put("bandwidthPerMigration", bandwidth.map(Value::from));
        put("completionTimeoutPerGiB", self.completion_timeout_per_gib.map(Value::from));
        put("maxDowntimeMs", self.max_downtime_ms.map(Value::from));
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

    /// What `[migration]` and `[limits]` of a scenario ask for, for a guest of `memory_bytes`; or all that cannot be had.
    pub fn of_scenario(
        scenario: &Scenario,
        has_downtime_gate: bool,
    ) -> Result<PolicySpec, Vec<Inexpressible>> {
        let problems = inexpressible(scenario, has_downtime_gate);
        if !problems.is_empty() {
            return Err(problems);
        }
        let migration = &scenario.migration;
        let wants_postcopy =
            migration.postcopy.is_some() || scenario.limits.then == LimitAction::Postcopy;
        let wants_pause = migration.pause.is_some() || scenario.limits.then == LimitAction::Pause;
        let limit_seconds = timeout_seconds(scenario);
        let gigabytes = gigabytes(scenario.guest.memory.0);
        let downtime = migration.downtime.limit().filter(|_| has_downtime_gate);
        Ok(PolicySpec {
            allow_auto_converge: Some(migration.auto_converge.is_some()),
            allow_post_copy: Some(wants_postcopy),
            allow_workload_disruption: Some(wants_postcopy || wants_pause),
            bandwidth_bytes_per_second: migration
                .max_bandwidth
                .map(|it| it.bytes_per_second_f64() as u64),
            completion_timeout_per_gib: limit_seconds
                .map(|it| (it / gigabytes as f64).round().max(1.0) as i64),
            max_downtime_ms: downtime.map(|it| (it.seconds() * 1e3).round().max(1.0) as u64),
        })
    }
}

/// The policy of a run.
pub fn policy_name(run_id: &str) -> String {
    format!("sterna-{run_id}")
}

/// When the scenario wants something done about a migration that does not end.
fn timeout_seconds(scenario: &Scenario) -> Option<f64> {
    let trigger = |trigger: Trigger| match trigger {
        Trigger::After(span) => Some(span.seconds()),
        Trigger::AfterPasses(_) => None,
    };
    let migration = &scenario.migration;
    let postcopy = migration.postcopy.as_ref().and_then(|it| it.trigger).and_then(trigger);
    let pause = migration.pause.as_ref().and_then(|it| trigger(it.trigger));
    postcopy.or(pause).or(scenario.limits.max_time.map(|it| it.seconds()))
}

fn inexpressible(scenario: &Scenario, has_downtime_gate: bool) -> Vec<Inexpressible> {
    let migration = &scenario.migration;
    let default = Scenario::default();
    let cluster = |what: &str| {
        format!("it is the cluster's: set {what} in KubeVirt's spec.configuration.migrations")
    };
    let launcher =
        || "virt-launcher decides it by itself, and no object has a field for it".to_owned();
    let by_time = || {
        "a policy knows only a timeout: give `after` a time, or leave it to [limits] max-time"
            .to_owned()
    };
    let is_passes = |it: Option<Trigger>| matches!(it, Some(Trigger::AfterPasses(_)));
    let mut found = Vec::new();
    let mut refuse = |is: bool, field: &'static str, instead: String| {
        if is {
            found.push(Inexpressible { field, instead });
        }
    };
    refuse(
        migration.postcopy.as_ref().is_some_and(|it| is_passes(it.trigger)),
        "migration.postcopy.after-passes",
        by_time(),
    );
    refuse(
        migration.pause.as_ref().is_some_and(|it| is_passes(Some(it.trigger))),
        "migration.pause.after-passes",
        by_time(),
    );
    let postcopy = migration.postcopy.as_ref();
    refuse(postcopy.is_some_and(|it| it.preempt), "migration.postcopy.preempt", launcher());
    let bandwidth = postcopy.is_some_and(|it| it.max_bandwidth.is_some());
    refuse(bandwidth, "migration.postcopy.max-bandwidth", launcher());
    refuse(
        matches!(migration.downtime, Downtime::Steps(_)),
        "migration.downtime",
        "KubeVirt ramps the downtime by itself with the feature gate MigrationDowntimeTuning; set migration.downtime-limit".to_owned(),
    );
    refuse(
        !has_downtime_gate && migration.downtime != default.migration.downtime,
        "migration.downtime-limit",
        format!(
            "it needs KubeVirt 1.9 with one of the feature gates {} in spec.configuration.developerConfiguration.featureGates; without, QEMU's 300 ms hold",
            DOWNTIME_GATES.join(" and ")
        ),
    );
    refuse(migration.transport != default.migration.transport, "migration.transport", launcher());
    refuse(migration.zero_copy, "migration.zero-copy", launcher());
    refuse(
        migration.multifd.is_some(),
        "migration.multifd",
        "virt-launcher takes 8 channels by itself unless the machine has a CPU limit or dedicated CPUs".to_owned(),
    );
    refuse(migration.compress.is_some(), "migration.compress", launcher());
    refuse(migration.xbzrle.is_some(), "migration.xbzrle", launcher());
    refuse(migration.dirty_limit.is_some(), "migration.dirty-limit", launcher());
    refuse(migration.hold.is_some(), "migration.hold", launcher());
    refuse(
        migration.tls.as_ref().is_some_and(|it| it.mode != TlsMode::Off),
        "migration.tls",
        cluster("disableTLS, which is false unless somebody changed it,"),
    );
    refuse(
        scenario.link.is_some(),
        "link",
        "a cluster has a real wire; limit migration.max-bandwidth".to_owned(),
    );
    refuse(
        scenario.fleet.is_some(),
        "fleet",
        "several guests are those of `sterna kubevirt apply --vm-count` and `migrate --at-once`"
            .to_owned(),
    );
    refuse(scenario.faults.is_some(), "fault", "faults are the emulator's".to_owned());
    refuse(scenario.limits.max_passes.is_some(), "limits.max-passes", by_time());
    found
}

/// KubeVirt's size of a guest: in decimal GB, rounded up.
pub fn gigabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000_000).max(1)
}

/// One policy's fit, for comparison with another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Pairs that match, of both selectors.
    pub pairs: usize,
    /// Pairs of the instance's labels among them.
    pub instance_pairs: usize,
}

/// How well a policy fits, or why it does not.
///
/// All pairs must match. A policy without selectors fits nothing; one with empty selectors fits everything, worst. The
/// namespace is looked at only where the instance has labels, which is how KubeVirt's code does it.
pub fn fit(
    policy: &Policy,
    instance_labels: &BTreeMap<String, String>,
    namespace_labels: &BTreeMap<String, String>,
) -> Result<Fit, String> {
    let Some(selectors) = &policy.spec.selectors else {
        return Err("it has no selectors, so it fits nothing".to_owned());
    };
    let missing = |wanted: &BTreeMap<String, String>,
                   labels: &BTreeMap<String, String>,
                   of: &str| {
        wanted.iter().find(|(key, value)| labels.get(*key) != Some(value)).map(|(key, value)| {
            let has = labels.get(key).map_or_else(|| "none".to_owned(), |it| format!("`{it}`"));
            format!("it wants the label {key}={value} of the {of}, which has {has}")
        })
    };
    let instance = &selectors.virtual_machine_instance_selector;
    if let Some(reason) = missing(instance, instance_labels, "instance") {
        return Err(reason);
    }
    let mut pairs = instance.len();
    if !instance_labels.is_empty() {
        let namespace = &selectors.namespace_selector;
        if let Some(reason) = missing(namespace, namespace_labels, "namespace") {
            return Err(reason);
        }
        pairs += namespace.len();
    }
    Ok(Fit { pairs, instance_pairs: instance.len() })
}

/// The policy that KubeVirt takes: most pairs, then most of the instance's, then the lowest name.
pub fn winner<'a>(
    policies: &'a [Policy],
    instance_labels: &BTreeMap<String, String>,
    namespace_labels: &BTreeMap<String, String>,
) -> Option<&'a Policy> {
    let fits = policies.iter().filter_map(|it| {
        let fit = fit(it, instance_labels, namespace_labels).ok()?;
        Some((fit.pairs, fit.instance_pairs, std::cmp::Reverse(name(it)), it))
    });
    fits.max_by(|a, b| (a.0, a.1, &a.2).cmp(&(b.0, b.1, &b.2))).map(|it| it.3)
}

/// A policy's name.
pub fn name(policy: &Policy) -> &str {
    policy.metadata.name.as_deref().unwrap_or_default()
}

/// What KubeVirt takes where nobody says anything.
pub fn cluster_defaults() -> MigrationConfiguration {
    MigrationConfiguration {
        parallel_migrations_per_cluster: Some(5),
        parallel_outbound_migrations_per_node: Some(2),
        bandwidth_per_migration: Some("0".into()),
        completion_timeout_per_gi_b: Some(150),
        progress_timeout: Some(150),
        max_downtime_ms: None,
        allow_auto_converge: Some(false),
        allow_post_copy: Some(false),
        allow_workload_disruption: None,
        unsafe_migration_override: Some(false),
        disable_tls: Some(false),
        network: None,
    }
}

/// Defaults, what the cluster says, and what the policy says, each before the one it follows.
///
/// Where post-copy is set and disruption is not, disruption follows it.
pub fn effective(
    cluster: Option<&MigrationConfiguration>,
    policy: Option<&Policy>,
) -> MigrationConfiguration {
    let mut merged = cluster_defaults();
    if let Some(cluster) = cluster {
        take(&mut merged.parallel_migrations_per_cluster, &cluster.parallel_migrations_per_cluster);
        let outbound = &cluster.parallel_outbound_migrations_per_node;
        take(&mut merged.parallel_outbound_migrations_per_node, outbound);
        take(&mut merged.bandwidth_per_migration, &cluster.bandwidth_per_migration);
        take(&mut merged.completion_timeout_per_gi_b, &cluster.completion_timeout_per_gi_b);
        take(&mut merged.progress_timeout, &cluster.progress_timeout);
        take(&mut merged.max_downtime_ms, &cluster.max_downtime_ms);
        take(&mut merged.allow_auto_converge, &cluster.allow_auto_converge);
        take(&mut merged.allow_post_copy, &cluster.allow_post_copy);
        take(&mut merged.unsafe_migration_override, &cluster.unsafe_migration_override);
        take(&mut merged.disable_tls, &cluster.disable_tls);
        take(&mut merged.network, &cluster.network);
        let follows = cluster.allow_post_copy;
        merged.allow_workload_disruption = cluster.allow_workload_disruption.or(follows);
    }
    if let Some(policy) = policy.map(|it| &it.spec) {
        take(&mut merged.allow_auto_converge, &policy.allow_auto_converge);
        take(&mut merged.bandwidth_per_migration, &policy.bandwidth_per_migration);
        take(&mut merged.completion_timeout_per_gi_b, &policy.completion_timeout_per_gi_b);
        take(&mut merged.max_downtime_ms, &policy.max_downtime_ms);
        take(&mut merged.allow_post_copy, &policy.allow_post_copy);
        let follows = policy.allow_workload_disruption.or(policy.allow_post_copy);
        take(&mut merged.allow_workload_disruption, &follows);
    }
    if merged.allow_workload_disruption.is_none() {
        merged.allow_workload_disruption = merged.allow_post_copy;
    }
    merged
}

fn take<T: Clone>(into: &mut Option<T>, from: &Option<T>) {
    if from.is_some() {
        into.clone_from(from);
    }
}
