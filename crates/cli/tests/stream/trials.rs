//! What is tried, on loopback.

use serde_json::Value;

use crate::harness::{Server, number, report};

const PAGE: f64 = 4096.0;

#[track_caller]
fn bytes(report: &Value, side: &str, what: &str) -> f64 {
    number(report, &format!("/summary/{side}/{what}_bytes"))
}

#[test]
fn what_is_sent_arrives_and_both_sides_count_it() {
    let server = Server::start();
    // Not a whole number of blocks, and less than one block at the end.
    let report = report(&[&server.address, "-n", "10000KiB", "-l", "64KiB"]);
    let sent = 10_000.0 * 1024.0;
    assert_eq!(bytes(&report, "client", "sent"), sent);
    assert_eq!(bytes(&report, "server", "received"), sent);
    assert_eq!(report["summary"]["client"]["received_bytes"], Value::Null);
    assert_eq!(report["summary"]["ended_by"], "bytes");
    // Heads have 16 bytes, one for each block and one for the end.
    let heads = 16.0 * ((sent / 65_536.0).ceil() + 1.0);
    assert_eq!(number(&report, "/summary/client/wire_sent_bytes"), sent + heads);
    assert_eq!(number(&report, "/summary/server/wire_received_bytes"), sent + heads);
    assert!(number(&report, "/summary/client/tcp/congestion_window_max_bytes") > 0.0);
    assert!(number(&report, "/summary/server/cpu_seconds") > 0.0);
    let lanes = report["summary"]["server"]["lanes"].as_array().unwrap();
    assert_eq!((lanes.len(), lanes[0]["congestion"].as_str()), (1, Some("reno")));
}

#[test]
fn channels_share_the_bytes_of_each_direction() {
    let server = Server::start();
    let flags = ["--channels", "4", "--direction", "both", "-n", "40MiB", "--memory", "16MiB"];
    let report = report(&[&[&*server.address], &flags[..]].concat());
    let all = 40.0 * 1_048_576.0;
    for side in ["client", "server"] {
        assert_eq!(bytes(&report, side, "sent"), all);
        assert_eq!(bytes(&report, side, "received"), all);
        assert_eq!(report["summary"][side]["lanes"].as_array().unwrap().len(), 8);
    }
}

#[test]
fn requests_are_answered_and_timed_where_they_are_made() {
    let server = Server::start();
    for (direction, asks, answers) in
        [("send", "server", "client"), ("receive", "client", "server")]
    {
        let flags = ["--mode", "postcopy", "--vcpus", "3", "--duration", "300ms"];
        let report = report(&[&[&*server.address, "--direction", direction], &flags[..]].concat());
        let count = number(&report, &format!("/summary/{asks}/requests/awaited/count"));
        assert_eq!(count, number(&report, &format!("/summary/{answers}/answered_requests")));
        assert!(count > 10.0);
        let time =
            |name: &str| number(&report, &format!("/summary/{asks}/requests/awaited/{name}"));
        let times = ["p50_ns", "p90_ns", "p99_ns", "p99_9_ns", "max_ns"].map(time);
        assert!(times.is_sorted() && times[0] > 1000.0, "{times:?}");
        assert_eq!(number(&report, &format!("/summary/{asks}/requests/unanswered")), 0.0);
        let cells = report["summary"][asks]["requests"]["cells"].as_array().unwrap();
        let counted: f64 = cells.iter().map(|it| it["count"].as_f64().unwrap()).sum();
        assert_eq!(counted, count);
        assert_eq!(report["summary"][answers]["requests"], Value::Null);
        assert_eq!(report["summary"]["estimate"], Value::Null);
    }
}

#[test]
fn both_modes_run_beside_each_other_with_and_without_preempt() {
    let server = Server::start();
    for preempt in [&[][..], &["--preempt"]] {
        let flags = ["--mode", "both", "--bandwidth", "400Mbit/s", "--duration", "500ms"];
        let report = report(&[&[&*server.address], &flags[..], preempt].concat());
        let rate = number(&report, "/summary/server/received_bytes_per_second");
        // The limit is for bulk alone, and 10 ms worth of it may come at once.
        assert!((20e6..=53e6).contains(&rate), "{rate}");
        assert!(number(&report, "/summary/server/requests/awaited/count") > 10.0);
        let lanes = report["summary"]["client"]["lanes"].as_array().unwrap();
        assert_eq!(lanes.len(), 1 + preempt.len());
        assert_eq!(lanes.iter().any(|it| it["urgent"] == true), !preempt.is_empty());
    }
}

#[test]
fn requests_end_with_the_last_byte() {
    let server = Server::start();
    for preempt in [&[][..], &["--preempt"]] {
        let flags =
            [&*server.address, "--mode", "both", "-n", "64MiB", "-P", "2", "--prefetch", "3"];
        let report = report(&[&flags[..], preempt].concat());
        assert_eq!(bytes(&report, "server", "received"), 64.0 * 1_048_576.0);
        assert_eq!(number(&report, "/summary/server/requests/unanswered"), 0.0);
        assert!(number(&report, "/summary/server/requests/ahead/count") > 0.0);
    }
}

#[test]
fn memory_is_sent_dirtied_packed_placed_and_from_where_it_is() {
    let server = Server::start();
    let memory = ["--memory", "16MiB", "-n", "32MiB"];
    let run = |flags: &[&str]| report(&[&[&*server.address], &memory[..], flags].concat());
    let all = 32.0 * 1_048_576.0;
    let dirtied = run(&["--dirty", "rate=20MB/s method=write64", "--bandwidth", "100MB/s"]);
    let touched = number(&dirtied, "/summary/client/touch_rate_bytes_per_second");
    assert!((5e6..=21e6).contains(&touched), "{touched}");
    assert_eq!(dirtied["summary"]["server"]["touch_rate_bytes_per_second"], Value::Null);
    for placed in [run(&["--place"]), run(&["--place", "--direction", "receive", "-P", "2"])] {
        assert_eq!(placed["spec"]["place"], true);
    }
    for method in ["zlib", "zstd"] {
        // What it holds at first cannot be made smaller; this can.
        let dirty = ["--dirty", "rate=unlimited method=write64 workers=2"];
        let flags = [&["--compression", method, "--place"], &dirty[..]].concat();
        let packed = run(&flags);
        assert_eq!(bytes(&packed, "server", "received"), all);
        let wire = number(&packed, "/summary/server/wire_received_bytes");
        assert!(wire < all * 0.9, "{method}: {wire} of {all} bytes");
        assert_eq!(wire, number(&packed, "/summary/client/wire_sent_bytes"));
    }
    let plain = run(&["--compression", "zstd"]);
    assert!(number(&plain, "/summary/server/wire_received_bytes") >= all);
    let zero_copy = run(&["--zero-copy"]);
    let sends = number(&zero_copy, "/summary/client/zero_copy/sends");
    let copied = number(&zero_copy, "/summary/client/zero_copy/copied");
    assert!(sends >= all / (128.0 * 1024.0) && copied == sends, "{copied} of {sends}");
    assert_eq!(zero_copy["summary"]["server"]["zero_copy"], Value::Null);
}

#[test]
fn a_limit_holds_for_all_channels_together_and_for_small_rates() {
    let server = Server::start();
    for (limit, channels, rate) in [("200Mbit/s", "4", 25e6), ("2MB/s", "1", 2e6)] {
        let flags = ["--bandwidth", limit, "-P", channels, "--duration", "1s"];
        let report = report(&[&[&*server.address], &flags[..]].concat());
        let found = number(&report, "/summary/client/sent_bytes_per_second") / rate;
        assert!((0.8..=1.03).contains(&found), "{limit}: {found}");
    }
}

#[test]
fn options_reach_the_connections() {
    let server = Server::start();
    let flags = ["--congestion", "cubic", "--dscp", "cs1", "-w", "100KiB", "-n", "1MiB"];
    let found = crate::harness::stream(&[&[&*server.address], &flags[..], &["-J"]].concat());
    if found.stderr.contains("cannot be used here") {
        eprintln!(
            "skipped: this kernel does not let cubic be chosen (net.ipv4.tcp_allowed_congestion_control)"
        );
        return;
    }
    let report = found.report();
    for side in ["client", "server"] {
        assert_eq!(report["summary"][side]["lanes"][0]["congestion"], "cubic");
    }
    assert_eq!(report["spec"]["dscp"], 8);
    assert_eq!(report["spec"]["send_buffer_bytes"], 100 << 10);
}

#[test]
fn the_estimate_follows_from_what_arrived() {
    let server = Server::start();
    let report = report(&[&server.address, "--bandwidth", "80MB/s", "--duration", "500ms"]);
    let estimate = &report["summary"]["estimate"];
    let rate = number(estimate, "/throughput_bytes_per_second");
    assert_eq!(rate, number(&report, "/summary/server/received_bytes_per_second"));
    let sizes = estimate["sizes"].as_array().unwrap();
    let gibs: Vec<f64> =
        sizes.iter().map(|it| number(it, "/memory_bytes") / 1_073_741_824.0).collect();
    assert_eq!(gibs, [1.0, 8.0, 64.0, 300.0]);
    for size in sizes {
        let send = number(size, "/memory_bytes") / rate;
        assert!((number(size, "/send_seconds") / send - 1.0).abs() < 1e-9);
        let ceilings =
            [0, 1].map(|it| number(size, &format!("/ceilings/{it}/dirty_rate_bytes_per_second")));
        assert!(ceilings[0] <= ceilings[1] && ceilings[0] > rate * 0.5, "{ceilings:?} at {rate}");
    }
}

#[test]
fn pages_are_asked_for_all_over_the_memory() {
    let server = Server::start();
    // Every page that is asked for is there, also the last one.
    let flags =
        ["--mode", "postcopy", "--memory", "4100KiB", "--prefetch", "64", "--duration", "300ms"];
    let report = report(&[&[&*server.address], &flags[..]].concat());
    let moved = number(&report, "/summary/client/lanes/0/bytes");
    assert_eq!(moved, PAGE * number(&report, "/summary/client/answered_requests"));
}
