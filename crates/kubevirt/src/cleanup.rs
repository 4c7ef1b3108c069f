//! Removing what is ours: whatever carries our labels, and nothing else.

use std::time::{Duration, Instant};

use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject};
use kube::core::ApiResource;
use sterna_pilot::Interrupt;

use crate::apply::LOOK;
use crate::cluster::Cluster;
use crate::error::KubevirtError;
use crate::labels;
use crate::views;

/// An object that is ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ours {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The run that it belongs to.
    pub run_id: Option<String>,
}

/// The kinds that we make, what uses others first.
fn kinds() -> [(ApiResource, bool); 6] {
    [
        (views::vmims(), true),
        (views::vms(), true),
        (views::resource("", "v1", "Pod", "pods"), true),
        (views::resource("", "v1", "Service", "services"), true),
        (views::resource("", "v1", "Secret", "secrets"), true),
        (views::policies(), false),
    ]
}

/// What is there of ours, of one run or of all.
pub async fn find(cluster: &Cluster, run_id: Option<&str>) -> Result<Vec<Ours>, KubevirtError> {
    let ours = labels::selector(run_id);
    let mut found = Vec::new();
    for (resource, is_namespaced) in kinds() {
        let api = api(cluster, &resource, is_namespaced);
        // A Pod of virt-launcher has the labels of its instance, so ours too; it is its controller's to delete.
        let is_pod = resource.kind == "Pod";
        let selector = if is_pod { format!("{ours},{}=probe", labels::ROLE) } else { ours.clone() };
        let listed = match cluster.list(&resource.plural, &api, Some(&selector)).await {
            // Policies are the cluster's; who may not list them cannot have made any.
            Err(KubevirtError::Forbidden { .. }) if !is_namespaced => continue,
            listed => listed?,
        };
        found.extend(listed.iter().map(|it| Ours {
            kind: resource.kind.clone(),
            name: it.name_any(),
            run_id: it.labels().get(labels::RUN_ID).cloned(),
        }));
    }
    Ok(found)
}

/// Deletes and waits until all of it is gone, guests included.
pub async fn cleanup(
    cluster: &Cluster,
    run_id: Option<&str>,
    patience: Duration,
    interrupt: &Interrupt,
    tell: &mut dyn FnMut(&Ours),
) -> Result<usize, KubevirtError> {
    let mut removed = 0;
    for ours in find(cluster, run_id).await? {
        if interrupt.requested() {
            return Err(KubevirtError::Interrupted);
        }
        let found = kinds().into_iter().find(|(resource, _)| resource.kind == ours.kind);
        let Some((resource, is_namespaced)) = found else { continue };
        let api = api(cluster, &resource, is_namespaced);
        if cluster.delete(&ours.kind, &api, &ours.name).await? {
            removed += 1;
            tell(&ours);
        }
    }
    if !cluster.is_dry_run() {
        wait_gone(cluster, run_id, patience, interrupt).await?;
    }
    Ok(removed)
}

async fn wait_gone(
    cluster: &Cluster,
    run_id: Option<&str>,
    patience: Duration,
    interrupt: &Interrupt,
) -> Result<(), KubevirtError> {
    let deadline = Instant::now() + patience;
    let selector = labels::selector(run_id);
    let instances: Api<DynamicObject> = api(cluster, &views::vmis(), true);
    let mut pause = LOOK;
    loop {
        let mut left = find(cluster, run_id).await?;
        let guests = cluster.list("instances", &instances, Some(&selector)).await?;
        left.extend(guests.iter().map(|it| Ours {
            kind: "VirtualMachineInstance".to_owned(),
            name: it.name_any(),
            run_id: None,
        }));
        if left.is_empty() {
            return Ok(());
        }
        if interrupt.requested() {
            return Err(KubevirtError::Interrupted);
        }
        if Instant::now() >= deadline {
            let names: Vec<String> =
                left.iter().take(5).map(|it| format!("{} {}", it.kind, it.name)).collect();
            return Err(KubevirtError::NotReady(format!(
                "{} objects are deleted but not gone after {} s, such as {}; a finalizer may wait for a controller that does not run",
                left.len(),
                patience.as_secs(),
                names.join(", ")
            )));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

fn api(cluster: &Cluster, resource: &ApiResource, is_namespaced: bool) -> Api<DynamicObject> {
    let namespace = is_namespaced.then_some(cluster.namespace.as_str());
    cluster.api(resource, namespace)
}
