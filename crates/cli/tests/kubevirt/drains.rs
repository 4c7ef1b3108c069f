//! Emptying nodes.

use serde_json::Value;
use sterna_kubevirt::simulate::SimulateOptions;

use crate::ground::{Ground, Kind, Ran, ground};

fn fast(speed: f64) -> SimulateOptions {
    SimulateOptions { speed, ..SimulateOptions::default() }
}

fn is_cordoned(ground: &Ground, node: &str) -> bool {
    let resource = sterna_kubevirt::views::resource("", "v1", "Node", "nodes");
    let session = ground.session();
    let api = session.cluster().api::<sterna_kubevirt::AnyObject>(&resource, None);
    let node = session.block_on(api.get(node)).unwrap();
    node.data["spec"]["unschedulable"] == true
}

/// The source node of each record.
fn sources(ground: &Ground, directory: &str) -> Vec<String> {
    let entries = std::fs::read_dir(ground.path(directory)).unwrap();
    entries
        .flatten()
        .map(|it| {
            let text = std::fs::read_to_string(it.path()).unwrap();
            let record: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(record["summary"]["verdict"], "completed", "{record:#}");
            assert_eq!(record["engine"]["details"]["origin"], "evacuation");
            record["engine"]["details"]["source_node"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn a_node_is_emptied_through_the_queue_and_uncordoned_and_an_older_eviction_api_is_spoken() {
    let Some(ground) = ground(Kind::Full) else { return };
    let _simulated = ground.simulate(fast(100.0));
    ground.sterna("admin", &["apply", "--run-id", "a", "--vm-count", "9"]).ok();
    ground.sterna("admin", &["drain", "nowhere"]).fails(5, "There is no node nowhere");
    let dry = ground.sterna("admin", &["drain", "sim-node-1", "--dry-run"]).ok();
    assert!(dry.err.contains("3 guests on sim-node-1"), "{}", dry.err);
    let drained = ground.sterna("admin", &["drain", "sim-node-1", "--records", "drained"]).ok();
    assert!(drained.err.contains("3 of 3 guests left sim-node-1"), "{}", drained.err);
    assert!(drained.err.contains("Eviction triggered evacuation"), "{}", drained.err);
    assert_eq!(sources(&ground, "drained"), ["sim-node-1"; 3]);
    assert!(!is_cordoned(&ground, "sim-node-1"));

    // Who stops a drain leaves no cordoned node behind.
    let slow = ground.command("admin", &["drain", "sim-node-2", "--records", "stopped"]);
    let mut slow = slow;
    let running = slow.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !is_cordoned(&ground, "sim-node-2") && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let pid = rustix::process::Pid::from_raw(running.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ran = Ran::of(running.wait_with_output().unwrap());
    assert!([0, 130].contains(&ran.code), "{}", ran.err);
    assert!(!is_cordoned(&ground, "sim-node-2"), "{}", ran.err);
}

#[test]
fn a_drain_that_cannot_end_says_who_is_left_and_why() {
    let Some(ground) = ground(Kind::Full) else { return };
    let hard = SimulateOptions { dirty_bytes_per_second: 5e9, nodes: 2, ..fast(10.0) };
    let _simulated = ground.simulate(hard);
    ground.sterna("admin", &["apply", "--run-id", "a"]).ok();
    let vmi = ground.session();
    let api = vmi
        .cluster()
        .api::<sterna_kubevirt::AnyObject>(&sterna_kubevirt::views::vmis(), Some("default"));
    let guest = vmi.block_on(api.get("migration-stress-1")).unwrap();
    let node = guest.data["status"]["nodeName"].as_str().unwrap().to_owned();
    let drain = ["drain", &node, "--timeout", "3s", "--records", "left"];
    let ran = ground.sterna("admin", &drain);
    ran.fails(3, &format!("migration-stress-1 is still on {node}"));
    assert!(!is_cordoned(&ground, &node));
}

/// Set to 500 for the long form.
const GUESTS: &str = "STERNA_SOAK_GUESTS";

#[test]
fn many_guests_in_one_drain_are_all_recorded_within_a_modest_memory() {
    let Some(ground) = ground(Kind::Full) else { return };
    let guests: usize = std::env::var(GUESTS).ok().and_then(|it| it.parse().ok()).unwrap_or(30);
    let _simulated = ground.simulate(SimulateOptions { nodes: 2, ..fast(200.0) });
    // Half of them are on each node.
    let count = (2 * guests).to_string();
    ground.sterna("admin", &["apply", "--run-id", "many", "--vm-count", &count]).ok();
    let mut command = ground.command("admin", &["drain", "sim-node-1", "--records", "many"]);
    let mut running = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut peak_kib = 0;
    let status = loop {
        peak_kib = peak_kib.max(resident_peak_kib(running.id()));
        if let Some(status) = running.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    assert!(status.success(), "{status}");
    assert_eq!(sources(&ground, "many").len(), guests);
    eprintln!("{guests} guests, at most {peak_kib} KiB resident");
    assert!(peak_kib > 0 && peak_kib < 200 << 10, "{peak_kib} KiB");
}

fn resident_peak_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|it| it.strip_prefix("VmHWM:"));
    line.and_then(|it| it.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
