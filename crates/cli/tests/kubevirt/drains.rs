//! Emptying nodes.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sterna_kubevirt::simulate::SimulateOptions;

use crate::ground::{Ground, Kind, Ran, api, ground, records};
use crate::proxy::{Fate, proxy};

fn fast(speed: f64) -> SimulateOptions {
    SimulateOptions { speed, ..SimulateOptions::default() }
}

fn is_cordoned(ground: &Ground, node: &str) -> bool {
    let session = ground.session();
    let node = session.block_on(api(&session, "", "Node", "nodes").get(node)).unwrap();
    node.data["spec"]["unschedulable"] == true
}

/// The source node of each record.
fn sources(ground: &Ground, directory: &str) -> Vec<String> {
    let source = |record: Value| {
        assert_eq!(record["summary"]["verdict"], "completed", "{record:#}");
        assert_eq!(record["engine"]["details"]["origin"], "evacuation");
        record["engine"]["details"]["source_node"].as_str().unwrap().to_owned()
    };
    records(ground, directory).into_iter().map(source).collect()
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
    let session = ground.session();
    let [(_, node)] = &pods(&ground)[..] else { panic!("{:?}", pods(&ground)) };
    let not_ready = json!({"status": {"conditions": [{
        "type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting node status",
    }]}});
    let nodes = api(&session, "", "Node", "nodes");
    session.block_on(session.cluster().merge_status(&nodes, node, &not_ready)).unwrap();
    let other = if node == "sim-node-1" { "sim-node-2" } else { "sim-node-1" };
    let nowhere = format!("No node but {other} takes virtual machines");
    ground.sterna("admin", &["drain", other]).fails(5, &nowhere);
    let drain = ["drain", node, "--timeout", "3s", "--records", "left"];
    let ran = ground.sterna("admin", &drain);
    let ran = ran.fails(3, &format!("migration-stress-1 is still on {node}"));
    let words = format!("{node} is not ready (Kubelet stopped posting node status)");
    assert!(ran.err.contains(&words), "{}", ran.err);
    assert!(ran.err.contains(&format!("{node} is uncordoned")), "{}", ran.err);
    assert!(!is_cordoned(&ground, node));
}

const MIGRATION: &str = "VirtualMachineInstanceMigration";

/// The migrations that are there: guest and phase.
fn migrations(ground: &Ground) -> Vec<(String, String)> {
    let session = ground.session();
    let api = api(&session, "kubevirt.io", MIGRATION, "virtualmachineinstancemigrations");
    let all = session.block_on(session.cluster().list("migrations", &api, None)).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = all.iter().map(|it| &it.data);
    all.map(|it| (text(&it["spec"]["vmiName"]), text(&it["status"]["phase"]))).collect()
}

/// The node of each virt-launcher Pod that runs, by guest.
fn pods(ground: &Ground) -> Vec<(String, String)> {
    let session = ground.session();
    let api = api(&session, "", "Pod", "pods");
    let all = session.block_on(session.cluster().list("Pods", &api, None)).unwrap();
    let mut pods: Vec<(String, String)> = all
        .iter()
        .filter(|it| it.data["status"]["phase"] != "Succeeded")
        .map(|it| {
            let guest = it.metadata.labels.as_ref().unwrap()["vm.kubevirt.io/name"].clone();
            (guest, it.data["spec"]["nodeName"].as_str().unwrap().to_owned())
        })
        .collect();
    pods.sort();
    pods
}

#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} does not come");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_node_that_goes_while_it_is_drained_is_told_and_no_record_is_lost_and_nothing_leaks() {
    let Some(ground) = ground(Kind::Full) else { return };
    let _simulated = ground.simulate(fast(1.0));
    ground.sterna("admin", &["apply", "--run-id", "a", "--vm-count", "9"]).ok();
    let mut drain = ground.command("admin", &["drain", "sim-node-1", "--records", "gone"]);
    let running = drain.stderr(std::process::Stdio::piped()).spawn().unwrap();
    // Two leave at once, the third waits for its turn.
    eventually("a migration that moves memory", || {
        let all = migrations(&ground);
        all.len() == 3 && all.iter().filter(|it| it.1 == "Running").count() == 2
    });
    let session = ground.session();
    let nodes = api(&session, "", "Node", "nodes");
    session.block_on(session.cluster().delete("node", &nodes, "sim-node-1")).unwrap();
    let ran = Ran::of(running.wait_with_output().unwrap());
    let ran = ran.fails(3, "sim-node-1 is gone: it was taken out of the cluster");
    assert!(ran.err.contains("sim-node-1 is gone, so there is nothing to uncordon"), "{}", ran.err);
    assert!(ran.err.contains("0 of 3 guests left sim-node-1"), "{}", ran.err);
    assert!(ran.err.contains("3 migrations recorded"), "{}", ran.err);
    assert_eq!(ran.err.matches("was lost with sim-node-1").count(), 3, "{}", ran.err);
    for record in records(&ground, "gone") {
        assert_eq!(record["summary"]["verdict"], "lost", "{record:#}");
        let reason = record["summary"]["verdict_reason"].as_str().unwrap();
        assert!(reason.contains("sim-node-1 is gone"), "{reason}");
        assert_eq!(record["engine"]["details"]["source_node"], "sim-node-1");
    }
    // Every machine runs once again, on a node that is there, and no migration is left open.
    eventually("a Pod for each guest", || {
        let pods = pods(&ground);
        let guests: std::collections::BTreeSet<&String> = pods.iter().map(|it| &it.0).collect();
        pods.len() == 9 && guests.len() == 9 && pods.iter().all(|it| it.1 != "sim-node-1")
    });
    let open = migrations(&ground).into_iter().filter(|it| it.1 != "Failed").count();
    assert_eq!(open, 0, "{:?}", migrations(&ground));
}

#[test]
fn evictions_are_asked_for_in_the_newer_version_and_the_older_only_where_that_is_unknown() {
    let Some(ground) = ground(Kind::Full) else { return };
    let _simulated = ground.simulate(fast(100.0));
    ground.sterna("admin", &["apply", "--run-id", "a", "--vm-count", "9"]).ok();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let listen = |is_newer: bool| {
        let asked = Arc::clone(&asked);
        let port = proxy(&ground, move |it| {
            if !it.path.ends_with("/eviction") {
                return Fate::Pass;
            }
            let body: Value = serde_json::from_str(it.body).unwrap();
            asked.lock().unwrap().push(body["apiVersion"].as_str().unwrap().to_owned());
            // To the client this is an API server that reads the newer version.
            if is_newer { Fate::Replace("\"policy/v1\"", "\"policy/v1beta1\"") } else { Fate::Pass }
        });
        ground.kubeconfig("proxied", Some(port));
    };
    listen(true);
    ground.sterna("proxied", &["drain", "sim-node-1", "--records", "newer"]).ok();
    let newer = std::mem::take(&mut *asked.lock().unwrap());
    assert!(newer.len() >= 3 && newer.iter().all(|it| it == "policy/v1"), "{newer:?}");
    listen(false);
    ground.sterna("proxied", &["drain", "sim-node-2", "--records", "older"]).ok();
    let older = std::mem::take(&mut *asked.lock().unwrap());
    assert!(older.len() >= 4 && older[0] == "policy/v1", "{older:?}");
    assert!(older[1..].iter().all(|it| it == "policy/v1beta1"), "{older:?}");
}
