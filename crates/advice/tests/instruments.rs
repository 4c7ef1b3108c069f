//! Files in which no migration is: an instrument's, or an answer from before one began.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::path::Path;

use sterna_advice::{Evidence, EvidenceError, Figures, diagnose};
use sterna_report::Report;
use sterna_report::readers::read_any_bytes;

const STREAM: &str = r#"{"start": {"version": "iperf 3.12", "test_start": {"protocol": "TCP"}},
    "intervals": [{"sum": {"start": 0, "end": 1, "bytes": 125000000, "bits_per_second": 1e9}}],
    "end": {}}"#;
const BROKEN: &str = r#"{"error": "unable to connect to server: Connection refused"}"#;
const DIRTY: &str = "dirty-rate: 500 (MB/s), time (ms): 1000, load: 12.50%\n";
const SPIKES: &str = "1464690000,-1\n1464690010,312\n";

fn report(pasted: &str) -> Report {
    read_any_bytes(Path::new("pasted"), pasted.as_bytes()).unwrap().report
}

#[test]
fn an_instruments_file_is_diagnosed_as_no_migration_and_never_as_one_under_way() {
    for (pasted, measured) in [
        (STREAM, "iperf3 measured a stream"),
        (BROKEN, "Connection refused"),
        (DIRTY, "mig_mon measured writes"),
        (SPIKES, "mig_mon measured late messages"),
    ] {
        let found = diagnose(&report(pasted));
        assert!(found.what.starts_with("The file holds no migration: "), "{}", found.what);
        assert!(found.what.contains(measured), "no {measured:?} in {}", found.what);
        assert!(found.why.concat().contains("query-migrate"), "no way out: {:?}", found.why);
        assert_eq!(found.advice, []);
    }
}

#[test]
fn an_instruments_file_is_no_evidence_even_beside_figures() {
    let figures = Figures { memory_bytes: Some(1 << 30), ..Figures::default() };
    for pasted in [STREAM, BROKEN, DIRTY, SPIKES] {
        let error = Evidence::from_report(&report(pasted), None, &figures).unwrap_err();
        assert!(matches!(error, EvidenceError::NoMigration { .. }), "{error}");
        assert!(error.to_string().contains("--dirty-rate"), "{error}");
    }
}

#[test]
fn an_answer_from_before_a_migration_is_not_diagnosed_as_one_under_way() {
    for status in ["none", "setup"] {
        let found = diagnose(&report(&format!(r#"{{"return": {{"status": "{status}"}}}}"#)));
        assert!(found.what.starts_with("No migration was under way"), "{}", found.what);
        assert!(found.what.contains(status), "{}", found.what);
        assert_eq!(found.why, [""; 0]);
    }
    let empty = read_any_bytes(Path::new("pasted"), br#"{"return": {}}"#).unwrap_err();
    assert!(empty.to_string().contains("before its first migration"), "{empty}");
}

#[test]
fn a_run_that_was_interrupted_in_its_warm_up_is_not_diagnosed_as_under_way() {
    let mut report = report(r#"{"return": {"status": "none"}}"#);
    report.timeline.clear();
    report.summary.verdict_reason = Some("Interrupted by the user during the warm-up".to_owned());
    let found = diagnose(&report);
    let expected = "No migration was under way when it was last seen: Interrupted by the user";
    assert!(found.what.starts_with(expected), "{}", found.what);
}
