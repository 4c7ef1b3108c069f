//! A domain that migrates between two real libvirtd on this machine; they come from a cache and are not installed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::pair::{boot_disk, take_turn};

const DOMAIN: &str = r"<domain type='qemu'><name>tern</name><memory unit='MiB'>129</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os>
<cpu mode='custom' match='exact' check='none'><model fallback='allow'>qemu64</model></cpu>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/share/disk'/><target dev='vda' bus='virtio'/><readonly/></disk>
<memballoon model='none'/></devices></domain>";

const LIMIT: Duration = Duration::from_secs(60);

struct Hosts {
    directory: TempDir,
    virsh: PathBuf,
    children: Vec<Child>,
    _turn: std::sync::MutexGuard<'static, ()>,
}

impl Hosts {
    fn new() -> Option<Hosts> {
        let turn = take_turn();
        let home = std::env::var_os("HOME").unwrap_or_default();
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map_or_else(|| PathBuf::from(home).join(".cache"), PathBuf::from)
            .join("sterna/libvirt");
        let lack = if !cache.join("virsh").exists() {
            Some("there is no libvirt in the cache; `cargo xtask libvirt` fetches it")
        } else if !rustix::process::geteuid().is_root() {
            Some("two libvirtd in namespaces of their own take root")
        } else if !Path::new("/usr/bin/qemu-system-x86_64").exists() {
            Some("there is no /usr/bin/qemu-system-x86_64; install qemu-system-x86")
        } else {
            None
        };
        if let Some(lack) = lack {
            eprintln!("skipped: {lack}");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("libvirtd.sh");
        std::fs::write(&script, include_str!("libvirtd.sh")).unwrap();
        std::fs::create_dir(directory.path().join("share")).unwrap();
        std::fs::write(directory.path().join("share/disk"), boot_disk()).unwrap();
        std::fs::write(directory.path().join("tern.xml"), DOMAIN).unwrap();
        let start = |host: &str| {
            let log = std::fs::File::create(directory.path().join(format!("{host}.log"))).unwrap();
            // Its end ends the namespace, and with it libvirtd and every QEMU.
            Command::new("unshare")
                .args(["--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"])
                .arg("--mount-proc")
                .arg("sh")
                .arg(&script)
                .arg(cache.join("root"))
                .arg(directory.path())
                .arg(host)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .unwrap()
        };
        let children = vec![start("a"), start("b")];
        let hosts = Hosts { directory, virsh: cache.join("virsh"), children, _turn: turn };
        let began = Instant::now();
        for host in ["a", "b"] {
            while !hosts.virsh(host, &["list"]).status.success() {
                if began.elapsed() > LIMIT {
                    let log = hosts.directory.path().join(format!("{host}.log"));
                    let words = std::fs::read_to_string(log).unwrap();
                    eprintln!("skipped: no libvirtd starts in namespaces here: {words}");
                    return None;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        Some(hosts)
    }

    fn uri(&self, host: &str) -> String {
        let socket = self.directory.path().join(format!("sock/{host}/libvirt-sock"));
        format!("qemu+unix:///system?socket={}", socket.display())
    }

    fn virsh(&self, host: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.virsh);
        command.args(["-q", "-c"]).arg(self.uri(host)).args(arguments).output().unwrap()
    }

    #[track_caller]
    fn must(&self, host: &str, arguments: &[&str]) {
        let output = self.virsh(host, arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    /// Starts the guest and a watch of it.
    fn watch(&self) -> Child {
        self.must("a", &["create", self.directory.path().join("tern.xml").to_str().unwrap()]);
        std::thread::sleep(Duration::from_secs(2));
        let watch = Command::new(env!("CARGO_BIN_EXE_sterna"))
            .args(["watch", "libvirt", "tern", "--timeout", "30s", "-c", &self.uri("a")])
            .args(["--destination", &self.uri("b"), "--virsh"])
            .arg(&self.virsh)
            .arg("-o")
            .arg(self.directory.path().join("report.json"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_secs(2));
        watch
    }

    fn migrate(&self, more: &[&str]) -> Output {
        let to = "qemu+unix:///system?socket=/sock/b/libvirt-sock";
        let all = [
            &["migrate", "--live", "--p2p", "--migrateuri", "unix:///sock/stream"],
            more,
            &["tern", to],
        ];
        self.virsh("a", &all.concat())
    }

    fn report(&self, watch: Child) -> (Option<i32>, Value) {
        let output = watch.wait_with_output().unwrap();
        let text = std::fs::read_to_string(self.directory.path().join("report.json"));
        let text = text.unwrap_or_else(|_| panic!("{output:?}"));
        (output.status.code(), serde_json::from_str(&text).unwrap())
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_domain_that_moves_between_two_libvirtd_has_the_report_of_a_run() {
    let Some(hosts) = Hosts::new() else { return };
    let watch = hosts.watch();
    let output = hosts.migrate(&["--bandwidth", "2"]);
    assert!(output.status.success(), "{output:?}");
    let (code, report) = hosts.report(watch);
    assert_eq!(code, Some(0));
    let summary = &report["summary"];
    assert_eq!(
        (&summary["verdict"], &report["engine"]["control"]),
        (&"completed".into(), &"observed".into())
    );
    let claims = &report["engine"]["details"]["watch"]["libvirt_claims"];
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{report:#}"));
    // libvirt's claim begins with its call, before its QEMU on the destination has started.
    assert!(number(&summary["total_time_seconds"]) < number(&claims["time_elapsed_seconds"]));
    let downtime = number(&summary["downtime_seconds"]);
    assert!(
        (downtime - number(&claims["downtime_seconds"])).abs() < 0.03,
        "{downtime} s, {claims}"
    );
    let iterations = claims["statistics"]["memory_iteration"].as_u64().unwrap();
    assert_eq!(summary["passes"].as_u64(), Some(iterations - 1));
    let rows = report["passes"].as_array().unwrap();
    let rows = rows.iter().filter(|it| it["kind"] == "pass").count();
    assert_eq!(summary["passes"].as_u64(), Some(rows as u64), "{report:#}");
}

#[test]
fn a_job_that_is_aborted_leaves_the_domain_where_it_is() {
    let Some(hosts) = Hosts::new() else { return };
    let watch = hosts.watch();
    std::thread::scope(|scope| {
        scope.spawn(|| hosts.migrate(&["--bandwidth", "1"]));
        std::thread::sleep(Duration::from_millis(1300));
        hosts.must("a", &["domjobabort", "tern"]);
    });
    let (code, report) = hosts.report(watch);
    assert_eq!((code, &report["summary"]["verdict"]), (Some(3), &"cancelled".into()));
    hosts.must("a", &["domstate", "tern"]);
}
