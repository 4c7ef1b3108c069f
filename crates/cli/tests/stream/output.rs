//! What is printed.

use serde_json::Value;

use crate::harness::{Server, program, stream};

fn schema(document: &str) -> jsonschema::Validator {
    let output = program().args(["schema", document]).output().unwrap();
    jsonschema::validator_for(&serde_json::from_slice(&output.stdout).unwrap()).unwrap()
}

#[track_caller]
fn assert_valid(schema: &jsonschema::Validator, document: &Value) {
    let errors: Vec<_> = schema
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert_eq!(errors, [""; 0]);
}

#[test]
fn what_is_written_validates() {
    let (report, lines) = (schema("stream"), schema("stream-lines"));
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("report.json");
    let file = file.to_str().unwrap();
    for mode in ["precopy", "postcopy", "both"] {
        let flags =
            [&*server.address, "--mode", mode, "--duration", "300ms", "--interval", "100ms"];
        let outcome = stream(&[&flags[..], &["--json-stream", "-o", file]].concat());
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        let events: Vec<Value> =
            outcome.stdout.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        events.iter().for_each(|it| assert_valid(&lines, it));
        let kinds: Vec<_> = events.iter().map(|it| it["event"].as_str().unwrap()).collect();
        assert_eq!((kinds[0], kinds[kinds.len() - 1]), ("start", "report"));
        for side in ["client", "server"] {
            let of_side = events.iter().filter(|it| it["data"]["side"] == side);
            assert!(of_side.count() >= 2, "{mode}: {kinds:?}");
        }
        let written = std::fs::read_to_string(file).unwrap();
        let written: Value = serde_json::from_str(&written).unwrap();
        assert_valid(&report, &written);
        assert_eq!(written, events[events.len() - 1]["data"]);
    }
}

#[test]
fn people_get_a_line_for_each_interval_of_each_side_and_a_summary() {
    let server = Server::start();
    let flags = [&*server.address, "--mode", "both", "--duration", "300ms", "--interval", "100ms"];
    let outcome = stream(&flags);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    let lines: Vec<_> = outcome.stdout.lines().collect();
    assert!(
        lines[0].contains("bulk and page requests on one connection to the server"),
        "{}",
        lines[0]
    );
    for side in ["client", "server"] {
        let count = lines.iter().filter(|it| it.starts_with(side)).count();
        assert!(count >= 3, "{}", outcome.stdout);
    }
    for text in
        ["p99.9", "retransmits", "for each GiB", "300 GiB", "within 300 ms", "within 1.00 s"]
    {
        assert!(outcome.stdout.contains(text), "{text} is missing: {}", outcome.stdout);
    }
    let said = server.stop();
    assert!(said.contains("bulk and page requests to here, blocks of 128KiB"), "{said}");
    assert!(said.contains("the trial has ended: received"), "{said}");
}

#[test]
fn a_reader_that_goes_away_ends_the_trial() {
    use std::io::{BufRead, BufReader};
    let server = Server::start();
    let mut child = program()
        .args(["stream", &server.address, "--duration", "60s", "--interval", "20ms"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let start = std::time::Instant::now();
    child.wait().unwrap();
    assert!(start.elapsed().as_secs() < 20);
    server.assert_serves();
}
