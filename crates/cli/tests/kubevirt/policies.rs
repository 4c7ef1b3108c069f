//! Fields of policies that not every KubeVirt has.

use serde_json::{Value, json};
use sterna_kubevirt::AnyObject;
use sterna_kubevirt::simulate::SimulateOptions;
use sterna_kubevirt::views;

use crate::ground::{Ground, Kind, api, ground, records};

fn switch_on(ground: &Ground, gate: &str) {
    let session = ground.session();
    let kubevirts = session.cluster().api::<AnyObject>(&views::kubevirts(), Some("default"));
    let change = json!({"spec": {"configuration": {"developerConfiguration": {
        "featureGates": [gate],
    }}}});
    session.block_on(session.cluster().merge(&kubevirts, "simulated", &change)).unwrap();
}

/// Makes the cluster's policies those of KubeVirt 1.8.
fn forget_fields(ground: &Ground) {
    let session = ground.session();
    let crds = api(
        &session,
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        "customresourcedefinitions",
    );
    let name = "migrationpolicies.migrations.kubevirt.io";
    let crd = session.block_on(crds.get(name)).unwrap();
    let mut versions = crd.data["spec"]["versions"].clone();
    let schema = &mut versions[0]["schema"]["openAPIV3Schema"];
    let fields = schema["properties"]["spec"]["properties"].as_object_mut().unwrap();
    for newer in ["experimental", "maxDowntimeMs"] {
        fields.remove(newer).unwrap();
    }
    let change = json!({"spec": {"versions": versions}});
    session.block_on(session.cluster().merge(&crds, name, &change)).unwrap();
}

#[test]
fn fields_that_are_tried_out_are_taken_where_the_cluster_has_them_and_else_refused_by_name() {
    let Some(ground) = ground(Kind::Full) else { return };
    let _simulated = ground.simulate(SimulateOptions { speed: 60.0, ..SimulateOptions::default() });
    let apply = |fields: &[&str]| {
        let all = ["apply", "--run-id", "a"].into_iter().chain(fields.iter().copied());
        ground.sterna("admin", &all.collect::<Vec<_>>())
    };
    apply(&["--experimental", "compression=lz4"]).fails(2, "give none or zstd");
    let both = [
        "--experimental",
        "downtimeTuning.steps=4",
        "--experimental",
        "stallDetector.stallMargin=1",
    ];
    apply(&both).fails(2, "choose one of them");
    let tuning = ["--experimental", "downtimeTuning.steps=4", "--experimental", "compression=zstd"];
    apply(&tuning).fails(
        5,
        "spec.experimental.downtimeTuning.steps: it needs the feature gate MigrationDowntimeTuning",
    );
    apply(&["--max-downtime-ms", "500"])
        .fails(5, "spec.maxDowntimeMs: it needs the feature gate MigrationStallDetection or");

    switch_on(&ground, "MigrationDowntimeTuning");
    apply(&tuning).ok();
    ground.sterna("admin", &["migrate", "--run-id", "a", "--records", "tuned"]).ok();
    let record: Value = records(&ground, "tuned").remove(0);
    let effective = &record["engine"]["details"]["effective_configuration"]["experimental"];
    assert_eq!(effective, &json!({"compression": "zstd", "downtimeTuning": {"steps": 4}}));
    ground.sterna("admin", &["cleanup", "--run-id", "a"]).ok();

    forget_fields(&ground);
    // A server needs a moment until it reads by a new schema.
    let words = "spec.experimental: this cluster's KubeVirt has no such field";
    let is_refused = (0..50).any(|_| {
        let ran = apply(&tuning);
        let is_refused = ran.code == 5 && ran.err.contains(words);
        if !is_refused {
            ground.sterna("admin", &["cleanup", "--run-id", "a"]).ok();
        }
        is_refused
    });
    assert!(is_refused);
    apply(&["--max-downtime-ms", "500"]).fails(5, "spec.maxDowntimeMs: this cluster's KubeVirt");
    let left = ground.sterna("admin", &["cleanup", "--all", "--dry-run", "client"]).ok();
    assert_eq!(left.out, "", "what is refused leaves nothing");
    apply(&["--allow-auto-converge", "true"]).ok();
}
