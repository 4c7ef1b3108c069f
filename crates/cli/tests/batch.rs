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
