//! What is printed is what the schemas say.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{dirty, start};

/// The schema, as a user gets it.
fn schema(document: &str) -> jsonschema::Validator {
    let output = Command::new(env!("CARGO_BIN_EXE_sterna"))
        .args(["schema", document])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{document}");
    jsonschema::validator_for(&serde_json::from_slice(&output.stdout).unwrap()).unwrap()
}

#[track_caller]
fn check(validator: &jsonschema::Validator, document: &Value) {
    let errors = validator.iter_errors(document);
    let errors: Vec<String> = errors.map(|it| format!("{}: {it}", it.instance_path())).collect();
    assert_eq!(errors, [""; 0], "{document:#}");
}

const SHORT: [&str; 8] =
    ["--memory", "4MiB", "--duration", "100ms", "--interval", "40ms", "--format", "json"];

#[test]
fn reports_are_what_the_schema_says() {
    let schema = schema("dirty");
    for more in [
        &["--label", "run=7", "--rate", "10%"][..],
        &["--latency", "--compressibility", "--verify-final", "--phases", "for=50ms,rate=1MiB/s"],
        &["--verify-final", "--x-break", "flip-bit=300", "--workers", "2", "--cpus", "0"],
        &["--huge-pages", "none", "--stalls", "/dev/null", "--pattern", "once"],
    ] {
        let report = dirty(&[&SHORT, more].concat()).json();
        check(&schema, &report);
        for (pointer, name) in [("", "gaps"), ("/summary", "load"), ("/spec", "huge_bytes")] {
            let mut lacking = report.clone();
            lacking.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(name).unwrap();
            assert!(!schema.is_valid(&lacking), "{name} is always there");
        }
    }
}

#[test]
fn lines_of_the_stream_are_what_the_schema_says() {
    let schema = schema("dirty-stream");
    let mut running =
        start(&["--memory", "4MiB", "--interval", "50ms", "--latency", "--json-stream"]);
    let lines = BufReader::new(running.child().stdout.take().unwrap()).lines();
    let mut names = Vec::new();
    for line in lines.map_while(Result::ok) {
        let event: Value = serde_json::from_str(&line).unwrap();
        check(&schema, &event);
        match names.len() {
            1 => running.signal(Signal::USR2),
            4 => running.signal(Signal::TERM),
            _ => {}
        }
        names.push(event["event"].as_str().unwrap().to_owned());
    }
    assert_eq!((names[0].as_str(), names[names.len() - 1].as_str()), ("start", "report"));
    assert!(
        ["interval", "summary"].iter().all(|it| names.iter().any(|name| name == it)),
        "{names:?}"
    );
    assert!(!schema.is_valid(&serde_json::json!({ "event": "interval", "data": {} })));
}

#[test]
fn findings_of_the_doctor_are_what_the_schema_says() {
    let output = Command::new(env!("CARGO_BIN_EXE_sterna"))
        .args(["doctor", "--format", "json"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let mut document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let schema = schema("doctor");
    check(&schema, &document);
    document["findings"][0]["status"] = "splendid".into();
    assert!(!schema.is_valid(&document));
}
