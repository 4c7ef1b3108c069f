//! Virtual machines become instances, instances get Pods; what loses its owner goes.

use std::collections::{HashMap, HashSet};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, PostParams};
use serde_json::{Value, json};

use super::{Failure, Key, Simulation, key, world};
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
            let nodes = self.nodes().await?;
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

    /// Nodes that take guests, the emptiest first.
    pub(super) async fn nodes(&self) -> Result<Vec<String>, KubevirtError> {
        let api: Api<Node> = Api::all(self.cluster.client());
        let all = self.cluster.list("nodes", &api, None).await?;
        let mut load: HashMap<&str, usize> = HashMap::new();
        for node in self.world.places.values() {
            *load.entry(node).or_default() += 1;
        }
        for flight in self.world.flights.values() {
            *load.entry(&flight.target_node).or_default() += 1;
        }
        let mut able: Vec<(usize, String)> = all
            .iter()
            .filter(|it| takes_guests(it))
            .map(|it| (load.get(it.name_any().as_str()).copied().unwrap_or(0), it.name_any()))
            .collect();
        able.sort();
        Ok(able.into_iter().map(|it| it.1).collect())
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
            },
            "spec": template["spec"],
            "status": {
                "phase": "Running",
                "nodeName": node,
                "migrationMethod": "BlockMigration",
                "conditions": [{"type": "Ready", "status": "True"}, migratable],
            },
        });
        let object: DynamicObject = serde_json::from_value(instance)
            .map_err(|error| KubevirtError::Config(error.to_string()))?;
        let api = self.cluster.api::<DynamicObject>(&views::vmis(), Some(&namespace));
        let parameters = PostParams::default();
        let made = self
            .cluster
            .call(&format!("make instance {name}"), || api.create(&parameters, &object))
            .await;
        if let Err(error) = made
            && !matches!(error, KubevirtError::Refused { code: 409, .. })
        {
            return Err(error);
        }
        Ok(())
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
        let object: Pod = serde_json::from_value(pod)
            .map_err(|error| KubevirtError::Config(error.to_string()))?;
        let api: Api<Pod> = Api::namespaced(self.cluster.client(), namespace);
        let parameters = PostParams::default();
        self.cluster.call(&format!("make Pod {name}"), || api.create(&parameters, &object)).await?;
        Ok(name)
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
        world::ignore_gone(self.cluster.call(&what, || api.delete(name, &parameters)).await)
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
        let vmims: Vec<(String, Value)> = self
            .world
            .vmims
            .values()
            .filter(|it| it.namespace().as_ref() == Some(&key.0) && it.spec.vmi_name == key.1)
            .map(|it| (it.name_any(), json!({"metadata": {"finalizers": null}})))
            .collect();
        let api = self.cluster.api::<DynamicObject>(&views::vmims(), Some(&key.0));
        for (name, no_finalizers) in vmims {
            world::patch(&self.cluster, &api, &name, &no_finalizers).await?;
            self.cluster.delete("migration", &api, &name).await?;
        }
        Ok(())
    }
}
