//! What the command line takes, prints and refuses.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::harness::{Run, sterna};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn bad_input_is_a_usage_error_that_names_the_field_the_value_and_the_way_out() {
    #[track_caller]
    fn check(arguments: &[&str], expected: &[&str]) {
        let output = sterna(&[&["run"], arguments].concat());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(output.stdout.is_empty());
        for part in expected {
            assert!(stderr.contains(part), "`{part}` is not in: {stderr}");
        }
    }
    check(&["--memory", "12XB"], &["guest.memory", "12XB"]);
    check(&["--memory", "0"], &["guest.memory"]);
    check(&["--max-bandwidth", "500M"], &["migration.max-bandwidth", "500M", "B/s"]);
    check(&["--pattern", "randon"], &["workload.pattern", "randon", "random"]);
    check(&["--workload-memory", "1GiB"], &["workload.memory"]);
    check(&["--no-such-flag"], &["--no-such-flag"]);
    check(&["--kernel", "vmlinuz"], &["--kernel", "is for QEMU", "the engine is emulator"]);
    check(&["--engine", "qemu", "--tracker", "auto"], &["--tracker", "is for the emulator"]);
    check(&["--tracker", "magic"], &["magic", "wp-async"]);
    check(&["/nonexistent/scenario.toml"], &["/nonexistent/scenario.toml"]);
    check(&["--output", "/nonexistent/report.json"], &["/nonexistent/report.json"]);
}

#[test]
fn a_scenario_file_is_refused_with_line_and_nearest_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hard.toml");
    std::fs::write(&path, "[migration]\nmax-bandwith = \"1Gbit/s\"\n").unwrap();
    let output = sterna(&["run", path.to_str().unwrap()]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    for part in ["hard.toml:2:1", "max-bandwith", "max-bandwidth"] {
        assert!(stderr.contains(part), "`{part}` is not in: {stderr}");
    }
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.toml");
    std::fs::write(&path, "[guest]\nmemory = \"64MiB\"\nvcpus = 1\n[workload]\nseed = 5\n")
        .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sterna"))
        .args(["run", path.to_str().unwrap(), "--print-scenario", "--seed", "7", "--locked"])
        .env("STERNA_GUEST_MEMORY", "128MiB")
        .env("STERNA_WORKLOAD_SEED", "6")
        .output()
        .unwrap();
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for line in ["memory = \"128MiB\"", "vcpus = 1", "seed = 7", "locked = true"] {
        assert!(printed.contains(line), "`{line}` is not in:\n{printed}");
    }
}

#[test]
fn the_printed_scenario_can_be_run_again() {
    let printed = sterna(&["run", "--print-scenario", "--memory", "48MiB"]).stdout;
    let mut child = Command::new(env!("CARGO_BIN_EXE_sterna"))
        .args(["run", "-", "--print-scenario"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&printed).unwrap();
    assert_eq!(text(&child.wait_with_output().unwrap().stdout), text(&printed));
}

#[test]
fn an_unsupported_scenario_starts_nothing_and_names_the_field_and_the_engine() {
    let outcome = Run::small(&["--multifd-channels", "65"]).outcome();
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("migration.multifd");
    outcome.assert_reason_has("emulator");
}

#[test]
fn compression_by_threads_of_its_own_is_refused_and_multifd_is_named() {
    let outcome = Run::small(&["--compress"]).outcome();
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("migration.compress: ");
    outcome.assert_reason_has("migration.multifd.compression = \"zlib\" or \"zstd\"");
}

#[test]
fn json_goes_to_stdout_alone_and_is_the_report() {
    let outcome = Run::small(&["--format", "json"]).outcome();
    assert_eq!(outcome.code, Some(0));
    let printed: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(&printed, outcome.report());
}

#[test]
fn the_json_stream_is_one_object_a_line_and_ends_with_the_report() {
    let outcome = Run::small(&["--json-stream"]).outcome();
    let events: Vec<serde_json::Value> =
        outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = events.iter().filter_map(|it| it["event"].as_str()).collect();
    assert_eq!(names.len(), events.len());
    for name in ["phase", "status", "event"] {
        assert!(names.contains(&name), "{name}");
    }
    assert_eq!(names.last(), Some(&"report"));
    assert_eq!(&events.last().unwrap()["data"], outcome.report());
}

#[test]
fn plain_progress_and_quiet_keep_stdout_clean() {
    let outcome = Run::small(&["--progress", "plain"]).outcome();
    assert!(outcome.stderr.contains("cool-down"), "{}", outcome.stderr);
    assert!(outcome.stdout.starts_with("Completed"));
    let outcome = Run::small(&["--progress", "plain", "--quiet"]).outcome();
    assert!(outcome.stderr.is_empty(), "{}", outcome.stderr);
}

#[test]
fn colours_follow_the_flag_and_no_color() {
    let is_coloured = |run: Run| run.outcome().stdout.contains("\u{1b}[");
    assert!(!is_coloured(Run::small(&[])));
    assert!(is_coloured(Run::small(&["--color", "always"])));
    assert!(is_coloured(Run::small(&[]).env("CLICOLOR_FORCE", "1")));
    assert!(!is_coloured(Run::small(&[]).env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1")));
    assert!(is_coloured(Run::small(&[]).env("CLICOLOR_FORCE", "1").env("NO_COLOR", "")));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let shell = format!("{} schema report | head -c 10", env!("CARGO_BIN_EXE_sterna"));
    let output = Command::new("sh").args(["-c", &shell]).output().unwrap();
    assert_eq!(output.stdout.len(), 10);
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
fn completions_and_manual_are_made_from_the_same_tree() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(&sterna(&["completions", shell]).stdout);
        assert!(script.contains("max-bandwidth"), "{shell}");
    }
    let directory = tempfile::tempdir().unwrap();
    assert!(sterna(&["man", "--out", directory.path().to_str().unwrap()]).status.success());
    let page = std::fs::read_to_string(directory.path().join("sterna-run.1")).unwrap();
    assert!(page.contains("max\\-bandwidth"), "{page}");
    assert!(text(&sterna(&["man"]).stdout).contains(".TH sterna 1"));
}

#[test]
fn a_host_started_by_hand_says_what_it_is_for() {
    let output = sterna(&["host"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("give it an address by --listen"));
}

#[test]
fn a_run_without_room_for_its_temporary_files_fails_before_the_migration_with_exit_code_1() {
    let directory = tempfile::tempdir().unwrap();
    let absent = directory.path().join("absent");
    let outcome =
        Run::small(&["--transport", "unix"]).env("TMPDIR", absent.to_str().unwrap()).outcome();
    outcome.assert_ended(1, "failed", "verified");
    outcome.assert_reason_has("Cannot create a directory for this run");
    assert_eq!(outcome.summary("failed_in"), "prepare");
    assert!(outcome.stdout.starts_with("Failed before a migration began (prepare)"));
}

#[test]
fn a_value_after_a_flag_that_takes_none_is_answered_with_the_right_flag() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sterna"))
        .args(["run", "--multifd", "8"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--multifd-channels 8"), "{said}");
    assert!(!said.contains("Cannot read scenario"), "{said}");
}

#[test]
fn help_and_version_are_commands_too() {
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sterna"));
        let output = command.args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(&["help"]), run(&["--help"]));
    assert_eq!(run(&["help", "run"]), run(&["run", "--help"]));
    assert_eq!(run(&["version"]), run(&["--version"]));
}
