//! Evictions become migrations, and what is finished is collected.

use std::collections::HashMap;

use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde_json::json;

use super::scheduler::EVACUATION;
use super::{Key, Simulation, lock};
use crate::error::KubevirtError;
use crate::views;

/// Finished migrations that are kept for each guest.
const KEPT: usize = 5;

impl Simulation {
    /// Evictions become migrations, one for each guest.
    pub(super) async fn evacuations(&mut self) -> Result<(), KubevirtError> {
        let wanted = std::mem::take(&mut lock(&self.server.shared).evacuations);
        for (guest, node) in wanted {
            let Some(vmi) = self.world.vmis.get(&guest) else { continue };
            let here = vmi.status.as_ref().and_then(|it| it.node_name.clone());
            let marked = vmi.status.as_ref().and_then(|it| it.evacuation_node_name.clone());
            if here.as_ref() == Some(&node) && marked.as_ref() != Some(&node) {
                self.evacuate(&guest, &node).await?;
            }
        }
        Ok(())
    }

    async fn evacuate(&mut self, guest: &Key, node: &str) -> Result<(), KubevirtError> {
        let mark = json!({"status": {"evacuationNodeName": node}});
        self.change(&views::vmis(), guest, &mark).await?;
        if let Some(vmi) = self.world.vmis.get_mut(guest) {
            vmi.status.get_or_insert_default().evacuation_node_name = Some(node.to_owned());
        }
        let stem: String = guest.1.chars().take(40).collect();
        let migration = json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration",
            "metadata": {
                "generateName": format!("kubevirt-evacuation-{stem}-"),
                "namespace": guest.0, "annotations": {EVACUATION: node},
            },
            "spec": {"vmiName": guest.1},
        });
        match self.cluster.post(&migration).await {
            // Somebody else migrates it already.
            Err(error) if !error.is_refusal() => Err(error),
            _ => Ok(()),
        }
    }

    /// Only the newest finished migrations of each guest are kept.
    pub(super) async fn garbage(&mut self) -> Result<(), KubevirtError> {
        let mut finished: HashMap<Key, Vec<(String, String)>> = HashMap::new();
        for vmim in self.world.vmims.values().filter(|it| !self.is_open(it)) {
            let created = vmim.metadata.creation_timestamp.as_ref();
            let created = created.map(|it| it.0.to_string()).unwrap_or_default();
            let guest = (vmim.namespace().unwrap_or_default(), vmim.spec.vmi_name.clone());
            finished.entry(guest).or_default().push((created, vmim.name_any()));
        }
        for ((namespace, _), mut all) in finished.into_iter().filter(|it| it.1.len() > KEPT) {
            all.sort();
            let api = self.cluster.api::<DynamicObject>(&views::vmims(), Some(&namespace));
            for (_, name) in &all[..all.len() - KEPT] {
                self.cluster.delete("migration", &api, name).await?;
                self.world.vmims.remove(&(namespace.clone(), name.clone()));
            }
        }
        Ok(())
    }
}
