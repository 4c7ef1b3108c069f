//! What is printed and written, and that it is what the schemas say.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Responder, Running, number, probe, sterna, wait_until};

/// The schema, as a user gets it.
fn schema(document: &str) -> jsonschema::Validator {
    let output = sterna().args(["schema", document]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{document}");
    jsonschema::validator_for(&serde_json::from_slice(&output.stdout).unwrap()).unwrap()
}

#[track_caller]
fn check(validator: &jsonschema::Validator, document: &Value) {
    let errors = validator.iter_errors(document);
    let errors: Vec<String> = errors.map(|it| format!("{}: {it}", it.instance_path())).collect();
    assert_eq!(errors, [""; 0], "{document:#}");
}

#[test]
fn reports_are_what_the_schema_says() {
    let schema = schema("probe");
    let responder = Responder::start();
    let directory = tempfile::tempdir().unwrap();
    let records = directory.path().join("records");
    let written = directory.path().join("report.json");
    for what in [
        ["udp", &responder.address],
        ["tcp", &responder.address],
        ["clock", &responder.address],
        ["playout", &responder.address],
        ["disk", records.to_str().unwrap()],
    ] {
        let flags = ["--duration", "400ms", "--format", "json", "-o", written.to_str().unwrap()];
        let outcome = probe(&[&what[..], &flags].concat());
        assert_eq!(outcome.code, Some(0), "{what:?}: {}", outcome.stderr);
        let report = outcome.json();
        check(&schema, &report);
        assert_eq!(std::fs::read_to_string(&written).unwrap(), outcome.stdout, "{what:?}");
        for (pointer, name) in [("", "noise"), ("/probes/0", "outages"), ("/probes/0", "disk")] {
            let mut lacking = report.clone();
            lacking.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(name).unwrap();
            assert!(!schema.is_valid(&lacking), "{name} is always there");
        }
    }
}

#[test]
fn every_event_is_what_the_schema_says() {
    let schema = schema("probe-stream");
    let responder = Responder::start();
    let stopped = Duration::from_millis(400);
    let mut running = Running::start(&["udp", &responder.address]);
    let told = running.told();
    responder.stop_for(stopped);
    running.wait_for_outage(stopped);
    running.end();
    let events = told.lock().unwrap();
    events.iter().for_each(|it| check(&schema, it));
    let names: Vec<&str> = events.iter().map(|it| it["event"].as_str().unwrap()).collect();
    assert_eq!((names.first(), names.last()), (Some(&"start"), Some(&"report")));
    assert!(names[1..names.len() - 1].iter().all(|it| *it == "outage"), "{names:?}");
    // What was told on the way is what the report says.
    let told: Vec<f64> = events
        .iter()
        .filter(|it| it["event"] == "outage")
        .map(|it| number(it, "/data/length_seconds"))
        .collect();
    let outages = events.last().unwrap().pointer("/data/probes/0/outages").unwrap();
    let reported: Vec<f64> = outages
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["has_ended"] == true)
        .map(|it| number(it, "/length_seconds"))
        .collect();
    assert!(!told.is_empty());
    assert_eq!(told, reported);
    assert!(!schema.is_valid(&serde_json::json!({ "event": "outage", "data": {} })));
}

#[test]
fn people_read_what_was_lost_and_for_how_long() {
    let responder = Responder::start();
    let mut command = sterna();
    command.args(["probe", "udp", &responder.address, "--interval", "2ms", "--duration", "4s"]);
    let child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Time enough to begin, also on a busy machine.
    std::thread::sleep(Duration::from_millis(1500));
    responder.stop_for(Duration::from_millis(400));
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("outage") && text.contains("the longest"), "{text}");
    for part in ["every 2.0", "messages", " sent, ", " received, ", " lost", "round trip    p50 "] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    for part in ["\n  there  ", "\n  back  ", " (± ", "\nOwn noise  late by "] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    // Each outage is told when it is over, where it does not disturb the result.
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(" s on, "), "{said}");
}

#[test]
fn monitors_read_the_same_numbers() {
    let responder = Responder::start();
    let flags = ["--interval", "5ms", "--duration", "500ms", "--name", "with \"quotes\""];
    let outcome =
        probe(&[&["udp", &responder.address, "--format", "openmetrics"], &flags[..]].concat());
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let text = &outcome.stdout;
    assert!(text.ends_with("# EOF\n"), "{text}");
    let labels =
        format!("{{probe=\"with \\\"quotes\\\"\",kind=\"udp\",target=\"{}\"}}", responder.address);
    let value = |name: &str| -> f64 {
        let line = format!("sterna_probe_{name}{labels} ");
        let found = text.lines().find_map(|it| it.strip_prefix(line.as_str()));
        found.unwrap_or_else(|| panic!("no {line} in {text}")).parse().unwrap()
    };
    let [sent, received, lost] = ["sent_total", "received_total", "lost_total"].map(value);
    assert!(sent >= 90.0 && received + lost == sent, "{text}");
    assert!(value("round_trip_p50_seconds") > 0.0, "{text}");
    // Each family has a type before its samples, as the format wants.
    for line in text.lines().filter(|it| !it.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap().trim_end_matches("_total");
        assert!(text.contains(&format!("# TYPE {name} ")), "{line}");
    }
}

#[test]
fn a_run_that_is_interrupted_still_reports() {
    let responder = Responder::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("report.json");
    let flags = ["udp", &responder.address, "--duration", "1h", "-o", file.to_str().unwrap()];
    let (code, report) = Running::start(&flags).end();
    assert_eq!((code, &report["ended_by"]), (Some(130), &"interrupted".into()));
    let written: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(written["probes"][0]["received"], report["probes"][0]["received"]);
    assert!(number(&report, "/duration_seconds") < 3600.0);
}

#[test]
fn a_responder_that_is_told_to_end_does() {
    let mut child = sterna()
        .args(["probe", "serve", "--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    wait_until("it does not end", || child.try_wait().unwrap().is_some());
    assert!(child.wait().unwrap().success());
}

/// Runs with a reader that takes so many lines and goes away.
fn with_reader_of(lines: usize, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = sterna();
    command.arg("probe").args(arguments).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..lines {
        assert!(stdout.read_line(&mut String::new()).unwrap() > 0);
    }
    drop(stdout);
    wait_until("it goes on for nobody", || child.try_wait().unwrap().is_some());
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn it_ends_when_nobody_reads_any_more() {
    let responder = Responder::start();
    let target = ["udp", &responder.address];
    for (lines, format) in [(1, "ndjson"), (0, "ndjson"), (0, "text"), (0, "json")] {
        let flags = ["--format", format];
        let (code, stderr) = with_reader_of(lines, &[&target[..], &flags].concat());
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{lines} lines of {format}");
    }
}

#[test]
fn a_report_is_written_also_when_nobody_reads_any_more() {
    let responder = Responder::start();
    let directory = tempfile::tempdir().unwrap();
    let written = directory.path().join("report.json");
    for (flags, ended_by) in [(&["--duration", "500ms"][..], "duration"), (&[], "unread")] {
        let flags = [&["udp", &responder.address, "-o", written.to_str().unwrap()], flags].concat();
        assert_eq!(with_reader_of(0, &flags).0, Some(0));
        let report: Value = serde_json::from_slice(&std::fs::read(&written).unwrap()).unwrap();
        assert_eq!(report["ended_by"], ended_by);
        check(&schema("probe"), &report);
    }
}
