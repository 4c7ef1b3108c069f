//! KubeVirt's controllers, simulated: they act on the objects of a real API server as virt-controller and virt-handler
//! do, but there are no guests, and memory moves by arithmetic.
//!
//! What holds as in KubeVirt: the phases and their list of transitions, the queue with its limits and priorities, which
//! policy wins and what is merged, the completion timeout in decimal GB, what happens then, the abort through the
//! finalizer, the five newest finished migrations that are kept, virt-launcher's log lines, evictions that a webhook
//! turns into evacuations. Time may run faster.
//!
//! - `model`, `queue`: arithmetic, without a cluster.
//! - `machines`: virtual machines become instances and Pods.
//! - `flight`: one migration through its phases.
//! - `server`: what the API server asks of us: logs, and admission.
//! - `world`: nodes, limits, and what makes the simulation be there at all.

mod flight;
mod machines;
mod model;
mod queue;
mod server;
mod world;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::Api;
use sterna_pilot::Interrupt;

use crate::cluster::{Cluster, Seen, Watch, Watching};
use crate::error::KubevirtError;
use crate::views::{self, KubeVirt, Policy, Vm, Vmi, Vmim};

use flight::Flight;
use server::{Server, Shared};

/// How the simulation goes.
#[derive(Clone, Debug)]
pub struct SimulateOptions {
    /// Nodes to make.
    pub nodes: u32,
    /// Simulated seconds in a real one.
    pub speed: f64,
    /// How fast memory moves.
    pub bandwidth_bytes_per_second: f64,
    /// How fast guests dirty theirs.
    pub dirty_bytes_per_second: f64,
    /// What goes wrong on purpose.
    pub failure: Failure,
}

/// What goes wrong on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Failure {
    /// Nothing.
    #[default]
    None,
    /// New migrations are refused, with these words.
    Reject(String),
    /// No node takes the target Pod.
    Unschedulable,
    /// virt-handler gives up when memory has begun to move, with these words.
    Break(String),
    /// Guests cannot be migrated, with this reason.
    NotMigratable(String),
}

impl Default for SimulateOptions {
    fn default() -> SimulateOptions {
        SimulateOptions {
            nodes: 3,
            speed: 1.0,
            bandwidth_bytes_per_second: 1e9,
            dirty_bytes_per_second: 2e8,
            failure: Failure::None,
        }
    }
}

/// How often timers are looked at.
const TICK: Duration = Duration::from_millis(40);

/// The simulated controllers.
pub struct Simulation {
    cluster: Cluster,
    options: SimulateOptions,
    server: Server,
    vms: Watching<Vm>,
    vmis: Watching<Vmi>,
    vmims: Watching<Vmim>,
    policies: Watching<Policy>,
    kubevirts: Watching<KubeVirt>,
    world: State,
}

/// What is known of the cluster.
#[derive(Default)]
struct State {
    vms: HashMap<Key, Vm>,
    vmis: HashMap<Key, Vmi>,
    vmims: HashMap<Key, Vmim>,
    policies: HashMap<String, Policy>,
    kubevirt: Option<KubeVirt>,
    /// The virt-launcher Pod of each guest.
    pods: HashMap<Key, String>,
    /// The node of each guest.
    places: HashMap<Key, String>,
    /// Migrations that have their turn, by UID.
    flights: HashMap<String, Flight>,
    /// Migrations that wait, by UID, since when.
    waiting: HashMap<String, Instant>,
    /// Pods made so far, for their names.
    made: u64,
}

impl State {
    /// What is there already, so that nothing is taken for gone before the watches have told of it.
    async fn of(cluster: &Cluster) -> Result<State, KubevirtError> {
        let mut state = State::default();
        let vms = cluster.api::<Vm>(&views::vms(), None);
        let vms = cluster.list("VirtualMachines", &vms, None).await?;
        state.vms = vms.into_iter().map(|it| (key(&it), it)).collect();
        let vmis = cluster.api::<Vmi>(&views::vmis(), None);
        let vmis = cluster.list("VirtualMachineInstances", &vmis, None).await?;
        state.vmis = vmis.into_iter().map(|it| (key(&it), it)).collect();
        let pods: Api<Pod> = Api::all(cluster.client());
        for pod in cluster.list("Pods", &pods, Some("kubevirt.io=virt-launcher")).await? {
            let guest = pod.labels().get("vm.kubevirt.io/name").cloned();
            let phase = pod.status.as_ref().and_then(|it| it.phase.as_deref());
            let node = pod.spec.as_ref().and_then(|it| it.node_name.clone());
            if let (Some(guest), Some(node), false) = (guest, node, phase == Some("Succeeded")) {
                let key = (pod.namespace().unwrap_or_default(), guest);
                state.pods.insert(key.clone(), pod.name_any());
                state.places.insert(key, node);
            }
        }
        // Names of Pods must not come again after a new beginning.
        let seconds = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
        state.made = (seconds % 0xFFFF) << 16;
        Ok(state)
    }
}

/// Namespace and name.
type Key = (String, String);

fn key<K: kube::Resource>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

impl Simulation {
    /// Makes the nodes and the webhook, and begins to watch.
    pub async fn begin(
        cluster: &Cluster,
        options: SimulateOptions,
    ) -> Result<Simulation, KubevirtError> {
        let server = server::listen().map_err(|error| KubevirtError::Config(error.to_string()))?;
        world::set_up(cluster, &options, &server).await?;
        if let Failure::Reject(words) = &options.failure {
            lock(&server.shared).reject = Some(words.clone());
        }
        let watch_vms = cluster.api(&views::vms(), None);
        let watch_vmis = cluster.api(&views::vmis(), None);
        let watch_vmims = cluster.api(&views::vmims(), None);
        let watch_policies = cluster.api(&views::policies(), None);
        let watch_kubevirts = cluster.api(&views::kubevirts(), None);
        Ok(Simulation {
            vms: Watch::new(cluster, "VirtualMachines", watch_vms, None).spawn(),
            vmis: Watch::new(cluster, "VirtualMachineInstances", watch_vmis, None).spawn(),
            vmims: Watch::new(cluster, "migrations", watch_vmims, None).spawn(),
            policies: Watch::new(cluster, "MigrationPolicies", watch_policies, None).spawn(),
            kubevirts: Watch::new(cluster, "KubeVirts", watch_kubevirts, None).spawn(),
            world: State::of(cluster).await?,
            cluster: cluster.clone(),
            options,
            server,
        })
    }

    /// Acts until it is told to stop; then removes what it made.
    pub async fn run(mut self, interrupt: &Interrupt) -> Result<(), KubevirtError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        while !interrupt.requested() {
            tokio::select! {
                seen = self.vms.next() => keep(&mut self.world.vms, seen?),
                seen = self.vmis.next() => keep(&mut self.world.vmis, seen?),
                seen = self.vmims.next() => keep(&mut self.world.vmims, seen?),
                seen = self.policies.next() => match seen? {
                    Seen::There(it) => drop(self.world.policies.insert(it.name_any(), it)),
                    Seen::Gone(it) => drop(self.world.policies.remove(&it.name_any())),
                },
                seen = self.kubevirts.next() => match seen? {
                    Seen::There(it) => self.world.kubevirt = Some(it),
                    Seen::Gone(_) => self.world.kubevirt = None,
                },
                _ = tick.tick() => self.act().await?,
            }
        }
        world::tear_down(&self.cluster).await
    }

    /// One look at everything.
    async fn act(&mut self) -> Result<(), KubevirtError> {
        self.machines().await?;
        self.tell_admission();
        self.evacuations().await?;
        self.queue().await?;
        self.flights().await?;
        self.garbage().await
    }

    /// What the webhook must know, as of now.
    pub(in crate::simulate) fn tell_admission(&self) {
        let mut shared = lock(&self.server.shared);
        shared.guests.clear();
        shared.stuck.clear();
        for (key, node) in &self.world.places {
            if let Failure::NotMigratable(reason) = &self.options.failure {
                shared.stuck.insert(key.clone(), reason.clone());
            }
            shared.guests.insert(key.clone(), node.clone());
        }
        shared.pods.clear();
        for ((namespace, guest), pod) in &self.world.pods {
            shared.pods.insert((namespace.clone(), pod.clone()), guest.clone());
        }
        shared.busy = self
            .world
            .vmims
            .values()
            .filter(|it| !views::is_final(phase(it)))
            .map(|it| (it.namespace().unwrap_or_default(), it.spec.vmi_name.clone()))
            .collect();
    }
}

fn phase(vmim: &Vmim) -> Option<&str> {
    vmim.status.as_ref()?.phase.as_deref()
}

fn keep<K: kube::Resource>(map: &mut HashMap<Key, K>, seen: Seen<K>) {
    match seen {
        Seen::There(object) => drop(map.insert(key(&object), object)),
        Seen::Gone(object) => drop(map.remove(&key(&object))),
    }
}

fn lock(shared: &Arc<Mutex<Shared>>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
