use serde_json::{Value, json};
use sterna_report::{Host, Tool, Verdict};

use super::{ClusterFacts, MigrationRecord};
use crate::views::{Vmi, Vmim};

const UID: &str = "uid-of-ours";

fn migration(phase: &str, state: Value) -> Vmim {
    serde_json::from_value(json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration",
        "metadata": {"name": "m", "namespace": "vms", "uid": UID},
        "spec": {"vmiName": "g"},
        "status": {"phase": phase, "migrationState": state},
    }))
    .unwrap()
}

fn guest(domain: Value, state: Value) -> Vmi {
    serde_json::from_value(json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"name": "g", "namespace": "vms", "uid": "vmi"},
        "spec": {"domain": domain},
        "status": {"phase": "Running", "nodeName": "n1", "migrationState": state},
    }))
    .unwrap()
}

fn record() -> MigrationRecord {
    MigrationRecord { uid: UID.to_owned(), ..MigrationRecord::default() }
}

#[test]
fn an_abort_by_a_timeout_is_cancelled_and_any_other_failure_is_failed() {
    let timeout = "Live migration is not completed after 90 seconds and has been aborted";
    let table = [
        (json!({"abortStatus": "Succeeded", "failureReason": timeout}), Verdict::Cancelled),
        (json!({"abortStatus": "Succeeded"}), Verdict::Cancelled),
        (json!({"abortRequested": true, "abortStatus": "Succeeded"}), Verdict::Cancelled),
        (json!({"abortStatus": "Failed", "failureReason": "broken"}), Verdict::Failed),
        (json!({"failureReason": "target pod failed"}), Verdict::Failed),
        (json!({}), Verdict::Failed),
    ];
    for (mut state, expected) in table {
        state["migrationUid"] = UID.into();
        state["completed"] = true.into();
        state["failed"] = true.into();
        let mut record = record();
        record.see(&migration("Failed", state.clone()), 1);
        let (verdict, reason) = record.verdict();
        assert_eq!(verdict, expected, "{state}");
        if state["failureReason"] == timeout {
            assert_eq!(reason.as_deref(), Some(timeout));
        }
    }
}

#[test]
fn the_states_of_both_sides_of_a_decentralised_migration_are_read() {
    let source = json!({"node": "n1", "pod": "launcher-1", "migrationUID": UID});
    let target = json!({"node": "m7", "pod": "launcher-7", "migrationUID": "uid-of-theirs"});
    let table = [
        // Seen from the cluster that the guest leaves, and from the one that it goes to.
        (
            json!({"migrationUid": "uid-of-theirs", "sourceState": source, "targetState": target}),
            UID,
        ),
        (json!({"sourceState": source, "targetState": target}), UID),
        (
            json!({"migrationUid": UID, "sourceNode": "n1", "sourcePod": "launcher-1",
            "targetNode": "m7", "targetPod": "launcher-7"}),
            UID,
        ),
        (
            json!({"sourceState": {"node": "n1", "pod": "launcher-1", "migrationUID": "uid-of-theirs"},
            "targetState": {"node": "m7", "pod": "launcher-7", "migrationUID": UID}}),
            "uid-of-theirs",
        ),
    ];
    for (state, log_uid) in table {
        let mut record = record();
        record.see_guest(&guest(json!({}), state.clone()));
        let seen = record.state.clone().unwrap_or_else(|| panic!("not taken: {state}"));
        assert_eq!(seen.leaves_node().as_deref(), Some("n1"), "{state}");
        assert_eq!(seen.leaves_pod().as_deref(), Some("launcher-1"), "{state}");
        assert_eq!(seen.enters_node().as_deref(), Some("m7"), "{state}");
        assert_eq!(seen.enters_pod().as_deref(), Some("launcher-7"), "{state}");
        assert_eq!(record.log_uid(), log_uid, "{state}");
        let report = record.report(Tool::default(), Host::default(), &ClusterFacts::default());
        assert_eq!(report.engine.details["source_node"], "n1");
        assert_eq!(report.engine.details["target_node"], "m7");
    }
    let mut record = record();
    record.see_guest(&guest(json!({}), json!({"migrationUid": "another", "sourceNode": "n1"})));
    assert_eq!(record.state, None, "of another migration");
}

#[test]
fn a_migration_that_never_found_the_other_cluster_says_so() {
    let mut record = record();
    record.see(&migration("WaitingForSync", json!({})), 1);
    record.see(&migration("Failed", json!({})), 2_000_000_000);
    let (verdict, reason) = record.verdict();
    assert_eq!(verdict, Verdict::Failed);
    assert!(reason.unwrap().contains("The other cluster did not take part"));
}

#[test]
fn the_report_has_the_number_of_connections_of_the_release() {
    let connections = |domain: Value, release: Option<&str>| {
        let mut record = record();
        let state =
            json!({"migrationUid": UID, "migrationConfiguration": {"allowPostCopy": false}});
        record.see_guest(&guest(domain, state));
        let facts = ClusterFacts {
            kubevirt_version: release.map(str::to_owned),
            ..ClusterFacts::default()
        };
        let report = record.report(Tool::default(), Host::default(), &facts);
        report.engine.details.get("multifd_connections").cloned()
    };
    let limited = json!({"resources": {"limits": {"cpu": "2"}}});
    assert_eq!(connections(json!({}), Some("v1.6.2")), Some(json!(8)));
    assert_eq!(connections(json!({}), Some("v1.1.1")), Some(json!(1)));
    assert_eq!(connections(limited, Some("v1.6.2")), Some(json!(1)));
    assert_eq!(connections(json!({}), None), None);
}
