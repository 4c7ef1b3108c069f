//! Emptying a node of its guests.
//!
//! ```text
//!   cordon ──► evict every virt-launcher Pod ──► follow the migrations ──► node is empty ──► uncordon
//!                  ▲            │                        │                                     ▲
//!                  └─ again ◄───┘ (429: too early)       └─ time is up, or the user asks ──────┘
//! ```
//!
//! Only guests are evicted; what else runs on the node is left alone. A guest that goes has its Pod protected by a
//! budget, so the first eviction is refused with 429 and the migration it caused is followed instead.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;
use sterna_pilot::Interrupt;

use crate::apply::LOOK;
use crate::cluster::Cluster;
use crate::error::KubevirtError;
use crate::follow::{Follower, Step};
use crate::migrate::complete;
use crate::record::MigrationRecord;

/// How a drain is done.
#[derive(Clone, Debug)]
pub struct DrainOptions {
    /// The node.
    pub node: String,
    /// How long it may take.
    pub patience: Duration,
    /// Whether the node stays cordoned at the end.
    pub keep_cordoned: bool,
    /// Whether nothing is changed.
    pub dry_run: bool,
    /// Whether virt-launcher's account is read.
    pub read_logs: bool,
    /// Whether the cluster's events are read.
    pub read_events: bool,
}

/// What happens in a drain.
#[derive(Debug)]
pub enum DrainEvent<'a> {
    /// The node takes nothing new.
    Cordoned,
    /// These guests are on the node.
    Guests(usize),
    /// A guest was asked to go: its name, and what the API server said.
    Evicted(&'a str, &'a str),
    /// A migration moved on.
    Moved(&'a MigrationRecord),
    /// A migration is over, and this is all of it.
    Ended(&'a MigrationRecord),
    /// The node takes guests again.
    Uncordoned,
}

/// What became of a drain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drained {
    /// Guests that were on the node.
    pub guests: usize,
    /// Guests that are still there, and why as far as is known.
    pub left: BTreeMap<String, String>,
    /// Migrations that were recorded.
    pub migrations: usize,
    /// From the first eviction to the node being empty, or given up.
    pub seconds: f64,
    /// The version of the eviction API that was spoken.
    pub eviction_version: Option<&'static str>,
}

type Tell<'a> = &'a mut dyn FnMut(DrainEvent<'_>) -> Result<(), KubevirtError>;

/// Drains; the node is uncordoned at the end, whatever happens.
pub async fn drain(
    cluster: &Cluster,
    options: &DrainOptions,
    interrupt: &Interrupt,
    tell: Tell<'_>,
) -> Result<Drained, KubevirtError> {
    let nodes: Api<Node> = Api::all(cluster.client());
    let what = format!("get node {}", options.node);
    let node = cluster.call(&what, || nodes.get(&options.node)).await;
    let node = node.map_err(|error| unknown(error, &options.node))?;
    let was_cordoned = node.spec.and_then(|it| it.unschedulable).unwrap_or(false);
    if options.dry_run {
        let guests = pods(cluster, &options.node).await?;
        tell(DrainEvent::Guests(guests.len()))?;
        for pod in &guests {
            tell(DrainEvent::Evicted(&guest_of(pod), "would be evicted"))?;
        }
        return Ok(Drained { guests: guests.len(), ..Drained::default() });
    }
    cordon(cluster, &options.node, true).await?;
    let result = match tell(DrainEvent::Cordoned) {
        Ok(()) => empty(cluster, options, interrupt, tell).await,
        Err(error) => Err(error),
    };
    if was_cordoned || options.keep_cordoned && result.is_ok() {
        return result;
    }
    match cordon(cluster, &options.node, false).await {
        Ok(()) => tell(DrainEvent::Uncordoned)?,
        // The node itself may have gone.
        Err(error) if error.is_not_found() => {}
        Err(error) if result.is_ok() => return Err(error),
        Err(error) => {
            return result.map_err(|first| {
                KubevirtError::NotReady(format!(
                    "{first}; and node {} is still cordoned: {error}",
                    options.node
                ))
            });
        }
    }
    result
}

fn unknown(error: KubevirtError, node: &str) -> KubevirtError {
    if error.is_not_found() {
        return KubevirtError::NotReady(format!("There is no node {node}"));
    }
    error
}

async fn cordon(cluster: &Cluster, node: &str, is_on: bool) -> Result<(), KubevirtError> {
    let api: Api<Node> = Api::all(cluster.client());
    let change = json!({"spec": {"unschedulable": if is_on { json!(true) } else { json!(null) }}});
    let (parameters, patch) = (PatchParams::default(), Patch::Merge(&change));
    let what = format!("{} node {node}", if is_on { "cordon" } else { "uncordon" });
    cluster.call(&what, || api.patch(node, &parameters, &patch)).await.map(drop)
}

/// The virt-launcher Pods on a node that still run.
async fn pods(cluster: &Cluster, node: &str) -> Result<Vec<Pod>, KubevirtError> {
    let api: Api<Pod> = Api::all(cluster.client());
    let mut parameters = ListParams::default()
        .labels("kubevirt.io=virt-launcher")
        .fields(&format!("spec.nodeName={node}"));
    parameters.limit = Some(250);
    let mut found = Vec::new();
    loop {
        let piece = cluster.call("list Pods", || api.list(&parameters)).await?;
        found.extend(piece.items.into_iter().filter(|pod| {
            let phase = pod.status.as_ref().and_then(|it| it.phase.as_deref());
            !matches!(phase, Some("Succeeded" | "Failed"))
        }));
        parameters.continue_token = piece.metadata.continue_.filter(|it| !it.is_empty());
        if parameters.continue_token.is_none() {
            return Ok(found);
        }
    }
}

/// The guest that a virt-launcher Pod runs.
fn guest_of(pod: &Pod) -> String {
    let labels = pod.labels();
    let name = ["vm.kubevirt.io/name", "kubevirt.io/vm-name", "kubevirt.io/domain"]
        .iter()
        .find_map(|it| labels.get(*it).cloned());
    name.unwrap_or_else(|| pod.name_any())
}

struct Drain<'a> {
    cluster: &'a Cluster,
    options: &'a DrainOptions,
    follower: Follower,
    evictor: Evictor,
    /// Guests still on the node, by namespace and name: their Pod, and what the last eviction said.
    left: BTreeMap<(String, String), (String, String)>,
    migrations: BTreeSet<String>,
    recorded: usize,
}

async fn empty(
    cluster: &Cluster,
    options: &DrainOptions,
    interrupt: &Interrupt,
    tell: Tell<'_>,
) -> Result<Drained, KubevirtError> {
    let mut follower = Follower::new(cluster, None, None);
    follower.settle(cluster).await?;
    let mut drain = Drain {
        cluster,
        options,
        follower,
        evictor: Evictor::default(),
        left: BTreeMap::new(),
        migrations: BTreeSet::new(),
        recorded: 0,
    };
    let began = Instant::now();
    let guests = drain.refresh().await?;
    tell(DrainEvent::Guests(guests))?;
    let result = drain.run(began, interrupt, tell).await;
    drain.rest(tell).await?;
    result?;
    let left = drain.left.iter().map(|(key, (_, why))| (key.1.clone(), why.clone())).collect();
    Ok(Drained {
        guests,
        left,
        migrations: drain.recorded,
        seconds: began.elapsed().as_secs_f64(),
        eviction_version: drain.evictor.version,
    })
}

/// How often Pods that are still there are evicted again, as kubectl does it.
const AGAIN: Duration = Duration::from_secs(5);

impl Drain<'_> {
    /// Looks which guests are on the node.
    async fn refresh(&mut self) -> Result<usize, KubevirtError> {
        let pods = pods(self.cluster, &self.options.node).await?;
        let old = std::mem::take(&mut self.left);
        for pod in &pods {
            let key = (pod.namespace().unwrap_or_default(), guest_of(pod));
            let why = old.get(&key).map(|it| it.1.clone()).unwrap_or_default();
            self.left.insert(key, (pod.name_any(), why));
        }
        Ok(self.left.len())
    }

    async fn run(
        &mut self,
        began: Instant,
        interrupt: &Interrupt,
        tell: Tell<'_>,
    ) -> Result<(), KubevirtError> {
        self.evict(tell).await?;
        let mut evicted = Instant::now();
        while !(self.left.is_empty() && self.migrations.is_empty()) {
            if interrupt.requested() {
                return Err(KubevirtError::Interrupted);
            }
            if began.elapsed() >= self.options.patience {
                return Ok(());
            }
            self.step(tell).await?;
            if evicted.elapsed() >= AGAIN {
                self.refresh().await?;
                self.evict(tell).await?;
                evicted = Instant::now();
            }
        }
        Ok(())
    }

    async fn evict(&mut self, tell: Tell<'_>) -> Result<(), KubevirtError> {
        let all: Vec<(String, String)> = self.left.keys().cloned().collect();
        for key in all {
            let moving = self.follower.records.values().any(|it| {
                (it.namespace.as_str(), it.vmi.as_str()) == (key.0.as_str(), key.1.as_str())
                    && !it.is_ended()
            });
            if moving {
                continue;
            }
            let Some(pod) = self.left.get(&key).map(|it| it.0.clone()) else { continue };
            let words = self.evictor.evict(self.cluster, &key.0, &pod).await?;
            tell(DrainEvent::Evicted(&key.1, &words))?;
            if let Some(left) = self.left.get_mut(&key) {
                left.1 = words;
            }
        }
        Ok(())
    }

    async fn step(&mut self, tell: Tell<'_>) -> Result<(), KubevirtError> {
        if let Step::Migration(uid) = self.follower.step(LOOK).await?
            && let Some(record) = self.follower.records.get(&uid)
        {
            let key = (record.namespace.clone(), record.vmi.clone());
            let is_ours = self.left.contains_key(&key)
                || record.node_before.as_ref() == Some(&self.options.node);
            if is_ours {
                self.migrations.insert(uid);
                tell(DrainEvent::Moved(record))?;
            }
        }
        let uids: Vec<String> = self.migrations.iter().cloned().collect();
        for uid in uids {
            if let Some(record) = self.follower.take_ended(&uid) {
                self.ended(&uid, record, tell).await?;
            }
        }
        Ok(())
    }

    async fn ended(
        &mut self,
        uid: &str,
        mut record: MigrationRecord,
        tell: Tell<'_>,
    ) -> Result<(), KubevirtError> {
        let options = self.options;
        complete(self.cluster, &mut record, options.read_logs, options.read_events).await;
        self.migrations.remove(uid);
        let key = (record.namespace.clone(), record.vmi.clone());
        if record.node_after.as_ref().is_some_and(|it| *it != options.node) {
            self.left.remove(&key);
        } else if let (Some(left), (_, Some(reason))) = (self.left.get_mut(&key), record.verdict())
        {
            left.1 = reason;
        }
        self.recorded += 1;
        tell(DrainEvent::Ended(&record))
    }

    /// Migrations that are still under way are recorded as they are; they are the cluster's, so they go on.
    async fn rest(&mut self, tell: Tell<'_>) -> Result<(), KubevirtError> {
        for uid in std::mem::take(&mut self.migrations) {
            if let Some(record) = self.follower.take(&uid) {
                self.ended(&uid, record, tell).await?;
            }
        }
        Ok(())
    }
}

/// Evictions, in the version that the API server speaks.
#[derive(Default)]
struct Evictor {
    version: Option<&'static str>,
}

impl Evictor {
    /// Asks for a Pod to go; what the API server said. That it is to wait is no error.
    async fn evict(
        &mut self,
        cluster: &Cluster,
        namespace: &str,
        pod: &str,
    ) -> Result<String, KubevirtError> {
        let versions: &[&'static str] = match self.version {
            Some("policy/v1") => &["policy/v1"],
            Some(_) => &["policy/v1beta1"],
            None => &["policy/v1", "policy/v1beta1"],
        };
        let mut answer = Ok(String::new());
        for version in versions {
            answer = self.ask(cluster, namespace, pod, version).await;
            match &answer {
                // An older API server cannot read the newer kind, and says so in one of these ways.
                Err(KubevirtError::Refused { code: 400 | 404 | 406 | 415, message, .. })
                    if *version == "policy/v1" && !message.contains(pod) => {}
                _ => {
                    self.version = Some(*version);
                    break;
                }
            }
        }
        answer
    }

    async fn ask(
        &self,
        cluster: &Cluster,
        namespace: &str,
        pod: &str,
        version: &str,
    ) -> Result<String, KubevirtError> {
        let body = json!({
            "apiVersion": version,
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
        });
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
        match cluster.post_once(&path, &body).await {
            Ok(()) => Ok("evicted".to_owned()),
            // The guest is on its way, or a budget protects it; either way the next round tells.
            Err(KubevirtError::Refused { code: 429, message, .. }) => Ok(message),
            Err(error) if error.is_not_found() => Ok("it is gone already".to_owned()),
            Err(error) => Err(error),
        }
    }
}
