//! One migration as it was seen: from watch events to a report.
//!
//! The cluster keeps only the five newest finished migrations of a guest, and the events of a watch may come late,
//! twice or not at all. So everything that was ever seen is kept, and what the objects say of the past (the list of
//! phase transitions) fills in what no event told.

mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::Value;
use sterna_report::{Probe, Verdict, Warning};

use crate::guest::GuestSeen;
use crate::launcher::LauncherLine;
use crate::views::{Domain, MigrationState, Vmi, Vmim, is_final};

/// A migration as it was seen.
#[derive(Clone, Debug, Default)]
pub struct MigrationRecord {
    /// Where it happened.
    pub namespace: String,
    /// The guest.
    pub vmi: String,
    /// The migration's name.
    pub name: String,
    /// The migration's UID.
    pub uid: String,
    /// Who wanted it.
    pub origin: Origin,
    /// When it was accepted, or first seen where it is not ours; on the clock of whoever follows.
    pub began_ns: u64,
    /// The same in UTC.
    pub began_at: String,
    /// When the object was made, by the cluster's clock.
    pub created_at: Option<String>,
    /// Phases, in the order in which they came.
    pub phases: Vec<PhaseSeen>,
    /// What the cluster says of it at last.
    pub state: Option<MigrationState>,
    /// Whether disks were copied.
    pub method: Option<String>,
    /// The machine of the guest, which decides on parallel connections.
    pub domain: Option<Domain>,
    /// Conditions that were true at some time: kind and message.
    pub conditions: BTreeMap<String, String>,
    /// The node of the guest before it.
    pub node_before: Option<String>,
    /// The node of the guest after it.
    pub node_after: Option<String>,
    /// virt-launcher's account.
    pub lines: Vec<LauncherLine>,
    /// The cluster's events about it.
    pub events: Vec<ClusterEvent>,
    /// When its end was seen.
    pub ended_ns: Option<u64>,
    /// The object vanished before its end was seen.
    pub vanished: bool,
    /// Why it was wanted to end.
    pub cancel: Option<Cancel>,
    /// What became of the guest, where it ended before its migration did.
    pub guest_lost: Option<String>,
    /// What the Pod that probes the guest saw; None without one.
    pub probe: Option<Probe>,
    /// What the agent in the guest told; None where it could not be asked.
    pub guest: Option<GuestSeen>,
    /// What Prometheus has of it: series as its API tells them.
    pub prometheus: Option<Value>,
    /// What to know about this record.
    pub warnings: Vec<Warning>,
}

/// Who wanted a migration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// We.
    Ours,
    /// A drain.
    Evacuation,
    /// Somebody else.
    #[default]
    Other,
}

/// Why we wanted it to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// The user asked.
    User,
    /// It took longer than was allowed.
    Time,
}

/// A phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseSeen {
    /// Its name.
    pub phase: String,
    /// When it was seen, on the clock of whoever follows; None where only the list of transitions tells of it.
    pub seen_ns: Option<u64>,
    /// When it began, by the cluster's clock, in whole seconds.
    pub cluster_at: Option<String>,
}

/// An event of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterEvent {
    /// When, by the cluster's clock.
    pub at: Option<String>,
    /// In one word.
    pub reason: String,
    /// In a sentence.
    pub message: String,
}

impl MigrationRecord {
    /// Takes what a migration's object says.
    pub fn see(&mut self, vmim: &Vmim, now_ns: u64) {
        let status = vmim.status.clone().unwrap_or_default();
        for transition in &status.phase_transition_timestamps {
            let at = transition.phase_transition_timestamp.clone();
            self.phase(&transition.phase, None, at);
        }
        if let Some(phase) = &status.phase {
            self.phase(phase, Some(now_ns), None);
        }
        for condition in status.conditions.iter().filter(|it| it.status == "True") {
            let text = condition.message.clone().unwrap_or_default();
            self.conditions.insert(condition.kind.clone(), text);
        }
        if let Some(state) = status.migration_state {
            self.take_state(state);
        }
        if is_final(status.phase.as_deref()) && self.ended_ns.is_none() {
            self.ended_ns = Some(now_ns);
        }
    }

    /// Takes what the guest's object says, if it is about this migration.
    pub fn see_guest(&mut self, vmi: &Vmi) {
        let Some(status) = &vmi.status else { return };
        if self.method.is_none() {
            self.method.clone_from(&status.migration_method);
        }
        self.domain.get_or_insert_with(|| vmi.spec.domain.clone());
        let Some(state) = &status.migration_state else { return };
        if !state.is_about(&self.uid) {
            return;
        }
        self.take_state(state.clone());
        if state.completed && status.node_name.is_some() {
            self.node_after.clone_from(&status.node_name);
        }
    }

    /// What is newer wins, but a blank is not newer than a value.
    fn take_state(&mut self, state: MigrationState) {
        let Some(old) = self.state.take() else {
            self.state = Some(state);
            return;
        };
        let (Ok(Value::Object(mut all)), Ok(Value::Object(new))) =
            (serde_json::to_value(&old), serde_json::to_value(&state))
        else {
            self.state = Some(old);
            return;
        };
        all.extend(new);
        self.state = Some(serde_json::from_value(Value::Object(all)).unwrap_or(old));
    }

    fn phase(&mut self, name: &str, seen_ns: Option<u64>, cluster_at: Option<String>) {
        if name.is_empty() {
            return;
        }
        match self.phases.iter_mut().find(|it| it.phase == name) {
            Some(known) => {
                known.seen_ns = known.seen_ns.or(seen_ns);
                known.cluster_at = known.cluster_at.take().or(cluster_at);
            }
            None => {
                let phase = name.to_owned();
                self.phases.push(PhaseSeen { phase, seen_ns, cluster_at });
            }
        }
    }

    /// The phase that it is in, or was at last.
    pub fn current_phase(&self) -> &str {
        let last_seen = self.phases.iter().rev().find(|it| it.seen_ns.is_some());
        last_seen.or(self.phases.last()).map_or("", |it| &it.phase)
    }

    /// Whether nothing more will happen, and all that the cluster says of it is here: the guest's own object tells last
    /// where it is.
    pub fn is_complete(&self) -> bool {
        let is_told = match self.current_phase() {
            "Succeeded" => self.node_after.is_some(),
            _ => self.state.as_ref().is_none_or(|it| it.completed || it.migration_uid.is_none()),
        };
        self.vanished || self.ended_ns.is_some() && is_told
    }

    /// The UID that virt-launcher writes into its log.
    pub fn log_uid(&self) -> String {
        let state = self.state.as_ref().filter(|it| it.is_about(&self.uid));
        state.and_then(MigrationState::source_uid).unwrap_or_else(|| self.uid.clone())
    }

    /// Whether the guest is where it was to go.
    pub fn has_succeeded(&self) -> bool {
        let state = self.state.as_ref();
        self.current_phase() == "Succeeded" || state.is_some_and(|it| it.completed && !it.failed)
    }

    /// Whether nothing more will happen.
    pub fn is_ended(&self) -> bool {
        self.ended_ns.is_some() || self.vanished
    }

    /// How it ended, and why.
    pub fn verdict(&self) -> (Verdict, Option<String>) {
        let state = self.state.clone().unwrap_or_default();
        let reason = state.failure_reason.clone().filter(|it| !it.is_empty());
        if self.has_succeeded() {
            return match state.mode.as_deref() {
                Some("Paused") => (
                    Verdict::CompletedForced,
                    Some("The guest was paused at the completion timeout".to_owned()),
                ),
                Some("PostCopy") => (
                    Verdict::CompletedForced,
                    Some("The guest went on by post-copy at the completion timeout".to_owned()),
                ),
                _ => (Verdict::Completed, None),
            };
        }
        if self.is_ended()
            && let Some(end) = &self.guest_lost
        {
            let more = reason.map_or_else(String::new, |it| format!("; {it}"));
            return (
                Verdict::Lost,
                Some(format!("The guest ended while it was to be migrated: {end}{more}")),
            );
        }
        if self.current_phase() == "Failed" || state.failed {
            return self.failure(&state, reason);
        }
        if self.vanished {
            return match self.cancel {
                Some(cancel) => cancelled(cancel, None),
                None => (
                    Verdict::Failed,
                    Some(format!("{} was deleted before its end was seen", self.name)),
                ),
            };
        }
        (Verdict::Interrupted, Some(format!("It was in phase {}", self.current_phase())))
    }

    fn failure(&self, state: &MigrationState, reason: Option<String>) -> (Verdict, Option<String>) {
        if let Some(cancel) = self.cancel {
            return cancelled(cancel, reason);
        }
        if state.abort_requested {
            let reason = reason.unwrap_or_else(|| "The migration was deleted".to_owned());
            return (Verdict::Cancelled, Some(reason));
        }
        // A timeout of the policy or of the cluster: virt-launcher aborts, and no object asked for it.
        if state.abort_status.as_deref() == Some("Succeeded") {
            let reason = reason.unwrap_or_else(|| "A timeout of KubeVirt aborted it".to_owned());
            return (Verdict::Cancelled, Some(reason));
        }
        let told = self.events.iter().rev().find(|it| it.reason == "FailedMigration");
        let condition = ["migrationRejectedByResourceQuota", "migrationBlockedByUtilityVolumes"]
            .iter()
            .find_map(|it| Some((*it, self.conditions.get(*it)?)));
        let reason = reason
            .or_else(|| told.map(|it| it.message.clone()))
            .or_else(|| condition.map(|(kind, text)| format!("{kind}: {text}")))
            .or_else(|| self.before_the_handover());
        (Verdict::Failed, reason)
    }

    /// What the phases tell where nobody gave a reason.
    fn before_the_handover(&self) -> Option<String> {
        let had = |name: &str| self.phases.iter().any(|it| it.phase == name);
        let text = if had("Running") {
            return None;
        } else if is_waiting_for_the_other_cluster(&self.phases) {
            "The other cluster did not take part: the two sides were never synchronised"
        } else if had("Scheduled") {
            "The target's virt-handler did not prepare it"
        } else if had("Scheduling") {
            "The target's virt-launcher Pod did not become ready; it is given 5 minutes when no node takes it, 15 in any case"
        } else {
            "It never got a target Pod"
        };
        Some(text.to_owned())
    }

    /// How long it waited for its turn: from its beginning to the first phase after Pending.
    pub fn queue_seconds(&self) -> Option<f64> {
        let before = ["WaitingForSync", "Synchronizing", "Pending"];
        let next = self.phases.iter().find(|it| !before.contains(&it.phase.as_str()))?;
        Some(next.seen_ns?.saturating_sub(self.began_ns) as f64 / 1e9)
    }
}

/// Whether a migration between two clusters came no further than finding the other side.
fn is_waiting_for_the_other_cluster(phases: &[PhaseSeen]) -> bool {
    let early = ["WaitingForSync", "Synchronizing"];
    let is_early = |it: &PhaseSeen| early.contains(&it.phase.as_str());
    phases.iter().any(is_early) && !phases.iter().any(|it| it.phase == "Scheduling")
}

fn cancelled(cancel: Cancel, reason: Option<String>) -> (Verdict, Option<String>) {
    let (verdict, why) = match cancel {
        Cancel::User => (Verdict::Interrupted, "The user asked to stop"),
        Cancel::Time => (Verdict::Cancelled, "It took longer than was allowed"),
    };
    let text = reason.map_or_else(|| why.to_owned(), |it| format!("{why}: {it}"));
    (verdict, Some(text))
}

impl Origin {
    /// The word for reports.
    pub fn word(self) -> &'static str {
        match self {
            Origin::Ours => "sterna",
            Origin::Evacuation => "evacuation",
            Origin::Other => "other",
        }
    }
}

/// What all migrations of a run have in common.
#[derive(Clone, Debug, Default)]
pub struct ClusterFacts {
    /// The run.
    pub run_id: Option<String>,
    /// KubeVirt's release.
    pub kubevirt_version: Option<String>,
    /// What the cluster allows.
    pub limits: Option<crate::views::MigrationConfiguration>,
    /// The scenario, where there is one.
    pub scenario: serde_json::Map<String, Value>,
}
