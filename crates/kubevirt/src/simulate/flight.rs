//! One migration through its phases.
//!
//! ```text
//!  "" ──► Pending ──► Scheduling ──► Scheduled ──► PreparingTarget ──► TargetReady ──► Running ──► Succeeded
//!            │            │                                                               │
//!            └────────────┴─────────────────────── deleted, or broken ────────────────────┴──────► Failed
//! ```

use std::time::Instant;

use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::machines::pods;
use super::model::{AtTimeout, Load, at_timeout, completion_timeout, standing};
use super::status::now;
use super::{Failure, Key, Simulation};
use crate::error::KubevirtError;
use crate::views::{self, MigrationConfiguration, Vmim};

/// Simulated seconds that a target Pod takes to start.
const POD_SECONDS: f64 = 2.0;
/// Simulated seconds after which a Pod that no node takes is given up.
const UNSCHEDULABLE_SECONDS: f64 = 300.0;

/// A migration that has its turn.
pub(super) struct Flight {
    pub(super) vmim: Key,
    pub(super) guest: Key,
    pub(super) source_node: String,
    pub(super) source_pod: String,
    pub(super) target_node: String,
    pub(super) target_pod: Option<String>,
    /// When the target Pod was asked for.
    pub(super) began: Instant,
    /// When memory began to move.
    pub(super) moving: Option<Instant>,
    pub(super) configuration: MigrationConfiguration,
    pub(super) policy: Option<String>,
    pub(super) load: Load,
    pub(super) lines: u64,
    pub(super) mode: Option<&'static str>,
    pub(super) started_at: Option<String>,
}

/// Whether a step was the last.
#[derive(PartialEq, Eq)]
enum Next {
    GoesOn,
    IsOver,
}

impl Simulation {
    /// Moves every flight on.
    pub(super) async fn flights(&mut self) -> Result<(), KubevirtError> {
        let uids: Vec<String> = self.world.flights.keys().cloned().collect();
        for uid in uids {
            if let Some(mut flight) = self.world.flights.remove(&uid)
                && self.fly(&uid, &mut flight).await? == Next::GoesOn
            {
                self.world.flights.insert(uid, flight);
            }
        }
        Ok(())
    }

    async fn fly(&mut self, uid: &str, flight: &mut Flight) -> Result<Next, KubevirtError> {
        let Some(vmim) = self.world.vmims.get(&flight.vmim).cloned() else {
            self.drop_target(flight).await?;
            return Ok(Next::IsOver);
        };
        if !self.world.vmis.contains_key(&flight.guest) {
            return self.give_up(&vmim, flight, Some("VMI does not exist")).await;
        }
        match flight.moving {
            None => self.prepare(&vmim, uid, flight).await,
            Some(moving) => {
                let elapsed = self.simulated_seconds(moving);
                self.tell_log(uid, flight, elapsed);
                self.move_on(&vmim, uid, flight, elapsed).await
            }
        }
    }

    fn simulated_seconds(&self, since: Instant) -> f64 {
        since.elapsed().as_secs_f64() * self.options.speed
    }

    /// Before the handover: the target Pod starts.
    async fn prepare(
        &mut self,
        vmim: &Vmim,
        uid: &str,
        flight: &mut Flight,
    ) -> Result<Next, KubevirtError> {
        if is_deleted(vmim) {
            return self.give_up(vmim, flight, None).await;
        }
        let elapsed = self.simulated_seconds(flight.began);
        let has_pod = flight.target_pod.is_some();
        if !has_pod && elapsed >= UNSCHEDULABLE_SECONDS {
            let words = "Migration target pod is removed/timed out: no node takes it";
            return self.give_up(vmim, flight, Some(words)).await;
        }
        if has_pod && !self.world.nodes.contains_key(&flight.target_node) {
            let words = "The node of the target Pod is gone";
            return self.give_up(vmim, flight, Some(words)).await;
        }
        if has_pod && elapsed >= POD_SECONDS {
            self.hand_over(vmim, uid, flight).await?;
        }
        Ok(Next::GoesOn)
    }

    /// After the handover: memory moves.
    async fn move_on(
        &mut self,
        vmim: &Vmim,
        uid: &str,
        flight: &mut Flight,
        elapsed: f64,
    ) -> Result<Next, KubevirtError> {
        if is_deleted(vmim) && flight.mode != Some("PostCopy") {
            let state = json!({"abortRequested": true, "abortStatus": "Succeeded"});
            return self.fail(vmim, flight, "Live migration has been aborted", state).await;
        }
        if let Failure::Break(words) = &self.options.failure {
            let words = words.clone();
            return self.fail(vmim, flight, &words, json!({})).await;
        }
        if !self.world.nodes.contains_key(&flight.target_node) {
            return self.fail(vmim, flight, "The target node is gone", json!({})).await;
        }
        let timeout = completion_timeout(&flight.configuration, flight.load.memory_bytes);
        let has_timeout = flight.mode.is_none() && timeout > 0.0;
        // Who is looked at late may have been done before its time was up.
        let until = if has_timeout { elapsed.min(timeout) } else { elapsed };
        if standing(&flight.load, until).is_done {
            self.land(vmim, uid, flight).await?;
            return Ok(Next::IsOver);
        }
        if !has_timeout || elapsed < timeout {
            return Ok(Next::GoesOn);
        }
        flight.mode = Some(match at_timeout(&flight.configuration) {
            AtTimeout::Abort => {
                let words = format!(
                    "Live migration is not completed after {timeout:.0} seconds and has been aborted"
                );
                return self.fail(vmim, flight, &words, json!({})).await;
            }
            AtTimeout::Pause => "Paused",
            AtTimeout::PostCopy => "PostCopy",
        });
        // Nothing more becomes dirty at the source.
        flight.load.dirty_bytes_per_second = 0.0;
        flight.load.memory_bytes = flight.load.working_set_bytes;
        flight.moving = Some(Instant::now());
        Ok(Next::GoesOn)
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
        let mut state = flight.state(uid);
        let news = json!({
            "targetNodeAddress": "127.0.0.1", "targetNodeDomainDetected": true,
            "endTimestamp": null, "completed": false, "failed": null,
            "abortRequested": null, "abortStatus": null, "failureReason": null,
        });
        extend(&mut state, news);
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
        let end = json!({
            "completed": true, "endTimestamp": now(), "mode": flight.mode.unwrap_or("PreCopy"),
        });
        let change = json!({"status": {
            "nodeName": flight.target_node, "evacuationNodeName": null, "migrationState": end,
        }});
        self.change(&views::vmis(), &flight.guest, &change).await?;
        self.world.places.insert(flight.guest.clone(), flight.target_node.clone());
        if let Some(target) = flight.target_pod.clone() {
            self.world.pods.insert(flight.guest.clone(), target);
        }
        self.event(vmim, uid, "SuccessfulMigration", "Source node reported migration succeeded")
            .await?;
        let mut state = flight.state(uid);
        extend(&mut state, end);
        self.finish(vmim, "Succeeded", Some(state)).await?;
        // The Pod of the source stays for whoever reads its log, as a finished one does in a cluster.
        let source = (flight.guest.0.clone(), flight.source_pod.clone());
        let done = json!({"status": {"phase": "Succeeded", "podIP": null, "podIPs": null}});
        self.change_status(&pods(), &source, &done).await
    }

    /// A migration that never was handed over.
    async fn give_up(
        &mut self,
        vmim: &Vmim,
        flight: &mut Flight,
        words: Option<&str>,
    ) -> Result<Next, KubevirtError> {
        self.drop_target(flight).await?;
        if let Some(words) = words {
            let uid = vmim.uid().unwrap_or_default();
            self.event(vmim, &uid, "FailedMigration", words).await?;
        }
        self.finish(vmim, "Failed", None).await?;
        Ok(Next::IsOver)
    }

    async fn fail(
        &mut self,
        vmim: &Vmim,
        flight: &mut Flight,
        words: &str,
        more: Value,
    ) -> Result<Next, KubevirtError> {
        let uid = vmim.uid().unwrap_or_default();
        let mut end = json!({
            "completed": true, "failed": true, "endTimestamp": now(), "failureReason": words,
        });
        extend(&mut end, more);
        let mut state = flight.state(&uid);
        extend(&mut state, end.clone());
        self.set_state(&flight.guest, end).await?;
        self.drop_target(flight).await?;
        let text = format!("source node reported migration failed: {words}");
        self.event(vmim, &uid, "FailedMigration", &text).await?;
        self.finish(vmim, "Failed", Some(state)).await?;
        Ok(Next::IsOver)
    }

    pub(super) async fn drop_target(&mut self, flight: &mut Flight) -> Result<(), KubevirtError> {
        match flight.target_pod.take() {
            Some(pod) => self.remove_pod(&flight.guest.0, &pod).await,
            None => Ok(()),
        }
    }
}

impl Flight {
    /// What both objects say of it.
    fn state(&self, uid: &str) -> Value {
        json!({
            "migrationUid": uid,
            "sourceNode": self.source_node, "sourcePod": self.source_pod,
            "targetNode": self.target_node, "targetPod": self.target_pod,
            "startTimestamp": self.started_at,
            "mode": self.mode.unwrap_or("PreCopy"),
            "migrationPolicyName": self.policy,
            "migrationConfiguration": self.configuration,
        })
    }
}

fn extend(state: &mut Value, more: Value) {
    if let (Value::Object(state), Value::Object(more)) = (state, more) {
        state.extend(more);
    }
}

fn is_deleted(vmim: &Vmim) -> bool {
    vmim.metadata.deletion_timestamp.is_some()
}
