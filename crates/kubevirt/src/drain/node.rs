//! The node: how it stands, whether it takes guests, and which are on it.

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serde_json::json;

use crate::cluster::Cluster;
use crate::error::KubevirtError;

/// How a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As it should.
    Well,
    /// Its kubelet says that it is not ready, or says nothing any more; and why.
    NotReady(String),
    /// It is no part of the cluster any more.
    Gone,
}

impl Standing {
    /// What a user has to know of it.
    pub fn words(&self, node: &str) -> String {
        match self {
            Standing::Well => format!("{node} is ready again"),
            Standing::NotReady(why) => {
                format!("{node} is not ready ({why}), so its guests may be unable to leave it")
            }
            Standing::Gone => format!("{node} is gone: it was taken out of the cluster"),
        }
    }
}

/// How it stands, and whether it is cordoned.
pub async fn look(cluster: &Cluster, name: &str) -> Result<(Standing, bool), KubevirtError> {
    let nodes: Api<Node> = Api::all(cluster.client());
    let found = cluster.call(&format!("get node {name}"), || nodes.get_opt(name)).await?;
    let Some(node) = found else { return Ok((Standing::Gone, false)) };
    let is_cordoned = node.spec.and_then(|it| it.unschedulable).unwrap_or(false);
    let conditions = node.status.and_then(|it| it.conditions).unwrap_or_default();
    let ready = conditions.into_iter().find(|it| it.type_ == "Ready");
    let standing = match ready {
        Some(it) if it.status != "True" => {
            Standing::NotReady(it.message.or(it.reason).unwrap_or_else(|| "no reason given".into()))
        }
        _ => Standing::Well,
    };
    Ok((standing, is_cordoned))
}

/// Lets it take no new guests, or take some again.
pub async fn cordon(cluster: &Cluster, node: &str, is_on: bool) -> Result<(), KubevirtError> {
    let api: Api<Node> = Api::all(cluster.client());
    let change = json!({"spec": {"unschedulable": if is_on { json!(true) } else { json!(null) }}});
    cluster.merge(&api, node, &change).await
}

/// The virt-launcher Pods on it that still run.
pub async fn pods(cluster: &Cluster, node: &str) -> Result<Vec<Pod>, KubevirtError> {
    let api: Api<Pod> = Api::all(cluster.client());
    let mut parameters = ListParams::default()
        .labels("kubevirt.io=virt-launcher")
        .fields(&format!("spec.nodeName={node}"));
    parameters.limit = Some(250);
    let mut found = Vec::new();
    loop {
        let piece = cluster.call("list Pods", || api.list(&parameters)).await?;
        found.extend(piece.items.into_iter().filter(|pod| {
            let phase = pod.status.as_ref().and_then(|it| it.phase.as_deref());
            !matches!(phase, Some("Succeeded" | "Failed"))
        }));
        parameters.continue_token = piece.metadata.continue_.filter(|it| !it.is_empty());
        if parameters.continue_token.is_none() {
            return Ok(found);
        }
    }
}

/// The guest that a virt-launcher Pod runs.
pub fn guest_of(pod: &Pod) -> String {
    let labels = pod.labels();
    let name = ["vm.kubevirt.io/name", "kubevirt.io/vm-name", "kubevirt.io/domain"]
        .iter()
        .find_map(|it| labels.get(*it).cloned());
    name.unwrap_or_else(|| pod.name_any())
}
