//! `sterna run --repeat` and `--save-as`, and what real runs look like to `sterna compare`.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const SMALL: [&str; 8] =
    ["--memory", "32MiB", "--warmup", "100ms", "--cooldown", "100ms", "--progress", "none"];

fn sterna(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
    command.args(arguments).current_dir(directory).stdin(Stdio::null()).output().unwrap()
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    sterna(directory, &[&["run"], &SMALL[..], arguments].concat())
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn repeats_leave_a_report_each_and_a_summary() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(
        folder.path(),
        &["--repeat", "3", "-o", "runs", "--save-as", "main", "--format", "json"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", words(&output.stderr));
    let repeats: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&repeats["runs"], &repeats["completed"]), (&3.into(), &3.into()));
    let total = &repeats["metrics"].as_array().unwrap()[0];
    assert_eq!((&total["metric"], &total["sample"]["count"]), (&"total-time".into(), &3.into()));
    let schema: Value =
        serde_json::from_slice(&sterna(folder.path(), &["schema", "repeats"]).stdout).unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&repeats));
    for name in ["1.json", "2.json", "3.json"] {
        assert!(folder.path().join("runs").join(name).exists(), "{name}");
    }
    assert_eq!(words(&output.stderr).matches("Completed: memory verified").count(), 3);
    let kept = fs::read_dir(folder.path().join("sterna-baselines/main")).unwrap().count();
    assert_eq!(kept, 3);
    // Repeats do not say "no change" of themselves either, when they are few.
    let compared = sterna(folder.path(), &["compare", "runs", "--name", "main"]);
    assert_eq!(compared.status.code(), Some(0), "{}", words(&compared.stderr));
    assert!(words(&compared.stdout).contains("too few repeats to say"));
}

#[test]
fn the_worst_repeat_decides_and_is_no_baseline() {
    let folder = tempfile::tempdir().unwrap();
    let corrupt =
        run(folder.path(), &["--repeat", "2", "--x-break", "source:lose-page", "--save-as", "x"]);
    assert_eq!(corrupt.status.code(), Some(4), "{}", words(&corrupt.stderr));
    assert!(words(&corrupt.stdout).contains("memory CORRUPT in 2"), "{}", words(&corrupt.stdout));
    assert!(words(&corrupt.stderr).contains("Baseline x stays as it was"));
    assert!(!folder.path().join("sterna-baselines").exists());
    let unsupported = run(folder.path(), &["--repeat", "5", "--compress-threads", "2"]);
    assert_eq!(unsupported.status.code(), Some(5));
    assert!(words(&unsupported.stdout).contains("1 unsupported"), "it is not tried five times");
}

#[test]
fn mistakes_about_repeats_are_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    fs::create_dir(folder.path().join("older")).unwrap();
    fs::write(folder.path().join("older/7.json"), "").unwrap();
    let table: [(&[&str], &str); 5] = [
        (&["--repeat", "2", "-o", "older"], "there are older reports, such as 7.json"),
        (&["--repeat", "0"], "0 is not in 1.."),
        (&["--repeat", "2", "-o", "file"], "this is no directory"),
        (&["--repeat", "2", "--json-stream"], "--json-stream tells of one run"),
        (&["--save-as", "a/b"], "cannot be the name of a baseline"),
    ];
    for (arguments, expected) in table {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(words(&output.stderr).contains(expected), "{}", words(&output.stderr));
    }
}

/// Six runs a side are the fewest that can show anything here, and half the bandwidth is a lot.
#[test]
fn real_runs_that_differ_by_a_throttle_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bandwidth) in [("fast", "200MB/s"), ("slow", "50MB/s")] {
        let more =
            ["--repeat", "8", "-o", name, "--max-bandwidth", bandwidth, "--workload-memory", "50%"];
        let output = run(folder.path(), &more);
        assert_eq!(output.status.code(), Some(0), "{}", words(&output.stderr));
    }
    let compared = sterna(folder.path(), &["compare", "fast", "slow", "--fail-on", "regressed"]);
    let text = words(&compared.stdout);
    assert_eq!(compared.status.code(), Some(4), "{text}");
    let total = text.lines().find(|it| it.contains("total time")).unwrap();
    assert!(total.ends_with("regressed"), "{text}");
    assert!(text.contains("migration.max-bandwidth: 200MB/s → 50MB/s"), "{text}");
}
