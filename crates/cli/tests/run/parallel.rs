//! Parallel connections: pages arrive whole whatever the way, limits hold, and what goes wrong on one of them is told.

use serde_json::Value;

use crate::harness::{Outcome, Run};

/// Slow enough for a few passes, with pages that are sent again.
const BUSY: [&str; 6] =
    ["--max-bandwidth", "60MB/s", "--rate", "16MiB/s", "--downtime-limit", "20ms"];

fn parallel(channels: &str, arguments: &[&str]) -> Outcome {
    Run::small(&[&["--multifd-channels", channels], arguments].concat()).outcome()
}

#[track_caller]
fn details(outcome: &Outcome) -> &Value {
    let details = &outcome.report()["engine"]["details"]["multifd"];
    assert!(details.is_object(), "no details of multifd");
    details
}

fn sum(channels: &Value, field: &str) -> u64 {
    channels.as_array().unwrap().iter().map(|it| it[field].as_u64().unwrap()).sum()
}

#[test]
fn memory_arrives_whole_over_any_number_of_connections() {
    for channels in ["1", "2", "5", "64"] {
        let outcome = parallel(channels, &BUSY);
        outcome.assert_ended(0, "completed", "verified");
        let found = details(&outcome);
        let (source, destination) = (&found["source"], &found["destination"]);
        assert_eq!(source.as_array().unwrap().len().to_string(), channels);
        // Both sides count the same, and the totals are those of the run.
        for field in ["packets", "pages", "wire_bytes"] {
            assert!(sum(source, field) > 0);
            assert_eq!(sum(source, field), sum(destination, field), "{field}");
        }
        assert_eq!(sum(source, "pages"), outcome.summary("pages_sent").as_u64().unwrap());
        let passes = outcome.report()["passes"].as_array().unwrap().len() as u64;
        let syncs = found["syncs"].as_u64().unwrap();
        assert!(syncs >= 2 && syncs <= passes, "{syncs} of {passes}");
    }
}

#[test]
fn zero_pages_are_found_where_the_scenario_says() {
    let zero_pages = |outcome: &Outcome| {
        outcome.assert_ended(0, "completed", "verified");
        let sent = outcome.summary("zero_pages").as_u64().unwrap();
        (sent, sum(&details(outcome)["source"], "zero_pages"))
    };
    // Three quarters of 32 MiB are never written.
    let (main, by_channels) = zero_pages(&parallel("2", &["--zero-page", "main"]));
    assert!(main >= 6144 && by_channels == 0);
    let (all, by_channels) = zero_pages(&parallel("2", &["--zero-page", "multifd"]));
    assert!(all >= 6144 && by_channels == all);
    assert_eq!(zero_pages(&parallel("2", &["--zero-page", "off"])), (0, 0));
}

#[test]
fn packed_content_is_smaller_and_arrives_whole() {
    for compression in ["zlib", "zstd"] {
        let outcome = parallel(
            "3",
            &[
                "--multifd-compression",
                compression,
                "--method",
                "compressible(4)",
                "--rate",
                "32MiB/s",
                "--warmup",
                "500ms",
                "--max-bandwidth",
                "30MB/s",
                "--sample-interval",
                "20ms",
            ],
        );
        outcome.assert_ended(0, "completed", "verified");
        let found = details(&outcome);
        assert!(found["compression_ratio"].as_f64().unwrap() > 1.5, "{found}");
        assert!(found["compressed_packets"].as_u64().unwrap() > 0);
        let (raw, content) = (found["raw_bytes"].as_u64(), found["content_bytes"].as_u64());
        assert!(content < raw);
        let source = outcome.summary("cpu")["source"].as_array().unwrap();
        assert!(source.iter().any(|it| it["class"] == "multifd"), "{source:?}");
    }
}

#[test]
fn content_that_cannot_be_packed_travels_as_it_is() {
    let outcome = parallel(
        "2",
        &["--multifd-compression", "zstd", "--method", "fill-random", "--memory", "16MiB"],
    );
    outcome.assert_ended(0, "completed", "verified");
    assert!(details(&outcome)["compression_ratio"].as_f64().unwrap() >= 1.0);
}

#[test]
fn zero_copy_sends_are_counted_and_so_are_the_copies_of_the_kernel() {
    let outcome = parallel("2", &[&["--zero-copy"][..], &BUSY].concat());
    outcome.assert_ended(0, "completed", "verified");
    let zero_copy = &details(&outcome)["zero_copy"];
    let sends = zero_copy["sends"].as_u64().unwrap();
    assert!(sends > 0);
    // Loopback always copies; every send was waited for.
    assert_eq!(zero_copy["copied_by_the_kernel"], sends);
    let warnings = outcome.report()["warnings"].to_string();
    assert!(warnings.contains("zero-copy-copied") && warnings.contains("checksum-headers-only"));
}

#[test]
fn over_unix_sockets_and_a_long_wire_too() {
    parallel("3", &["--transport", "unix"]).assert_ended(0, "completed", "verified");
    parallel("3", &["--link-latency", "5ms"]).assert_ended(0, "completed", "verified");
    let outcome = parallel("2", &["--transport", "unix", "--zero-copy"]);
    assert_eq!(outcome.code, Some(5), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("migration.zero-copy"), "{}", outcome.stdout);
    let outcome = parallel("65", &[]);
    assert_eq!(outcome.code, Some(5), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("migration.multifd.channels"), "{}", outcome.stdout);
}

#[test]
fn a_limit_holds_over_any_second_for_any_number_of_connections() {
    for (channels, limit) in [("1", 30e6), ("4", 30e6), ("16", 10e6)] {
        let limit_text = format!("{limit}B/s");
        let outcome = parallel(
            channels,
            &[
                "--memory",
                "64MiB",
                "--ballast",
                "75%",
                "--rate",
                "idle",
                "--max-bandwidth",
                &limit_text,
                "--sample-interval",
                "20ms",
                "--downtime-limit",
                "1ms",
            ],
        );
        outcome.assert_ended(0, "completed", "verified");
        let worst = most_in_a_second(&outcome);
        assert!(worst <= limit * 1.03, "{channels} channels: {worst} B/s of {limit}");
    }
}

/// Most bytes that left between two polls at most a second apart, before the stop.
fn most_in_a_second(outcome: &Outcome) -> f64 {
    let polls: Vec<(f64, f64)> = outcome.report()["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["state"] == "active")
        .filter_map(|it| Some((it["t_seconds"].as_f64()?, it["transferred_bytes"].as_f64()?)))
        .collect();
    assert!(polls.len() > 20, "{} polls", polls.len());
    let within = |from: &(f64, f64), to: &(f64, f64)| to.0 > from.0 && to.0 <= from.0 + 1.0;
    let windows = polls
        .iter()
        .flat_map(|from| polls.iter().filter(|to| within(from, to)).map(|to| to.1 - from.1));
    windows.fold(0.0, f64::max)
}

#[test]
fn what_breaks_on_one_connection_leaves_the_guest_on_the_source() {
    #[track_caller]
    fn check(defects: &str, reason: &str) {
        let outcome = parallel("3", &[&["--x-break", defects][..], &BUSY].concat());
        outcome.assert_ended(3, "failed", "verified");
        outcome.assert_reason_has(reason);
        assert_eq!(outcome.summary("integrity_detail")["side"], "source");
    }
    check("source:cut-channel=pass1", "hannel");
    check("source:cut-channel=pass2", "hannel");
    check("source:corrupt-packet", "Checksum mismatch in a Packet frame");
    check("destination:die=pass1", "onnection");
    check("source:disconnect=pass1", "onnection");
}

#[test]
fn without_synchronisation_an_older_copy_overwrites_a_newer_one() {
    // Eight packets in pass 1, so that the next copies of the first pages travel on another connection; and one packet fits the buffers of a connection on which nobody reads.
    let arguments = [
        "--workload-memory",
        "4MiB",
        "--max-bandwidth",
        "200MB/s",
        "--rate",
        "128MiB/s",
        "--downtime-limit",
        "20ms",
    ];
    let late = "destination:late-packet=600ms";
    // A late packet alone does no harm.
    let outcome = parallel("16", &[&["--x-break", late][..], &arguments].concat());
    outcome.assert_ended(0, "completed", "verified");
    let both = format!("{late},source:skip-channel-sync");
    let outcome = parallel("16", &[&["--x-break", &both][..], &arguments].concat());
    outcome.assert_ended(4, "completed", "corrupt");
}

#[test]
fn techniques_of_the_pilot_work_with_parallel_connections() {
    let hard = ["--max-bandwidth", "10MB/s", "--rate", "64MiB/s"];
    let cancelled =
        parallel("4", &[&["--max-time", "700ms", "--limits-then", "cancel"][..], &hard].concat());
    cancelled.assert_ended(3, "cancelled", "verified");
    let paused = parallel("4", &[&["--pause-after", "500ms"][..], &hard].concat());
    paused.assert_ended(0, "completed-forced", "verified");
}
