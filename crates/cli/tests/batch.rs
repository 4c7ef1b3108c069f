//! `sterna batch` and `sterna suites`, as a user would start them.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const SUITE: &str = r#"
about = "One that ends, and one that cannot"
guest.memory = "32MiB"
timing = { warmup = "100ms", cooldown = "100ms" }

[matrix]
"guest.vcpus" = [1, 2]

[[variant]]
name = "ends"
migration.max-bandwidth = "unlimited"

[[variant]]
name = "too slow"
migration.max-bandwidth = "1Mbit/s"
limits.max-time = "300ms"
"#;

fn sterna(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn batch(directory: &Path, more: &[&str]) -> Output {
    let suite = directory.join("small.toml");
    fs::write(&suite, SUITE).unwrap();
    let out = directory.join("out");
    let arguments = ["batch", suite.to_str().unwrap(), "--output", out.to_str().unwrap()];
    sterna(&[&arguments[..], more].concat()).output().unwrap()
}

fn manifest(directory: &Path) -> Value {
    serde_json::from_slice(&fs::read(directory.join("out/manifest.json")).unwrap()).unwrap()
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn all_runs_are_made_and_the_worst_decides() {
    let directory = tempfile::tempdir().unwrap();
    let output = batch(directory.path(), &[]);
    assert_eq!(output.status.code(), Some(3), "{}", words(&output.stderr));
    let manifest = manifest(directory.path());
    let runs = manifest["runs"].as_array().unwrap();
    let seen: Vec<(&str, &str, i64)> = runs
        .iter()
        .map(|it| {
            let text = |name: &str| it[name].as_str().unwrap();
            (text("name"), text("verdict"), it["exit_code"].as_i64().unwrap())
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("ends,vcpus=1", "completed", 0),
            ("ends,vcpus=2", "completed", 0),
            ("too-slow,vcpus=1", "cancelled", 3),
            ("too-slow,vcpus=2", "cancelled", 3),
        ]
    );
    for run in runs {
        let file = directory.path().join("out").join(run["report"].as_str().unwrap());
        let report: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        assert_eq!(report["summary"]["integrity"], "verified");
        assert_eq!(report["scenario"]["name"], format!("small {}", run["name"].as_str().unwrap()));
    }
    let table = words(&output.stdout);
    assert!(
        table.contains("| ends     | ") && table.contains("| too slow | cancelled "),
        "{table}"
    );

    // A second time it is refused, and with --resume nothing is run again.
    let again = batch(directory.path(), &[]);
    assert_eq!(again.status.code(), Some(2));
    assert!(words(&again.stderr).contains("--resume"));
    let file = directory.path().join("out/emulator/ends,vcpus=1.1.json");
    let before = fs::metadata(&file).unwrap().modified().unwrap();
    let one = directory.path().join("out/emulator/ends,vcpus=2.1.json");
    fs::remove_file(&one).unwrap();
    let resumed = batch(directory.path(), &["--resume"]);
    assert_eq!(resumed.status.code(), Some(3));
    assert!(one.exists());
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), before);
    assert_eq!(words(&resumed.stderr).matches(" kept").count(), 3, "{}", words(&resumed.stderr));
}

#[test]
fn a_filter_and_a_first_failure_make_it_shorter() {
    let directory = tempfile::tempdir().unwrap();
    let output = batch(directory.path(), &["--filter", "too*", "--fail-fast"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(manifest(directory.path())["runs"].as_array().unwrap().len(), 1);
    let output = batch(&directory.path().join(""), &["--filter", "nothing*", "--resume"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(words(&output.stderr).contains("no run of small has such a name"));
}

#[test]
fn an_engine_that_is_named_twice_makes_its_runs_once() {
    let directory = tempfile::tempdir().unwrap();
    let twice = ["--engine", "emulator", "--engine", "emulator", "--filter", "ends*"];
    let output = batch(directory.path(), &[&twice[..], &["--concurrent", "2"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", words(&output.stderr));
    let names: Vec<(String, u64)> = listed(directory.path());
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn arguments_behind_two_dashes_reach_each_run() {
    let directory = tempfile::tempdir().unwrap();
    let more = ["--filter", "ends,vcpus=1", "--", "--x-break", "source:lose-page"];
    let output = batch(directory.path(), &more);
    assert_eq!(output.status.code(), Some(4));
    assert!(words(&output.stdout).contains("CORRUPT"));
}

#[test]
fn an_interrupt_ends_the_run_in_good_order_and_resume_makes_it_again() {
    let directory = tempfile::tempdir().unwrap();
    let suite = directory.path().join("slow.toml");
    fs::write(&suite, SUITE.replace("300ms", "50s")).unwrap();
    let out = directory.path().join("out");
    let arguments =
        ["batch", suite.to_str().unwrap(), "--filter", "too*", "-o", out.to_str().unwrap()];
    let child = sterna(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let log = out.join("emulator/too-slow,vcpus=1.1.log");
    let deadline = Instant::now() + Duration::from_secs(30);
    while !log.exists() {
        assert!(Instant::now() < deadline, "no run was begun");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(700));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", words(&output.stderr));
    let manifest = manifest(directory.path());
    assert_eq!(manifest["runs"][0]["verdict"], "interrupted");
    assert_eq!(manifest["runs"].as_array().unwrap().len(), 1);
}

#[test]
fn suites_are_listed_shown_and_refused() {
    let listed = words(&sterna(&["suites"]).output().unwrap().stdout);
    assert!(listed.contains("techniques") && listed.contains("55 runs"), "{listed}");
    let shown = words(&sterna(&["suites", "techniques"]).output().unwrap().stdout);
    assert!(shown.contains("[[variant]]"), "{shown}");
    let again = words(&sterna(&["suites", "show", "techniques"]).output().unwrap().stdout);
    assert_eq!(shown, again);
    let guestperf = words(&sterna(&["suites", "show", "guestperf"]).output().unwrap().stdout);
    assert_eq!(guestperf.lines().filter(|it| it.starts_with("name = ")).count(), 42);
    for wrong in [&["suites", "show"][..], &["suites", "show", "x"], &["suites", "a", "b"]] {
        assert_eq!(sterna(wrong).output().unwrap().status.code(), Some(2), "{wrong:?}");
    }
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let refused = sterna(&["batch", "tecniques", "-o", out.to_str().unwrap()]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(words(&refused.stderr).contains("known are guestperf, techniques"));
    assert!(!out.exists());
}

/// Kills the batch itself, not its runs, at a moment when some are done and one is under way.
#[test]
fn a_batch_that_was_killed_is_gone_on_with_and_has_every_run_once() {
    let directory = tempfile::tempdir().unwrap();
    let suite = directory.path().join("six.toml");
    let text = SUITE.replace("[1, 2]", "[1, 2, 3]").replace("300ms", "400ms");
    fs::write(&suite, text).unwrap();
    let out = directory.path().join("out");
    let arguments = ["batch", suite.to_str().unwrap(), "-o", out.to_str().unwrap()];
    let mut child = sterna(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let reports = || {
        let files = fs::read_dir(out.join("emulator")).into_iter().flatten().flatten();
        files.filter(|it| it.path().extension().is_some_and(|it| it == "json")).count()
    };
    while reports() < 2 {
        assert!(Instant::now() < deadline, "no run ended");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = reports();
    assert!((2..6).contains(&before), "{before}");
    let resumed = sterna(&[&arguments[..], &["--resume"]].concat()).output().unwrap();
    assert_eq!(resumed.status.code(), Some(3), "{}", words(&resumed.stderr));
    let kept = words(&resumed.stderr).matches(" kept").count();
    assert!(kept >= 2 && kept <= before, "{}", words(&resumed.stderr));
    let manifest = manifest(directory.path());
    let names: Vec<&str> = manifest["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    let expected = [
        "ends,vcpus=1",
        "ends,vcpus=2",
        "ends,vcpus=3",
        "too-slow,vcpus=1",
        "too-slow,vcpus=2",
        "too-slow,vcpus=3",
    ];
    assert_eq!(names, expected);
    assert_eq!(reports(), 6);
    let verdicts = manifest["runs"].as_array().unwrap().iter().map(|it| &it["verdict"]);
    assert!(verdicts.clone().all(|it| it != "interrupted"), "{:?}", verdicts.collect::<Vec<_>>());
}

#[test]
fn shuffled_and_concurrent_runs_are_told_in_the_suites_order() {
    let directory = tempfile::tempdir().unwrap();
    let output = batch(directory.path(), &["--shuffle", "--concurrent", "2", "--filter", "ends*"]);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output.stderr));
    assert!(words(&output.stderr).contains("disturbed each other"), "{}", words(&output.stderr));
    let manifest = manifest(directory.path());
    assert_eq!(manifest["runs"][0]["name"], "ends,vcpus=1");
    assert_eq!(manifest["runs"][1]["name"], "ends,vcpus=2");
    assert_eq!(manifest["concurrent"], 2);
    assert!(manifest["shuffle_seed"].is_u64());
    assert_eq!(manifest["runs"][0]["noise"], Value::Null, "its neighbour was the noise");
}

#[test]
fn what_is_not_supported_is_listed_with_its_reason_and_ends_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let suite = directory.path().join("odd.toml");
    let text =
        SUITE.replace("migration.max-bandwidth = \"1Mbit/s\"", "migration.compress.threads = 2");
    fs::write(&suite, text).unwrap();
    let out = directory.path().join("out");
    let arguments = ["batch", suite.to_str().unwrap(), "-o", out.to_str().unwrap(), "--keep-going"];
    let output = sterna(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", words(&output.stderr));
    let told = words(&output.stdout);
    assert!(told.contains("Not supported here (emulator)"), "{told}");
    assert!(told.contains("- too-slow,vcpus=1, too-slow,vcpus=2: "), "{told}");
    let manifest = manifest(directory.path());
    assert_eq!(manifest["runs"].as_array().unwrap().len(), 4);
    let noise = &manifest["runs"][0]["noise"];
    assert!(noise["loop_seconds"].as_f64().unwrap() > 0.0, "{noise}");
    assert!(manifest["noise_before"].is_object() && manifest["noise_after"].is_object());
}

/// Names of runs in the manifest, with their repeats.
fn listed(directory: &Path) -> Vec<(String, u64)> {
    let manifest = manifest(directory);
    let runs = manifest["runs"].as_array().unwrap().iter();
    runs.map(|it| (it["name"].as_str().unwrap().to_owned(), it["repeat"].as_u64().unwrap()))
        .collect()
}

#[test]
fn a_batch_that_is_gone_on_with_in_part_keeps_what_the_other_parts_have_made() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let first = batch(here, &["--filter", "*vcpus=2", "--repeat", "2"]);
    assert_eq!(first.status.code(), Some(3), "{}", words(&first.stderr));
    // One left no report, and only the manifest knows of it.
    let path = here.join("out/manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let runs = manifest["runs"].as_array_mut().unwrap();
    assert_eq!(runs[3]["name"], "too-slow,vcpus=2");
    fs::remove_file(here.join("out").join(runs[3]["report"].as_str().unwrap())).unwrap();
    runs[3]["report"] = Value::Null;
    runs[3]["exit_code"] = 1.into();
    fs::write(&path, manifest.to_string()).unwrap();

    let second = batch(here, &["--filter", "ends,vcpus=1", "--resume"]);
    assert!(
        words(&second.stderr).contains("4 other runs of this batch stay as they are"),
        "{}",
        words(&second.stderr)
    );
    // One of those that stay has failed, and still is a part of the batch.
    assert_eq!(second.status.code(), Some(1), "{}", words(&second.stderr));
    let all = [
        ("ends,vcpus=1".to_owned(), 1),
        ("ends,vcpus=2".to_owned(), 1),
        ("too-slow,vcpus=2".to_owned(), 1),
        ("ends,vcpus=2".to_owned(), 2),
        ("too-slow,vcpus=2".to_owned(), 2),
    ];
    assert_eq!(listed(here), all);

    // Without a filter the rest is made, also the one that left nothing.
    let third = batch(here, &["--repeat", "2", "--resume"]);
    assert_eq!(third.status.code(), Some(3), "{}", words(&third.stderr));
    assert_eq!(words(&third.stderr).matches(" kept").count(), 4, "{}", words(&third.stderr));
    assert_eq!(listed(here).len(), 8);
}

#[test]
fn a_batch_is_gone_on_with_as_it_was_begun() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let begun = batch(here, &["--filter", "ends,vcpus=1", "--", "--memory", "16MiB"]);
    assert_eq!(begun.status.code(), Some(0), "{}", words(&begun.stderr));
    let other = batch(here, &["--filter", "ends*", "--resume", "--", "--memory", "24MiB"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(words(&other.stderr).contains("(--memory 16MiB)"), "{}", words(&other.stderr));
    let resumed = batch(here, &["--filter", "ends*", "--resume"]);
    assert_eq!(resumed.status.code(), Some(0), "{}", words(&resumed.stderr));
    let report = fs::read(here.join("out/emulator/ends,vcpus=2.1.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["scenario"]["guest"]["memory"], "16MiB");
}

#[test]
fn names_of_variants_steer_neither_the_terminal_nor_the_table() {
    let directory = tempfile::tempdir().unwrap();
    let suite = directory.path().join("hostile.toml");
    let name = "a|b \\u001b[2J\\u009b8m";
    let text = format!(
        "guest.memory = \"32MiB\"\ntiming = {{ warmup = \"100ms\", cooldown = \"100ms\" }}\n\
         [[variant]]\nname = \"{name}\"\nmigration.max-bandwidth = \"unlimited\"\n"
    );
    fs::write(&suite, text).unwrap();
    let out = directory.path().join("out");
    let arguments = ["batch", suite.to_str().unwrap(), "--output", out.to_str().unwrap()];
    let output = sterna(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", words(&output.stderr));
    let table = words(&output.stdout);
    assert!(table.contains(r"| a\|b "), "{table}");
    let shown = table + &words(&output.stderr);
    assert!(!shown.chars().any(|it| it.is_control() && it != '\n'), "{shown:?}");
}

#[test]
fn a_name_of_70000_characters_is_printed_and_refused_without_a_panic() {
    let directory = tempfile::tempdir().unwrap();
    let long = "x".repeat(70_000);
    let suite = directory.path().join("long.toml");
    fs::write(&suite, format!("[[variant]]\nname = \"{long}\"\n")).unwrap();
    let out = directory.path().join("out");
    let arguments = ["batch", suite.to_str().unwrap(), "--output", out.to_str().unwrap()];
    let output = sterna(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", words(&output.stderr));
    assert!(words(&output.stderr).contains("has 70000 bytes"), "{}", words(&output.stderr));

    let scenario = directory.path().join("scenario.toml");
    fs::write(&scenario, format!("name = \"{long}\"\n")).unwrap();
    let arguments = ["run", scenario.to_str().unwrap(), "--print-scenario"];
    let output = sterna(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", words(&output.stderr));
    assert!(words(&output.stdout).contains(&long));
}
