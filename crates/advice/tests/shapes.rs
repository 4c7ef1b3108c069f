//! What people paste into bug reports, and what a diagnosis says of each.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::path::Path;

use sterna_advice::diagnose;
use sterna_report::readers::read_any_bytes;

/// All sentences of the diagnosis.
fn words(pasted: &str) -> String {
    let found = read_any_bytes(Path::new("pasted"), pasted.as_bytes()).unwrap();
    let found = diagnose(&found.report);
    let advice = found.advice.iter().map(|it| it.text.clone());
    std::iter::once(found.what).chain(found.why).chain(advice).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn check(pasted: &str, expected: &[&str]) {
    let words = words(pasted);
    for part in expected {
        assert!(words.contains(part), "no {part:?} in:\n{words}");
    }
}

fn answer(status: &str, more: &str, ram: &str) -> String {
    format!(
        r#"{{"return": {{"status": "{status}", "total-time": 60000, {more} "ram": {{
            "total": 4311744512, "remaining": 1073741824, "transferred": 7000000000,
            "duplicate": 100, "normal": 1700000, "normal-bytes": 6963200000, "page-size": 4096,
            {ram} "dirty-sync-count": 9}}}}}}"#
    )
}

fn job(kind: &str, rows: &str) -> String {
    format!(
        "Job type:         {kind}\nOperation:        Outgoing migration\n\
         Time elapsed:     60000        ms\nMemory processed: 6.519 GiB\n\
         Memory remaining: 1.000 GiB\nMemory total:     4.016 GiB\n{rows}\
         Page size:        4096         bytes\nIteration:        9\n"
    )
}

#[test]
fn an_answer_of_qemu_says_whether_the_migration_can_end() {
    let busy = r#""dirty-pages-rate": 40000, "mbps": 1000.0,"#;
    let calm = r#""dirty-pages-rate": 10000, "mbps": 1000.0,"#;
    let expected = r#""expected-downtime": 2300,"#;
    check(&answer("active", expected, busy), &["under way", "cannot end by itself", "2.30 s"]);
    check(&answer("active", "", calm), &["gains on the guest", "39.1 MiB/s", "119 MiB/s", "67 %"]);
    check(&answer("active", "", ""), &["under way", "is not in this report"]);
    check(&answer("setup", "", ""), &["under way"]);
    check(&answer("postcopy-active", "", busy), &["under way"]);
}

#[test]
fn an_answer_of_qemu_says_how_it_ended() {
    check(
        &answer("completed", r#""downtime": 120,"#, ""),
        &["completed after 60.0 s", "claims a downtime of 120 ms"],
    );
    check(&answer("cancelled", "", ""), &["cancelled"]);
    let reset = r#""error-desc": "Unable to write to socket: Connection reset by peer","#;
    check(&answer("failed", reset, ""), &["failed", "log of the destination's QEMU"]);
    let refused = r#""error-desc": "Failed to connect to '10.0.0.2:4444': Connection refused","#;
    check(&answer("failed", refused, ""), &["failed", "firewall"]);
    let device = r#""error-desc": "error while loading state for instance 0x0 of device 'cpu'","#;
    check(&answer("failed", device, ""), &["another machine than the source"]);
    let mismatch = r#""error-desc": "Length mismatch: pc.rom: 0x20000 in != 0x40000","#;
    check(&answer("failed", mismatch, ""), &["same firmware files"]);
    let certificate = r#""error-desc": "The certificate hasn't got a known issuer","#;
    check(&answer("failed", certificate, ""), &["same authority"]);
}

#[test]
fn a_log_of_answers_shows_whether_what_is_left_becomes_less() {
    let with = |remaining: u64, time: u64| {
        answer("active", "", r#""dirty-pages-rate": 40000, "mbps": 1000.0,"#)
            .replace("1073741824", &remaining.to_string())
            .replace("60000", &time.to_string())
    };
    let stuck = [(900, 10), (800, 20), (950, 30), (820, 40), (900, 50), (810, 60)];
    let log = |rows: &[(u64, u64)]| -> String {
        rows.iter().map(|(mib, s)| with(mib << 20, s * 1000)).collect::<Vec<_>>().join("\n")
    };
    check(&log(&stuck), &["did not become less", "over 6 answers within 50.0 s"]);
    let well = [(3000, 10), (2500, 20), (1200, 30), (600, 40), (300, 50), (100, 60)];
    check(&log(&well), &["became less: from 1.17 GiB to 100 MiB"]);
}

#[test]
fn the_jobs_of_libvirt_and_the_monitor_of_qemu_are_diagnosed() {
    let busy = "Memory bandwidth: 117.000 MiB/s\nDirty rate:       31000        pages/s\n";
    check(&job("Unbounded", busy), &["under way", "cannot end by itself", "121 MiB/s"]);
    check(&job("Completed", "Total downtime:   130          ms\n"), &["completed", "130 ms"]);
    check(&job("Cancelled", ""), &["cancelled"]);
    check(&job("Failed", ""), &["failed"]);
    let monitor = "(qemu) info migrate\nMigration status: active\ntotal time: 60000 ms\n\
                   expected downtime: 900 ms\ntransferred ram: 6800000 kbytes\n\
                   throughput: 900.00 mbps\nremaining ram: 1000000 kbytes\n\
                   total ram: 4200000 kbytes\ndirty sync count: 9\npage size: 4 kbytes\n\
                   dirty pages rate: 40000 pages\n";
    check(monitor, &["under way", "cannot end by itself", "900 ms"]);
    let failed = "(qemu) info migrate\nMigration status: failed (Unable to write to socket: \
                  Broken pipe)\ntotal time: 0 ms\n";
    check(failed, &["failed", "log of the destination's QEMU"]);
}

#[test]
fn the_log_of_a_launcher_shows_the_trend() {
    let line = |elapsed: u64, remaining: u64| {
        format!(
            r#"{{"component":"virt-launcher","level":"info","msg":"Migration info for u: TimeElapsed:{elapsed}ms DataProcessed:2972MiB DataRemaining:{remaining}MiB DataTotal:24597MiB MemoryProcessed:2972MiB MemoryRemaining:{remaining}MiB MemoryTotal:24596MiB MemoryBandwidth:38Mbps DirtyRate:42Mbps Iteration:8 PostcopyRequests:0 ConstantPages:15 NormalPages:760832 NormalData:2972MiB ExpectedDowntime:420ms DiskMbps:0","timestamp":"2026-01-02T03:05:05.000000Z"}}"#
        )
    };
    let lines = [(10_000, 2350), (15_000, 2400), (20_000, 2340), (25_000, 2390)];
    let log = lines.map(|(at, left)| line(at, left)).join("\n");
    check(&log, &["under way", "did not become less", "over 4 answers within 15.0 s"]);
}
