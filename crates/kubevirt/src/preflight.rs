//! What must be so before anything is created: looked at in the order in which a user would mend it.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, PostParams};

use crate::cluster::Cluster;
use crate::error::KubevirtError;
use crate::policy::effective;
use crate::rbac::{Command, Rule, Scope};
use crate::views::{self, KubeVirt, MigrationConfiguration};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub name: String,
    /// How it stands.
    pub level: Level,
    /// What was seen, with the way out where one is needed.
    pub text: String,
}

/// How a finding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// The command works, but tells less.
    Limited,
    /// The command cannot work.
    Missing,
}

/// What was found of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Preflight {
    /// Everything that was looked at, in order.
    pub findings: Vec<Finding>,
    /// The API server's release.
    pub server_version: Option<String>,
    /// KubeVirt's release, where it may be asked.
    pub kubevirt_version: Option<String>,
    /// Nodes that virtual machines can go to, where they may be counted.
    pub schedulable_nodes: Option<usize>,
    /// What the cluster says of migrations, merged with KubeVirt's own defaults.
    pub limits: Option<MigrationConfiguration>,
    /// Features that are still being tried out and are switched on.
    pub feature_gates: Vec<String>,
    /// Optional rules that are missing.
    denied: Vec<&'static str>,
}

impl Preflight {
    /// Whether a command may work.
    pub fn is_well(&self) -> bool {
        self.findings.iter().all(|it| it.level < Level::Missing)
    }

    /// Whether an optional resource may be used.
    pub fn may(&self, resource: &str) -> bool {
        !self.denied.contains(&resource)
    }

    /// Whether the agents in guests may be asked.
    pub fn may_ask_guests(&self) -> bool {
        self.may("pods/proxy") && self.may("pods")
    }

    /// All that is missing, as one error.
    pub fn require(self) -> Result<Preflight, KubevirtError> {
        if self.is_well() {
            return Ok(self);
        }
        let missing = self.findings.iter().filter(|it| it.level == Level::Missing);
        let texts: Vec<&str> = missing.map(|it| it.text.as_str()).collect();
        Err(KubevirtError::NotReady(texts.join("\n")))
    }

    fn add(&mut self, name: &str, level: Level, text: impl Into<String>) {
        self.findings.push(Finding { name: name.to_owned(), level, text: text.into() });
    }
}

/// Looks at the cluster for a command; only an API server that does not answer is an error. `leaving` is a node that
/// guests are to leave, and which need not take any itself.
pub async fn look(
    cluster: &Cluster,
    command: Command,
    leaving: Option<&str>,
) -> Result<Preflight, KubevirtError> {
    let mut preflight = Preflight::default();
    let client = cluster.client();
    let version = cluster.call("ask the API server's version", || client.apiserver_version()).await;
    match version {
        Ok(version) => {
            let text = format!("Kubernetes {} at {}", version.git_version, cluster.server);
            preflight.add("api", Level::Ok, text);
            preflight.server_version = Some(version.git_version);
        }
        Err(error) if error.is_refusal() => {
            preflight.add("api", Level::Limited, format!("It answers, but: {error}"));
        }
        Err(error) => return Err(error),
    }
    installed(cluster, &mut preflight).await?;
    permissions(cluster, command, &mut preflight).await?;
    if preflight.is_well() && asks(command, "kubevirts") && preflight.may("kubevirts") {
        limits(cluster, &mut preflight).await?;
    }
    if preflight.is_well() && asks(command, "nodes") && preflight.may("nodes") {
        nodes(cluster, leaving, &mut preflight).await?;
    }
    Ok(preflight)
}

/// Whether a command's rules let it read a resource.
fn asks(command: Command, resource: &str) -> bool {
    command.rules().iter().any(|it| it.resource == resource && it.verbs.contains(&"list"))
}

async fn installed(cluster: &Cluster, found: &mut Preflight) -> Result<(), KubevirtError> {
    let client = cluster.client();
    let group = "kubevirt.io/v1";
    let what = "ask for KubeVirt's kinds";
    match cluster.call(what, || client.list_api_group_resources(group)).await {
        Ok(kinds) => {
            let has = |plural: &str| kinds.resources.iter().any(|it| it.name == plural);
            if has("virtualmachineinstancemigrations") && has("virtualmachines") {
                found.add("kubevirt", Level::Ok, format!("KubeVirt's API {group} is served"));
            } else {
                let text = format!(
                    "KubeVirt's API {group} is served in part only; look at the KubeVirt object"
                );
                found.add("kubevirt", Level::Missing, text);
            }
        }
        Err(error) if error.is_not_found() => found.add(
            "kubevirt",
            Level::Missing,
            format!("KubeVirt is not installed: {} serves no {group}", cluster.server),
        ),
        Err(error) if error.is_refusal() => {
            found.add("kubevirt", Level::Limited, error.to_string());
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

async fn permissions(
    cluster: &Cluster,
    command: Command,
    found: &mut Preflight,
) -> Result<(), KubevirtError> {
    for rule in command.rules() {
        for verb in rule.verbs {
            if may(cluster, rule, verb).await? {
                continue;
            }
            let place = match rule.scope {
                Scope::Namespace => format!("in namespace {}", cluster.namespace),
                Scope::Cluster => "cluster-wide".to_owned(),
            };
            let group = if rule.group.is_empty() { "\"\"" } else { rule.group };
            let rule_text =
                format!("verb {verb} on {} of API group {group} {place}", rule.resource);
            if let Some(without) = rule.optional {
                found.denied.push(rule.resource);
                let text = format!("Not allowed: {rule_text}; without it {without}");
                found.add("permission", Level::Limited, text);
            } else {
                let text = format!(
                    "Not allowed: {rule_text}; `sterna kubevirt rbac {}` prints the roles to apply",
                    command.name()
                );
                found.add("permission", Level::Missing, text);
            }
        }
    }
    Ok(())
}

async fn may(cluster: &Cluster, rule: &Rule, verb: &str) -> Result<bool, KubevirtError> {
    let (resource, subresource) = match rule.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (rule.resource, None),
    };
    let namespace = (rule.scope == Scope::Namespace).then(|| cluster.namespace.clone());
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(rule.group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource,
                namespace,
                verb: Some(verb.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client());
    let parameters = PostParams::default();
    let answer = cluster.call("ask for permissions", || api.create(&parameters, &review)).await?;
    Ok(answer.status.is_some_and(|it| it.allowed))
}

async fn limits(cluster: &Cluster, found: &mut Preflight) -> Result<(), KubevirtError> {
    let api = cluster.api::<KubeVirt>(&views::kubevirts(), None);
    let all = cluster.list("KubeVirt objects", &api, None).await?;
    let Some(kubevirt) = all.first() else {
        let text =
            "There is no KubeVirt object: the kinds are there, but nothing that acts on them";
        found.add("kubevirt", Level::Limited, text);
        return Ok(());
    };
    let status = kubevirt.status.clone().unwrap_or_default();
    let configuration = &kubevirt.spec.configuration;
    let version = status.observed_kube_virt_version.filter(|it| !it.is_empty());
    let phase = status.phase.unwrap_or_else(|| "unknown".to_owned());
    let level = if phase == "Deployed" { Level::Ok } else { Level::Limited };
    let release = version.as_deref().unwrap_or("of unknown release");
    found.add("kubevirt", level, format!("KubeVirt {release} is {phase}"));
    found.feature_gates.clone_from(&configuration.developer_configuration.feature_gates);
    let limits = effective(configuration.migrations.as_ref(), None);
    let number = |it: Option<u32>| it.map_or_else(|| "?".to_owned(), |it| it.to_string());
    let text = format!(
        "At most {} migrations at once in the cluster, {} leaving one node; {} s for each GB; TLS {}",
        number(limits.parallel_migrations_per_cluster),
        number(limits.parallel_outbound_migrations_per_node),
        limits.completion_timeout_per_gi_b.unwrap_or_default(),
        if limits.disable_tls == Some(true) { "off" } else { "on" },
    );
    found.add("limits", Level::Ok, text);
    found.kubevirt_version = version;
    found.limits = Some(limits);
    Ok(())
}

async fn nodes(
    cluster: &Cluster,
    leaving: Option<&str>,
    found: &mut Preflight,
) -> Result<(), KubevirtError> {
    let api: Api<Node> = Api::all(cluster.client());
    let all = cluster.list("nodes", &api, None).await?;
    let is_left = |it: &&Node| it.metadata.name.as_deref() == leaving && leaving.is_some();
    let able = all.iter().filter(|it| takes_guests(it) && !is_left(it)).count();
    found.schedulable_nodes = Some(able);
    let marks = "they must be Ready, not cordoned, and not marked kubevirt.io/schedulable=false";
    match leaving {
        Some(node) if able == 0 => {
            let text = format!(
                "No node but {node} takes virtual machines, so its guests have nowhere to go: {marks}"
            );
            found.add("nodes", Level::Missing, text);
        }
        None if able < 2 => {
            let text = format!(
                "{able} of {} nodes take virtual machines, but a migration needs two: {marks}",
                all.len()
            );
            found.add("nodes", Level::Missing, text);
        }
        _ => found.add("nodes", Level::Ok, format!("{able} nodes take virtual machines")),
    }
    Ok(())
}

/// Ready, not cordoned, and not refused by virt-handler.
pub(crate) fn takes_guests(node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    let refused =
        labels.and_then(|it| it.get("kubevirt.io/schedulable")).is_some_and(|it| it == "false");
    let cordoned = node.spec.as_ref().and_then(|it| it.unschedulable).unwrap_or(false);
    let conditions = node.status.as_ref().and_then(|it| it.conditions.as_ref());
    let ready = conditions
        .is_some_and(|all| all.iter().any(|it| it.type_ == "Ready" && it.status == "True"));
    ready && !cordoned && !refused
}
