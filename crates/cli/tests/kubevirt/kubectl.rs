//! kubectl takes what is printed.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::ground::{Ground, Kind, Ran, ground};

/// `kubectl apply --server-side --dry-run=server` of a text.
fn apply(ground: &Ground, text: &str) -> Ran {
    let mut command = Command::new("kubectl");
    command.arg("--kubeconfig").arg(ground.path("admin.kubeconfig"));
    // This API server is older than the fields of KubeVirt 1.9 that kubectl would look up in it.
    command.args(["apply", "--server-side", "--dry-run=server", "--validate=false", "-f", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().unwrap();
    running.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    Ran::of(running.wait_with_output().unwrap())
}

#[test]
fn what_is_printed_is_applied_server_side_and_a_mistake_is_seen() {
    let Some(ground) = ground(Kind::Full) else { return };
    if ground.kubectl(&["version", "--client"]).is_none() {
        return eprintln!("skipped: there is no kubectl; Debian's package is kubernetes-client");
    }
    let printed = |arguments: &[&str]| ground.sterna("admin", arguments).ok().out;
    let all = [
        "manifests",
        "--run-id",
        "a",
        "--vm-count",
        "2",
        "--data-disk",
        "10GiB",
        "--probe-image",
        "sterna",
        "--allow-post-copy",
        "true",
    ];
    let objects = printed(&all);
    let ran = apply(&ground, &objects).ok();
    let expected = [
        "secret/migration-stress-cloudinit serverside-applied (server dry run)",
        "migrationpolicy.migrations.kubevirt.io/sterna-a serverside-applied (server dry run)",
        "service/migration-stress serverside-applied (server dry run)",
        "virtualmachine.kubevirt.io/migration-stress-1 serverside-applied (server dry run)",
        "virtualmachine.kubevirt.io/migration-stress-2 serverside-applied (server dry run)",
        "pod/migration-stress-1-probe serverside-applied (server dry run)",
        "pod/migration-stress-2-probe serverside-applied (server dry run)",
    ];
    assert_eq!(ran.out.lines().collect::<Vec<_>>(), expected, "{}", ran.err);
    assert!(apply(&ground, &objects.replace("runStrategy: Always", "runStrategy: 7")).code != 0);

    for command in sterna_kubevirt::rbac::Command::ALL {
        let roles = printed(&["rbac", command.name()]);
        let ran = apply(&ground, &roles).ok();
        assert!(ran.out.contains(&format!("/sterna-{}", command.name())), "{}", ran.out);
        assert!(apply(&ground, &roles.replace("verbs:", "verbz:")).code != 0);
    }
    let nothing = ground.kubectl(&["get", "vm,secrets,roles", "-o", "name"]).unwrap().ok();
    assert!(!nothing.out.contains("sterna") && !nothing.out.contains("stress"), "{}", nothing.out);
}
