//! What each command may do, rule by rule: the one table from which roles are printed and permissions are checked.

use serde_json::{Value, json};

use crate::labels;

/// A command that speaks to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Command {
    /// Create the workload and wait for it.
    Apply,
    /// Migrate and record.
    Migrate,
    /// Show migrations as they happen.
    Watch,
    /// Empty a node.
    Drain,
    /// Say which policy wins.
    Explain,
    /// Remove what is ours.
    Cleanup,
}

/// Verbs on one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The API group; empty for the core.
    pub group: &'static str,
    /// The resource, with its subresource.
    pub resource: &'static str,
    /// What is done to it.
    pub verbs: &'static [&'static str],
    /// Where it is asked for.
    pub scope: Scope,
    /// What is not known or done without it; None where the command cannot work.
    pub optional: Option<&'static str>,
}

/// Where a rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In the namespace.
    Namespace,
    /// In the whole cluster.
    Cluster,
}

impl Command {
    /// All of them.
    pub const ALL: [Command; 6] = [
        Command::Apply,
        Command::Migrate,
        Command::Watch,
        Command::Drain,
        Command::Explain,
        Command::Cleanup,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Command::Apply => "apply",
            Command::Migrate => "migrate",
            Command::Watch => "watch",
            Command::Drain => "drain",
            Command::Explain => "explain",
            Command::Cleanup => "cleanup",
        }
    }

    /// The command of this name.
    pub fn of_name(name: &str) -> Option<Command> {
        Command::ALL.into_iter().find(|it| it.name() == name)
    }

    /// What it needs, and nothing else.
    pub fn rules(self) -> &'static [Rule] {
        match self {
            Command::Apply => APPLY,
            Command::Migrate => MIGRATE,
            Command::Watch => WATCH,
            Command::Drain => DRAIN,
            Command::Explain => EXPLAIN,
            Command::Cleanup => CLEANUP,
        }
    }
}

const KUBEVIRT: &str = "kubevirt.io";
const POLICIES: &str = "migrations.kubevirt.io";
const VMIMS: &str = "virtualmachineinstancemigrations";
const VMIS: &str = "virtualmachineinstances";

const fn needed(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
) -> Rule {
    Rule { group, resource, verbs, scope: Scope::Namespace, optional: None }
}

const fn cluster(rule: Rule) -> Rule {
    Rule { scope: Scope::Cluster, ..rule }
}

const fn optional(rule: Rule, without: &'static str) -> Rule {
    Rule { optional: Some(without), ..rule }
}

const READ_LIMITS: Rule = optional(
    cluster(needed(KUBEVIRT, "kubevirts", &["list"])),
    "KubeVirt's release and the cluster's limits stay unknown",
);
const COUNT_NODES: Rule = optional(
    cluster(needed("", "nodes", &["list"])),
    "whether there are two nodes to choose from stays unknown",
);
const READ_LOGS: Rule = optional(
    needed("", "pods/log", &["get"]),
    "virt-launcher's account of each iteration and the probes' outages are not recorded",
);

const APPLY: &[Rule] = &[
    needed("", "secrets", &["create"]),
    needed("", "services", &["create"]),
    optional(needed("", "pods", &["create"]), "--probe-image cannot be used"),
    needed(KUBEVIRT, "virtualmachines", &["create"]),
    needed(KUBEVIRT, VMIS, &["list", "watch"]),
    optional(
        cluster(needed(POLICIES, "migrationpolicies", &["create"])),
        "policy flags cannot be used",
    ),
    READ_LIMITS,
    COUNT_NODES,
];

const NO_GUEST: &str =
    "the guest's own progress and the checks of its memory and its disk are not recorded";

const MIGRATE: &[Rule] = &[
    needed(KUBEVIRT, VMIS, &["list", "watch"]),
    needed(KUBEVIRT, VMIMS, &["create", "delete", "list", "watch"]),
    READ_LOGS,
    optional(needed("", "pods", &["list"]), NO_GUEST),
    optional(needed("", "pods/proxy", &["get"]), NO_GUEST),
    optional(needed("", "events", &["list"]), "the cluster's events are not recorded"),
    READ_LIMITS,
    COUNT_NODES,
];

const WATCH: &[Rule] = &[
    needed(KUBEVIRT, VMIS, &["list", "watch"]),
    needed(KUBEVIRT, VMIMS, &["list", "watch"]),
    READ_LOGS,
];

const DRAIN: &[Rule] = &[
    cluster(needed("", "nodes", &["get", "list", "patch"])),
    cluster(needed("", "pods", &["list"])),
    cluster(needed("", "pods/eviction", &["create"])),
    cluster(needed(KUBEVIRT, VMIS, &["list", "watch"])),
    cluster(needed(KUBEVIRT, VMIMS, &["list", "watch"])),
    READ_LIMITS,
];

const EXPLAIN: &[Rule] = &[
    needed(KUBEVIRT, "virtualmachines", &["get"]),
    needed(KUBEVIRT, VMIS, &["get"]),
    cluster(needed(POLICIES, "migrationpolicies", &["list"])),
    optional(
        cluster(needed("", "namespaces", &["get"])),
        "policies with a namespaceSelector cannot be judged",
    ),
    READ_LIMITS,
];

const CLEANUP: &[Rule] = &[
    needed(KUBEVIRT, "virtualmachines", &["list", "delete"]),
    needed(KUBEVIRT, VMIMS, &["list", "delete"]),
    needed(KUBEVIRT, VMIS, &["list"]),
    needed("", "secrets", &["list", "delete"]),
    needed("", "services", &["list", "delete"]),
    needed("", "pods", &["list", "delete"]),
    optional(
        cluster(needed(POLICIES, "migrationpolicies", &["list", "delete"])),
        "policies of a run are left",
    ),
];

/// A Role and a ClusterRole for a command, with the bindings that give them to a service account.
pub fn objects(command: Command, namespace: &str, account: &str) -> Vec<Value> {
    let name = format!("sterna-{}", command.name());
    let rules = |scope: Scope| -> Vec<Value> {
        command.rules().iter().filter(|it| it.scope == scope).map(rule_object).collect()
    };
    let mut objects = Vec::new();
    let mut add = |kind: &str, namespace: Option<&str>, extra: (&str, Value)| {
        let mut object = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": name, "labels": {labels::MANAGED_BY: labels::US}},
        });
        if let Some(namespace) = namespace {
            object["metadata"]["namespace"] = namespace.into();
        }
        object[extra.0] = extra.1;
        if kind.ends_with("Binding") {
            object["roleRef"] = json!({
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": kind.trim_end_matches("Binding"),
                "name": name,
            });
        }
        objects.push(object);
    };
    let subject = json!([{"kind": "ServiceAccount", "name": account, "namespace": namespace}]);
    let of_namespace = rules(Scope::Namespace);
    if !of_namespace.is_empty() {
        add("Role", Some(namespace), ("rules", of_namespace.into()));
        add("RoleBinding", Some(namespace), ("subjects", subject.clone()));
    }
    let of_cluster = rules(Scope::Cluster);
    if !of_cluster.is_empty() {
        add("ClusterRole", None, ("rules", of_cluster.into()));
        add("ClusterRoleBinding", None, ("subjects", subject));
    }
    objects
}

fn rule_object(rule: &Rule) -> Value {
    json!({"apiGroups": [rule.group], "resources": [rule.resource], "verbs": rule.verbs})
}
