//! Encrypted streams, with evidence from both sides; and each way in which that can be wrong.

use super::techniques::number;
use super::{Bench, detail};

#[test]
fn certificates_are_made_and_every_connection_is_encrypted() {
    let Some(bench) = Bench::new() else { return };
    let channels = ["--multifd-channels", "3"];
    let outcome = bench.outcome(&[&["--tls-mode", "x509"], &channels[..]].concat());
    outcome.assert_ended(0, "completed", "verified");
    assert_eq!(detail(&outcome, "/tls/mode"), "x509");
    assert_eq!(detail(&outcome, "/tls/handshakes_source"), 4);
    assert_eq!(detail(&outcome, "/tls/handshakes_destination"), 4);
    assert!(number(detail(&outcome, "/source_counters/multifd_bytes")) > 0.0);
}

#[test]
fn strangers_do_not_get_the_guest() {
    let Some(bench) = Bench::new() else { return };
    let stranger = ["--x-break", "strangers"];
    let outcome = bench.outcome(&[&["--tls-mode", "x509"], &stranger[..]].concat());
    outcome.assert_ended(3, "failed", "verified");
    outcome.assert_reason_has("ertificate");
    assert_eq!(outcome.report()["summary"]["integrity_detail"]["side"], "source");
}

#[test]
fn a_stream_in_clear_is_not_taken_for_an_encrypted_one() {
    let Some(bench) = Bench::new() else { return };
    let outcome = bench.outcome(&["--tls", "--x-break", "clear-text"]);
    outcome.assert_ended(0, "completed", "verified");
    assert!(outcome.report()["warnings"].to_string().contains("tls-unproven"));
    assert_ne!(detail(&outcome, "/tls/handshakes_source"), 1);
}

#[test]
fn certificates_that_are_not_there_are_named() {
    let Some(bench) = Bench::new() else { return };
    let nowhere = ["--tls-credentials", "/nonexistent/certificates"];
    let outcome = bench.outcome(&[&["--tls-mode", "x509"], &nowhere[..]].concat());
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("migration.tls.credentials: ");
    outcome.assert_reason_has("/nonexistent/certificates");
}
