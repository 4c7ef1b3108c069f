//! What the objects tell of a migration: phases, the guest's state, events, the finalizer.

use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{Key, Simulation, key};
use crate::error::KubevirtError;
use crate::views::{self, Vmim};

const FINALIZER: &str = "kubevirt.io/migrationJobFinalize";

impl Simulation {
    /// What the guest's object says of its migration.
    pub(super) async fn set_state(&self, guest: &Key, state: Value) -> Result<(), KubevirtError> {
        let change = json!({"status": {"migrationState": state}});
        self.change(&views::vmis(), guest, &change).await
    }

    /// The last phase, the copy of the state, and no finalizer any more.
    pub(super) async fn finish(
        &mut self,
        vmim: &Vmim,
        last: &str,
        state: Option<Value>,
    ) -> Result<(), KubevirtError> {
        let status = state.map_or_else(|| json!({}), |it| json!({"migrationState": it}));
        self.set_phases(vmim, &[last], status).await?;
        self.finalizer(vmim, false).await
    }

    pub(super) async fn finalizer(
        &self,
        vmim: &Vmim,
        is_wanted: bool,
    ) -> Result<(), KubevirtError> {
        let finalizers = if is_wanted { json!([FINALIZER]) } else { Value::Null };
        if is_wanted && vmim.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let mut change = json!({"metadata": {"finalizers": finalizers}});
        if is_wanted {
            let guest = vmim.spec.vmi_name.as_str();
            change["metadata"]["labels"] = json!({"kubevirt.io/vmi-name": guest});
        }
        self.change(&views::vmims(), &key(vmim), &change).await
    }

    /// Several phases may be gone through at once; the list of transitions has them all.
    pub(super) async fn set_phases(
        &mut self,
        vmim: &Vmim,
        phases: &[&str],
        mut status: Value,
    ) -> Result<(), KubevirtError> {
        let of_object = vmim.status.as_ref().map(|it| it.phase_transition_timestamps.clone());
        let told = self.world.told.entry(vmim.uid().unwrap_or_default());
        let transitions = told.or_insert_with(|| of_object.unwrap_or_default());
        transitions.extend(phases.iter().map(|phase| views::PhaseTransition {
            phase: (*phase).to_owned(),
            phase_transition_timestamp: Some(now()),
        }));
        status["phase"] = json!(phases.last());
        status["phaseTransitionTimestamps"] = json!(transitions);
        let key = key(vmim);
        self.change_status(&views::vmims(), &key, &json!({"status": status})).await
    }

    pub(super) async fn event(
        &self,
        vmim: &Vmim,
        uid: &str,
        reason: &str,
        message: &str,
    ) -> Result<(), KubevirtError> {
        let (namespace, name) = key(vmim);
        let now = now();
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"generateName": "sim-", "namespace": namespace},
            "involvedObject": {
                "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration",
                "name": name, "namespace": namespace, "uid": uid,
            },
            "reason": reason, "message": message, "type": "Normal",
            "firstTimestamp": now, "lastTimestamp": now, "count": 1,
        });
        self.cluster.post(&event).await.map(drop)
    }
}

/// As the cluster writes times: in whole seconds.
pub(super) fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
