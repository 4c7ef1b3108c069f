//! Whose turn it is, and where to: new migrations wait, and those that have their turn get a target Pod.

use std::collections::BTreeMap;
use std::time::Instant;

use kube::ResourceExt as _;
use serde_json::json;

use super::flight::Flight;
use super::model::Load;
use super::queue::{SYSTEM_CRITICAL, USER, Waiting, turns};
use super::{Failure, Key, Simulation, key};
use crate::error::KubevirtError;
use crate::explain::{memory_bytes, quantity};
use crate::policy::{effective, name as policy_name, winner};
use crate::views::{MigrationConfiguration, Vmi, Vmim};

/// Marks a migration that a drain made.
pub(super) const EVACUATION: &str = "kubevirt.io/evacuationMigration";

impl Simulation {
    /// New migrations become Pending; those whose turn it is get a target Pod.
    pub(super) async fn queue(&mut self) -> Result<(), KubevirtError> {
        let is_new = |it: &&Vmim| {
            let uid = it.uid().unwrap_or_default();
            self.is_open(it)
                && !self.world.waiting.contains_key(&uid)
                && !self.world.flights.contains_key(&uid)
        };
        let fresh: Vec<Vmim> = self.world.vmims.values().filter(is_new).cloned().collect();
        for vmim in fresh {
            let uid = vmim.uid().unwrap_or_default();
            self.finalizer(&vmim, true).await?;
            self.set_phases(&vmim, &["Pending"], json!({})).await?;
            self.world.waiting.insert(uid, Instant::now());
        }
        let is_gone = |it: &&Vmim| it.metadata.deletion_timestamp.is_some();
        let gone: Vec<Vmim> = self.waiting().filter(is_gone).cloned().collect();
        for vmim in gone {
            self.world.waiting.remove(&vmim.uid().unwrap_or_default());
            self.finish(&vmim, "Failed", None).await?;
        }
        let under_way: Vec<String> =
            self.world.flights.values().map(|it| it.source_node.clone()).collect();
        let limits = self.configuration(None);
        let per_cluster = limits.parallel_migrations_per_cluster.unwrap_or(5);
        let per_node = limits.parallel_outbound_migrations_per_node.unwrap_or(2);
        let waiting: Vec<Waiting> = self.waiting().filter_map(|it| self.place(it)).collect();
        for turn in turns(waiting, &under_way, per_cluster, per_node) {
            self.schedule(&turn.uid).await?;
        }
        Ok(())
    }

    /// All migrations of a guest that ended by itself fail, with these words.
    pub(super) async fn abandon(&mut self, guest: &Key, words: &str) -> Result<(), KubevirtError> {
        let is_its = |it: &&Vmim| {
            it.namespace().as_ref() == Some(&guest.0)
                && it.spec.vmi_name == guest.1
                && self.is_open(it)
        };
        let all: Vec<Vmim> = self.world.vmims.values().filter(is_its).cloned().collect();
        for vmim in all {
            let uid = vmim.uid().unwrap_or_default();
            self.world.waiting.remove(&uid);
            if let Some(mut flight) = self.world.flights.remove(&uid) {
                self.drop_target(&mut flight).await?;
            }
            self.event(&vmim, &uid, "FailedMigration", words).await?;
            self.finish(&vmim, "Failed", None).await?;
        }
        Ok(())
    }

    fn waiting(&self) -> impl Iterator<Item = &Vmim> {
        let is_waiting =
            |it: &&Vmim| it.uid().is_some_and(|uid| self.world.waiting.contains_key(&uid));
        self.world.vmims.values().filter(is_waiting)
    }

    fn place(&self, vmim: &Vmim) -> Option<Waiting> {
        let guest = (vmim.namespace()?, vmim.spec.vmi_name.clone());
        let source = self.world.vmis.get(&guest)?.status.as_ref()?.node_name.clone()?;
        let is_evacuation = vmim.annotations().contains_key(EVACUATION);
        let priority = if is_evacuation { SYSTEM_CRITICAL } else { USER };
        let created = vmim.metadata.creation_timestamp.as_ref()?.0.to_string();
        let came = (created, vmim.name_any());
        Some(Waiting { uid: vmim.uid()?, source, priority, came })
    }

    /// What holds for a guest, or for the cluster where none is given; and the policy that won.
    fn configuration(&self, guest: Option<&Vmi>) -> MigrationConfiguration {
        self.configuration_and_policy(guest).0
    }

    fn configuration_and_policy(
        &self,
        guest: Option<&Vmi>,
    ) -> (MigrationConfiguration, Option<String>) {
        let cluster = self.world.kubevirt.as_ref();
        let cluster = cluster.and_then(|it| it.spec.configuration.migrations.as_ref());
        let policies: Vec<_> = self.world.policies.values().cloned().collect();
        let won = guest.and_then(|it| winner(&policies, it.labels(), &BTreeMap::new()));
        (effective(cluster, won), won.map(|it| policy_name(it).to_owned()))
    }

    async fn schedule(&mut self, uid: &str) -> Result<(), KubevirtError> {
        let Some(vmim) = self.waiting().find(|it| it.uid().as_deref() == Some(uid)).cloned() else {
            return Ok(());
        };
        let guest = (vmim.namespace().unwrap_or_default(), vmim.spec.vmi_name.clone());
        let Some(vmi) = self.world.vmis.get(&guest).cloned() else { return Ok(()) };
        let source_node =
            vmi.status.as_ref().and_then(|it| it.node_name.clone()).unwrap_or_default();
        let target = self.nodes().into_iter().find(|it| *it != source_node);
        let target = target.filter(|_| self.options.failure != Failure::Unschedulable);
        let target_pod = match &target {
            Some(node) => Some(self.pod(&guest.0, &guest.1, node).await?),
            None => None,
        };
        let (configuration, policy) = self.configuration_and_policy(Some(&vmi));
        let flight = Flight {
            vmim: key(&vmim),
            source_node,
            source_pod: self.world.pods.get(&guest).cloned().unwrap_or_default(),
            target_node: target.unwrap_or_default(),
            target_pod,
            began: Instant::now(),
            moving: None,
            policy,
            load: self.load(&vmi, &configuration),
            configuration,
            lines: 0,
            mode: None,
            started_at: None,
            guest,
        };
        self.world.waiting.remove(uid);
        self.set_phases(&vmim, &["Scheduling"], json!({})).await?;
        self.world.flights.insert(uid.to_owned(), flight);
        Ok(())
    }

    fn load(&self, vmi: &Vmi, configuration: &MigrationConfiguration) -> Load {
        let memory_bytes = memory_bytes(&vmi.spec.domain).unwrap_or(1 << 30);
        let limit = configuration.bandwidth_per_migration.as_ref().and_then(quantity);
        let limit = limit.and_then(crate::policy::bandwidth::mebibytes);
        let limit = limit.map_or(f64::INFINITY, |it| it as f64 * 1_048_576.0);
        Load {
            memory_bytes,
            bandwidth_bytes_per_second: self.options.bandwidth_bytes_per_second.min(limit),
            dirty_bytes_per_second: self.options.dirty_bytes_per_second,
            working_set_bytes: memory_bytes / 4 * 3,
        }
    }
}
