//! `sterna predict`, `sterna advise` and `sterna diagnose`, as a user would start them.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

const FIGURES: [&str; 6] =
    ["--memory", "64GiB", "--dirty-rate", "300MB/s", "--link-bandwidth", "10Gbit/s"];

/// A guest that writes three times as fast as its migration may send, so that it cannot end by itself.
const HARD: [&str; 16] = [
    "run",
    "--memory",
    "48MiB",
    "--workload-memory",
    "36MiB",
    "--rate",
    "240MB/s",
    "--max-bandwidth",
    "80MB/s",
    "--downtime-limit",
    "40ms",
    "--warmup",
    "200ms",
    "--cooldown",
    "200ms",
    "--quiet",
];

struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn sterna(directory: &Path, arguments: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
    let output =
        command.args(arguments).current_dir(directory).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// As a shell splits the line, which has no quotes in it.
fn followed(directory: &Path, line: &str, more: &[&str]) -> Outcome {
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    sterna(directory, &[&words[..], more].concat())
}

#[test]
fn a_run_that_did_not_end_says_why_and_its_command_ends_as_promised() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let flags = ["--max-time", "3s", "--output", "hard.json"];
    let hard = sterna(here, &[&HARD[..], &flags].concat());
    assert_eq!(hard.code, Some(3), "{}", hard.stderr);
    assert!(hard.stdout.contains("\nAdvice\n"), "{}", hard.stdout);
    let report = read(&here.join("hard.json"));
    let advice = report["advice"].as_array().unwrap();
    assert!(advice[0]["passes"].as_u64() >= Some(2), "{advice:#?}");
    let diagnosis = sterna(here, &["diagnose", "hard.json"]);
    for part in ["was cancelled after", "as much written again as it had sent", "max-bandwidth"] {
        assert!(diagnosis.stdout.contains(part), "no {part} in {}", diagnosis.stdout);
    }
    // With more time than the settings need, since other programs run beside this test.
    let line = advice[0]["command"].as_str().unwrap().replace("--max-time 3s", "--max-time 60s");
    let followed = followed(here, &line, &["--output", "followed.json", "--quiet"]);
    assert_eq!(followed.code, Some(0), "{line}\n{}{}", followed.stdout, followed.stderr);
    let summary = &read(&here.join("followed.json"))["summary"];
    assert_eq!(summary["verdict"], "completed", "{line}");
    // It is a run of the same guest.
    for flag in ["--memory 48MiB", "--workload-memory 36MiB", "--rate 240MB/s"] {
        assert!(line.contains(flag), "no {flag} in {line}");
    }
}

#[test]
fn a_run_that_went_well_has_no_advice_and_one_pass_is_no_ground_for_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let well = ["run", "--memory", "32MiB", "--rate", "1MiB/s", "--quiet", "--output", "well.json"];
    assert_eq!(sterna(here, &well).code, Some(0));
    let report = read(&here.join("well.json"));
    assert_eq!(report["advice"], Value::Null);
    let diagnosis = sterna(here, &["diagnose", "well.json", "--format", "json"]);
    let document: Value = serde_json::from_str(&diagnosis.stdout).unwrap();
    assert_eq!(document["advice"].as_array().map(Vec::len), Some(0), "{document:#}");
    let short = sterna(here, &[&HARD[..], &["--max-time", "150ms", "--output", "s.json"]].concat());
    assert_eq!(short.code, Some(3), "{}", short.stderr);
    let diagnosis = sterna(here, &["diagnose", "s.json"]);
    assert!(diagnosis.stdout.contains("Fewer than two passes"), "{}", diagnosis.stdout);
}

#[test]
fn a_report_becomes_a_scenario_with_the_same_passes() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let flags = ["--max-time", "3s", "--output", "hard.json"];
    assert_eq!(sterna(here, &[&HARD[..], &flags].concat()).code, Some(3));
    let reproduced = sterna(here, &["reproduce", "hard.json", "-o", "again.toml"]);
    assert_eq!(reproduced.code, Some(0), "{}", reproduced.stderr);
    let again = ["run", "again.toml", "--quiet", "--output", "again.json"];
    assert_eq!(sterna(here, &again).code, Some(3));
    let (hard, again) = (read(&here.join("hard.json")), read(&here.join("again.json")));
    for pass in 0..4 {
        let found = |report: &Value| {
            report["passes"][pass]["dirty_pages_at_sync"]
                .as_f64()
                .unwrap_or_else(|| panic!("{report:#}"))
        };
        let off = found(&again) / found(&hard) - 1.0;
        assert!(off.abs() < 0.15, "pass {pass}: {} against {}", found(&again), found(&hard));
    }
    let large = sterna(here, &["reproduce", "hard.json", "--most-memory", "16MiB"]);
    assert!(large.stdout.contains("3.00 times smaller"), "{}", large.stdout);
    assert!(large.stdout.contains("max-bandwidth = \"26666666B/s\""), "{}", large.stdout);
}

#[test]
fn figures_alone_give_intervals_for_each_technique_and_the_same_seed_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let text = sterna(here, &[&["predict"], &FIGURES[..]].concat());
    assert_eq!(text.code, Some(0), "{}", text.stderr);
    for part in ["plain pre-copy", "post-copy", "auto-converge", "the intervals are wide"] {
        assert!(text.stdout.contains(part), "no {part} in {}", text.stdout);
    }
    let json = |seed: &str| {
        let more = ["--format", "json", "--seed", seed];
        sterna(here, &[&["predict"], &FIGURES[..], &more].concat()).stdout
    };
    assert_eq!(json("7"), json("7"));
    assert_ne!(json("7"), json("8"));
    let prediction: Value = serde_json::from_str(&json("7")).unwrap();
    for row in prediction["outcomes"].as_array().unwrap() {
        let total = &row["total_time_seconds"];
        let at = |key: &str| total[key].as_f64().unwrap_or(0.0);
        assert!(at("p5") <= at("p50") && at("p50") <= at("p95"), "{row:#}");
    }
}

#[test]
fn more_bandwidth_by_what_if_makes_it_shorter() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let total = |more: &[&str]| {
        let json = ["--format", "json"];
        let found = sterna(here, &[&["predict"], &FIGURES[..], &json, more].concat());
        let document: Value = serde_json::from_str(&found.stdout).unwrap();
        document["outcomes"][0]["total_time_seconds"]["p50"].as_f64().unwrap()
    };
    assert!(total(&["--what-if", "max-bandwidth=5Gbit/s"]) > 1.5 * total(&[]));
}

#[test]
fn a_measured_link_takes_the_place_of_a_figure_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let row = r#"{"sum": {"start": 0, "end": 1, "bytes": 250000000, "bits_per_second": 2e9}}"#;
    let file = format!(
        r#"{{"start": {{"version": "iperf 3.12", "test_start": {{"protocol": "TCP"}}}},
            "intervals": [{row}], "end": {{}}}}"#
    );
    std::fs::write(here.join("link.json"), file).unwrap();
    let guest = ["predict", "--memory", "8GiB", "--dirty-rate", "100MB/s", "--format", "json"];
    let found = sterna(here, &[&guest[..], &["--link", "link.json"]].concat());
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    let document: Value = serde_json::from_str(&found.stdout).unwrap();
    let link = &document["evidence"]["link"];
    assert_eq!((&link["bytes_per_second"], &link["is_measured"]), (&250e6.into(), &true.into()));
    assert!(document["evidence"]["assumptions"].to_string().contains("as iperf3 measured it"));
    let both = ["--link", "link.json", "--link-bandwidth", "1Gbit/s"];
    assert_eq!(sterna(here, &[&guest[..], &both].concat()).code, Some(2));
    let none = sterna(here, &[&guest[..], &["--link", "absent.json"]].concat());
    assert_eq!(none.code, Some(2));
    assert!(none.stderr.contains("absent.json"), "{}", none.stderr);
}

#[test]
fn advice_is_given_in_the_commands_of_each_system() {
    let folder = tempfile::tempdir().unwrap();
    let goal = ["--max-downtime", "1s", "--max-time", "10min"];
    let all = [
        ("scenario", "sterna run "),
        ("qemu", "\"execute\":\"migrate-set-parameters\""),
        ("libvirt", "virsh migrate --live"),
        ("kubevirt", "kind: MigrationPolicy"),
    ];
    for (system, expected) in all {
        let arguments = [&["advise"], &FIGURES[..], &goal, &["--for", system]].concat();
        let found = sterna(folder.path(), &arguments);
        assert_eq!(found.code, Some(0), "{system}: {}{}", found.stdout, found.stderr);
        assert!(found.stdout.contains(expected), "{system}: {}", found.stdout);
    }
}

#[test]
fn a_goal_that_nothing_keeps_is_exit_code_3_with_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    let goal = ["--max-time", "20s"];
    // 64 GiB through 10 Gbit/s take 55 s.
    let found = sterna(folder.path(), &[&["advise"], &FIGURES[..], &goal].concat());
    assert_eq!(found.code, Some(3), "{}", found.stdout);
    assert!(found.stdout.contains("Nothing keeps this goal"), "{}", found.stdout);
    assert!(found.stdout.contains("the nearest is"), "{}", found.stdout);
}

#[test]
fn bad_input_is_refused_with_its_name_and_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let check = |arguments: &[&str], expected: &str| {
        let found = sterna(here, arguments);
        assert_eq!(found.code, Some(2), "{arguments:?}: {}", found.stdout);
        assert!(found.stderr.contains(expected), "{arguments:?}: {}", found.stderr);
    };
    check(&["predict"], "give the report of an earlier migration, or figures");
    check(&["predict", "--memory", "64GiB"], "--link-bandwidth");
    let contradiction = ["--max-downtime", "5min", "--max-time", "1min"];
    check(&[&["advise"], &FIGURES[..], &contradiction].concat(), "longer than --max-time");
    check(&[&["advise"], &FIGURES[..], &["--confidence", "90"]].concat(), "between 0 and 1");
    check(&[&["predict"], &FIGURES[..], &["--what-if", "speed=3"]].concat(), "speed");
    check(&["diagnose", "absent.json"], "absent.json");
    let model = ["run", "--engine", "model", "--memory", "1GiB", "--quiet", "--output", "m.json"];
    assert_eq!(sterna(here, &model).code, Some(0));
    check(&["predict", "m.json"], "a simulation is no evidence");
}
