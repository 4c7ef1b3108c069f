//! `sterna doctor` as a user runs it, on machines that lack this and that.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Held while a script is written, and while a program is started, which for a moment inherits what is open: a script that somebody has open for writing cannot be run.
static SCRIPTS: Mutex<()> = Mutex::new(());

/// A folder for PATH, with programs made for one test.
struct Machine {
    path: TempDir,
}

impl Machine {
    fn without_programs() -> Machine {
        Machine { path: tempfile::tempdir().unwrap() }
    }

    fn with(self, name: &str, script: &str) -> Machine {
        let _guard = SCRIPTS.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn program(&self, name: &str) -> PathBuf {
        self.path.path().join(name)
    }

    fn doctor(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
        command.arg("doctor").args(arguments).env("PATH", self.path.path());
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env_remove("COLUMNS");
        run(command)
    }

    fn findings(&self) -> Value {
        let output = self.doctor(&["--format", "json"]);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn run(mut command: Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = {
        let _guard = SCRIPTS.lock().unwrap_or_else(PoisonError::into_inner);
        command.spawn().unwrap()
    };
    child.wait_with_output().unwrap()
}

#[track_caller]
fn finding<'a>(document: &'a Value, name: &str) -> &'a Value {
    let findings = document["findings"].as_array().unwrap();
    findings.iter().find(|it| it["name"] == name).unwrap_or_else(|| panic!("no finding {name}"))
}

#[test]
fn the_json_is_complete_and_agrees_with_the_exit_code() {
    let output = Machine::without_programs().doctor(&["--format", "json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["schema"], "sterna-doctor");
    assert_eq!(document["schema_version"], "1.0");
    let sum = document["default_run"].as_str().unwrap();
    assert_eq!(output.status.code(), Some(if sum == "missing" { 5 } else { 0 }));
    assert_eq!(finding(&document, "default_run")["status"], sum);

    let findings = document["findings"].as_array().unwrap();
    assert!(findings.len() > 20, "{}", findings.len());
    for finding in findings {
        let name = finding["name"].as_str().unwrap();
        let keys: Vec<&String> = finding.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 8, "{name}: {keys:?}");
        let is_ok = match finding["status"].as_str().unwrap() {
            "ok" => true,
            "limited" | "missing" => false,
            other => panic!("{name} is {other}"),
        };
        for text in ["consequence", "remedy"] {
            let told = finding[text].as_str();
            assert_eq!(told.is_none(), is_ok, "{name}: {text} is {told:?}");
            assert!(told.is_none_or(|it| !it.is_empty() && !it.ends_with('.')), "{name}: {told:?}");
        }
        for fact in finding["facts"].as_object().unwrap().keys() {
            assert!(fact.chars().all(|it| it.is_ascii_lowercase() || it == '_'), "{fact}");
        }
    }
}

#[test]
fn the_text_names_what_the_json_names() {
    let machine = Machine::without_programs();
    let output = machine.doctor(&[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("A bare `sterna run` "), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours in a pipe: {text}");
    for finding in machine.findings()["findings"].as_array().unwrap() {
        let name = finding["name"].as_str().unwrap();
        let row = text.lines().find(|it| it.trim_start().starts_with(&format!("{name} ")));
        match row {
            Some(row) => assert!(row.contains(finding["status"].as_str().unwrap()), "{row}"),
            None => assert_eq!(name, "default_run"),
        }
    }
    let coloured = machine.doctor(&["--color", "always"]);
    assert!(String::from_utf8_lossy(&coloured.stdout).contains("\u{1b}["));
}

#[test]
fn a_path_that_is_empty_unset_or_relative_finds_no_programs() {
    if Path::new("/usr/libexec/qemu-kvm").exists() {
        eprintln!("skipped: QEMU is in /usr/libexec here, which counts without PATH; remove it");
        return;
    }
    let check = |path: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
        command.args(["doctor", "--format", "json"]).env_remove("PATH");
        command.envs(path.map(|it| ("PATH", it)));
        let output = run(command);
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(finding(&document, "qemu")["status"], "missing");
        assert_eq!(finding(&document, "qemu")["facts"]["programs"], 0);
        assert_eq!(finding(&document, "iperf3")["status"], "missing");
        // The emulator needs no programs, so the sum does not change.
        let expected = if document["default_run"] == "missing" { 5 } else { 0 };
        assert_eq!(output.status.code(), Some(expected));
    };
    check(Some(""));
    check(Some(".:"));
    check(None);
}

#[test]
fn a_qemu_that_answers_is_told_with_its_version() {
    let machine = Machine::without_programs()
        .with("qemu-system-x86_64", "echo 'QEMU emulator version 7.2.22 (Debian 1:7.2)'")
        .with("iperf3", "echo 'iperf 3.12 (cJSON 1.7.15)'");
    let document = machine.findings();
    let qemu = finding(&document, "qemu_system_x86_64");
    assert_eq!((&qemu["status"], &qemu["facts"]["version"]), (&"ok".into(), &"7.2.22".into()));
    let path = machine.program("qemu-system-x86_64");
    assert_eq!(qemu["facts"]["path"], path.to_str().unwrap());
    let meant = finding(&document, "qemu");
    assert_eq!(
        (&meant["status"], &meant["facts"]["source"]),
        (&"ok".into(), &path.to_str().unwrap().into())
    );
    assert_eq!(finding(&document, "iperf3")["facts"]["version"], "3.12");
}

#[test]
fn the_programs_that_a_run_would_start_are_judged_and_no_others() {
    let version = "echo 'QEMU emulator version 7.2.22'";
    let named = Machine::without_programs().with("my-qemu", version);
    let named = named.program("my-qemu").into_os_string().into_string().unwrap();
    let machine = Machine::without_programs().with("qemu-system-arm", version);
    let check = |arguments: &[&str], status: &str, source: Value, words: &str| {
        let output = machine.doctor(&[&["--format", "json"], arguments].concat());
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let found = finding(&document, "qemu");
        assert_eq!((&found["status"], &found["facts"]["source"]), (&status.into(), &source));
        assert!(found["value"].as_str().unwrap().contains(words), "{found}");
    };
    let one = format!("--qemu-source={named}");
    let other = "--qemu-destination=/nowhere/qemu";
    check(&[&one], "ok", named.as_str().into(), "7.2.22");
    check(&[&one, other], "missing", named.as_str().into(), "there is no /nowhere/qemu");
    if !Path::new("/usr/libexec/qemu-kvm").exists() {
        check(&[], "missing", Value::Null, "there is no qemu-system-x86_64");
    }
    let arm = machine.program("qemu-system-arm").into_os_string().into_string().unwrap();
    check(&["--qemu-source=qemu-system-arm"], "ok", arm.into(), "7.2.22");
}

#[test]
fn a_qemu_that_fails_or_hangs_is_told_and_holds_nobody_up() {
    let machine = Machine::without_programs()
        .with("qemu-system-arm", "echo 'QEMU emulator version 7.2.22'; exit 1")
        .with("qemu-system-mips", "echo nonsense; printf '\\033[2J'")
        .with("qemu-system-x86_64", "echo 'QEMU emulator version 7.2.22'; kill -STOP $$");
    let started = Instant::now();
    let document = machine.findings();
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    let check = |name: &str, words: &str| {
        let finding = finding(&document, name);
        assert_eq!(finding["status"], "limited", "{name}");
        let value = finding["value"].as_str().unwrap();
        assert!(value.contains(words), "{value}");
        assert_eq!(finding["facts"]["version"], Value::Null);
    };
    check("qemu_system_arm", "exit code 1");
    check("qemu_system_mips", "tells no version");
    check("qemu_system_x86_64", "does not end within");
    if !Path::new("/usr/libexec/qemu-kvm").exists() {
        assert_eq!(finding(&document, "qemu")["status"], "missing", "none of them can be used");
    }
}

#[test]
fn a_machine_without_room_for_the_guest_is_told_by_exit_code_5() {
    // The limit is on address space, so the guest cannot even be mapped.
    let mut command = Command::new("/bin/sh");
    let line = "ulimit -v 262144 && exec \"$0\" doctor --format json";
    command.args(["-c", line, env!("CARGO_BIN_EXE_sterna")]);
    let output = run(command);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(document["default_run"], "missing");
    let memory = finding(&document, "guest_memory");
    assert_eq!((&memory["status"], &memory["is_required"]), (&"missing".into(), &true.into()));
    let remedy = finding(&document, "default_run")["remedy"].as_str().unwrap();
    assert!(remedy.contains("ulimit -v"), "{remedy}");
}

#[test]
fn the_help_documents_the_exit_codes() {
    let output = Machine::without_programs().doctor(&["--help"]);
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains("Exit codes: 0") && help.contains("5 it does not"), "{help}");
}
