//! Which policy wins for a guest, and what holds then.

use std::collections::BTreeMap;

use crate::views::{MigrationConfiguration, Policy};

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
        experimental: None,
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
        take(&mut merged.experimental, &cluster.experimental);
        let follows = cluster.allow_post_copy;
        merged.allow_workload_disruption = cluster.allow_workload_disruption.or(follows);
    }
    if let Some(policy) = policy.map(|it| &it.spec) {
        take(&mut merged.allow_auto_converge, &policy.allow_auto_converge);
        take(&mut merged.bandwidth_per_migration, &policy.bandwidth_per_migration);
        take(&mut merged.completion_timeout_per_gi_b, &policy.completion_timeout_per_gi_b);
        take(&mut merged.max_downtime_ms, &policy.max_downtime_ms);
        take(&mut merged.allow_post_copy, &policy.allow_post_copy);
        take(&mut merged.experimental, &policy.experimental);
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
