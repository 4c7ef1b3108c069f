//! From an empty cluster to an empty cluster.

use std::collections::BTreeSet;

use serde_json::Value;
use sterna_kubevirt::simulate::SimulateOptions;

use crate::ground::{Kind, ground};

/// Fast enough for a test, and slow enough for every phase to be one of its own.
fn fast() -> SimulateOptions {
    SimulateOptions { speed: 60.0, ..SimulateOptions::default() }
}

#[test]
fn twenty_migrations_are_twenty_records_though_the_cluster_keeps_five_and_nothing_is_left() {
    let Some(ground) = ground(Kind::Full) else { return };
    let simulated = ground.simulate(fast());
    let applied =
        ground.sterna("admin", &["apply", "--run-id", "life", "--allow-auto-converge", "true"]);
    let applied = applied.ok();
    assert_eq!(
        applied.out,
        "secret/migration-stress-cloudinit\nmigrationpolicy.migrations.kubevirt.io/sterna-life\nservice/migration-stress\nvirtualmachine.kubevirt.io/migration-stress-1\n"
    );
    let other = ground.sterna("admin", &["apply", "--run-id", "other"]);
    other.fails(5, "There is a Secret migration-stress-cloudinit already, and it is left as it is");
    let explained = ground.sterna("admin", &["explain", "migration-stress-1"]).ok();
    assert!(explained.out.contains("* sterna-life"), "{}", explained.out);
    assert!(explained.out.contains("1350 s: 150 s for each of 9 decimal GB"), "{}", explained.out);

    let migrate = ["migrate", "--run-id", "life", "--count", "20", "--records", "records"];
    ground.sterna("admin", &migrate).ok();
    // The collector comes a moment after the last one.
    let kept =
        || ground.kubectl(&["get", "vmim", "-o", "name"]).map(|it| it.ok().out.lines().count());
    let is_collected = (0..50).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        kept().is_none_or(|it| it == 5)
    });
    assert!(is_collected, "the cluster keeps {:?}", kept());
    let report = ground.sterna("admin", &["report", "records", "-o", "json"]).ok();
    let report: Value = serde_json::from_str(&report.out).unwrap();
    assert_eq!(report["completed"], 20);
    let mut uids = BTreeSet::new();
    let mut at = None;
    for migration in report["migrations"].as_array().unwrap() {
        let file = ground.path(migration["file"].as_str().unwrap());
        let record: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let details = &record["engine"]["details"];
        uids.insert(details["migration_uid"].as_str().unwrap().to_owned());
        assert_eq!(details["policy"], "sterna-life", "{record:#}");
        assert_eq!(details["effective_configuration"]["allowAutoConverge"], true);
        let phases: Vec<&str> = details["phases"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["phase"].as_str().unwrap())
            .collect();
        assert_eq!(
            phases,
            [
                "Pending",
                "Scheduling",
                "Scheduled",
                "PreparingTarget",
                "TargetReady",
                "Running",
                "Succeeded"
            ]
        );
        // Each begins where the one before ended.
        if let Some(at) = at {
            assert_eq!(details["source_node"], at);
        }
        assert_ne!(details["source_node"], details["target_node"]);
        assert_eq!(details["node_after"], details["target_node"]);
        at = Some(details["target_node"].clone());
        assert!(
            !record["timeline"].as_array().unwrap().is_empty(),
            "virt-launcher's account is there"
        );
        assert!(record["summary"]["total_time_seconds"].as_f64().unwrap() > 0.0);
        let events = record["events"].as_array().unwrap();
        assert!(
            events.iter().any(|it| it["kind"] == "cluster-successful-migration"),
            "{events:#?}"
        );
    }
    assert_eq!(uids.len(), 20);

    let seen = ground.sterna("admin", &["cleanup", "--run-id", "life", "--dry-run", "client"]).ok();
    assert!(seen.out.contains("VirtualMachine migration-stress-1"), "{}", seen.out);
    ground.sterna("admin", &["cleanup", "--run-id", "other"]).ok();
    let again =
        ground.sterna("admin", &["cleanup", "--run-id", "life", "--dry-run", "client"]).ok();
    assert_eq!(again.out, seen.out, "another run's cleanup touches nothing");
    ground.sterna("admin", &["cleanup", "--run-id", "life"]).ok();
    let left = ground.sterna("admin", &["cleanup", "--all", "--dry-run", "client"]).ok();
    assert_eq!(left.out, "");
    simulated.end();
    if let Some(all) =
        ground.kubectl(&["get", "vm,vmi,vmim,pods,secrets,migrationpolicies,nodes", "-o", "name"])
    {
        assert_eq!(all.ok().out, "");
    }
}

#[test]
fn a_scenario_becomes_a_machine_and_a_policy_and_what_no_policy_has_is_refused() {
    let Some(ground) = ground(Kind::Full) else { return };
    let _simulated = ground.simulate(fast());
    let run = |name: &str, more: &str| {
        let text = format!(
            "[guest]\nmemory = \"1GiB\"\n[timing]\nwarmup = \"0s\"\ncooldown = \"0s\"\n[migration]\nmax-bandwidth = \"10Gbit/s\"\n{more}"
        );
        let file = ground.path(&format!("{name}.toml"));
        std::fs::write(&file, text).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sterna"));
        command.arg("run").arg(&file).args(["--engine", "kubevirt", "--format", "json"]);
        command.arg("--kubeconfig").arg(ground.path("admin.kubeconfig"));
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code(), report)
    };
    let (code, report) = run("well", "[migration.auto-converge]\n");
    assert_eq!(code, Some(0), "{report:#}");
    let effective = &report["engine"]["details"]["effective_configuration"];
    assert_eq!(effective["bandwidthPerMigration"], "1192Mi", "{report:#}");
    assert_eq!(effective["allowAutoConverge"], true);
    assert_eq!(report["scenario"]["guest"]["memory"], "1GiB");
    let (code, report) = run("refused", "[migration.multifd]\nchannels = 4\n");
    assert_eq!((code, &report["summary"]["verdict"]), (Some(5), &"unsupported".into()));
    let reason = report["summary"]["verdict_reason"].as_str().unwrap();
    assert!(
        reason.contains("migration.multifd.channels: virt-launcher takes 8 channels"),
        "{reason}"
    );
    let left = ground.sterna("admin", &["cleanup", "--all", "--dry-run", "client"]).ok();
    assert_eq!(left.out, "");
}
