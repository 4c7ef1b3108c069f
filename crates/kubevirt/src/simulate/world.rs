//! What must be there for the simulation: nodes, a KubeVirt object, and the webhook that leads to us.

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject};
use serde_json::{Value, json};

use super::SimulateOptions;
use super::server::Server;
use crate::cluster::Cluster;
use crate::encode::base64;
use crate::error::KubevirtError;
use crate::views::{self, KubeVirt};

/// Marks what the simulation made.
pub const SIMULATED: &str = "sterna/simulated";

/// Makes nodes and webhook; refuses a cluster that has a KubeVirt of its own.
pub async fn set_up(
    cluster: &Cluster,
    options: &SimulateOptions,
    server: &Server,
) -> Result<(), KubevirtError> {
    let api = cluster.api::<KubeVirt>(&views::kubevirts(), None);
    let all = cluster.list("KubeVirt objects", &api, None).await?;
    if let Some(real) = all.iter().find(|it| !it.labels().contains_key(SIMULATED)) {
        return Err(KubevirtError::NotReady(format!(
            "{} has a KubeVirt of its own, {}; simulated controllers beside it would fight with it over every object",
            cluster.server,
            real.name_any()
        )));
    }
    for number in 1..=options.nodes {
        node(cluster, number, server.port).await?;
    }
    if all.is_empty() {
        cluster.apply(&kubevirt(&cluster.namespace)).await?;
    }
    let status = json!({"status": {"phase": "Deployed", "observedKubeVirtVersion": "simulated"}});
    let api = cluster.api::<DynamicObject>(&views::kubevirts(), Some(&cluster.namespace));
    cluster.merge_status(&api, "simulated", &status).await?;
    cluster.apply(&webhook(server)).await?;
    Ok(())
}

/// Removes them.
pub async fn tear_down(cluster: &Cluster) -> Result<(), KubevirtError> {
    let hooks = views::resource(
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
    );
    let api = cluster.api::<DynamicObject>(&hooks, None);
    cluster.delete("webhook", &api, "sterna-simulated").await?;
    let nodes: Api<Node> = Api::all(cluster.client());
    let selector = format!("{SIMULATED}=true");
    for node in cluster.list("nodes", &nodes, Some(&selector)).await? {
        cluster.delete("node", &nodes, &node.name_any()).await?;
    }
    let api = cluster.api::<DynamicObject>(&views::kubevirts(), Some(&cluster.namespace));
    cluster.delete("KubeVirt", &api, "simulated").await?;
    Ok(())
}

async fn node(cluster: &Cluster, number: u32, port: u16) -> Result<(), KubevirtError> {
    let name = node_name(number);
    cluster
        .apply(&json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {
                SIMULATED: "true",
                "kubernetes.io/hostname": name,
                "kubevirt.io/schedulable": "true",
            }},
        }))
        .await?;
    let api: Api<Node> = Api::all(cluster.client());
    let status = json!({"status": {
        "conditions": [{"type": "Ready", "status": "True", "reason": "Simulated"}],
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }});
    cluster.merge_status(&api, &name, &status).await?;
    // A node that comes may be kept empty until its kubelet has removed this mark; here nobody else will.
    cluster.merge(&api, &name, &json!({"spec": {"taints": null}})).await
}

/// The name of the node of this number, from 1.
pub fn node_name(number: u32) -> String {
    format!("sim-node-{number}")
}

fn kubevirt(namespace: &str) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "KubeVirt",
        "metadata": {
            "name": "simulated",
            "namespace": namespace,
            "labels": {SIMULATED: "true"},
        },
        "spec": {},
    })
}

fn webhook(server: &Server) -> Value {
    let rule = |group: &str, version: &str, resource: &str| {
        json!({
            "apiGroups": [group], "apiVersions": [version],
            "operations": ["CREATE"], "resources": [resource],
        })
    };
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "sterna-simulated", "labels": {SIMULATED: "true"}},
        "webhooks": [{
            "name": "admit.simulated.kubevirt.io",
            "clientConfig": {
                "url": format!("https://127.0.0.1:{}/admit", server.port),
                "caBundle": base64(server.certificate.as_bytes()),
            },
            "rules": [
                rule("kubevirt.io", "v1", "virtualmachineinstancemigrations"),
                rule("", "v1", "pods/eviction"),
            ],
            "sideEffects": "NoneOnDryRun",
            "admissionReviewVersions": ["v1"],
            "failurePolicy": "Fail",
            "timeoutSeconds": 10,
        }],
    })
}
