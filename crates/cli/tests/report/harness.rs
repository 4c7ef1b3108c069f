//! Reports to work with, and the program that shows them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

pub fn sterna(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
    command.args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Runs `sterna report` and gives its stdout; it must succeed.
#[track_caller]
pub fn report(arguments: &[&str]) -> String {
    let output = sterna(&[&["report"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", words(&output.stderr));
    words(&output.stdout)
}

/// Runs `sterna report`, which must fail with this code, and gives what it says.
#[track_caller]
pub fn refused(arguments: &[&str], code: i32) -> String {
    let output = sterna(&[&["report"], arguments].concat());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", words(&output.stderr));
    let said = words(&output.stderr);
    assert!(said.starts_with("error: "), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

pub fn words(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A real, short migration of several passes.
pub fn real_report(directory: &Path) -> PathBuf {
    let path = directory.join("real.json");
    let output = sterna(&[
        "run",
        "--memory",
        "64MiB",
        "--max-bandwidth",
        "400Mbit/s",
        "--downtime-limit",
        "20ms",
        "--warmup",
        "300ms",
        "--cooldown",
        "300ms",
        "--sample-interval",
        "20ms",
        "--name",
        "a real run",
        "--output",
        path.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output.stderr));
    path
}

/// A report of everything that a page can show, made up so that it is the same each time.
pub fn rich_report(rows: usize) -> Value {
    let seconds = 20.0;
    let at = |row: usize| seconds * row as f64 / rows as f64;
    let timeline: Vec<Value> = (0..rows).map(|row| poll(at(row), seconds)).collect();
    let guest: Vec<Value> = (0..240).map(sample).collect();
    let cpu: Vec<Value> = (0..200).flat_map(cpu_samples).collect();
    let passes: Vec<Value> = (1..=5).map(pass).collect();
    json!({
        "schema": "sterna-report", "schema_version": "1.0",
        "tool": { "name": "sterna", "version": "0.1.0", "features": [] },
        "host": { "hostname": "bench", "kernel": "6.1", "cpu_model": "a processor", "cpus": 8,
                  "memory_bytes": 34_359_738_368_u64, "os": "an os" },
        "started_at": "2026-11-21T09:45:38.5Z",
        "engine": { "name": "emulator", "tracker": "wp-async", "tracker_reason": "it is there",
                    "tracking_page_bytes": 4096, "transport": "tcp",
                    "peer_versions": { "source": "0.1.0", "destination": "0.1.0" }, "details": {} },
        "scenario": { "name": "post-copy over 1 Gbit/s", "guest": { "vcpus": 2, "memory": "1GiB" },
                      "migration": { "max-bandwidth": "1Gbit/s", "downtime-limit": "300ms", "tls": null } },
        "summary": summary(),
        "passes": passes, "timeline": timeline, "guest": guest, "cpu": cpu,
        "events": [
            { "t_seconds": 0.0, "side": "pilot", "kind": "migrate", "text": "The migrate command was accepted" },
            { "t_seconds": 15.0, "side": "source", "kind": "stopped", "text": "The last worker stopped on the source" },
            { "t_seconds": 15.2, "side": "destination", "kind": "resumed", "text": "The workers were released on the destination" },
        ],
        "clocks": [],
        "probes": [
            { "kind": "udp", "interval_seconds": 0.01, "sent": 2000, "received": 1979,
              "duplicates": 0, "round_trip": null, "late_seconds": 0.001,
              "outages": [ { "start_seconds": 15.01, "length_seconds": 0.21, "has_ended": true, "lost": 21, "direction": "to-guest" },
                           { "start_seconds": 17.0, "length_seconds": 0.012, "has_ended": true, "lost": 0, "direction": "round-trip" } ] },
            { "kind": "tcp", "interval_seconds": 0.1, "sent": 200, "received": 200, "outages": [] },
        ],
        "warnings": [ { "code": "baseline-noisy", "text": "The warm-up was noisy", "advice": "Run on a quieter machine" } ],
    })
}

fn summary() -> Value {
    let latency = |p50: u64| json!({ "samples": 1_000_000, "p50_ns": p50, "p99_ns": 8 * p50, "p999_ns": 40 * p50, "max_ns": 900 * p50 });
    json!({
        "verdict": "completed", "verdict_reason": null, "integrity": "verified",
        "integrity_detail": { "side": "destination", "pages_checked": 262_144, "corrupt_pages": 0, "first": [] },
        "total_time_seconds": 19.0, "setup_seconds": 0.01, "downtime_seconds": 0.2,
        "downtime_uncertainty_seconds": 0.000_01, "downtime_claimed_seconds": 0.19,
        "blackout_seconds": 0.21, "blackout_resolution_seconds": 0.002,
        "convergence_pass": 5, "convergence_seconds": 14.0,
        "resumption": { "first_sample_seconds": 0.02, "at_95_percent_seconds": 3.0 },
        "lost_work_seconds": 4.2, "lost_work_lower_bound": false,
        "baseline_pages_per_second": 50_000.0, "baseline_bytes_per_second": 204_800_000.0,
        "touch_rate_pages_per_second": 41_000.0, "touch_rate_bytes_per_second": 167_936_000.0,
        "dirty_rate_bytes_per_second": 90_000_000.0,
        "write_latency": { "baseline": latency(80), "during": latency(900) },
        "passes": 5, "pages_sent": 500_000, "zero_pages": 1000, "pages_resent": 240_000,
        "wire_bytes": 2_100_000_000_u64, "amplification": 1.96,
        "bandwidth_min_bytes_per_second": 100e6, "bandwidth_mean_bytes_per_second": 120e6,
        "bandwidth_max_bytes_per_second": 130e6,
        "cpu": { "source": [{ "class": "migration", "cpu_seconds": 9.0, "cores_mean": 0.45 }], "destination": [] },
        "resident_peak_bytes": { "source": 1_100_000_000_u64, "destination": null },
    })
}

fn poll(at: f64, end: f64) -> Value {
    let state = if at < 15.0 {
        "active"
    } else if at < end - 1.0 {
        "postcopy"
    } else {
        "completed"
    };
    json!({
        "t_seconds": at, "state": state, "pass": 1 + (at / 3.0) as u64,
        "remaining_bytes": (1e9 * (1.0 - (at % 3.0) / 3.0)) as u64,
        "transferred_bytes": (at * 120e6) as u64,
        "bandwidth_bytes_per_second": 120e6 + 3e6 * (at * 9.0).sin(),
        "dirty_rate_bytes_per_second": 90e6, "threshold_bytes": 36_000_000,
        "expected_downtime_seconds": 0.3, "throttle_percent": if at > 9.0 && at < 15.0 { 20.0 + at } else { 0.0 },
    })
}

fn sample(index: usize) -> Value {
    let at = -2.0 + 0.1 * (index + 1) as f64;
    let speed = if at > 9.0 && at < 18.0 { 0.6 } else { 1.0 };
    let counts = [2500.0 * speed, 2400.0 * speed + 60.0 * (at * 3.0).sin()];
    json!({
        "t_seconds": at, "side": if at < 15.0 { "source" } else { "destination" }, "interval_seconds": 0.1,
        "counts_per_worker": counts.map(|it| it as u64), "writes_per_second": (counts[0] + counts[1]) * 10.0,
        "latency": { "samples": 4900, "p50_ns": 90, "p99_ns": 700, "p999_ns": 4000, "max_ns": 90_000 },
        "latency_histogram": { "from_ns": [32, 64, 96, 384, 3072, 65_536], "writes": [400, 2200, 2200, 90, 9, 1] },
    })
}

fn cpu_samples(index: usize) -> [Value; 2] {
    let at = 0.1 * index as f64;
    ["source", "destination"].map(|side| {
        json!({
            "t_seconds": at, "side": side, "resident_bytes": 1_000_000_000,
            "classes": { "control": at * 0.01, "migration": at * 0.45, "workload": at * 0.8 },
        })
    })
}

fn pass(number: u64) -> Value {
    json!({
        "number": number, "kind": if number == 5 { "final" } else { "pass" },
        "started_seconds": 3.0 * (number - 1) as f64, "length_seconds": 3.0, "sync_seconds": 0.004,
        "dirty_pages_at_sync": 200_000 / number, "pages_sent": 100_000, "zero_pages": 10,
        "pages_resent": 60_000, "wire_bytes": 400_000_000, "bandwidth_bytes_per_second": 120e6,
        "remaining_bytes_at_end": 1_000_000, "dirty_rate_bytes_per_second": 90e6,
        "touch_rate_bytes_per_second": 160e6, "guest_dip_percent": 4.5,
    })
}

pub fn write(path: &Path, report: &Value) -> String {
    fs::write(path, serde_json::to_vec(report).unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A batch of two techniques over two links, with one run that left nothing.
pub fn batch(directory: &Path) -> PathBuf {
    let batch = directory.join("batch");
    fs::create_dir_all(batch.join("emulator")).unwrap();
    let mut runs = Vec::new();
    for (row, variant) in ["precopy", "postcopy"].iter().enumerate() {
        for (column, link) in ["1Gbit/s", "10Gbit/s"].iter().enumerate() {
            let file = format!("emulator/{variant}-{column}.1.json");
            let mut report = rich_report(2000);
            report["scenario"]["name"] = json!(format!("{variant} over {link}"));
            report["summary"]["lost_work_seconds"] = json!(1.0 + 3.0 * row as f64 + column as f64);
            if (row, column) == (0, 0) {
                report["summary"]["verdict"] = json!("cancelled");
                report["summary"]["verdict_reason"] = json!("Limit reached: 60 s");
                report["summary"]["downtime_seconds"] = Value::Null;
            }
            let is_missing = (row, column) == (1, 1);
            if !is_missing {
                write(&batch.join(&file), &report);
            }
            runs.push(json!({
                "name": format!("{variant},bandwidth={column}"), "variant": variant,
                "point": format!("link.bandwidth={link}"), "engine": "emulator", "repeat": 1,
                "exit_code": if is_missing { 1 } else { 0 },
                "report": if is_missing { Value::Null } else { json!(file) },
            }));
        }
    }
    let manifest = json!({ "schema_version": "1.0", "suite": "techniques", "about": "Which technique completes", "runs": runs });
    write(&batch.join("manifest.json"), &manifest);
    batch
}
