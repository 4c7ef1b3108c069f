//! `sterna kubevirt` against a server that has the same few objects whatever happens: what is read from clusters of
//! shapes and releases that the real API servers of the other tests do not have.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::ground::Ran;

/// Answers by path; every permission is granted.
struct Fixed {
    directory: tempfile::TempDir,
    port: u16,
}

const VMIS: &str = "/apis/kubevirt.io/v1/namespaces/vms/virtualmachineinstances";
const VMIMS: &str = "/apis/kubevirt.io/v1/namespaces/vms/virtualmachineinstancemigrations";

impl Fixed {
    fn new(release: &str, bandwidth: &str, guests: &[Value], more: &[(&str, Value)]) -> Fixed {
        let kind = |plural: &str, kind: &str| {
            json!({"name": plural, "singularName": "", "namespaced": true, "kind": kind,
                "verbs": ["get", "list", "watch", "create", "delete"]})
        };
        let list = |kind: &str, items: &[Value]| json!({"apiVersion": "v1", "kind": kind, "metadata": {"resourceVersion": "1"}, "items": items});
        let mut all: BTreeMap<String, Value> = BTreeMap::new();
        let mut put = |path: &str, value: Value| all.insert(path.to_owned(), value);
        put(
            "/version",
            json!({"major": "1", "minor": "30", "gitVersion": "v1.30.0", "gitCommit": "",
            "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""}),
        );
        put(
            "/apis/kubevirt.io/v1",
            json!({"kind": "APIResourceList", "groupVersion": "kubevirt.io/v1",
            "resources": [
                kind("virtualmachines", "VirtualMachine"),
                kind("virtualmachineinstances", "VirtualMachineInstance"),
                kind("virtualmachineinstancemigrations", "VirtualMachineInstanceMigration"),
                kind("kubevirts", "KubeVirt"),
            ]}),
        );
        put(
            "/apis/migrations.kubevirt.io/v1alpha1",
            json!({"kind": "APIResourceList",
            "groupVersion": "migrations.kubevirt.io/v1alpha1",
            "resources": [kind("migrationpolicies", "MigrationPolicy")]}),
        );
        put(
            "/apis/migrations.kubevirt.io/v1alpha1/migrationpolicies",
            list("MigrationPolicyList", &[]),
        );
        put(
            "/api/v1/namespaces/vms",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "vms"}}),
        );
        put("/api/v1/nodes", list("NodeList", &[]));
        put(
            "/apis/kubevirt.io/v1/kubevirts",
            list(
                "KubeVirtList",
                &[json!({
                    "apiVersion": "kubevirt.io/v1", "kind": "KubeVirt", "metadata": {"name": "kubevirt"},
                    "spec": {"configuration": {"migrations": {"bandwidthPerMigration": bandwidth}}},
                    "status": {"phase": "Deployed", "observedKubeVirtVersion": release},
                })],
            ),
        );
        put(VMIS, list("VirtualMachineInstanceList", guests));
        put(VMIMS, list("VirtualMachineInstanceMigrationList", &[]));
        for guest in guests {
            put(&format!("{VMIS}/{}", guest["metadata"]["name"].as_str().unwrap()), guest.clone());
        }
        for (path, value) in more {
            put(path, value.clone());
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let all = Arc::new(all);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let all = Arc::clone(&all);
                std::thread::spawn(move || answer(stream, &all));
            }
        });
        let directory = tempfile::tempdir().unwrap();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "vms"}}],
        });
        std::fs::write(directory.path().join("config"), config.to_string()).unwrap();
        Fixed { directory, port }
    }

    fn sterna(&self, arguments: &[&str]) -> Ran {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sterna"));
        command.arg("kubevirt").arg("--kubeconfig").arg(self.directory.path().join("config"));
        command.args(arguments).stdin(std::process::Stdio::null());
        Ran::of(command.output().unwrap())
    }
}

/// One request on a connection, and its answer.
fn answer(mut stream: TcpStream, all: &BTreeMap<String, Value>) {
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    let head_end = loop {
        if let Some(end) = text.windows(4).position(|it| it == b"\r\n\r\n") {
            break end;
        }
        match stream.read(&mut piece) {
            Ok(length) if length > 0 => text.extend_from_slice(&piece[..length]),
            _ => return,
        }
    };
    let head = String::from_utf8_lossy(&text[..head_end]).into_owned();
    let length = head
        .lines()
        .find_map(|it| it.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok())
        .unwrap_or(0);
    let mut body = text[head_end + 4..].to_vec();
    while body.len() < length {
        match stream.read(&mut piece) {
            Ok(length) if length > 0 => body.extend_from_slice(&piece[..length]),
            _ => return,
        }
    }
    let target = head.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if query.contains("watch=") {
        // Nothing ever happens, until the client has seen enough.
        let _ = stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n",
        );
        let _ = stream.set_read_timeout(Some(std::time::Duration::from_secs(30)));
        let _ = stream.read(&mut piece);
        return;
    }
    let (code, value) = if path.contains("selfsubject") {
        let mut review: Value = serde_json::from_slice(&body).unwrap_or_default();
        review["status"] = json!({"allowed": true});
        (201, review)
    } else {
        match all.get(path) {
            Some(value) => (200, value.clone()),
            None => (
                404,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                "metadata": {}, "code": 404, "reason": "NotFound", "message": format!("{path} not found")}),
            ),
        }
    };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let _ = write!(
        stream,
        "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
}

fn guest(name: &str, status: Value) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"name": name, "namespace": "vms", "uid": format!("vmi-{name}"), "resourceVersion": "1"},
        "spec": {"domain": {"devices": {}, "memory": {"guest": "8Gi"}}},
        "status": status,
    })
}

#[test]
fn a_guest_that_cannot_be_migrated_is_explained_with_that_first() {
    let no = json!({"phase": "Running", "conditions": [{"type": "LiveMigratable", "status": "False",
        "reason": "DisksNotLiveMigratable", "message": "PVC pvc-a is not shared"}]});
    let yes =
        json!({"phase": "Running", "conditions": [{"type": "LiveMigratable", "status": "True"}]});
    let fixed = Fixed::new("v1.1.1", "64M", &[guest("rwo", no), guest("well", yes)], &[]);
    let ran = fixed.sterna(&["explain", "rwo"]).ok();
    let first = ran.out.lines().next().unwrap();
    assert_eq!(
        first, "rwo cannot be migrated: DisksNotLiveMigratable: PVC pvc-a is not shared",
        "{}",
        ran.out
    );
    assert!(ran.out.contains("multifd      one connection, since KubeVirt v1.1.1 has no others"));
    assert!(ran.out.contains("bandwidth    61 MiB/s; bandwidthPerMigration of"), "{}", ran.out);
    let found: Value =
        serde_json::from_str(&fixed.sterna(&["explain", "rwo", "-o", "json"]).ok().out).unwrap();
    assert_eq!(found["obstacle"], "DisksNotLiveMigratable: PVC pvc-a is not shared");
    assert_eq!(found["bandwidth_bytes_per_second"], 61u64 << 20);
    let ran = fixed.sterna(&["explain", "well"]).ok();
    assert_eq!(ran.out.lines().next(), Some("well"), "{}", ran.out);
}

#[test]
fn watch_once_reads_the_logs_of_every_release_and_warns_of_one_without_a_readable_line() {
    let amounts = |unit: &str, of: fn(u64) -> u64| {
        let one = |key: &str, mib: u64| format!("{key}:{}{unit}", of(mib));
        [one("DataProcessed", 2972), one("DataRemaining", 2350), one("MemoryProcessed", 2972)]
            .join(" ")
    };
    let line = |name: &str, pairs: String| {
        let message =
            format!("Migration info for uid-{name}: TimeElapsed:10000ms {pairs} Iteration:8");
        format!(
            "{}\n",
            json!({"level": "info", "msg": message, "timestamp": "2026-01-02T03:05:05Z"})
        )
    };
    let whole = amounts("MiB", |it| it);
    let logs = [
        ("new", line("new", format!("{whole} MemoryBandwidth:2493Mbps DirtyRate:2690Mbps"))),
        ("divided", line("divided", format!("{whole} MemoryBandwidth:38Mbps DirtyRate:42Mbps"))),
        (
            "bytes",
            line(
                "bytes",
                format!(
                    "{} MemoryBandwidth:311636787B/s DirtyRate:336250000B/s",
                    amounts("B", |it| it << 20)
                ),
            ),
        ),
        ("strange", line("strange", "Something:else".to_owned()).replace("Iteration:8", "")),
        ("empty", "{\"msg\": \"Hello\"}\n".to_owned()),
    ];
    let guests: Vec<Value> = logs
        .iter()
        .map(|(name, _)| {
            guest(
                name,
                json!({"phase": "Running", "nodeName": "n1", "migrationState": {
                    "migrationUid": format!("uid-{name}"), "sourceNode": "n1",
                    "sourcePod": format!("launcher-{name}"), "targetNode": "n2",
                }}),
            )
        })
        .collect();
    let migrations: Vec<Value> = logs
        .iter()
        .map(|(name, _)| {
            json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration",
                "metadata": {"name": name, "namespace": "vms", "uid": format!("uid-{name}"), "resourceVersion": "1"},
                "spec": {"vmiName": name}, "status": {"phase": "Running"}})
        })
        .collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": migrations});
    let paths: Vec<(String, Value)> = logs
        .iter()
        .map(|(name, text)| {
            (format!("/api/v1/namespaces/vms/pods/launcher-{name}/log"), json!(text))
        })
        .collect();
    let mut more: Vec<(&str, Value)> =
        paths.iter().map(|it| (it.0.as_str(), it.1.clone())).collect();
    more.push((VMIMS, list));
    let fixed = Fixed::new("v1.1.1", "0", &guests, &more);
    let ran = fixed.sterna(&["watch", "--once"]).ok();
    let row = |name: &str| {
        let found = ran.out.lines().find(|it| it.starts_with(&format!("{name} ")));
        found.unwrap_or_else(|| panic!("{name}: {}", ran.out)).to_owned()
    };
    for name in ["new", "divided", "bytes"] {
        let row = row(name);
        // 2972 MiB in 10 s; the dirty rate is a little more.
        assert!(row.contains("297 MiB/s"), "{row}");
        assert!(row.contains("  8  ") && row.contains("2.29 GiB"), "{row}");
        assert!(row.contains("320 MiB/s") || row.contains("321 MiB/s"), "{row}");
    }
    let says = |text: &str| assert!(ran.out.contains(text), "{text}: {}", ran.out);
    says("strange: virt-launcher's log has 1 lines about the migration, and none in a form");
    says("empty: virt-launcher's log has no line about the migration");
    assert!(fixed.port > 0);
}
