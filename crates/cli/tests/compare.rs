//! `sterna compare` and baselines, as a user would start them.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const COMPLETED: &str = include_str!("../../report/tests/data/completed-1.0.json");
const GUESTPERF: &str = include_str!("../../report/tests/data/guestperf-2016.json");

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

fn sterna(directory: &Path, arguments: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
    let output =
        command.args(arguments).current_dir(directory).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Outcome {
        code: output.status.code().unwrap(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Runs that scatter by a percent around a total time.
fn runs(directory: &Path, name: &str, count: u32, total: f64, change: impl Fn(&mut Value)) {
    fs::create_dir_all(directory.join(name)).unwrap();
    for number in 0..count {
        let mut report: Value = serde_json::from_str(COMPLETED).unwrap();
        let scatter = 1.0 + (f64::from(number * 3 % count) / f64::from(count) - 0.5) * 0.02;
        report["summary"]["total_time_seconds"] = json!(total * scatter);
        change(&mut report);
        fs::write(directory.join(name).join(format!("{number}.json")), report.to_string()).unwrap();
    }
}

#[test]
fn runs_without_times_are_compared_with_their_kind_alone() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let at_rest = |it: &mut Value| {
        it["scenario"]["verify"] = json!("all-memory");
        it["summary"]["total_time_seconds"] = Value::Null;
    };
    runs(here, "usual", 3, 1.0, |_| {});
    runs(here, "at-rest", 3, 1.0, at_rest);
    for arguments in [["usual", "at-rest"], ["at-rest", "usual"]] {
        let refused = sterna(here, &[&["compare"], &arguments[..]].concat());
        assert_eq!(refused.code, 2, "{}", refused.stderr);
        assert!(refused.stderr.contains("at-rest has runs with verify = \"all-memory\""));
    }
    assert_eq!(sterna(here, &["compare", "at-rest", "at-rest"]).code, 0);
}

#[test]
fn a_slower_candidate_is_told_and_fails_only_when_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    runs(here, "before", 8, 1.0, |_| {});
    runs(here, "after", 8, 1.2, |_| {});
    let told = sterna(here, &["compare", "before", "after"]);
    assert_eq!(told.code, 0, "{}", told.stderr);
    let line = told.stdout.lines().find(|it| it.contains("total time")).unwrap();
    assert!(line.contains("+20.0 %") && line.ends_with("regressed"), "{}", told.stdout);
    assert_eq!(sterna(here, &["compare", "before", "after", "--fail-on", "regressed"]).code, 4);
    assert_eq!(sterna(here, &["compare", "after", "before", "--fail-on", "regressed"]).code, 0);
    let wide =
        ["compare", "before", "after", "--fail-on", "regressed", "--threshold", "total-time=30%"];
    assert_eq!(sterna(here, &wide).code, 0);
    let equal = sterna(here, &["compare", "before", "before", "--fail-on", "unsure"]);
    assert_eq!(equal.code, 0, "{}", equal.stdout);
    assert!(!equal.stdout.contains("regressed") && equal.stdout.contains("no change"));
}

#[test]
fn few_runs_say_nothing_and_unsure_is_a_failure_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    runs(here, "before", 3, 1.0, |_| {});
    runs(here, "after", 3, 1.5, |_| {});
    let told = sterna(here, &["compare", "before", "after", "--fail-on", "regressed"]);
    assert_eq!(told.code, 0);
    assert!(told.stdout.contains("too few repeats to say"), "{}", told.stdout);
    assert!(!told.stdout.contains("no change\n"), "{}", told.stdout);
    assert!(told.stdout.contains("on each side would do"), "{}", told.stdout);
    assert_eq!(sterna(here, &["compare", "before", "after", "--fail-on", "unsure"]).code, 4);
}

#[test]
fn corrupt_memory_always_fails() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    runs(here, "before", 2, 1.0, |_| {});
    runs(here, "after", 2, 1.0, |it| it["summary"]["integrity"] = json!("corrupt"));
    let told = sterna(here, &["compare", "before/0.json", "after/0.json"]);
    assert_eq!(told.code, 4);
    assert!(told.stdout.contains("corrupt in the candidate"), "{}", told.stdout);
}

#[test]
fn a_baseline_is_one_line_in_a_job() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    runs(here, "first", 8, 1.0, |_| {});
    runs(here, "slower", 8, 1.3, |_| {});
    runs(here, "faster", 8, 0.8, |_| {});
    let job = |new: &str| {
        sterna(
            here,
            &["compare", new, "--name", "main", "--save-as", "main", "--fail-on", "regressed"],
        )
    };
    let first = job("first");
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert!(first.stderr.contains("There is no baseline main"), "{}", first.stderr);
    let kept = here.join("sterna-baselines/main");
    assert_eq!(fs::read_dir(&kept).unwrap().count(), 8);
    let slower = job("slower");
    assert_eq!(slower.code, 4, "{}", slower.stdout);
    assert!(slower.stderr.contains("Baseline main stays as it was"), "{}", slower.stderr);
    assert_eq!(job("first").code, 0);
    assert_eq!(job("faster").code, 0);
    // Now the faster one is what is compared with, with all that was in its reports.
    assert_eq!(job("first").code, 4);
    let report: Value = serde_json::from_slice(&fs::read(kept.join("0001.json")).unwrap()).unwrap();
    assert!(!report["timeline"].as_array().unwrap().is_empty());
    let left: Vec<String> = fs::read_dir(here.join("sterna-baselines"))
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(left, ["main"]);
    let unknown = sterna(here, &["compare", "first", "--name", "mian"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("there are main"), "{}", unknown.stderr);
}

#[test]
fn every_format_says_the_same_and_goes_to_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    runs(here, "before", 8, 1.0, |_| {});
    runs(here, "after", 8, 1.2, |_| {});
    let told = sterna(here, &["compare", "before", "after", "--format", "json", "-o", "out.json"]);
    assert_eq!((told.code, told.stdout.as_str()), (0, ""));
    let json: Value = serde_json::from_slice(&fs::read(here.join("out.json")).unwrap()).unwrap();
    let schema = sterna(here, &["schema", "comparison"]).stdout;
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(&json).map(|it| it.to_string()).collect();
    assert_eq!(errors, [""; 0]);
    let metrics = json["scenarios"][0]["metrics"].as_array().unwrap();
    let total = metrics.iter().find(|it| it["metric"] == "total-time").unwrap();
    assert_eq!(total["change"], "regressed");
    assert_eq!(total["reference"]["values"].as_array().unwrap().len(), 8);
    let markdown = sterna(here, &["compare", "before", "after", "--format", "markdown"]).stdout;
    assert!(markdown.contains("| total time | "), "{markdown}");
}

/// The shell's part of the job that docs/compare.md shows, step by step.
fn steps_of_the_job_in_the_docs() -> Vec<String> {
    let text = include_str!("../../../docs/compare.md");
    let job = text.split("```yaml").nth(1).and_then(|it| it.split("```").next()).unwrap();
    let mut steps: Vec<String> = Vec::new();
    let mut is_inside = false;
    for line in job.lines() {
        let words = line.trim();
        if let Some(step) = words.strip_prefix("- run: ") {
            is_inside = step == "|";
            steps.push(if is_inside { String::new() } else { step.to_owned() });
        } else if words.starts_with("- ") {
            is_inside = false;
        } else if is_inside {
            let step = steps.last_mut().unwrap();
            step.push_str(words);
            step.push('\n');
        }
    }
    steps
}

#[test]
fn the_job_of_the_docs_runs_as_it_stands_there() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::create_dir(here.join("tests")).unwrap();
    let scenario = "guest.memory = \"16MiB\"\nmigration.max-bandwidth = \"unlimited\"\n\
        timing = { warmup = \"100ms\", cooldown = \"100ms\" }\n";
    fs::write(here.join("tests/migration.toml"), scenario).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_sterna")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let steps = steps_of_the_job_in_the_docs();
    assert!(steps.len() == 3 && steps[2].contains("GITHUB_STEP_SUMMARY"), "{steps:#?}");
    let on_main = "${{ github.ref == 'refs/heads/main' && '--save-as main' || '' }}";
    let job = |arguments: &str| {
        for step in &steps[1..] {
            let step = step.replace(on_main, arguments).replace("--repeat 10", "--repeat 2");
            assert!(!step.contains("${{"), "an expression is left: {step}");
            let mut shell = Command::new("sh");
            shell.args(["-e", "-c", &step]).current_dir(here).stdin(Stdio::null());
            shell.env("PATH", &path).env("GITHUB_STEP_SUMMARY", here.join("summary.md"));
            let output = shell.output().unwrap();
            assert!(output.status.success(), "{step}: {}", String::from_utf8_lossy(&output.stderr));
        }
    };
    job("--save-as main");
    assert!(here.join("baselines/main/0002.json").exists());
    // The next job begins in a fresh checkout, with the cache alone.
    fs::remove_dir_all(here.join("runs")).unwrap();
    job("");
    let summary = fs::read_to_string(here.join("summary.md")).unwrap();
    assert!(summary.contains("| total time | ") && summary.contains("too few"), "{summary}");
}

#[test]
fn results_of_others_are_compared_too() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("old.json"), GUESTPERF).unwrap();
    let told = sterna(here, &["compare", "old.json", "old.json"]);
    assert_eq!(told.code, 0, "{}", told.stderr);
    assert!(told.stderr.contains("old.json is guestperf JSON"), "{}", told.stderr);
    assert!(told.stdout.contains("claimed downtime"), "{}", told.stdout);
}

#[test]
fn stdin_and_files_without_a_name_of_json_are_read_by_content() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::create_dir_all(here.join("mixed")).unwrap();
    fs::write(here.join("mixed/old.txt"), GUESTPERF).unwrap();
    fs::write(here.join("mixed/hosts"), "127.0.0.1 localhost\n").unwrap();
    fs::write(here.join("mixed/.hidden"), GUESTPERF).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
    command.args(["compare", "mixed", "-", "--format", "json"]).current_dir(here);
    let input = fs::File::open(here.join("mixed/old.txt")).unwrap();
    let output = command.stdin(input).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("mixed/hosts is no result that can be read"), "{stderr}");
    assert!(stderr.contains("stdin is guestperf JSON"), "{stderr}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        json["sides"],
        json!([{"label": "mixed", "reports": 1}, {"label": "stdin", "reports": 1}])
    );
    let shown = sterna(here, &["report", "summary", "mixed"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert!(shown.stdout.contains("downtime unknown (claimed"), "{}", shown.stdout);
}

#[test]
fn wrong_inputs_are_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    runs(here, "good", 2, 1.0, |_| {});
    runs(here, "broken", 2, 1.0, |_| {});
    fs::write(here.join("broken/1.json"), &COMPLETED[..500]).unwrap();
    fs::create_dir(here.join("empty")).unwrap();
    runs(here, "other", 1, 1.0, |_| {});
    fs::write(here.join("other/notes.json"), "{}").unwrap();
    let table: [(&[&str], i32, &str); 11] = [
        (&["compare"], 2, "Nothing to compare"),
        (&["compare", "good"], 2, "--name BASELINE"),
        (&["compare", "good", "missing"], 2, "Cannot read missing"),
        (&["compare", "good", "empty"], 2, "There is no report in empty"),
        (&["compare", "good", "broken"], 2, "broken/1.json is not whole"),
        (&["compare", "good", "broken/1.json"], 2, "broken/1.json is not whole"),
        (&["compare", "-", "-"], 2, "can be read once only"),
        (&["compare", "good", "other"], 0, "other/notes.json is no result that can be read"),
        (
            &["compare", "good", "other", "--threshold", "uptime=1%"],
            2,
            "There is no metric `uptime`",
        ),
        (&["compare", "good", "--save-as", "../x"], 2, "cannot be the name of a baseline"),
        (&["compare", "good", "other", "good", "--save-as", "x"], 2, "which shall be kept"),
    ];
    for (arguments, code, expected) in table {
        let told = sterna(here, arguments);
        assert_eq!(told.code, code, "{arguments:?} {}", told.stderr);
        assert!(told.stderr.contains(expected), "{arguments:?} {}", told.stderr);
    }
}

#[test]
fn runs_of_the_model_are_compared_with_measured_ones_only_when_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    runs(here, "measured", 8, 1.0, |_| {});
    runs(here, "computed", 8, 1.0, |report| report["engine"]["name"] = json!("model"));
    let refused = sterna(here, &["compare", "measured", "computed"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("--allow-model"), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("computed has runs of the engine `model`"),
        "{}",
        refused.stderr
    );
    assert_eq!(sterna(here, &["compare", "measured", "computed", "--allow-model"]).code, 0);
    assert_eq!(sterna(here, &["compare", "computed", "computed"]).code, 0);
}
