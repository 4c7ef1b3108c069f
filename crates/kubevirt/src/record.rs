//! One migration as it was seen: from watch events to a report.
//!
//! The cluster keeps only the five newest finished migrations of a guest, and the events of a watch may come late,
//! twice or not at all. So everything that was ever seen is kept, and what the objects say of the past (the list of
//! phase transitions) fills in what no event told.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use sterna_report::{
    Engine, Event, EventSide, Host, Poll, Report, Summary, Tool, Verdict, Warning,
};

use crate::launcher::LauncherLine;
use crate::views::{MigrationState, Vmi, Vmim, is_final};

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
        let Some(state) = &status.migration_state else { return };
        if state.migration_uid.as_deref() != Some(&self.uid) {
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

    /// Whether nothing more will happen.
    pub fn is_ended(&self) -> bool {
        self.ended_ns.is_some() || self.vanished
    }

    /// How it ended, and why.
    pub fn verdict(&self) -> (Verdict, Option<String>) {
        let state = self.state.clone().unwrap_or_default();
        let reason = state.failure_reason.clone().filter(|it| !it.is_empty());
        if self.current_phase() == "Succeeded" || state.completed && !state.failed {
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
            let reason = reason.unwrap_or_else(|| "Somebody deleted the migration".to_owned());
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
        } else if had("Scheduled") {
            "The target's virt-handler did not prepare it"
        } else if had("Scheduling") {
            "The target's virt-launcher Pod did not become ready; it is given 5 minutes when no node takes it, 15 in any case"
        } else {
            "It never got a target Pod"
        };
        Some(text.to_owned())
    }

    /// The whole record as a report of schema 1.
    pub fn report(&self, tool: Tool, host: Host, cluster: &ClusterFacts) -> Report {
        let engine = self.engine(cluster);
        let scenario = cluster.scenario.clone();
        let mut report = Report::new(tool, host, engine, self.began_at.clone(), scenario);
        report.summary = self.summary();
        report.timeline = self.timeline();
        report.events = self.report_events();
        report.warnings.clone_from(&self.warnings);
        report.warnings.push(Warning {
            code: "whole-second-stamps".to_owned(),
            text: "KubeVirt's own times are whole seconds, and its objects hold neither downtime nor bytes".to_owned(),
            advice: Some("Take the blackout from a probe".to_owned()),
        });
        report
    }

    fn summary(&self) -> Summary {
        let (verdict, verdict_reason) = self.verdict();
        let last = self.lines.last();
        let seconds = |ns: u64| ns.saturating_sub(self.began_ns) as f64 / 1e9;
        let running = self.phases.iter().find(|it| it.phase == "Running");
        let iterations = self.lines.iter().filter_map(|it| it.iteration).max();
        Summary {
            verdict,
            verdict_reason,
            total_time_seconds: self.ended_ns.map(seconds),
            setup_seconds: running.and_then(|it| it.seen_ns).map(seconds),
            downtime_claimed_seconds: self.lines.iter().rev().find_map(|it| it.downtime_seconds),
            passes: iterations.unwrap_or(0),
            pages_sent: last.and_then(|it| it.normal_pages),
            zero_pages: last.and_then(|it| it.constant_pages),
            wire_bytes: last.and_then(|it| it.processed_bytes),
            ..Summary::default()
        }
    }

    /// virt-launcher's lines, on the pilot's clock as far as the cluster's clock tells.
    fn timeline(&self) -> Vec<Poll> {
        let polls = self.lines.iter().filter_map(|line| {
            let at = self.on_our_clock(line.at.as_deref()?)?;
            Some(Poll {
                t_seconds: at,
                state: "active".to_owned(),
                pass: line.iteration,
                remaining_bytes: line.remaining_bytes,
                transferred_bytes: line.processed_bytes,
                bandwidth_bytes_per_second: line.bandwidth_bytes_per_second,
                dirty_rate_bytes_per_second: line.dirty_rate_bytes_per_second,
                threshold_bytes: None,
                expected_downtime_seconds: line.expected_downtime_seconds,
                throttle_percent: None,
            })
        });
        polls.collect()
    }

    /// Seconds since it began, by the cluster's clock: its zero is the making of the object.
    fn on_our_clock(&self, text: &str) -> Option<f64> {
        let at: Timestamp = text.parse().ok()?;
        let zero: Timestamp = self.created_at.as_deref().unwrap_or(&self.began_at).parse().ok()?;
        Some((at.as_millisecond() - zero.as_millisecond()) as f64 / 1e3)
    }

    fn report_events(&self) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        for phase in &self.phases {
            let seen = phase.seen_ns.map(|it| it.saturating_sub(self.began_ns) as f64 / 1e9);
            let told = phase.cluster_at.as_deref().and_then(|it| self.on_our_clock(it));
            let Some(t_seconds) = seen.or(told) else { continue };
            // A stamp in whole seconds must not turn the order round.
            let t_seconds = t_seconds.max(events.last().map_or(t_seconds, |it| it.t_seconds));
            let by = match (&phase.cluster_at, seen) {
                (Some(at), Some(_)) => format!("; by the cluster's clock at {at}"),
                (Some(at), None) => format!("; not seen, by the cluster's clock at {at}"),
                (None, _) => String::new(),
            };
            events.push(Event {
                t_seconds,
                side: EventSide::Pilot,
                kind: format!("phase-{}", kebab(&phase.phase)),
                text: format!("{} is {}{by}", self.name, phase.phase),
            });
        }
        for event in &self.events {
            let at = event.at.as_deref().and_then(|it| self.on_our_clock(it));
            events.push(Event {
                t_seconds: at.unwrap_or(0.0),
                side: EventSide::Pilot,
                kind: format!("cluster-{}", kebab(&event.reason)),
                text: event.message.clone(),
            });
        }
        events.sort_by(|a, b| a.t_seconds.total_cmp(&b.t_seconds));
        events
    }

    fn engine(&self, cluster: &ClusterFacts) -> Engine {
        let state = self.state.clone().unwrap_or_default();
        let mut details: BTreeMap<String, Value> = BTreeMap::new();
        let mut put = |key: &str, value: Value| {
            if !value.is_null() {
                details.insert(key.to_owned(), value);
            }
        };
        put("namespace", json!(self.namespace));
        put("vmi", json!(self.vmi));
        put("migration", json!(self.name));
        put("migration_uid", json!(self.uid));
        put("origin", json!(self.origin.word()));
        put("run_id", json!(cluster.run_id));
        put("source_node", json!(state.source_node.or_else(|| self.node_before.clone())));
        put("target_node", json!(state.target_node));
        put("node_before", json!(self.node_before));
        put("node_after", json!(self.node_after));
        put("method", json!(self.method));
        put("mode", json!(state.mode));
        put("policy", json!(state.migration_policy_name));
        put("effective_configuration", json!(state.migration_configuration));
        put("cluster_start", json!(state.start_timestamp));
        put("cluster_end", json!(state.end_timestamp));
        put("cluster_limits", json!(cluster.limits));
        put("prometheus", json!(self.prometheus));
        put("queue_seconds", json!(self.queue_seconds()));
        let phases: Vec<Value> = self
            .phases
            .iter()
            .map(|it| {
                let seen = it.seen_ns.map(|ns| ns.saturating_sub(self.began_ns) as f64 / 1e9);
                json!({"phase": it.phase, "seen_seconds": seen, "cluster_time": it.cluster_at})
            })
            .collect();
        put("phases", phases.into());
        let mut engine = Engine { name: "kubevirt".to_owned(), details, ..Engine::default() };
        engine.peer_versions.source.clone_from(&cluster.kubevirt_version);
        engine.peer_versions.destination.clone_from(&cluster.kubevirt_version);
        engine
    }

    /// How long it waited for its turn: from its beginning to the first phase after Pending.
    pub fn queue_seconds(&self) -> Option<f64> {
        let next = self.phases.iter().find(|it| it.phase != "Pending")?;
        Some(next.seen_ns?.saturating_sub(self.began_ns) as f64 / 1e9)
    }
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

fn kebab(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}
