//! Flies a script, holds what is true of every flight, and keeps what the tests look at.

use std::rc::Rc;

use serde_json::Map;
use sterna_pilot::{Clock, Identity, Notice, Phase, Pilot, Record, assemble};
use sterna_report::{Host, Report, Side, Summary, Tool, Verdict};
use sterna_scenario::Scenario;

use crate::scripted::{Call, MS, Script, Scripted, TestClock};

/// The phases of the tests, and the pace of the scripted guest.
const GUEST: &str =
    "[timing]\nwarmup = \"2s\"\ncooldown = \"2s\"\n[workload]\nrate = \"8192000B/s\"\n";

pub struct Flown {
    pub record: Record,
    pub report: Report,
    pub calls: Vec<(u64, Call)>,
    pub phases: Vec<(u64, Phase)>,
    /// Where the guest really was just before the shutdown.
    pub guest: Option<Side>,
}

/// Flies without interrupts; `toml` is what the scenario has besides [`GUEST`].
#[track_caller]
pub fn fly(toml: &str, script: &Script) -> Flown {
    fly_and_press(toml, script, &[])
}

/// Flies, and presses Ctrl-C so many milliseconds after a phase was entered.
#[track_caller]
pub fn fly_and_press(toml: &str, script: &Script, presses: &[(Phase, u64)]) -> Flown {
    let scenario = Scenario::from_toml(&format!("{toml}\n{GUEST}"), "test.toml").unwrap();
    let clock = Rc::new(TestClock::default());
    let mut engine = Scripted::new(script.clone(), Rc::clone(&clock));
    let mut phases = Vec::new();
    let mut observer = |notice| {
        if let Notice::Phase(phase) = notice {
            phases.push((clock.now_ns(), phase));
            let due = presses.iter().filter(|it| it.0 == phase);
            clock.presses.borrow_mut().extend(due.map(|it| clock.now_ns() + it.1 * MS));
        }
    };
    let record = Pilot {
        scenario: &scenario,
        hypervisor: &mut engine,
        clock: &*clock,
        interrupt: &clock.interrupt,
        observer: &mut observer,
    }
    .fly();
    let identity = Identity {
        tool: Tool::default(),
        host: Host::default(),
        started_at: "2026-03-01T12:00:00Z".to_owned(),
        scenario: Map::new(),
        guest_bytes: scenario.guest.memory.0,
    };
    let report = assemble(identity, &record);
    let guest = engine.guest();
    let flown = Flown { record, report, calls: engine.calls, phases, guest };
    flown.assert_shut_down_once_and_last();
    flown.assert_report_is_sound();
    flown
}

impl Flown {
    #[track_caller]
    fn assert_shut_down_once_and_last(&self) {
        let shutdowns = self.calls.iter().filter(|it| it.1 == Call::Shutdown).count();
        assert_eq!(shutdowns, 1);
        assert_eq!(self.calls.last().unwrap().1, Call::Shutdown);
        assert_eq!(self.phases.last().unwrap().1, Phase::Shutdown);
    }

    #[track_caller]
    fn assert_report_is_sound(&self) {
        let json = self.report.to_json_pretty();
        assert_eq!(Report::read(&json).unwrap(), self.report);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        if let Err(error) = jsonschema::validate(&sterna_report::schema(), &value) {
            panic!("{error} at {}", error.instance_path());
        }
        let summary = self.summary();
        if let Some((downtime, blackout)) = summary.downtime_seconds.zip(summary.blackout_seconds) {
            assert!(blackout >= downtime - 1e-9, "{blackout} {downtime}");
        }
    }

    pub fn summary(&self) -> &Summary {
        &self.report.summary
    }

    /// Verdict, integrity and the side that was verified, as one text: `completed verified destination`.
    #[track_caller]
    pub fn assert_ended(&self, expected: &str) {
        let summary = self.summary();
        let side = summary.integrity_detail.as_ref().map(|it| match it.side {
            Side::Source => " source",
            Side::Destination => " destination",
        });
        let ended = format!("{} {}{}", summary.verdict, summary.integrity, side.unwrap_or(""));
        assert_eq!(ended, expected, "{:?}", summary.verdict_reason);
    }

    #[track_caller]
    pub fn assert_reason_has(&self, part: &str) {
        let reason = self.summary().verdict_reason.as_deref().unwrap_or("");
        assert!(reason.contains(part), "{reason}");
    }

    /// What was called, without repetitions.
    pub fn order(&self) -> Vec<Call> {
        let mut order: Vec<Call> = self.calls.iter().map(|it| it.1).collect();
        order.retain(|it| !matches!(it, Call::Samples));
        order.dedup();
        order
    }

    pub fn count(&self, call: Call) -> usize {
        self.calls.iter().filter(|it| it.1 == call).count()
    }

    /// Seconds since the migrate command at which something was done.
    pub fn seconds_of(&self, call: Call) -> Vec<f64> {
        let zero = self.record.accepted_ns.unwrap() as f64;
        let done = self.calls.iter().filter(|it| it.1 == call);
        done.map(|it| ((it.0 as f64 - zero) / 1e6).round() / 1e3).collect()
    }

    pub fn has_event(&self, kind: &str) -> bool {
        self.report.events.iter().any(|it| it.kind == kind)
    }

    /// Whether the verdict says the truth about the guest.
    #[track_caller]
    pub fn assert_verdict_is_true(&self) {
        let expected = match self.summary().verdict {
            Verdict::Completed | Verdict::CompletedForced => Some(Side::Destination),
            Verdict::Cancelled => Some(Side::Source),
            Verdict::Failed if self.record.booted_ns.is_some() => Some(Side::Source),
            Verdict::Lost => None,
            Verdict::Failed | Verdict::Unsupported | Verdict::Interrupted => return,
        };
        let summary = self.summary();
        assert_eq!(self.guest, expected, "{} {:?}", summary.verdict, summary.verdict_reason);
    }
}
