//! The schema describes what is really written, completely and in words.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::{env, fs, path::Path};

use serde_json::{Map, Value, json};
use sterna_report::{Document, Engine, Host, Report, SCHEMA_NAME, Tool, schema, schema_of};

const COMPLETED: &str = include_str!("data/completed-1.0.json");

fn empty_report() -> Report {
    let started_at = "2026-03-01T12:00:00Z".to_owned();
    Report::new(Tool::default(), Host::default(), Engine::default(), started_at, Map::new())
}

fn errors(report: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    validator
        .iter_errors(report)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

fn json_of(report: &Report) -> Value {
    serde_json::from_str(&report.to_json_pretty()).unwrap()
}

#[test]
fn what_is_written_validates() {
    let completed = Report::read(COMPLETED).unwrap();
    assert_eq!(errors(&json_of(&completed)), [""; 0]);
    assert_eq!(errors(&json_of(&empty_report())), [""; 0]);
}

#[test]
fn what_is_wrong_does_not_validate() {
    let table = [
        ("/schema", json!("another")),
        ("/schema_version", json!("2.0")),
        ("/summary/verdict", json!("splendid")),
        ("/summary/wire_bytes", json!("12 MB")),
        ("/summary/passes", Value::Null),
        ("/scenario", json!("a text")),
    ];
    for (pointer, value) in table {
        let mut report = json_of(&empty_report());
        *report.pointer_mut(pointer).unwrap() = value;
        assert_eq!(errors(&report).len(), 1, "{pointer} {:?}", errors(&report));
    }
}

#[test]
fn unknown_values_are_written_as_null_and_never_left_out() {
    let mut report = json_of(&empty_report());
    assert_eq!(report["summary"]["downtime_seconds"], Value::Null);
    report["summary"].as_object_mut().unwrap().remove("downtime_seconds").unwrap();
    let errors = errors(&report);
    assert_eq!(errors.len(), 1);
    assert!(errors[0].contains("downtime_seconds"), "{errors:?}");
}

#[test]
fn fields_of_later_minor_versions_validate() {
    let mut report = json_of(&empty_report());
    report["schema_version"] = json!("1.7");
    report["summary"]["mood"] = json!("good");
    assert_eq!(errors(&report), [""; 0]);
}

#[test]
fn the_schema_has_a_title_and_says_what_the_document_is() {
    let schema = schema();
    assert_eq!(schema["title"], "Sterna migration report");
    assert_eq!(schema["properties"]["schema"]["const"], SCHEMA_NAME);
    assert!(schema["description"].as_str().unwrap().contains("Unknown values are null"));
}

#[test]
fn every_property_type_and_enum_value_has_a_description() {
    let mut missing = Vec::new();
    let mut properties = 0;
    let schemas = Document::ALL.map(|it| (it.as_str().to_owned(), schema_of(it)));
    let schemas = Value::Object(schemas.into_iter().collect());
    walk(&schemas, "", &mut |path, node| {
        let parent = path.rsplit('/').nth(1).unwrap_or_default();
        // The two fields of an event are described by what they are fields of.
        let events = ["/dirty-stream/oneOf/", "/stream-lines/oneOf/", "/probe-stream/oneOf/"];
        if events.iter().any(|it| path.starts_with(it)) && path.contains("/properties/") {
            return;
        }
        let named =
            ["properties", "$defs", "oneOf"].contains(&parent) || node.get("const").is_some();
        let described = node["description"].as_str().is_some_and(|text| text.len() > 10);
        properties += usize::from(named);
        if named && !described {
            missing.push(path.to_owned());
        }
    });
    assert_eq!(missing, [""; 0]);
    assert!(properties > 230, "the walk saw only {properties} properties");
}

fn walk(node: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, node);
    match node {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| walk(value, &format!("{path}/{name}"), visit));
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(i, item)| walk(item, &format!("{path}/{i}"), visit));
        }
        _ => {}
    }
}

/// The committed copy lets a review see what changes for readers of reports.
/// `UPDATE_SCHEMA=1 cargo test -p sterna-report` rewrites it.
#[test]
fn the_committed_schemas_are_current() {
    for document in Document::ALL {
        let name = format!("{}.schema.json", document.as_str());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&name);
        let current = serde_json::to_string_pretty(&schema_of(document)).unwrap() + "\n";
        if env::var_os("UPDATE_SCHEMA").is_some() {
            fs::write(&path, &current).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap();
        assert!(committed == current, "{name} is out of date: set UPDATE_SCHEMA=1 and run again");
    }
}
