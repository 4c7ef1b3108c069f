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
//! - `scheduler`: whose turn it is, and where to. `flight`: one migration through its phases.
//! - `drains`: evictions become migrations; what is finished is collected.
//! - `status`, `log`: what is told of a migration, and where.
//! - `server`: what the API server asks of us: logs, and admission.
//! - `world`: nodes, limits, and what makes the simulation be there at all.

mod drains;
mod flight;
mod log;
mod machines;
mod model;
mod queue;
mod scheduler;
mod server;
mod status;
mod world;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject};
use kube::core::ApiResource;
use serde_json::Value;
use sterna_pilot::Interrupt;

use crate::cluster::{Cluster, Seen, Watch, Watching};
use crate::error::KubevirtError;
use crate::views::{self, KubeVirt, PhaseTransition, Policy, Vm, Vmi, Vmim};

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
    /// What stands in for guests; without it nobody answers for them.
    pub stand_in: StandIn,
}

/// What stands in for the guests that there are not.
#[derive(Clone, Debug, Default)]
pub struct StandIn {
    /// The address of every virt-launcher Pod that has a guest; the API server's proxy takes none of the loopback.
    pub pod_ip: Option<IpAddr>,
    /// A directory with the logs of Pods that are not ours, as `NAME.log`.
    pub logs: Option<PathBuf>,
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
            stand_in: StandIn::default(),
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
    nodes: Watching<Node>,
    probes: Watching<Pod>,
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
    nodes: HashMap<String, Node>,
    /// The virt-launcher Pod of each guest.
    pods: HashMap<Key, String>,
    /// The node of each guest.
    places: HashMap<Key, String>,
    /// Migrations that have their turn, by UID.
    flights: HashMap<String, Flight>,
    /// Migrations that wait, by UID, since when.
    waiting: HashMap<String, Instant>,
    /// Phases that we have told of each migration, by UID: a watch tells of them a little later.
    told: HashMap<String, Vec<PhaseTransition>>,
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
        let nodes: Api<Node> = Api::all(cluster.client());
        let nodes = cluster.list("nodes", &nodes, None).await?;
        state.nodes = nodes.into_iter().map(|it| (it.name_any(), it)).collect();
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
        lock(&server.shared).directory.clone_from(&options.stand_in.logs);
        let watch_vms = cluster.api(&views::vms(), None);
        let watch_vmis = cluster.api(&views::vmis(), None);
        let watch_vmims = cluster.api(&views::vmims(), None);
        let watch_policies = cluster.api(&views::policies(), None);
        let watch_kubevirts = cluster.api(&views::kubevirts(), None);
        let watch_nodes = Api::all(cluster.client());
        let watch_probes = Api::all(cluster.client());
        let is_probe = Some(format!("{}=probe", crate::labels::ROLE));
        Ok(Simulation {
            vms: Watch::new(cluster, "VirtualMachines", watch_vms, None).spawn(),
            vmis: Watch::new(cluster, "VirtualMachineInstances", watch_vmis, None).spawn(),
            vmims: Watch::new(cluster, "migrations", watch_vmims, None).spawn(),
            policies: Watch::new(cluster, "MigrationPolicies", watch_policies, None).spawn(),
            kubevirts: Watch::new(cluster, "KubeVirts", watch_kubevirts, None).spawn(),
            nodes: Watch::new(cluster, "nodes", watch_nodes, None).spawn(),
            probes: Watch::new(cluster, "probes", watch_probes, is_probe).spawn(),
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
                seen = self.vmims.next() => {
                    let seen = seen?;
                    if let Seen::Gone(it) = &seen {
                        self.world.told.remove(&it.uid().unwrap_or_default());
                    }
                    keep(&mut self.world.vmims, seen);
                }
                seen = self.policies.next() => match seen? {
                    Seen::There(it) => drop(self.world.policies.insert(it.name_any(), it)),
                    Seen::Gone(it) => drop(self.world.policies.remove(&it.name_any())),
                },
                seen = self.kubevirts.next() => match seen? {
                    Seen::There(it) => self.world.kubevirt = Some(it),
                    Seen::Gone(_) => self.world.kubevirt = None,
                },
                seen = self.nodes.next() => match seen? {
                    Seen::There(it) => drop(self.world.nodes.insert(it.name_any(), it)),
                    Seen::Gone(it) => drop(self.world.nodes.remove(&it.name_any())),
                },
                seen = self.probes.next() => if let Seen::There(pod) = seen? {
                    match pod.metadata.deletion_timestamp {
                        None => self.place_probe(&pod).await?,
                        // Once it has a node, it is there until that node's kubelet says that it has ended.
                        Some(_) => {
                            let (namespace, name) = key(&pod);
                            self.remove_pod(&namespace, &name).await?;
                        }
                    }
                },
                _ = tick.tick() => self.act().await?,
            }
        }
        world::tear_down(&self.cluster).await
    }

    /// One look at everything.
    async fn act(&mut self) -> Result<(), KubevirtError> {
        self.losses().await?;
        self.machines().await?;
        self.tell_admission();
        self.evacuations().await?;
        self.queue().await?;
        self.flights().await?;
        self.garbage().await
    }

    /// Changes some fields of an object, unless somebody has deleted it.
    async fn change(
        &self,
        kind: &ApiResource,
        key: &Key,
        change: &Value,
    ) -> Result<(), KubevirtError> {
        let api = self.cluster.api::<DynamicObject>(kind, Some(&key.0));
        gone_is_well(self.cluster.merge(&api, &key.1, change).await)
    }

    /// The same in its status.
    async fn change_status(
        &self,
        kind: &ApiResource,
        key: &Key,
        change: &Value,
    ) -> Result<(), KubevirtError> {
        let api = self.cluster.api::<DynamicObject>(kind, Some(&key.0));
        gone_is_well(self.cluster.merge_status(&api, &key.1, change).await)
    }

    /// Whether a migration is not over, as far as we have told or were told.
    fn is_open(&self, vmim: &Vmim) -> bool {
        let told = vmim.uid().and_then(|uid| self.world.told.get(&uid));
        let told = told.and_then(|it| it.last()).map(|it| it.phase.as_str());
        let phase = told.or(vmim.status.as_ref().and_then(|it| it.phase.as_deref()));
        !views::is_final(phase)
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
            .filter(|it| self.is_open(it))
            .map(|it| (it.namespace().unwrap_or_default(), it.spec.vmi_name.clone()))
            .collect();
    }
}

/// Who changes what others may delete finds it gone at times.
fn gone_is_well<T>(result: Result<T, KubevirtError>) -> Result<(), KubevirtError> {
    match result {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
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
