//! One migration through its phases.
//!
//! ```text
//!  "" ──► Pending ──► Scheduling ──► Scheduled ──► PreparingTarget ──► TargetReady ──► Running ──► Succeeded
//!            │            │                                                               │
//!            └────────────┴─────────────────────── deleted, or broken ────────────────────┴──────► Failed
//! ```

use std::time::Instant;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};

use super::model::{AtTimeout, Load, at_timeout, completion_timeout, standing};
use super::queue::{SYSTEM_CRITICAL, USER, Waiting, turns};
use super::{Failure, Key, Simulation, lock, phase, world};
use crate::error::KubevirtError;
use crate::policy::{effective, name as policy_name, winner};
use crate::views::{self, MigrationConfiguration, Vmim};

const FINALIZER: &str = "kubevirt.io/migrationJobFinalize";
const EVACUATION: &str = "kubevirt.io/evacuationMigration";
/// Finished migrations that are kept for each guest.
const KEPT: usize = 5;
/// Simulated seconds that a target Pod takes to start.
const POD_SECONDS: f64 = 2.0;
/// Simulated seconds after which a Pod that no node takes is given up.
const UNSCHEDULABLE_SECONDS: f64 = 300.0;
/// Simulated seconds between two log lines.
const LINE_SECONDS: f64 = 4.0;

/// A migration that has its turn.
pub(super) struct Flight {
    pub(super) vmim: Key,
    guest: Key,
    source_node: String,
    source_pod: String,
    pub(super) target_node: String,
    target_pod: Option<String>,
    /// When the target Pod was asked for.
    began: Instant,
    /// When memory began to move.
    moving: Option<Instant>,
    configuration: MigrationConfiguration,
    policy: Option<String>,
    load: Load,
    lines: u64,
    mode: Option<&'static str>,
    started_at: Option<String>,
}

impl Simulation {
    /// New migrations become Pending; those whose turn it is get a target Pod.
    pub(super) async fn queue(&mut self) -> Result<(), KubevirtError> {
        let fresh: Vec<Vmim> = self
            .world
            .vmims
            .values()
            .filter(|it| {
                let uid = it.uid().unwrap_or_default();
                !views::is_final(phase(it))
                    && !self.world.waiting.contains_key(&uid)
                    && !self.world.flights.contains_key(&uid)
            })
            .cloned()
            .collect();
        for vmim in fresh {
            let uid = vmim.uid().unwrap_or_default();
            self.finalizer(&vmim, true).await?;
            self.set_phases(&vmim, &["Pending"], json!({})).await?;
            self.world.waiting.insert(uid, Instant::now());
        }
        let gone: Vec<Vmim> = self.waiting().filter(|it| is_deleted(it)).cloned().collect();
        for vmim in gone {
            self.world.waiting.remove(&vmim.uid().unwrap_or_default());
            self.finish(&vmim, "Failed", None).await?;
        }
        let under_way: Vec<String> =
            self.world.flights.values().map(|it| it.source_node.clone()).collect();
        let limits = self.limits();
        let per_cluster = limits.parallel_migrations_per_cluster.unwrap_or(5);
        let per_node = limits.parallel_outbound_migrations_per_node.unwrap_or(2);
        let waiting: Vec<Waiting> = self.waiting().filter_map(|it| self.place(it)).collect();
        for turn in turns(waiting, &under_way, per_cluster, per_node) {
            self.schedule(&turn.uid).await?;
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

    fn limits(&self) -> MigrationConfiguration {
        let ours = self.world.kubevirt.as_ref();
        effective(ours.and_then(|it| it.spec.configuration.migrations.as_ref()), None)
    }

    async fn schedule(&mut self, uid: &str) -> Result<(), KubevirtError> {
        let Some(vmim) = self.waiting().find(|it| it.uid().as_deref() == Some(uid)).cloned() else {
            return Ok(());
        };
        let guest = (vmim.namespace().unwrap_or_default(), vmim.spec.vmi_name.clone());
        let Some(vmi) = self.world.vmis.get(&guest).cloned() else { return Ok(()) };
        let source_node =
            vmi.status.as_ref().and_then(|it| it.node_name.clone()).unwrap_or_default();
        let nodes = self.nodes().await?;
        let target = nodes.into_iter().find(|it| *it != source_node);
        let target = target.filter(|_| self.options.failure != Failure::Unschedulable);
        let target_pod = match &target {
            Some(node) => Some(self.pod(&guest.0, &guest.1, node).await?),
            None => None,
        };
        let policies: Vec<_> = self.world.policies.values().cloned().collect();
        let none = std::collections::BTreeMap::new();
        let won = winner(&policies, vmi.labels(), &none);
        let cluster = self.world.kubevirt.as_ref();
        let configuration =
            effective(cluster.and_then(|it| it.spec.configuration.migrations.as_ref()), won);
        let memory_bytes = crate::explain::memory_bytes(&vmi.spec.domain).unwrap_or(1 << 30);
        let limit = configuration
            .bandwidth_per_migration
            .as_ref()
            .and_then(crate::explain::quantity)
            .filter(|it| *it > 0.0)
            .unwrap_or(f64::INFINITY);
        let flight = Flight {
            vmim: super::key(&vmim),
            source_node,
            source_pod: self.world.pods.get(&guest).cloned().unwrap_or_default(),
            target_node: target.unwrap_or_default(),
            target_pod,
            began: Instant::now(),
            moving: None,
            policy: won.map(|it| policy_name(it).to_owned()),
            configuration,
            load: Load {
                memory_bytes,
                bandwidth_bytes_per_second: self.options.bandwidth_bytes_per_second.min(limit),
                dirty_bytes_per_second: self.options.dirty_bytes_per_second,
                working_set_bytes: memory_bytes / 4 * 3,
            },
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

    /// Moves every flight on.
    pub(super) async fn flights(&mut self) -> Result<(), KubevirtError> {
        let uids: Vec<String> = self.world.flights.keys().cloned().collect();
        for uid in uids {
            if let Some(mut flight) = self.world.flights.remove(&uid) {
                let is_over = self.fly(&uid, &mut flight).await?;
                if !is_over {
                    self.world.flights.insert(uid, flight);
                }
            }
        }
        Ok(())
    }

    /// One step; whether it was the last.
    async fn fly(&mut self, uid: &str, flight: &mut Flight) -> Result<bool, KubevirtError> {
        let Some(vmim) = self.world.vmims.get(&flight.vmim).cloned() else {
            self.drop_target(flight).await?;
            return Ok(true);
        };
        let seconds = |since: Instant| since.elapsed().as_secs_f64() * self.options.speed;
        if !self.world.vmis.contains_key(&flight.guest) {
            self.drop_target(flight).await?;
            self.event(&vmim, uid, "FailedMigration", "VMI does not exist").await?;
            self.finish(&vmim, "Failed", None).await?;
            return Ok(true);
        }
        let Some(moving) = flight.moving else {
            if is_deleted(&vmim) {
                self.drop_target(flight).await?;
                self.finish(&vmim, "Failed", None).await?;
                return Ok(true);
            }
            if flight.target_pod.is_none() {
                if seconds(flight.began) < UNSCHEDULABLE_SECONDS {
                    return Ok(false);
                }
                let words = "Migration target pod is removed/timed out: no node takes it";
                self.event(&vmim, uid, "FailedMigration", words).await?;
                self.finish(&vmim, "Failed", None).await?;
                return Ok(true);
            }
            if seconds(flight.began) >= POD_SECONDS {
                self.hand_over(&vmim, uid, flight).await?;
            }
            return Ok(false);
        };
        let elapsed = seconds(moving);
        self.tell_log(uid, flight, elapsed);
        if is_deleted(&vmim) && flight.mode != Some("PostCopy") {
            let state = json!({"abortRequested": true, "abortStatus": "Succeeded"});
            return self.fail(&vmim, flight, "Live migration has been aborted", state).await;
        }
        if let Failure::Break(words) = &self.options.failure {
            let words = words.clone();
            return self.fail(&vmim, flight, &words, json!({})).await;
        }
        let timeout = completion_timeout(&flight.configuration, flight.load.memory_bytes);
        if flight.mode.is_none() && timeout > 0.0 && elapsed >= timeout {
            match at_timeout(&flight.configuration) {
                AtTimeout::Abort => {
                    let words = format!(
                        "Live migration is not completed after {timeout:.0} seconds and has been aborted"
                    );
                    return self.fail(&vmim, flight, &words, json!({})).await;
                }
                AtTimeout::Pause => flight.mode = Some("Paused"),
                AtTimeout::PostCopy => flight.mode = Some("PostCopy"),
            }
            // Nothing more becomes dirty at the source.
            flight.load.dirty_bytes_per_second = 0.0;
            flight.load.memory_bytes = flight.load.working_set_bytes;
            flight.moving = Some(Instant::now());
            return Ok(false);
        }
        if standing(&flight.load, elapsed).is_done {
            self.land(&vmim, uid, flight).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn hand_over(
        &mut self,
        vmim: &Vmim,
        uid: &str,
        flight: &mut Flight,
    ) -> Result<(), KubevirtError> {
        let now = now();
        flight.moving = Some(Instant::now());
        flight.started_at = Some(now.clone());
        let state = json!({
            "migrationUid": uid,
            "sourceNode": flight.source_node, "sourcePod": flight.source_pod,
            "targetNode": flight.target_node, "targetPod": flight.target_pod,
            "targetNodeAddress": "127.0.0.1", "targetNodeDomainDetected": true,
            "startTimestamp": now, "endTimestamp": null,
            "completed": false, "failed": null, "abortRequested": null, "abortStatus": null,
            "failureReason": null, "mode": "PreCopy",
            "migrationPolicyName": flight.policy,
            "migrationConfiguration": flight.configuration,
        });
        self.set_state(&flight.guest, state).await?;
        let phases = ["Scheduled", "PreparingTarget", "TargetReady", "Running"];
        self.set_phases(vmim, &phases, json!({})).await
    }

    async fn land(
        &mut self,
        vmim: &Vmim,
        uid: &str,
        flight: &mut Flight,
    ) -> Result<(), KubevirtError> {
        let api = self.cluster.api::<DynamicObject>(&views::vmis(), Some(&flight.guest.0));
        let end = json!({
            "completed": true, "endTimestamp": now(), "mode": flight.mode.unwrap_or("PreCopy"),
        });
        let change = json!({"status": {
            "nodeName": flight.target_node, "evacuationNodeName": null, "migrationState": end,
        }});
        world::patch(&self.cluster, &api, &flight.guest.1, &change).await?;
        self.world.places.insert(flight.guest.clone(), flight.target_node.clone());
        if let Some(target) = flight.target_pod.clone() {
            self.world.pods.insert(flight.guest.clone(), target);
        }
        let source = flight.source_pod.clone();
        self.event(vmim, uid, "SuccessfulMigration", "Source node reported migration succeeded")
            .await?;
        self.finish(vmim, "Succeeded", Some(self.state(flight, &end))).await?;
        self.remove_later(&flight.guest.0, &source).await
    }

    async fn fail(
        &mut self,
        vmim: &Vmim,
        flight: &mut Flight,
        words: &str,
        more: Value,
    ) -> Result<bool, KubevirtError> {
        let mut end = json!({
            "completed": true, "failed": true, "endTimestamp": now(), "failureReason": words,
        });
        if let (Value::Object(end), Value::Object(more)) = (&mut end, more) {
            end.extend(more);
        }
        self.set_state(&flight.guest, end.clone()).await?;
        self.drop_target(flight).await?;
        let uid = vmim.uid().unwrap_or_default();
        let text = format!("source node reported migration failed: {words}");
        self.event(vmim, &uid, "FailedMigration", &text).await?;
        self.finish(vmim, "Failed", Some(self.state(flight, &end))).await?;
        Ok(true)
    }

    /// The state as it is copied to the migration at the end.
    fn state(&self, flight: &Flight, end: &Value) -> Value {
        let mut state = json!({
            "migrationUid": self.world.vmims.get(&flight.vmim).and_then(|it| it.uid()),
            "sourceNode": flight.source_node, "sourcePod": flight.source_pod,
            "targetNode": flight.target_node, "targetPod": flight.target_pod,
            "startTimestamp": flight.started_at,
            "mode": flight.mode.unwrap_or("PreCopy"),
            "migrationPolicyName": flight.policy,
            "migrationConfiguration": flight.configuration,
        });
        if let (Value::Object(state), Value::Object(end)) = (&mut state, end.clone()) {
            state.extend(end);
        }
        state
    }

    async fn drop_target(&mut self, flight: &mut Flight) -> Result<(), KubevirtError> {
        match flight.target_pod.take() {
            Some(pod) => self.remove_pod(&flight.guest.0, &pod).await,
            None => Ok(()),
        }
    }

    async fn set_state(&self, guest: &Key, state: Value) -> Result<(), KubevirtError> {
        let api = self.cluster.api::<DynamicObject>(&views::vmis(), Some(&guest.0));
        let change = json!({"status": {"migrationState": state}});
        world::patch(&self.cluster, &api, &guest.1, &change).await
    }

    /// The last phase, the copy of the state, and no finalizer any more.
    async fn finish(
        &mut self,
        vmim: &Vmim,
        last: &str,
        state: Option<Value>,
    ) -> Result<(), KubevirtError> {
        let status = state.map_or_else(|| json!({}), |it| json!({"migrationState": it}));
        self.set_phases(vmim, &[last], status).await?;
        self.finalizer(vmim, false).await
    }

    async fn finalizer(&self, vmim: &Vmim, is_wanted: bool) -> Result<(), KubevirtError> {
        let finalizers = if is_wanted { json!([FINALIZER]) } else { Value::Null };
        if is_wanted && is_deleted(vmim) {
            return Ok(());
        }
        let mut change = json!({"metadata": {"finalizers": finalizers}});
        if is_wanted {
            let guest = vmim.spec.vmi_name.as_str();
            change["metadata"]["labels"] = json!({"kubevirt.io/vmi-name": guest});
        }
        let namespace = vmim.namespace();
        let api = self.cluster.api::<DynamicObject>(&views::vmims(), namespace.as_deref());
        world::patch(&self.cluster, &api, &vmim.name_any(), &change).await
    }

    /// Several phases may be gone through at once; the list of transitions has them all.
    async fn set_phases(
        &mut self,
        vmim: &Vmim,
        phases: &[&str],
        mut status: Value,
    ) -> Result<(), KubevirtError> {
        let key = super::key(vmim);
        let known = self.world.vmims.get(&key).and_then(|it| it.status.clone()).unwrap_or_default();
        let mut transitions = known.phase_transition_timestamps;
        for phase in phases {
            transitions.push(views::PhaseTransition {
                phase: (*phase).to_owned(),
                phase_transition_timestamp: Some(now()),
            });
        }
        status["phase"] = json!(phases.last());
        status["phaseTransitionTimestamps"] = json!(transitions);
        // What we set is known at once; the watch will tell the same a little later.
        if let Some(ours) = self.world.vmims.get_mut(&key) {
            let mut new = ours.status.clone().unwrap_or_default();
            new.phase = phases.last().map(|it| (*it).to_owned());
            new.phase_transition_timestamps = transitions;
            ours.status = Some(new);
        }
        let api = self.cluster.api::<DynamicObject>(&views::vmims(), Some(&key.0));
        world::patch_status(&self.cluster, &api, &key.1, &json!({"status": status})).await
    }

    async fn event(
        &self,
        vmim: &Vmim,
        uid: &str,
        reason: &str,
        message: &str,
    ) -> Result<(), KubevirtError> {
        let (namespace, name) = super::key(vmim);
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
        let object: DynamicObject = serde_json::from_value(event)
            .map_err(|error| KubevirtError::Config(error.to_string()))?;
        let resource = views::resource("", "v1", "Event", "events");
        let api = self.cluster.api::<DynamicObject>(&resource, Some(&namespace));
        let parameters = PostParams::default();
        self.cluster.call("make an event", || api.create(&parameters, &object)).await.map(drop)
    }

    /// virt-launcher's lines, one every few simulated seconds.
    fn tell_log(&self, uid: &str, flight: &mut Flight, elapsed: f64) {
        while flight.lines as f64 * LINE_SECONDS <= elapsed {
            let at = flight.lines as f64 * LINE_SECONDS;
            flight.lines += 1;
            let line = line(uid, flight, at);
            let key = (flight.guest.0.clone(), flight.source_pod.clone());
            lock(&self.server.shared).logs.entry(key).or_default().push(line);
        }
    }

    /// The Pod of the source stays for whoever reads its log, as a finished one does in a cluster.
    async fn remove_later(&self, namespace: &str, pod: &str) -> Result<(), KubevirtError> {
        let resource = views::resource("", "v1", "Pod", "pods");
        let api = self.cluster.api::<DynamicObject>(&resource, Some(namespace));
        let done = json!({"status": {"phase": "Succeeded"}});
        world::patch_status(&self.cluster, &api, pod, &done).await
    }

    /// Evictions become migrations.
    pub(super) async fn evacuations(&mut self) -> Result<(), KubevirtError> {
        let wanted = std::mem::take(&mut lock(&self.server.shared).evacuations);
        for (guest, node) in wanted {
            let Some(vmi) = self.world.vmis.get(&guest) else { continue };
            let here = vmi.status.as_ref().and_then(|it| it.node_name.clone());
            let marked = vmi.status.as_ref().and_then(|it| it.evacuation_node_name.clone());
            if here.as_ref() != Some(&node) || marked.as_ref() == Some(&node) {
                continue;
            }
            let api = self.cluster.api::<DynamicObject>(&views::vmis(), Some(&guest.0));
            let mark = json!({"status": {"evacuationNodeName": node}});
            world::patch(&self.cluster, &api, &guest.1, &mark).await?;
            if let Some(vmi) = self.world.vmis.get_mut(&guest) {
                vmi.status.get_or_insert_default().evacuation_node_name = Some(node.clone());
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
            let object: DynamicObject = serde_json::from_value(migration)
                .map_err(|error| KubevirtError::Config(error.to_string()))?;
            let api = self.cluster.api::<DynamicObject>(&views::vmims(), Some(&guest.0));
            let parameters = PostParams::default();
            let what = "make an evacuation";
            let made = self.cluster.call(what, || api.create(&parameters, &object)).await;
            if let Err(error) = made
                && !error.is_refusal()
            {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Only the newest finished migrations of each guest are kept.
    pub(super) async fn garbage(&mut self) -> Result<(), KubevirtError> {
        let mut finished: std::collections::HashMap<Key, Vec<(String, String)>> =
            Default::default();
        for vmim in self.world.vmims.values().filter(|it| views::is_final(phase(it))) {
            let created = vmim.metadata.creation_timestamp.as_ref();
            let created = created.map(|it| it.0.to_string()).unwrap_or_default();
            let guest = (vmim.namespace().unwrap_or_default(), vmim.spec.vmi_name.clone());
            finished.entry(guest).or_default().push((created, vmim.name_any()));
        }
        for ((namespace, _), mut all) in finished {
            if all.len() <= KEPT {
                continue;
            }
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

fn line(uid: &str, flight: &Flight, at: f64) -> String {
    let standing = standing(&flight.load, at);
    let mib = |bytes: u64| bytes >> 20;
    let mbps = |rate: f64| (rate * 8.0 / 1e6) as u64;
    let (load, expected) = (&flight.load, standing.remaining_bytes as f64);
    let message = format!(
        "Migration info for {uid}: TimeElapsed:{}ms DataProcessed:{}MiB DataRemaining:{}MiB DataTotal:{}MiB MemoryProcessed:{}MiB MemoryRemaining:{}MiB MemoryTotal:{}MiB MemoryBandwidth:{}Mbps DirtyRate:{}Mbps Iteration:{} PostcopyRequests:0 ConstantPages:0 NormalPages:{} NormalData:{}MiB ExpectedDowntime:{}ms DiskMbps:0",
        (at * 1e3) as u64,
        mib(standing.processed_bytes),
        mib(standing.remaining_bytes),
        mib(load.memory_bytes),
        mib(standing.processed_bytes),
        mib(standing.remaining_bytes),
        mib(load.memory_bytes),
        mbps(load.bandwidth_bytes_per_second),
        mbps(load.dirty_bytes_per_second),
        standing.iteration,
        standing.processed_bytes / 4096,
        mib(standing.processed_bytes),
        (expected / load.bandwidth_bytes_per_second * 1e3) as u64,
    );
    json!({
        "component": "virt-launcher", "level": "info", "msg": message,
        "timestamp": Timestamp::now().to_string(),
    })
    .to_string()
}

fn is_deleted(vmim: &Vmim) -> bool {
    vmim.metadata.deletion_timestamp.is_some()
}

/// As the cluster writes times: in whole seconds.
fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
