//! Many guests at once.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sterna_kubevirt::simulate::SimulateOptions;

use crate::ground::{Kind, ground, records};
use crate::proxy::{Fate, proxy};

/// How many guests leave the node; `cargo xtask soak kubevirt` sets it, and then nothing may be skipped.
const GUESTS: &str = "STERNA_SOAK_GUESTS";
/// Few enough for everybody's test run.
const FEW: usize = 30;

/// What the drain is told to keep to, and what it may do at once after a rest: twice as much.
const CALLS_A_SECOND: usize = 50;
const MOST_KIB: u64 = 200 << 10;

#[test]
fn many_guests_in_one_drain_are_all_recorded_within_the_limits_of_memory_and_calls() {
    let wanted: Option<usize> = std::env::var(GUESTS).ok().and_then(|it| it.parse().ok());
    let Some(ground) = ground(Kind::Full) else {
        assert_eq!(wanted, None, "what the soak needs is not here");
        return;
    };
    let guests = wanted.unwrap_or(FEW);
    let _simulated =
        ground.simulate(SimulateOptions { nodes: 2, speed: 200.0, ..SimulateOptions::default() });
    // Half of them are on each node.
    let count = (2 * guests).to_string();
    ground.sterna("admin", &["apply", "--run-id", "many", "--vm-count", &count]).ok();

    let calls: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let seen = Arc::clone(&calls);
    let port = proxy(&ground, move |_| {
        seen.lock().unwrap().push(Instant::now());
        Fate::Pass
    });
    ground.kubeconfig("proxied", Some(port));
    let qps = CALLS_A_SECOND.to_string();
    let drain = ["drain", "sim-node-1", "--records", "many", "--timeout", "1h", "--qps", &qps];
    let mut command = ground.command("proxied", &drain);
    // A log that nobody reads until the end must not stop its writer.
    let log = ground.path("drain.log");
    let mut running = command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let mut peak_kib = 0;
    let status = loop {
        peak_kib = peak_kib.max(resident_peak_kib(running.id()));
        if let Some(status) = running.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let told = std::fs::read_to_string(&log).unwrap();
    let last = told.lines().find(|it| it.contains("migrations recorded")).unwrap_or_default();
    assert!(status.success(), "{status}: {last}");
    let completed = records(&ground, "many");
    let completed = completed.iter().filter(|it| it["summary"]["verdict"] == "completed").count();
    assert_eq!(completed, guests, "{last}");

    let calls = calls.lock().unwrap();
    let busiest = busiest_second(&calls);
    eprintln!(
        "{last}\nat most {peak_kib} KiB resident; {} requests were seen, {busiest} in the busiest second",
        calls.len()
    );
    assert!(peak_kib > 0 && peak_kib < MOST_KIB, "{peak_kib} KiB");
    assert!(told.contains(&format!("; {} calls, 0 of them again", calls.len())), "{last}");
    // The burst, and what comes back meanwhile; one may come late and another not.
    assert!(busiest <= 3 * CALLS_A_SECOND + 5, "{busiest} in one second");
}

/// Requests in the busiest stretch of a second.
fn busiest_second(calls: &[Instant]) -> usize {
    let until = |from: Instant| {
        calls.iter().filter(|it| **it >= from && **it < from + Duration::from_secs(1)).count()
    };
    calls.iter().map(|it| until(*it)).max().unwrap_or(0)
}

fn resident_peak_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|it| it.strip_prefix("VmHWM:"));
    line.and_then(|it| it.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
