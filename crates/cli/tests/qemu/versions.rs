//! From one version of QEMU to another and back, and what an old one has, lacks, and does wrong.

use std::path::PathBuf;

use super::counters::assert_agree;
use super::lost_link::LOST_IN_POSTCOPY;
use super::techniques::number;
use super::{Bench, NEVER_ENDING, Outcome, detail, major};

/// The machine type that both have.
const MACHINE: [&str; 2] = ["--machine", "pc-i440fx-7.2"];

/// What the guest gets beyond what was asked for, so that an old emulator forgets nothing.
const ADDED_BYTES: u64 = 8192;

fn old() -> Option<String> {
    let program = "qemu-system-x86_64";
    if major(&PathBuf::from(program)).is_some_and(|it| (7..9).contains(&it)) {
        return Some(program.to_owned());
    }
    eprintln!("skipped: {program} is no QEMU 7.2 or 8");
    None
}

fn has_warning(outcome: &Outcome, code: &str) -> bool {
    let warnings = outcome.report()["warnings"].as_array().unwrap();
    warnings.iter().any(|it| it["code"] == code)
}

/// Several passes, which an old emulator of an even guest does not survive.
#[test]
fn an_old_qemu_loses_nothing_in_several_passes() {
    let (Some(bench), Some(old)) = (Bench::new(), old()) else { return };
    for more in [&[][..], &["--multifd"]] {
        let outcome = bench.outcome(&[&["--qemu-source", &old, "--hold"], more].concat());
        outcome.assert_ended(0, "completed", "verified");
        assert_eq!(detail(&outcome, "/hold/proven"), true);
        assert!(number(outcome.summary("pages_resent")) > 0.0);
        assert_eq!(detail(&outcome, "/memory_bytes"), (160 << 20) + ADDED_BYTES);
        // A careful synchronisation takes long, and what it finds belongs to the pass that it begins.
        assert_agree(&outcome);
        assert!(has_warning(&outcome, "memory-size-odd"));
        assert!(!has_warning(&outcome, "emulation-forgets-writes"));
    }
}

/// The same guest with the size that was asked for; that it arrives damaged is likely, and nothing to rely on.
#[test]
fn an_old_qemu_with_an_even_guest_is_warned_about() {
    let (Some(bench), Some(old)) = (Bench::new(), old()) else { return };
    let outcome = bench.outcome(&["--qemu-source", &old, "--hold", "--x-break", "even-memory"]);
    assert_eq!(detail(&outcome, "/memory_bytes"), 160 << 20);
    assert!(has_warning(&outcome, "emulation-forgets-writes"));
    assert!(!has_warning(&outcome, "memory-size-odd"));
}

#[test]
fn an_old_qemu_recovers_from_a_lost_link() {
    let (Some(bench), Some(old)) = (Bench::new(), old()) else { return };
    let more = ["--qemu-source", &old, "--postcopy-recover"];
    let outcome = bench.outcome(&[&NEVER_ENDING[..], &LOST_IN_POSTCOPY, &more].concat());
    outcome.assert_ended(0, "completed", "verified");
    assert!(detail(&outcome, "/postcopy_recoveries").as_u64() >= Some(1));
}

#[test]
fn an_old_qemu_does_not_get_multifd_and_post_copy_together() {
    let (Some(bench), Some(old)) = (Bench::new(), old()) else { return };
    let more = ["--qemu-source", &old, "--multifd", "--postcopy-after-passes", "1"];
    let outcome = bench.outcome(&[&NEVER_ENDING[..], &more].concat());
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("migration.multifd: QEMU 7.");
}

#[test]
fn a_guest_moves_to_a_newer_qemu_and_back() {
    let (Some(bench), Some(old)) = (Bench::since(9), old()) else { return };
    let new = bench.program.to_str().unwrap().to_owned();
    for (source, destination) in [(&old, &new), (&new, &old)] {
        let between = ["--qemu-source", source, "--qemu-destination", destination];
        let outcome = bench.outcome(&[&between[..], &["--hold"], &MACHINE].concat());
        outcome.assert_ended(0, "completed", "verified");
        let versions = &outcome.report()["engine"]["peer_versions"];
        assert_ne!(versions["source"], versions["destination"]);
        assert_eq!(detail(&outcome, "/machine"), "pc-i440fx-7.2");
        // It is the source that keeps track of what is written.
        let added = if source == &old { ADDED_BYTES } else { 0 };
        assert_eq!(detail(&outcome, "/memory_bytes"), (160 << 20) + added);
    }
}

#[test]
fn an_old_qemu_compresses_in_threads_of_its_own() {
    let (Some(bench), Some(old)) = (Bench::new(), old()) else { return };
    let outcome = bench.outcome(&["--qemu-source", &old, "--compress", "--hold"]);
    outcome.assert_ended(0, "completed", "verified");
    assert!(number(detail(&outcome, "/source_counters/compressed_pages")) > 0.0);
}

#[test]
fn an_old_qemu_says_what_it_lacks() {
    let (Some(bench), Some(old)) = (Bench::new(), old()) else { return };
    let table: [(&[&str], &str); 3] = [
        (&["--transport", "file"], "migration.transport: unknown migration protocol: file:"),
        (&["--switchover-ack"], "does not accept value 'switchover-ack'"),
        (&["--switchover-bandwidth", "1Gbit/s"], "'avail-switchover-bandwidth' is unexpected"),
    ];
    for (arguments, reason) in table {
        let outcome = bench.outcome(&[&["--qemu-source", &old], arguments].concat());
        outcome.assert_ended(5, "unsupported", "unchecked");
        outcome.assert_reason_has(reason);
    }
}
