//! What goes wrong on a cluster, and what is said and kept then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sterna_kubevirt::simulate::{Failure, SimulateOptions};

use crate::ground::{Ground, Kind, Ran, ground, records};
use crate::proxy::{Fate, proxy};

fn at_speed(speed: f64) -> SimulateOptions {
    SimulateOptions { speed, ..SimulateOptions::default() }
}

fn interrupt(running: &std::process::Child) {
    let pid = rustix::process::Pid::from_raw(running.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

#[track_caller]
fn verdicts(ground: &Ground, directory: &str, expected: &[&str]) {
    let all = records(ground, directory);
    let verdicts: Vec<&str> =
        all.iter().map(|it| it["summary"]["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, expected, "{all:#?}");
}

#[test]
fn storms_cut_connections_and_forgotten_versions_cost_no_record() {
    let Some(ground) = ground(Kind::Full) else { return };
    let _simulated = ground.simulate(at_speed(30.0));
    ground.sterna("admin", &["apply", "--run-id", "a"]).ok();
    let (count, gone) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (ours, our_gone) = (Arc::clone(&count), Arc::clone(&gone));
    let port = proxy(&ground, move |asked| {
        let number = ours.fetch_add(1, Ordering::Relaxed);
        let is_watch = asked.path.contains("watch=true");
        match number % 7 {
            1 => Fate::Answer(429, "TooManyRequests"),
            3 => Fate::Answer(500, "InternalError"),
            5 if is_watch => {
                our_gone.fetch_add(1, Ordering::Relaxed);
                Fate::Answer(410, "Expired")
            }
            6 => Fate::Cut,
            _ => Fate::Pass,
        }
    });
    ground.kubeconfig("proxied", Some(port));
    let migrate = ["migrate", "--run-id", "a", "--count", "4", "--records", "stormy"];
    ground.sterna("proxied", &migrate).ok();
    verdicts(&ground, "stormy", &["completed"; 4]);
    assert!(count.load(Ordering::Relaxed) > 20, "the storm was met");
}

#[test]
fn an_api_server_that_is_killed_and_comes_back_loses_no_record() {
    let Some(mut ground) = ground(Kind::Full) else { return };
    let _simulated = ground.simulate(at_speed(4.0));
    ground.sterna("admin", &["apply", "--run-id", "a"]).ok();
    let migrate = ["migrate", "--run-id", "a", "--count", "2", "--records", "killed"];
    let running =
        ground.command("admin", &migrate).stderr(std::process::Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    ground.kill_server();
    std::thread::sleep(Duration::from_secs(1));
    ground.start_server();
    Ran::of(running.wait_with_output().unwrap()).ok();
    verdicts(&ground, "killed", &["completed"; 2]);
}

#[test]
fn each_failure_has_its_own_words_and_its_record() {
    let Some(ground) = ground(Kind::Full) else { return };
    let migrate = |directory: &str| {
        ground.sterna("admin", &["migrate", "--run-id", "a", "--records", directory])
    };
    let simulated = ground.simulate(SimulateOptions {
        failure: Failure::Reject("no more migrations today".to_owned()),
        ..at_speed(60.0)
    });
    ground.sterna("admin", &["apply", "--run-id", "a"]).ok();
    migrate("rejected").fails(1, "no more migrations today");
    verdicts(&ground, "rejected", &[]);
    simulated.end();

    let simulated =
        ground.simulate(SimulateOptions { failure: Failure::Unschedulable, ..at_speed(600.0) });
    migrate("unschedulable").fails(3, "no node takes it");
    verdicts(&ground, "unschedulable", &["failed"]);
    simulated.end();

    let simulated = ground.simulate(SimulateOptions {
        failure: Failure::Break("the cable was cut".to_owned()),
        ..at_speed(60.0)
    });
    migrate("broken").fails(3, "the cable was cut");
    verdicts(&ground, "broken", &["failed"]);
    simulated.end();

    // A guest that dirties faster than memory moves runs into a limit: ours, or the cluster's.
    let hard = SimulateOptions { dirty_bytes_per_second: 5e9, ..at_speed(20.0) };
    let simulated = ground.simulate(hard);
    let limited = ["migrate", "--run-id", "a", "--max-time", "2s", "--records", "limited"];
    ground.sterna("admin", &limited).fails(3, "longer than was allowed");
    verdicts(&ground, "limited", &["cancelled"]);

    // Somebody else deletes the migration under us.
    let running = ground
        .command("admin", &["migrate", "--run-id", "a", "--records", "deleted"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let deleted = ground.kubectl(&["delete", "vmim", "--all", "--wait=false"]);
    let has_kubectl = deleted.map(Ran::ok).is_some();
    if !has_kubectl {
        interrupt(&running);
    }
    let ran = Ran::of(running.wait_with_output().unwrap());
    if has_kubectl {
        ran.fails(3, "Live migration has been aborted");
        verdicts(&ground, "deleted", &["cancelled"]);
    }

    // Ctrl-C deletes the migration and waits for the abort.
    let running = ground
        .command("admin", &["migrate", "--run-id", "a", "--records", "interrupted"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(3));
    interrupt(&running);
    let ran = Ran::of(running.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{}", ran.err);
    verdicts(&ground, "interrupted", &["interrupted"]);
    let record = records(&ground, "interrupted").remove(0);
    let reason = record["summary"]["verdict_reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("Live migration has been aborted"), "{reason}");
    simulated.end();

    let simulated = ground.simulate(SimulateOptions {
        failure: Failure::NotMigratable("a disk is not shared".to_owned()),
        ..at_speed(60.0)
    });
    ground.sterna("admin", &["cleanup", "--all"]).ok();
    ground.sterna("admin", &["apply", "--run-id", "b"]).fails(5, "a disk is not shared");
    ground.sterna("admin", &["cleanup", "--all"]).ok();
    simulated.end();
}

#[test]
fn a_cluster_that_is_not_there_or_has_no_kubevirt_is_told_in_words() {
    let Some(mut ground) = ground(Kind::Full) else { return };
    ground
        .sterna("admin", &["migrate", "--run-id", "x"])
        .fails(5, "0 of 0 nodes take virtual machines");
    ground.sterna("admin", &["--context", "other", "migrate"]).fails(1, "there are test");
    ground.sterna("admin", &["explain", "nobody"]).fails(5, "There is no virtual machine nobody");
    if let Some(deleted) =
        ground.kubectl(&["delete", "crd", "virtualmachineinstancemigrations.kubevirt.io"])
    {
        deleted.ok();
        ground.sterna("admin", &["watch"]).fails(5, "served in part only");
    }
    ground.kill_server();
    let ran = ground.sterna("admin", &["apply"]);
    ran.fails(1, "the API server does not answer after");
}
