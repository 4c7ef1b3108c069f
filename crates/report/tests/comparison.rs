//! Comparisons of runs: false alarms, true ones, and what needs no statistics.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use serde_json::{Map, Value, json};
use sterna_report::comparison::{Change, Comparison, Rules, Side, compare};
use sterna_report::{Document, Engine, Host, Integrity, Report, Summary, Tool, Verdict, schema_of};

/// A small generator, so that each simulation is the same everywhere.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

fn report(name: Option<&str>, summary: Summary) -> Report {
    let mut scenario = Map::new();
    if let Some(name) = name {
        scenario.insert("name".to_owned(), name.into());
    }
    scenario.insert("guest".to_owned(), json!({"vcpus": 2, "memory": "64MiB"}));
    let tool = Tool { name: "sterna".to_owned(), ..Tool::default() };
    let engine = Engine { name: "emulator".to_owned(), ..Engine::default() };
    let started_at = "2026-03-01T12:00:00Z".to_owned();
    Report { summary, ..Report::new(tool, Host::default(), engine, started_at, scenario) }
}

fn completed() -> Summary {
    Summary { verdict: Verdict::Completed, integrity: Integrity::Verified, ..Summary::default() }
}

/// A run whose numbers scatter as those of real runs do: some by 3 %, some by a third, some with
/// a run now and then that the machine disturbed.
fn simulated(random: &mut Random, slowdown: f64) -> Report {
    let mut around = |middle: f64, spread: f64| middle * (1.0 + spread * random.normal()).max(0.01);
    let total = around(10.0, 0.03) * slowdown;
    let downtime = around(0.1, 0.3);
    let wire = around(1e9, 0.01);
    let lost = around(0.5, 0.1) * if around(0.5, 1.0) > 0.9 { 3.0 } else { 1.0 };
    report(
        Some("s"),
        Summary {
            total_time_seconds: Some(total),
            downtime_seconds: Some(downtime),
            blackout_seconds: Some(downtime * 1.02),
            lost_work_seconds: Some(lost),
            lost_work_lower_bound: Some(false),
            wire_bytes: Some(wire as u64),
            ..completed()
        },
    )
}

fn side(label: &str, reports: Vec<Report>) -> Side {
    Side { label: label.to_owned(), reports }
}

fn of(sides: &[Side]) -> Comparison {
    compare(sides, &Rules::default(), Tool::default())
}

fn runs(random: &mut Random, count: u32, slowdown: f64) -> Vec<Report> {
    (0..count).map(|_| simulated(random, slowdown)).collect()
}

fn change(comparison: &Comparison, metric: &str) -> Change {
    comparison.scenarios[0].metrics.iter().find(|it| it.metric == metric).unwrap().change
}

#[test]
fn equal_sides_raise_at_most_one_false_alarm_in_a_hundred() {
    let mut random = Random(42);
    let alarms = (0..300).filter(|_| {
        let sides = [side("a", runs(&mut random, 10, 1.0)), side("b", runs(&mut random, 10, 1.0))];
        let comparison = of(&sides);
        assert_eq!(comparison.scenarios[0].metrics.len(), 5);
        comparison.changes().any(|it| matches!(it, Change::Regressed | Change::Improved))
    });
    let alarms = alarms.count();
    assert!(alarms <= 3, "{alarms} of 300");
}

#[test]
fn a_true_slowdown_of_a_tenth_is_found() {
    let mut random = Random(7);
    let found = (0..100).filter(|_| {
        let sides = [side("a", runs(&mut random, 10, 1.0)), side("b", runs(&mut random, 10, 1.1))];
        change(&of(&sides), "total-time") == Change::Regressed
    });
    let found = found.count();
    assert!(found >= 95, "{found} of 100");
}

#[test]
fn three_runs_a_side_never_claim_anything() {
    let mut random = Random(3);
    for slowdown in [1.0, 1.1, 5.0] {
        let sides =
            [side("a", runs(&mut random, 3, 1.0)), side("b", runs(&mut random, 3, slowdown))];
        let comparison = of(&sides);
        let metrics = &comparison.scenarios[0].metrics;
        assert!(metrics.iter().all(|it| it.change == Change::TooFew), "{metrics:?}");
        let is_enough = |it: &Option<u64>| it.is_some_and(|it| (6..=8).contains(&it));
        assert!(metrics.iter().all(|it| is_enough(&it.repeats_needed)), "{metrics:?}");
    }
}

#[test]
fn corrupt_memory_and_a_lost_guest_need_one_case() {
    let good = || vec![report(Some("s"), completed()); 9];
    let corrupt = Summary { integrity: Integrity::Corrupt, ..completed() };
    let unchecked = Summary { integrity: Integrity::Unchecked, ..completed() };
    let lost = Summary { verdict: Verdict::Lost, ..completed() };
    let failed = Summary { verdict: Verdict::Failed, ..completed() };
    let table = [
        (corrupt.clone(), Change::Regressed, Change::NoChange),
        (unchecked, Change::Regressed, Change::NoChange),
        (lost, Change::NoChange, Change::Regressed),
        // One failure of ten may be chance.
        (failed.clone(), Change::NoChange, Change::TooNoisy),
    ];
    for (bad, integrity, outcome) in table {
        let mut worse = good();
        worse.push(report(Some("s"), bad));
        let comparison = of(&[side("a", good()), side("b", worse.clone())]);
        let row = &comparison.scenarios[0];
        assert_eq!((row.integrity.change, row.outcome.change), (integrity, outcome), "{row:?}");
        assert_eq!(comparison.is_integrity_worse(), integrity == Change::Regressed);
        let back = of(&[side("b", worse), side("a", good())]);
        assert_ne!(back.scenarios[0].integrity.change, Change::Regressed);
    }
    let none = of(&[side("a", good()), side("b", vec![report(Some("s"), failed); 2])]);
    assert_eq!(none.scenarios[0].outcome.change, Change::Regressed);
}

fn with_times(verdict: Verdict, total: f64, count: u32) -> Vec<Report> {
    let scattered = |it: u32| total * (1.0 + 0.001 * f64::from(it * 7 % count));
    let run = |it| Summary { verdict, total_time_seconds: Some(scattered(it)), ..completed() };
    (0..count).map(|it| report(Some("s"), run(it))).collect()
}

#[test]
fn times_are_compared_among_runs_of_the_same_outcome_only() {
    let completed = || with_times(Verdict::Completed, 10.0, 10);
    let cancelled = || with_times(Verdict::Cancelled, 3.0, 10);
    let comparison = of(&[side("a", completed()), side("b", cancelled())]);
    assert_eq!(change(&comparison, "total-time"), Change::NotMeasured);
    assert_eq!(comparison.scenarios[0].outcome.change, Change::Regressed);
    assert_eq!(comparison.scenarios[0].compared_outcome, None);
    assert!(comparison.notes[0].contains("no number is compared"), "{:?}", comparison.notes);

    // Where a part of the runs was cancelled, the others are compared with their like.
    let mut mixed = with_times(Verdict::Completed, 10.001, 10);
    mixed.extend(cancelled());
    let comparison = of(&[side("a", completed()), side("b", mixed)]);
    let row = &comparison.scenarios[0];
    let total = row.metrics.iter().find(|it| it.metric == "total-time").unwrap();
    assert_eq!((total.candidate.count, total.change), (10, Change::NoChange));
    assert_eq!(row.compared_outcome, Some(Verdict::Completed));
    assert!(comparison.notes[0].contains("10 of 20 in the candidate"), "{:?}", comparison.notes);
}

#[test]
fn a_shift_to_forced_ends_is_a_worse_outcome() {
    let runs = |forced: u32| {
        let mut runs = with_times(Verdict::Completed, 10.0, 20 - forced);
        runs.extend(with_times(Verdict::CompletedForced, 10.0, forced.max(1)));
        runs.truncate(20);
        runs
    };
    let outcome = |a, b| of(&[side("a", runs(a)), side("b", runs(b))]).scenarios[0].outcome.clone();
    let worse = outcome(0, 15);
    assert_eq!(worse.change, Change::Regressed, "{worse:?}");
    assert!(worse.text.contains("0 and 15 of them forced"), "{worse:?}");
    assert_eq!(outcome(15, 0).change, Change::Improved);
    assert_eq!(outcome(5, 6).change, Change::TooNoisy);
    assert_eq!(outcome(5, 5).change, Change::NoChange);
}

#[test]
fn a_part_of_the_runs_ten_times_slower_regresses_whole_reports() {
    let mut random = Random(5);
    let good = runs(&mut random, 20, 1.0);
    let mut bad = runs(&mut random, 12, 1.0);
    bad.extend(runs(&mut random, 8, 10.0));
    let comparison = of(&[side("a", good), side("b", bad)]);
    assert_eq!(change(&comparison, "total-time"), Change::Regressed);
    let row = &comparison.scenarios[0].metrics[0];
    assert_eq!(row.worse_than_all, Some(8));
    assert!(row.adjusted_worse_p_value.unwrap() <= 0.01, "{row:?}");
}

#[test]
fn scenarios_are_matched_by_name_and_the_rest_is_named() {
    let on = |name: &str, engine: &str| {
        let mut report = report(Some(name), completed());
        report.engine.name = engine.to_owned();
        report
    };
    let a = side(
        "a",
        vec![on("x", "emulator"), on("y", "emulator"), on("z", "emulator"), on("x", "emulator")],
    );
    let b = side("b", vec![on("y", "qemu"), on("x", "emulator"), on("w", "emulator")]);
    let comparison = of(&[a, b]);
    let rows: Vec<(&str, &str, u64)> = comparison
        .scenarios
        .iter()
        .map(|it| (it.scenario.as_str(), it.engine.as_str(), it.reference_runs))
        .collect();
    assert_eq!(rows, [("x", "emulator", 2), ("y", "emulator → qemu", 1)]);
    assert_eq!(
        comparison.notes,
        [
            "z (emulator) is in a only; b has nothing to match it",
            "w (emulator) is in b only; a has nothing to match it",
        ]
    );
}

#[test]
fn single_scenarios_are_compared_whatever_they_are_called_and_the_difference_is_said() {
    let mut other = report(Some("more processors"), completed());
    other.scenario.insert("guest".to_owned(), json!({"vcpus": 4, "memory": "64MiB"}));
    other.scenario.insert("workload".to_owned(), json!({"seed": 3}));
    let comparison = of(&[side("a", vec![report(None, completed())]), side("b", vec![other])]);
    let differences = &comparison.scenarios[0].differences;
    assert_eq!(differences.len(), 1, "{differences:?}");
    assert_eq!(differences[0].path, "guest.vcpus");
    assert_eq!(differences[0].candidate.as_deref(), Some("4"));
}

#[test]
fn interrupted_and_unsupported_runs_are_left_out_aloud() {
    let cut = Summary { verdict: Verdict::Interrupted, ..completed() };
    let a = side("a", vec![report(Some("s"), completed()), report(Some("s"), cut)]);
    let b = side("b", vec![report(Some("s"), completed())]);
    let comparison = of(&[a, b]);
    assert_eq!(comparison.scenarios[0].reference_runs, 1);
    assert!(comparison.notes[0].contains("a: 1 of 2 runs left out"), "{:?}", comparison.notes);
}

#[test]
fn several_candidates_are_compared_with_the_first() {
    let sides = ["a", "b", "c"].map(|it| side(it, vec![report(Some("s"), completed())]));
    let comparison = of(&sides);
    let seen: Vec<(&str, &str)> = comparison
        .scenarios
        .iter()
        .map(|it| (it.reference.as_str(), it.candidate.as_str()))
        .collect();
    assert_eq!(seen, [("a", "b"), ("a", "c")]);
}

#[test]
fn a_comparison_has_the_shape_of_its_schema() {
    let mut random = Random(1);
    let sides = [side("a", runs(&mut random, 7, 1.0)), side("b", runs(&mut random, 7, 1.3))];
    let json: Value = serde_json::to_value(of(&sides)).unwrap();
    let validator = jsonschema::validator_for(&schema_of(Document::Comparison)).unwrap();
    let errors: Vec<String> = validator.iter_errors(&json).map(|it| it.to_string()).collect();
    assert_eq!(errors, [""; 0]);
}
