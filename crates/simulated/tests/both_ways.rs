//! The model flown by the pilot and by itself: the same actions at the same times, and the same outcome.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::sync::Arc;

use sterna_converge::{Action, Policy};
use sterna_model::{End, Host, Outcome, Plan, Rules, fly_watched};
use sterna_pilot::{Interrupt, Pilot, Record, SimulatedClock, assemble};
use sterna_report::Verdict;
use sterna_scenario::Scenario;
use sterna_simulated::Simulated;

/// A generator without a state of the world: the same scenarios in each run.
struct Draw(u64);

impl Draw {
    fn next(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.next(choices.len() as u64) as usize]
    }
}

/// A scenario of any pattern, technique, link and limit that the model knows.
fn scenario(draw: &mut Draw) -> Scenario {
    let pattern =
        draw.of(&["random", "sequential", "zipf(0.99)", "hot-set(10%,90%)", "stride(7)", "once"]);
    let rate = draw.of(&["5MiB/s", "30MiB/s", "100MiB/s", "400MiB/s"]);
    let memory = draw.of(&["64MiB", "256MiB", "1GiB", "300GiB"]);
    let bandwidth = draw.of(&["200Mbit/s", "1Gbit/s", "10Gbit/s"]);
    let technique = draw.of(&[
        "",
        "[migration.auto-converge]",
        "[migration.multifd]\nchannels = 4\ncompression = \"zstd\"",
        "[migration.xbzrle]\ncache = \"25%\"",
        "[migration.postcopy]\nafter-passes = 2",
        "[migration.postcopy]\nafter = \"1500ms\"",
        "[migration.pause]\nafter-passes = 4",
        "[migration.dirty-limit]\nper-vcpu = \"5MB/s\"",
        "[migration.downtime]\nfrom = \"20ms\"\nto = \"900ms\"\nsteps = 5\nevery = \"2s\"",
        "[migration.hold]\nat-least-passes = 3",
    ]);
    let then =
        if technique.contains("postcopy") { "postcopy" } else { draw.of(&["cancel", "pause"]) };
    let limit = draw.of(&["max-time = \"20s\"", "max-time = \"1000s\"", "max-passes = 9"]);
    let link = draw.of(&["", "[link]\nlatency = \"5ms\"", "[link]\nbandwidth = \"2Gbit/s\""]);
    let toml = format!(
        "[guest]\nmemory = \"{memory}\"\n[workload]\npattern = \"{pattern}\"\nrate = \"{rate}\"\n[migration]\nmax-bandwidth = \"{bandwidth}\"\n{technique}\n[limits]\n{limit}\nthen = \"{then}\"\n{link}\n"
    );
    Scenario::from_toml(&toml, "drawn").unwrap_or_else(|error| panic!("{error}\n{toml}"))
}

fn piloted(scenario: &Scenario) -> Record {
    let clock = SimulatedClock::default();
    let mut engine = Simulated::new(&clock);
    let interrupt = Interrupt::default();
    let observer = &mut |_| ();
    Pilot { scenario, hypervisor: &mut engine, clock: &clock, interrupt: &interrupt, observer }
        .fly()
}

fn alone(scenario: &Scenario) -> (Outcome, Vec<(u64, Action)>) {
    let plan = Plan::of_scenario(scenario, Host::emulator(), Rules::EMULATOR).unwrap();
    let mut actions = Vec::new();
    let outcome =
        fly_watched(&Arc::new(plan), Policy::new(scenario), &mut |action| actions.push(action));
    (outcome, actions)
}

#[test]
fn five_hundred_scenarios_have_equal_actions_and_times_with_and_without_the_pilot() {
    let mut draw = Draw(11);
    for number in 0..500 {
        let scenario = scenario(&mut draw);
        let (outcome, actions) = alone(&scenario);
        let record = piloted(&scenario);
        let text = scenario.to_toml();
        let accepted_ns = record.accepted_ns.unwrap();
        let since = |it: Option<u64>| it.map(|it| it - accepted_ns);
        let moments = &record.moments;
        assert_eq!(since(moments.ended_ns), Some(outcome.total_ns), "{number}: {text}");
        let downtime = moments.resumed_ns.zip(moments.stopped_ns).map(|it| it.0 - it.1);
        assert_eq!(downtime, outcome.downtime_ns, "{number}: {text}");
        let kinds = ["limit", "pause", "postcopy", "downtime-limit"];
        let ordered = record.events.iter().filter(|it| kinds.contains(&it.kind.as_str()));
        let ordered: Vec<u64> = ordered
            .filter(|it| !it.text.contains("the migration goes on"))
            .map(|it| it.at_ns - accepted_ns)
            .collect();
        let acted: Vec<u64> = actions.iter().map(|it| it.0).collect();
        assert_eq!(ordered, acted, "{number}: {text}");
        assert_eq!(record.completed_passes(), u64::from(outcome.completed_passes()), "{text}");
        let sent = record.polls.last().and_then(|it| it.transferred_bytes);
        assert_eq!(sent, Some(outcome.wire_bytes), "{number}: {text}");
        let is_completed = moments.resumed_ns.is_some();
        assert_eq!(is_completed, outcome.end == End::Completed, "{number}: {text}");
    }
}

#[test]
fn a_report_of_the_model_says_what_it_is() {
    let record = piloted(&Scenario::default());
    let identity = sterna_pilot::Identity {
        tool: sterna_report::Tool::default(),
        host: sterna_report::Host::default(),
        started_at: String::new(),
        scenario: serde_json::Map::new(),
        guest_bytes: Scenario::default().guest.memory.0,
    };
    let report = assemble(identity, &record);
    assert_eq!(report.engine.name, "model");
    assert_eq!(report.summary.verdict, Verdict::Completed);
    assert_eq!(report.summary.integrity, sterna_report::Integrity::Unchecked);
    assert!(report.summary.lost_work_seconds.is_some_and(|it| it < 1.0));
    let codes: Vec<&str> = report.warnings.iter().map(|it| it.code.as_str()).collect();
    assert_eq!(codes, ["model"]);
    let rows = report.engine.details["explanation"].as_array().unwrap();
    assert_eq!(rows.len(), report.passes.len());
    assert!(rows[1]["found_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn what_the_model_does_not_know_is_refused_by_field() {
    let check = |toml: &str, field: &str| {
        let record = piloted(&Scenario::from_toml(toml, "refused").unwrap());
        assert_eq!(record.verdict, Verdict::Unsupported, "{toml}");
        let reason = record.reason.unwrap_or_default();
        assert!(reason.contains(&format!("{field}: ")), "{toml}: {reason}");
    };
    check("[guest]\nhuge-pages = \"2MiB\"", "guest.huge-pages");
    check("[workload]\ncatch-up = true", "workload.catch-up");
    check("[[fault]]\nat-pass = 1\naction = \"drop\"", "fault");
}
