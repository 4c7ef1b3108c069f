//! Which policy wins for a guest, and what will happen because of it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::error::KubevirtError;
use crate::multifd::{self, Connections};
use crate::policy::{bandwidth, effective, fit, gigabytes, name, winner};
use crate::preflight::Preflight;
use crate::views::{
    self, Domain, KubeVirt, MigrationConfiguration, Policy, Vm, Vmi, VmiStatus, condition,
};

/// What can be said of a guest's next migration.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The guest.
    pub guest: String,
    /// Why it cannot be migrated as it is now; None where nothing is known against it.
    pub obstacle: Option<String>,
    /// The policy that wins.
    pub policy: Option<String>,
    /// Every policy, and how it fared: its name, whether it won, and why.
    pub candidates: Vec<(String, bool, String)>,
    /// What holds.
    pub effective: MigrationConfiguration,
    /// Memory of the guest, as KubeVirt counts it.
    pub memory_bytes: Option<u64>,
    /// The completion timeout.
    pub timeout_seconds: Option<i64>,
    /// What happens at the timeout.
    pub at_timeout: String,
    /// Parallel connections, and why that number.
    pub multifd: Connections,
    /// What KubeVirt makes of the bandwidth: bytes a second; None is no limit.
    pub bandwidth_bytes_per_second: Option<u64>,
    /// What it makes of it in words, where it does not keep to it exactly.
    pub bandwidth_note: Option<String>,
    /// What happens on a drain.
    pub eviction: String,
}

/// Explains from the objects, without asking anything.
pub fn explain(
    vmi: &Vmi,
    policies: &[Policy],
    namespace_labels: &BTreeMap<String, String>,
    kubevirt: Option<&KubeVirt>,
) -> Explanation {
    let won = winner(policies, vmi.labels(), namespace_labels);
    let configuration = kubevirt.map(|it| &it.spec.configuration);
    let release = kubevirt
        .and_then(|it| it.status.as_ref())
        .and_then(|it| it.observed_kube_virt_version.as_deref());
    let effective = effective(configuration.and_then(|it| it.migrations.as_ref()), won);
    let has_postcopy = effective.allow_post_copy == Some(true);
    let bandwidth = effective.bandwidth_per_migration.as_ref().and_then(quantity).unwrap_or(0.0);
    let obstacle = obstacle(vmi);
    let memory_bytes = memory_bytes(&vmi.spec.domain);
    let timeout_seconds = memory_bytes.map(|bytes| {
        let each = effective.completion_timeout_per_gi_b.unwrap_or(150);
        each.saturating_mul(i64::try_from(gigabytes(bytes)).unwrap_or(i64::MAX))
    });
    let candidates = policies
        .iter()
        .map(|policy| {
            let is_winner = won.is_some_and(|it| name(it) == name(policy));
            let why = match fit(policy, vmi.labels(), namespace_labels) {
                Err(reason) => reason,
                Ok(fit) => format!(
                    "{} pairs match, {} of them of the instance{}",
                    fit.pairs,
                    fit.instance_pairs,
                    if is_winner { "" } else { "; another matches more, or has the lower name" }
                ),
            };
            (name(policy).to_owned(), is_winner, why)
        })
        .collect();
    Explanation {
        guest: vmi.name_any(),
        policy: won.map(|it| name(it).to_owned()),
        candidates,
        at_timeout: at_timeout(&effective, timeout_seconds),
        multifd: multifd::connections(&vmi.spec.domain, has_postcopy, release),
        eviction: eviction(
            vmi,
            configuration.and_then(|it| it.eviction_strategy.as_deref()),
            obstacle.is_some(),
        ),
        obstacle,
        bandwidth_bytes_per_second: bandwidth::mebibytes(bandwidth).map(|it| it << 20),
        bandwidth_note: bandwidth::note(bandwidth),
        effective,
        memory_bytes,
        timeout_seconds,
    }
}

/// Asks for what an explanation needs.
pub async fn ask(
    cluster: &Cluster,
    vm: &str,
    preflight: &Preflight,
) -> Result<Explanation, KubevirtError> {
    let namespace = cluster.namespace.clone();
    let instances = cluster.api::<Vmi>(&views::vmis(), Some(&namespace));
    let found = cluster.call(&format!("get instance {vm}"), || instances.get(vm)).await;
    let vmi = match found {
        Err(error) if error.is_not_found() => from_machine(cluster, vm).await?,
        found => found?,
    };
    let policies = cluster.api::<Policy>(&views::policies(), None);
    let policies = cluster.list("MigrationPolicies", &policies, None).await?;
    let labels = if preflight.may("namespaces") {
        let api: kube::Api<Namespace> = kube::Api::all(cluster.client());
        let found = cluster.call("get the namespace", || api.get_opt(&namespace)).await?;
        found.and_then(|it| it.metadata.labels).unwrap_or_default()
    } else {
        BTreeMap::new()
    };
    let kubevirts = if preflight.may("kubevirts") {
        let api = cluster.api::<KubeVirt>(&views::kubevirts(), None);
        cluster.list("KubeVirt objects", &api, None).await?
    } else {
        Vec::new()
    };
    Ok(explain(&vmi, &policies, &labels, kubevirts.first()))
}

/// A machine that does not run has no instance yet; its template says what it will be.
async fn from_machine(cluster: &Cluster, name: &str) -> Result<Vmi, KubevirtError> {
    let api = cluster.api::<Vm>(&views::vms(), Some(&cluster.namespace));
    let found = cluster.call(&format!("get virtual machine {name}"), || api.get(name)).await;
    let vm = found.map_err(|error| {
        if error.is_not_found() {
            let namespace = &cluster.namespace;
            return KubevirtError::NotReady(format!(
                "There is no virtual machine {name} in namespace {namespace}"
            ));
        }
        error
    })?;
    let template = vm.spec.template.unwrap_or_default();
    let mut vmi = Vmi::new(name, &views::vmis(), template.spec);
    vmi.metadata.labels = Some(template.metadata.labels);
    // The machine keeps the conditions of its last instance.
    let conditions = vm.status.as_ref().and_then(|it| it.get("conditions")).cloned();
    let conditions = conditions.and_then(|it| serde_json::from_value(it).ok()).unwrap_or_default();
    vmi.status = Some(VmiStatus { conditions, ..VmiStatus::default() });
    Ok(vmi)
}

fn at_timeout(effective: &MigrationConfiguration, timeout: Option<i64>) -> String {
    let is = |it: Option<bool>| it == Some(true);
    if timeout == Some(0) {
        return "There is no timeout: completionTimeoutPerGiB is 0".to_owned();
    }
    let text = match (is(effective.allow_workload_disruption), is(effective.allow_post_copy)) {
        (false, _) => "The migration is aborted; the guest runs on where it is",
        (true, true) => {
            "The guest goes on at the target by post-copy; from then on a lost connection loses it"
        }
        (true, false) => "The guest is paused until the rest is moved, at most as long again",
    };
    text.to_owned()
}

/// What keeps the guest from being migrated, as the cluster says it: only conditions that last.
fn obstacle(vmi: &Vmi) -> Option<String> {
    let status = vmi.status.as_ref()?;
    if let phase @ ("Failed" | "Succeeded") = status.phase.as_deref().unwrap_or_default() {
        return Some(format!("it is in phase {phase}"));
    }
    let no = condition(&status.conditions, "LiveMigratable").filter(|it| it.status == "False")?;
    let reason = no.reason.as_deref().unwrap_or("no reason is given");
    let message = no.message.as_deref().map_or_else(String::new, |it| format!(": {it}"));
    Some(format!("{reason}{message}"))
}

fn eviction(vmi: &Vmi, cluster: Option<&str>, is_stuck: bool) -> String {
    let own = vmi.spec.eviction_strategy.as_deref();
    let strategy = own.or(cluster).unwrap_or("None");
    let of = if own.is_some() { "its own" } else { "the cluster's" };
    let what = match strategy {
        "LiveMigrate" if is_stuck => "it cannot be migrated, so the drain waits without end",
        "LiveMigrate" => "it is migrated; where that is impossible, the drain waits without end",
        "LiveMigrateIfPossible" if is_stuck => "it cannot be migrated, so it is shut down",
        "LiveMigrateIfPossible" => "it is migrated, or shut down where that is impossible",
        "External" => "another controller has to move it",
        _ => "it is shut down",
    };
    format!("{strategy} ({of}): {what}")
}

/// Memory as KubeVirt counts it for the timeout: what the guest sees, else what is requested, which is the limit where
/// only that is given.
pub fn memory_bytes(domain: &Domain) -> Option<u64> {
    let guest = domain.memory.as_ref().and_then(|it| it.guest.clone()).map(Value::from);
    let resources = &domain.resources;
    let requested = resources.requests.get("memory").or_else(|| resources.limits.get("memory"));
    let wanted = guest.or_else(|| requested.cloned())?;
    quantity(&wanted).map(|it| it as u64)
}

/// A quantity of Kubernetes as a number.
pub fn quantity(value: &Value) -> Option<f64> {
    let text = match value {
        Value::String(text) => text.trim(),
        Value::Number(number) => return number.as_f64(),
        _ => return None,
    };
    let units = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("m", 1e-3),
        ("", 1.0),
    ];
    units.iter().find_map(|(unit, factor)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        number.is_finite().then_some(number * factor)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn guest(conditions: Value, strategy: &str) -> Vmi {
        serde_json::from_value(json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
            "metadata": {"name": "rwo", "namespace": "vms"},
            "spec": {"domain": {"memory": {"guest": "8Gi"}}, "evictionStrategy": strategy},
            "status": {"phase": "Running", "conditions": conditions},
        }))
        .unwrap()
    }

    #[test]
    fn a_guest_that_is_not_migratable_has_an_obstacle_with_the_reason() {
        let no = json!([{"type": "LiveMigratable", "status": "False",
            "reason": "DisksNotLiveMigratable", "message": "PVC a is not shared"}]);
        let table = [
            (no, Some("DisksNotLiveMigratable: PVC a is not shared")),
            (json!([{"type": "LiveMigratable", "status": "False"}]), Some("no reason is given")),
            (json!([{"type": "LiveMigratable", "status": "True"}]), None),
            (json!([{"type": "LiveMigratable", "status": "Unknown"}]), None),
            (json!([{"type": "Paused", "status": "True"}]), None),
            (json!([]), None),
        ];
        for (conditions, expected) in table {
            let vmi = guest(conditions.clone(), "LiveMigrate");
            let found = explain(&vmi, &[], &BTreeMap::new(), None);
            assert_eq!(found.obstacle.as_deref(), expected, "{conditions}");
            let is_stuck = found.eviction.contains("it cannot be migrated");
            assert_eq!(is_stuck, expected.is_some(), "{conditions}: {}", found.eviction);
        }
    }

    #[test]
    fn the_bandwidth_is_explained_as_kubevirt_keeps_to_it() {
        let bandwidth = |quantity: &str| {
            let kubevirt: KubeVirt = serde_json::from_value(json!({
                "apiVersion": "kubevirt.io/v1", "kind": "KubeVirt",
                "metadata": {"name": "kubevirt"},
                "spec": {"configuration": {"migrations": {"bandwidthPerMigration": quantity}}},
                "status": {"observedKubeVirtVersion": "v1.1.1"},
            }))
            .unwrap();
            let found = explain(&guest(json!([]), "None"), &[], &BTreeMap::new(), Some(&kubevirt));
            assert_eq!(found.multifd.count, Some(1));
            (found.bandwidth_bytes_per_second, found.bandwidth_note.is_some())
        };
        assert_eq!(bandwidth("64Mi"), (Some(64 << 20), false));
        assert_eq!(bandwidth("64M"), (Some(61 << 20), true));
        assert_eq!(bandwidth("500k"), (Some(1 << 20), true));
        assert_eq!(bandwidth("0"), (None, false));
        assert_eq!(bandwidth("20Gi"), (Some(20 << 30), false));
    }

    #[test]
    fn quantities_are_numbers() {
        let table = [
            ("8Gi", Some(8_589_934_592.0)),
            ("1G", Some(1e9)),
            ("500m", Some(0.5)),
            ("1e3", Some(1000.0)),
            ("12", Some(12.0)),
            ("64Mi", Some(67_108_864.0)),
            ("Gi", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(quantity(&text.into()), expected, "{text}");
        }
    }
}
