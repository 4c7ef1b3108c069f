//! Every object of KubeVirt's kinds against the strict validation of a current API server.

use sterna_kubevirt::policy::{ExperimentalField, PolicySpec};
use sterna_kubevirt::stress::{DataDisk, Parameters, manifests};
use sterna_units::Bytes;

use crate::ground::{Kind, ground};

/// Where an object of ours is in the API, and whether in a namespace.
fn place(object: &serde_json::Value) -> Option<(sterna_kubevirt::ApiResource, bool)> {
    match object["kind"].as_str()? {
        "VirtualMachine" => Some((sterna_kubevirt::views::vms(), true)),
        "MigrationPolicy" => Some((sterna_kubevirt::views::policies(), false)),
        _ => None,
    }
}

fn tried_out(texts: &[&str]) -> Vec<ExperimentalField> {
    texts.iter().map(|it| it.parse().unwrap()).collect()
}

#[test]
fn objects_pass_and_a_mistake_in_each_is_seen() {
    let Some(ground) = ground(Kind::Current) else { return };
    let session = ground.session();
    let mut parameters = Parameters::new("strict", "default");
    parameters.tool = sterna_kubevirt::stress::Tool::StressNg;
    parameters.data_disk =
        Some(DataDisk { size: Bytes(10 << 30), storage_class: Some("shared".to_owned()) });
    parameters.node_selector.insert("kubernetes.io/arch".to_owned(), "amd64".to_owned());
    parameters.ssh_keys.push("ssh-ed25519 AAAA".to_owned());
    parameters.policy = Some(PolicySpec {
        allow_auto_converge: Some(true),
        allow_post_copy: Some(false),
        allow_workload_disruption: Some(true),
        bandwidth_bytes_per_second: Some(125_000_000),
        completion_timeout_per_gib: Some(60),
        max_downtime_ms: Some(500),
        experimental: tried_out(&[
            "compression=zstd",
            "downtimeTuning.cooldownSeconds=5",
            "downtimeTuning.initialMs=100",
            "downtimeTuning.startAfterIteration=2",
            "downtimeTuning.steps=4",
        ]),
    });
    let mut seen = 0;
    for object in manifests(&parameters).unwrap() {
        let Some((resource, is_namespaced)) = place(&object) else { continue };
        let create = |object: &serde_json::Value| {
            let namespace = is_namespaced.then_some("default");
            session.block_on(session.cluster().validate_strictly(&resource, namespace, object))
        };
        create(&object).unwrap();
        let mut wrong = object.clone();
        wrong["spec"]["noSuchField"] = 1.into();
        let error = create(&wrong).unwrap_err().to_string();
        assert!(error.contains("noSuchField"), "{error}");
        seen += 1;
    }
    assert_eq!(seen, 2);
    let vmim = sterna_kubevirt::migration_object(Some("strict"), "migration-stress-1");
    let vmim = serde_json::to_value(vmim).unwrap();
    let resource = sterna_kubevirt::views::vmims();
    session
        .block_on(session.cluster().validate_strictly(&resource, Some("default"), &vmim))
        .unwrap();
    // The server's own bounds are met too: a downtime of none is refused by it.
    let stall = tried_out(&[
        "stallDetector.completionTimeoutFactor=2.5",
        "stallDetector.ewmaAlpha=0.4",
        "stallDetector.patienceWindowDecayFactor=0.5",
        "stallDetector.precopyPossibleFactor=1.5",
        "stallDetector.searchLocalMinima=false",
        "stallDetector.stallMargin=4",
        "stallDetector.stallProgressTimeout=40",
        "stallDetector.switchoverTimeout=60",
    ]);
    let stall = PolicySpec { experimental: stall, ..PolicySpec::default() }.object("x");
    let policies = sterna_kubevirt::views::policies();
    session.block_on(session.cluster().validate_strictly(&policies, None, &stall)).unwrap();
    let mut policy = PolicySpec { max_downtime_ms: Some(0), ..PolicySpec::default() }.object("x");
    policy["spec"]["maxDowntimeMs"] = 0.into();
    let error = session.block_on(session.cluster().validate_strictly(&policies, None, &policy));
    assert!(error.unwrap_err().to_string().contains("maxDowntimeMs"));
}
