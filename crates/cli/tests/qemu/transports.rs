//! Each way for the stream carries a guest with all of its memory; what a QEMU lacks is refused before anything moves.

use super::techniques::number;
use super::{Bench, detail};

#[test]
fn a_stream_goes_over_sockets_that_were_handed_over() {
    let Some(bench) = Bench::new() else { return };
    let outcome = bench.outcome(&["--transport", "fd"]);
    outcome.assert_ended(0, "completed", "verified");
    assert_eq!(detail(&outcome, "/stream_uri"), "fd:sterna-stream");
    assert_eq!(outcome.report()["engine"]["transport"], "fd");
}

/// The post-copy shows that the way leads back too: pages are asked for on it.
#[test]
fn a_stream_goes_through_commands_both_ways() {
    let Some(bench) = Bench::new() else { return };
    let postcopy = ["--postcopy-after-passes", "0", "--postcopy-preempt=false"];
    let outcome = bench.outcome(&[&["--transport", "exec"], &postcopy[..]].concat());
    outcome.assert_ended(0, "completed", "verified");
    assert!(detail(&outcome, "/stream_uri").as_str().unwrap().starts_with("exec:cat <"));
    assert!(number(detail(&outcome, "/source_counters/postcopy_requests")) > 0.0);
}

/// Every page has a place of its own, so the file is as long as the guest's memory, and several threads write it past the page cache.
#[test]
fn a_stream_is_a_file_with_a_place_for_every_page() {
    let Some(bench) = Bench::since(9) else { return };
    let target = env!("CARGO_TARGET_TMPDIR");
    let mut arguments = vec!["--transport", "file", "--mapped-ram", "--multifd"];
    arguments.extend(["--direct-io", "--stream-directory", target]);
    let outcome = bench.outcome(&arguments);
    outcome.assert_ended(0, "completed", "verified");
    assert!(number(detail(&outcome, "/stream_file_bytes")) >= f64::from(160 << 20));
    assert!(number(detail(&outcome, "/source_counters/multifd_bytes")) > 0.0);
    let path = detail(&outcome, "/stream_uri").as_str().unwrap().strip_prefix("file:").unwrap();
    assert!(path.starts_with(target) && !std::path::Path::new(path).exists(), "{path}");
}

#[test]
fn a_file_that_cannot_be_read_leaves_the_guest_on_the_source() {
    let Some(bench) = Bench::since(9) else { return };
    let outcome = bench.outcome(&["--transport", "file", "--x-break", "short-file"]);
    outcome.assert_ended(3, "failed", "verified");
    outcome.assert_reason_has("destination: QEMU ended with exit code 1");
    assert_eq!(outcome.report()["summary"]["integrity_detail"]["side"], "source");
    assert!(outcome.report()["events"].to_string().contains("qemu-resume"));
}

#[test]
fn what_the_binary_lacks_is_refused_in_its_words() {
    let Some(bench) = Bench::since(9) else { return };
    let table: [(&[&str], &str); 3] = [
        (
            &["--compress"],
            "migration.compress: Parameter 'capability' does not accept value 'compress'; QEMU has it up to 9.0",
        ),
        (
            &["--multifd-compression", "uadk"],
            "does not accept value 'uadk'; it has none, zlib, zstd",
        ),
        (
            &["--multifd", "--postcopy-after-passes", "1"],
            "Postcopy is not yet compatible with multifd",
        ),
    ];
    for (arguments, reason) in table {
        let outcome = bench.outcome(arguments);
        // Another build may have them.
        if outcome.report()["summary"]["verdict"] == "completed" {
            continue;
        }
        outcome.assert_ended(5, "unsupported", "unchecked");
        outcome.assert_reason_has(reason);
    }
}

#[test]
fn rdma_without_a_device_is_refused_in_the_binarys_words() {
    let Some(bench) = Bench::new() else { return };
    if std::path::Path::new("/sys/class/infiniband").exists() {
        eprintln!("skipped: this machine may have RDMA");
        return;
    }
    let outcome = bench.outcome(&["--transport", "rdma"]);
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("migration.transport: ");
    outcome.assert_reason_has("destination)");
}

#[test]
fn the_destinations_devices_are_asked_and_the_switchover_is_planned() {
    let Some(bench) = Bench::since(9) else { return };
    // At 8 Mbit/s nothing but an idle guest would fit into the limit.
    let mut arguments = vec!["--switchover-ack", "--switchover-bandwidth", "8Mbit/s"];
    arguments.extend(["--rate", "unlimited", "--max-time", "4s"]);
    let outcome = bench.outcome(&arguments);
    outcome.assert_ended(3, "cancelled", "verified");
    arguments[2] = "100Gbit/s";
    let outcome = bench.outcome(&arguments);
    outcome.assert_ended(0, "completed", "verified");
}
