//! Virtual machines become instances, instances get Pods; what loses its owner or its node goes.

use std::collections::{HashMap, HashSet};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject};
use kube::core::ApiResource;
use serde_json::json;

use super::{Failure, Key, Simulation, gone_is_well, key};
use crate::error::KubevirtError;
use crate::preflight::takes_guests;
use crate::views::{self, Vm};

impl Simulation {
    /// Makes instances for machines that should run, and ends those whose machine is gone.
    pub(super) async fn machines(&mut self) -> Result<(), KubevirtError> {
        let missing: Vec<Vm> = self
            .world
            .vms
            .iter()
            .filter(|(key, vm)| {
                let runs = vm.spec.run_strategy.as_deref() == Some("Always");
                runs && !self.world.pods.contains_key(*key) && !self.world.vmis.contains_key(*key)
            })
            .map(|(_, vm)| vm.clone())
            .collect();
        if !missing.is_empty() {
            let nodes = self.nodes();
            for (index, vm) in missing.iter().enumerate() {
                let Some(node) = nodes.get(index % nodes.len().max(1)) else { break };
                self.start(vm, node).await?;
            }
        }
        let guests: HashSet<&Key> = self.world.pods.keys().chain(self.world.vmis.keys()).collect();
        let orphans: Vec<Key> =
            guests.into_iter().filter(|key| !self.world.vms.contains_key(*key)).cloned().collect();
        for orphan in orphans {
            self.end(&orphan).await?;
        }
        Ok(())
    }

    /// What ran on a node that is gone has ended with it; the machine of such a guest starts it again elsewhere.
    pub(super) async fn losses(&mut self) -> Result<(), KubevirtError> {
        let is_lost = |node: &String| !self.world.nodes.contains_key(node);
        let places = self.world.places.iter();
        let lost: Vec<Key> =
            places.filter(|(_, node)| is_lost(node)).map(|it| it.0.clone()).collect();
        for guest in lost {
            let end = json!({"status": {"phase": "Failed"}});
            self.change(&views::vmis(), &guest, &end).await?;
            self.abandon(&guest, "The guest's instance ended while it was to be migrated").await?;
            if let Some(pod) = self.world.pods.remove(&guest) {
                self.remove_pod(&guest.0, &pod).await?;
            }
            self.world.places.remove(&guest);
            let api = self.cluster.api::<DynamicObject>(&views::vmis(), Some(&guest.0));
            self.cluster.delete("instance", &api, &guest.1).await?;
        }
        Ok(())
    }

    /// Nodes that take guests, the emptiest first.
    pub(super) fn nodes(&self) -> Vec<String> {
        let mut load: HashMap<&str, usize> = HashMap::new();
        let coming = self.world.flights.values().map(|it| &it.target_node);
        for node in self.world.places.values().chain(coming) {
            *load.entry(node).or_default() += 1;
        }
        let able = self.world.nodes.iter().filter(|it| takes_guests(it.1));
        let mut able: Vec<(usize, &String)> =
            able.map(|(name, _)| (load.get(name.as_str()).copied().unwrap_or(0), name)).collect();
        able.sort();
        able.into_iter().map(|it| it.1.clone()).collect()
    }

    async fn start(&mut self, vm: &Vm, node: &str) -> Result<(), KubevirtError> {
        let (namespace, name) = key(vm);
        let machines = self.cluster.api::<DynamicObject>(&views::vms(), Some(&namespace));
        let what = format!("get virtual machine {name}");
        let whole = self.cluster.call(&what, || machines.get_opt(&name)).await?;
        let Some(template) = whole.map(|it| it.data["spec"]["template"].clone()) else {
            return Ok(());
        };
        let pod = self.pod(&namespace, &name, node).await?;
        // Whoever sees the instance may ask for its migration at once.
        self.world.places.insert((namespace.clone(), name.clone()), node.to_owned());
        self.world.pods.insert((namespace.clone(), name.clone()), pod);
        self.tell_admission();
        let migratable = match &self.options.failure {
            Failure::NotMigratable(reason) => json!({
                "type": "LiveMigratable", "status": "False",
                "reason": "DisksNotLiveMigratable", "message": reason,
            }),
            _ => json!({"type": "LiveMigratable", "status": "True"}),
        };
        let instance = json!({
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachineInstance",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": template["metadata"]["labels"],
                "annotations": template["metadata"]["annotations"],
            },
            "spec": template["spec"],
            "status": {
                "phase": "Running",
                "nodeName": node,
                "migrationMethod": "BlockMigration",
                "conditions": [{"type": "Ready", "status": "True"}, migratable],
            },
        });
        match self.cluster.post(&instance).await {
            Err(error) if !matches!(error, KubevirtError::Refused { code: 409, .. }) => Err(error),
            _ => Ok(()),
        }
    }

    /// A virt-launcher Pod for a guest on a node; its name.
    pub(super) async fn pod(
        &mut self,
        namespace: &str,
        guest: &str,
        node: &str,
    ) -> Result<String, KubevirtError> {
        self.world.made += 1;
        let name = format!("virt-launcher-{guest}-{:05x}", self.world.made);
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": {"kubevirt.io": "virt-launcher", "vm.kubevirt.io/name": guest},
            },
            "spec": {
                "nodeName": node,
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "compute", "image": "simulated"}],
            },
        });
        self.cluster.post(&pod).await?;
        if let Some(ip) = self.options.stand_in.pod_ip {
            let status =
                json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}});
            self.change_status(&pods(), &(namespace.to_owned(), name.clone()), &status).await?;
        }
        Ok(name)
    }

    /// A Pod that probes gets a node, as a scheduler would give it one.
    pub(super) async fn place_probe(&self, pod: &Pod) -> Result<(), KubevirtError> {
        let has_node = pod.spec.as_ref().is_some_and(|it| it.node_name.is_some());
        let Some(node) = self.nodes().into_iter().next().filter(|_| !has_node) else {
            return Ok(());
        };
        let (namespace, name) = key(pod);
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/binding");
        match self.cluster.post_once(&path, &binding).await {
            // It has one by now, or is gone.
            Err(KubevirtError::Refused { code: 404 | 409, .. }) => Ok(()),
            other => other,
        }
    }

    /// Removes a Pod at once.
    pub(super) async fn remove_pod(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<(), KubevirtError> {
        let api: Api<Pod> = Api::namespaced(self.cluster.client(), namespace);
        let parameters = kube::api::DeleteParams::background().grace_period(0);
        let what = format!("delete Pod {name}");
        gone_is_well(self.cluster.call(&what, || api.delete(name, &parameters)).await)
    }

    async fn end(&mut self, key: &Key) -> Result<(), KubevirtError> {
        let api = self.cluster.api::<DynamicObject>(&views::vmis(), Some(&key.0));
        self.cluster.delete("instance", &api, &key.1).await?;
        self.world.pods.remove(key);
        self.world.places.remove(key);
        // Those of finished migrations are still there, for their logs.
        let pods: Api<Pod> = Api::namespaced(self.cluster.client(), &key.0);
        let selector = format!("vm.kubevirt.io/name={}", key.1);
        for pod in self.cluster.list("Pods", &pods, Some(&selector)).await? {
            self.remove_pod(&key.0, &pod.name_any()).await?;
        }
        let of_guest = |it: &&views::Vmim| {
            it.namespace().as_ref() == Some(&key.0) && it.spec.vmi_name == key.1
        };
        let vmims: Vec<Key> = self.world.vmims.values().filter(of_guest).map(super::key).collect();
        let api = self.cluster.api::<DynamicObject>(&views::vmims(), Some(&key.0));
        let no_finalizers = json!({"metadata": {"finalizers": null}});
        for vmim in vmims {
            self.change(&views::vmims(), &vmim, &no_finalizers).await?;
            self.cluster.delete("migration", &api, &vmim.1).await?;
        }
        Ok(())
    }
}

/// Pods, of whatever content.
pub(super) fn pods() -> ApiResource {
    views::resource("", "v1", "Pod", "pods")
}
