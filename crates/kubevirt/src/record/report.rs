//! A record as a report of schema 1.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use sterna_report::statistics::{self, Throughput};
use sterna_report::{
    Engine, Event, EventSide, GuestSample, Host, Integrity, Poll, Report, Side, Summary, Tool,
    Warning,
};

use super::{ClusterFacts, MigrationRecord};
use crate::multifd;
use crate::views::MigrationState;

impl MigrationRecord {
    /// The whole record as a report of schema 1.
    pub fn report(&self, tool: Tool, host: Host, cluster: &ClusterFacts) -> Report {
        let engine = self.engine(cluster);
        let scenario = cluster.scenario.clone();
        let mut report = Report::new(tool, host, engine, self.began_at.clone(), scenario);
        report.summary = self.summary();
        report.timeline = self.timeline();
        report.events = self.report_events();
        report.probes = self.probe.iter().cloned().collect();
        report.probes.extend(self.guest.as_ref().and_then(|it| it.disk_probe(self.began_ns)));
        report.guest = self.samples();
        report.warnings.clone_from(&self.warnings);
        report.warnings.extend(self.guest_warnings());
        let has_probe = self.probe.is_some();
        report.warnings.push(Warning {
            code: "whole-second-stamps".to_owned(),
            text: "KubeVirt's own times are whole seconds, and its objects hold neither downtime nor bytes".to_owned(),
            advice: (!has_probe).then(|| "Take the blackout from a probe".to_owned()),
        });
        if has_probe {
            report.warnings.push(Warning {
                code: "clock-of-the-probe".to_owned(),
                text: "The probe's Pod has the clock of its own node: outages are as long as reported, but may begin earlier or later by what the clocks differ".to_owned(),
                advice: None,
            });
        }
        report
    }

    fn summary(&self) -> Summary {
        let (verdict, verdict_reason) = self.verdict();
        let last = self.lines.last();
        let seconds = |ns: u64| ns.saturating_sub(self.began_ns) as f64 / 1e9;
        let running = self.phases.iter().find(|it| it.phase == "Running");
        let iterations = self.lines.iter().filter_map(|it| it.iteration).max();
        let mut summary = Summary {
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
        };
        self.add_guest(&mut summary);
        summary
    }

    fn samples(&self) -> Vec<GuestSample> {
        let target = self.state.as_ref().and_then(MigrationState::enters_pod);
        let target = target.as_deref();
        self.guest.as_ref().map(|it| it.samples(self.began_ns, target)).unwrap_or_default()
    }

    /// What the guest's own counters and the checks of its memory and its disk tell.
    fn add_guest(&self, summary: &mut Summary) {
        let Some(guest) = &self.guest else { return };
        let samples = self.samples();
        let baseline = statistics::baseline(&samples);
        summary.baseline_pages_per_second = baseline;
        summary.baseline_bytes_per_second = baseline.map(|it| it * 4096.0);
        if let Some(settled) = summary.total_time_seconds
            && let Some(lost) = statistics::lost_work(&Throughput::new(&samples), baseline, settled)
        {
            summary.lost_work_seconds = Some(lost.seconds);
            summary.lost_work_lower_bound = Some(lost.lower_bound);
        }
        let side = if self.has_succeeded() { Side::Destination } else { Side::Source };
        if let Some(Ok(check)) = &guest.check {
            let is_well = check.corrupt_pages == 0;
            summary.integrity = if is_well { Integrity::Verified } else { Integrity::Corrupt };
            summary.integrity_detail = Some(check.detail(side));
        }
        summary.disk_integrity = guest.disk_integrity(side);
        if summary.disk_integrity.as_ref().is_some_and(|it| !it.is_sound()) {
            summary.integrity = Integrity::Corrupt;
        }
    }

    fn guest_warnings(&self) -> Vec<Warning> {
        let Some(guest) = &self.guest else { return Vec::new() };
        let mut found = Vec::new();
        let mut warn = |code: &str, text: String, advice: Option<&str>| {
            let advice = advice.map(str::to_owned);
            found.push(Warning { code: code.to_owned(), text, advice });
        };
        warn(
            "guest-over-the-api-server",
            format!(
                "The guest's counters were asked for {} times by way of the API server, and {} times there was no answer: a sample that follows is as long as the silence, and the one over the switchover contains it",
                guest.readings.len() as u64 + guest.misses,
                guest.misses
            ),
            None,
        );
        if guest.has_restarted() {
            let text = "The agent in the guest restarted during the migration".to_owned();
            warn("guest-restarted", text, Some("Look at its journal: systemd restarts it"));
        }
        if let Some(Err(reason)) = &guest.check {
            let text = format!("The guest's memory could not be checked: {reason}");
            warn("no-memory-check", text, None);
        }
        found.extend(guest.disk_warnings());
        found
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

    /// Parallel connections of the migration; None where the release or the machine is not known.
    fn connections(&self, cluster: &ClusterFacts) -> Option<u8> {
        let effective = self.state.as_ref()?.migration_configuration.as_ref();
        let has_postcopy = effective.is_some_and(|it| it.allow_post_copy == Some(true));
        let release = cluster.kubevirt_version.as_deref();
        multifd::connections(self.domain.as_ref()?, has_postcopy, release).count
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
        put("source_node", json!(state.leaves_node().or_else(|| self.node_before.clone())));
        put("target_node", json!(state.enters_node()));
        put("node_before", json!(self.node_before));
        put("node_after", json!(self.node_after));
        put("method", json!(self.method));
        put("mode", json!(state.mode));
        put("policy", json!(state.migration_policy_name));
        put("multifd_connections", json!(self.connections(cluster)));
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
