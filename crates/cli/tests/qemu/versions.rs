//! From one version of QEMU to another and back, and what only an old one has.
//!
//! Under TCG an old QEMU forgets writes once memory is synchronised twice, so these guests are moved in one pass.

use std::path::PathBuf;

use super::techniques::number;
use super::{Bench, detail, major};

/// One pass: whatever was written meanwhile travels while the guest stands still.
const ONE_PASS: [&str; 6] =
    ["--max-bandwidth", "unlimited", "--downtime-limit", "30s", "--rate", "1MiB/s"];

/// The machine type that both have.
const MACHINE: [&str; 2] = ["--machine", "pc-i440fx-7.2"];

fn old() -> Option<String> {
    let program = "qemu-system-x86_64";
    if major(&PathBuf::from(program)).is_some_and(|it| (7..9).contains(&it)) {
        return Some(program.to_owned());
    }
    eprintln!("skipped: {program} is no QEMU 7.2 or 8");
    None
}

#[test]
fn a_guest_moves_to_a_newer_qemu_and_back() {
    let (Some(bench), Some(old)) = (Bench::new(), old()) else { return };
    let new = bench.program.to_str().unwrap().to_owned();
    for (source, destination) in [(&old, &new), (&new, &old)] {
        let between = ["--qemu-source", source, "--qemu-destination", destination];
        let outcome = bench.outcome(&[&between[..], &ONE_PASS, &MACHINE].concat());
        outcome.assert_ended(0, "completed", "verified");
        let versions = &outcome.report()["engine"]["peer_versions"];
        assert_ne!(versions["source"], versions["destination"]);
        assert_eq!(detail(&outcome, "/machine"), "pc-i440fx-7.2");
    }
}

#[test]
fn an_old_qemu_compresses_in_threads_of_its_own() {
    let (Some(bench), Some(old)) = (Bench::new(), old()) else { return };
    let outcome = bench.outcome(&[&["--qemu-source", &old, "--compress"], &ONE_PASS[..]].concat());
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
