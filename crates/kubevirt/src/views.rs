//! Thin views of the KubeVirt kinds: what Sterna reads, and nothing else.
//!
//! Every field is optional, since the cluster's release decides what there is, and an unknown value of an enumeration
//! is kept as text.

use std::collections::BTreeMap;

use kube::core::{ApiResource, GroupVersionKind, Object};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A VirtualMachine.
pub type Vm = Object<VmSpec, Value>;
/// A VirtualMachineInstance.
pub type Vmi = Object<VmiSpec, VmiStatus>;
/// A VirtualMachineInstanceMigration.
pub type Vmim = Object<VmimSpec, VmimStatus>;
/// A MigrationPolicy.
pub type Policy = Object<PolicyView, Value>;
/// The configuration of KubeVirt itself.
pub type KubeVirt = Object<KubeVirtSpec, KubeVirtStatus>;

/// Where a kind is found in the API.
pub fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// VirtualMachines.
pub fn vms() -> ApiResource {
    resource("kubevirt.io", "v1", "VirtualMachine", "virtualmachines")
}

/// VirtualMachineInstances.
pub fn vmis() -> ApiResource {
    resource("kubevirt.io", "v1", "VirtualMachineInstance", "virtualmachineinstances")
}

/// VirtualMachineInstanceMigrations.
pub fn vmims() -> ApiResource {
    let plural = "virtualmachineinstancemigrations";
    resource("kubevirt.io", "v1", "VirtualMachineInstanceMigration", plural)
}

/// MigrationPolicies.
pub fn policies() -> ApiResource {
    resource("migrations.kubevirt.io", "v1alpha1", "MigrationPolicy", "migrationpolicies")
}

/// KubeVirt's own configuration.
pub fn kubevirts() -> ApiResource {
    resource("kubevirt.io", "v1", "KubeVirt", "kubevirts")
}

macro_rules! view {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $($(#[$field_meta])* #[serde(skip_serializing_if = "is_default")] pub $field: $type,)*
        }
    };
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

view! {
    /// What a VirtualMachine is to be.
    VmSpec {
        /// When it is to run.
        run_strategy: Option<String>,
        /// What its instance is made from.
        template: Option<VmTemplate>,
    }
}

view! {
    /// What an instance is made from.
    VmTemplate {
        /// Labels and annotations of the instance.
        metadata: TemplateMetadata,
        /// The instance.
        spec: VmiSpec,
    }
}

view! {
    /// Labels and annotations.
    TemplateMetadata {
        /// Labels of the instance.
        labels: BTreeMap<String, String>,
    }
}

view! {
    /// What an instance is to be.
    VmiSpec {
        /// What is to happen on a drain.
        eviction_strategy: Option<String>,
        /// The machine.
        domain: Domain,
        /// Labels of nodes.
        node_selector: BTreeMap<String, String>,
    }
}

view! {
    /// The machine.
    Domain {
        /// Its processors.
        cpu: Option<Cpu>,
        /// Its memory.
        memory: Option<Memory>,
        /// Requests and limits.
        resources: Resources,
    }
}

view! {
    /// Processors.
    Cpu {
        /// Cores of a socket.
        cores: Option<u32>,
        /// Whether each has a processor for itself.
        #[serde(rename = "dedicatedCpuPlacement")]
        dedicated_cpu_placement: Option<bool>,
    }
}

view! {
    /// Memory.
    Memory {
        /// What the guest sees.
        guest: Option<String>,
    }
}

view! {
    /// Requests and limits.
    Resources {
        /// What is asked for.
        requests: BTreeMap<String, Value>,
        /// What is not to be exceeded.
        limits: BTreeMap<String, Value>,
    }
}

view! {
    /// What an instance is.
    VmiStatus {
        /// Where in its life it is.
        phase: Option<String>,
        /// The node that it runs on.
        node_name: Option<String>,
        /// The node that it is to leave.
        evacuation_node_name: Option<String>,
        /// Whether disks are copied.
        migration_method: Option<String>,
        /// What is the case.
        conditions: Vec<Condition>,
        /// Its latest migration.
        migration_state: Option<MigrationState>,
    }
}

view! {
    /// Something that is the case, or not.
    Condition {
        /// What.
        #[serde(rename = "type")]
        kind: String,
        /// `True`, `False` or `Unknown`.
        status: String,
        /// Why, in one word.
        reason: Option<String>,
        /// Why, in a sentence.
        message: Option<String>,
    }
}

view! {
    /// One side of a migration between two clusters, where each has a migration object of its own.
    SideState {
        /// Its node.
        node: Option<String>,
        /// Its virt-launcher Pod.
        pod: Option<String>,
        /// Its migration object.
        #[serde(rename = "migrationUID")]
        migration_uid: Option<String>,
    }
}

view! {
    /// A migration as the instance tells of it.
    MigrationState {
        /// When memory began to move, in whole seconds.
        start_timestamp: Option<String>,
        /// When it ended, in whole seconds.
        end_timestamp: Option<String>,
        /// When the guest ran on the target.
        target_node_domain_ready_timestamp: Option<String>,
        /// Where it came from.
        source_node: Option<String>,
        /// The Pod that it came from.
        source_pod: Option<String>,
        /// Where it goes.
        target_node: Option<String>,
        /// The Pod that it goes to.
        target_pod: Option<String>,
        /// Whether it is over.
        completed: bool,
        /// Whether it failed.
        failed: bool,
        /// Whether somebody wants it to end.
        abort_requested: bool,
        /// What became of that wish.
        abort_status: Option<String>,
        /// Why it failed.
        failure_reason: Option<String>,
        /// Which migration this is.
        migration_uid: Option<String>,
        /// `PreCopy`, `PostCopy` or `Paused`.
        mode: Option<String>,
        /// The policy that won.
        migration_policy_name: Option<String>,
        /// What holds for it, policy and cluster merged.
        migration_configuration: Option<MigrationConfiguration>,
        /// The side that the guest leaves; from KubeVirt 1.6 on.
        source_state: Option<SideState>,
        /// The side that the guest goes to; from KubeVirt 1.6 on.
        target_state: Option<SideState>,
    }
}

impl MigrationState {
    /// Whether it is about the migration object with this UID. Between two clusters each side has its own.
    pub fn is_about(&self, uid: &str) -> bool {
        let of_side = |it: &Option<SideState>| it.as_ref().and_then(|it| it.migration_uid.clone());
        [self.migration_uid.clone(), of_side(&self.source_state), of_side(&self.target_state)]
            .iter()
            .any(|it| it.as_deref() == Some(uid))
    }

    /// The migration object that virt-launcher names in its log: the source's.
    pub fn source_uid(&self) -> Option<String> {
        let of_source = self.source_state.as_ref().and_then(|it| it.migration_uid.clone());
        of_source.filter(|it| !it.is_empty()).or_else(|| self.migration_uid.clone())
    }

    /// The node that the guest leaves.
    pub fn leaves_node(&self) -> Option<String> {
        let side = self.source_state.as_ref();
        self.source_node.clone().or_else(|| side.and_then(|it| it.node.clone()))
    }

    /// The Pod that the guest leaves.
    pub fn leaves_pod(&self) -> Option<String> {
        let side = self.source_state.as_ref();
        self.source_pod.clone().or_else(|| side.and_then(|it| it.pod.clone()))
    }

    /// The node that the guest goes to.
    pub fn enters_node(&self) -> Option<String> {
        let side = self.target_state.as_ref();
        self.target_node.clone().or_else(|| side.and_then(|it| it.node.clone()))
    }

    /// The Pod that the guest goes to.
    pub fn enters_pod(&self) -> Option<String> {
        let side = self.target_state.as_ref();
        self.target_pod.clone().or_else(|| side.and_then(|it| it.pod.clone()))
    }
}

view! {
    /// How to migrate: what the cluster's configuration holds, and what is merged for a migration.
    MigrationConfiguration {
        /// Running at most, in the cluster.
        parallel_migrations_per_cluster: Option<u32>,
        /// Leaving one node at most.
        parallel_outbound_migrations_per_node: Option<u32>,
        /// Bytes a second; 0 is no limit.
        bandwidth_per_migration: Option<Value>,
        /// Seconds for each GB, as KubeVirt counts them.
        completion_timeout_per_gi_b: Option<i64>,
        /// Seconds without progress.
        progress_timeout: Option<i64>,
        /// Milliseconds of standstill.
        max_downtime_ms: Option<u64>,
        /// Whether the guest may be slowed down.
        allow_auto_converge: Option<bool>,
        /// Whether to go over to post-copy.
        allow_post_copy: Option<bool>,
        /// Whether to pause or go over at the timeout.
        allow_workload_disruption: Option<bool>,
        /// Whether disks that are not shared may be ignored.
        unsafe_migration_override: Option<bool>,
        /// Whether memory travels in clear.
        #[serde(rename = "disableTLS")]
        disable_tls: Option<bool>,
        /// The network for it.
        network: Option<String>,
        /// What KubeVirt is still trying out, as it stands there.
        experimental: Option<Value>,
    }
}

view! {
    /// What a migration is to be.
    VmimSpec {
        /// Which instance.
        vmi_name: String,
        /// Only nodes with these labels.
        added_node_selector: BTreeMap<String, String>,
    }
}

view! {
    /// What a migration is.
    VmimStatus {
        /// Where in its life it is.
        phase: Option<String>,
        /// When it was in which phase.
        phase_transition_timestamps: Vec<PhaseTransition>,
        /// What is the case.
        conditions: Vec<Condition>,
        /// A copy of the instance's, when it is over.
        migration_state: Option<MigrationState>,
    }
}

view! {
    /// A phase, and when it began in whole seconds.
    PhaseTransition {
        /// The phase.
        phase: String,
        /// When it began.
        phase_transition_timestamp: Option<String>,
    }
}

view! {
    /// A policy as somebody wrote it.
    PolicyView {
        /// What it is for; without it, nothing.
        selectors: Option<Selectors>,
        /// Whether the guest may be slowed down.
        allow_auto_converge: Option<bool>,
        /// Bytes a second.
        bandwidth_per_migration: Option<Value>,
        /// Seconds for each GB.
        completion_timeout_per_gi_b: Option<i64>,
        /// Milliseconds of standstill.
        max_downtime_ms: Option<u64>,
        /// Whether to go over to post-copy.
        allow_post_copy: Option<bool>,
        /// Whether to pause or go over at the timeout.
        allow_workload_disruption: Option<bool>,
        /// What KubeVirt is still trying out, as it stands there.
        experimental: Option<Value>,
    }
}

view! {
    /// What a policy is for: labels with exactly these values.
    Selectors {
        /// Of the namespace.
        namespace_selector: BTreeMap<String, String>,
        /// Of the instance.
        virtual_machine_instance_selector: BTreeMap<String, String>,
    }
}

view! {
    /// KubeVirt's own configuration.
    KubeVirtSpec {
        /// The part that matters here.
        configuration: KubeVirtConfiguration,
    }
}

view! {
    /// The part that matters here.
    KubeVirtConfiguration {
        /// Migrations.
        migrations: Option<MigrationConfiguration>,
        /// What is to happen on a drain where the instance does not say.
        eviction_strategy: Option<String>,
        /// What is still being tried out.
        developer_configuration: DeveloperConfiguration,
    }
}

view! {
    /// What is still being tried out.
    DeveloperConfiguration {
        /// Its names.
        feature_gates: Vec<String>,
    }
}

view! {
    /// What KubeVirt is.
    KubeVirtStatus {
        /// `Deployed` where all is well.
        phase: Option<String>,
        /// Its release.
        observed_kube_virt_version: Option<String>,
    }
}

/// Phases in which nothing more happens.
pub fn is_final(phase: Option<&str>) -> bool {
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The condition of this kind.
pub fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|it| it.kind == kind)
}
