//! A domain of libvirt: what a virsh said in real migrations, said again by a script.
//!
//! The script's words were recorded from libvirt 9.0 with QEMU 7.2; its stamps are of now.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

const JOB: &str = "operation: 5\ntime_elapsed: 3263\ntime_elapsed_net: 3262\ndowntime: 52\ndowntime_net: 51\nsetup_time: 1\nmemory_total: 135659520\nmemory_processed: 1810376\nmemory_remaining: 0\nmemory_constant: 32883\nmemory_normal: 369\nmemory_iteration: 4\nmemory_page_size: 4096\n";

pub struct Stage {
    directory: TempDir,
}

impl Stage {
    pub fn new() -> Stage {
        let directory = tempfile::tempdir().unwrap();
        let virsh = directory.path().join("virsh");
        std::fs::write(&virsh, include_str!("virsh.sh")).unwrap();
        std::fs::set_permissions(&virsh, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(directory.path().join("job"), JOB).unwrap();
        Stage { directory }
    }

    pub fn put(&self, name: &str) {
        std::fs::write(self.directory.path().join(name), "").unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
        command
            .args(["watch", "libvirt", "--timeout", "20s", "--virsh"])
            .arg(self.directory.path().join("virsh"))
            .arg("-o")
            .arg(self.directory.path().join("report.json"))
            .args(arguments);
        command
    }

    /// Watches while the migration begins a moment later.
    pub fn watch(&self, arguments: &[&str]) -> (Output, Value) {
        let mut command = self.command(arguments);
        let watcher = std::thread::spawn(move || command.output().unwrap());
        std::thread::sleep(Duration::from_millis(1500));
        self.put("begin");
        let output = watcher.join().unwrap();
        let report = std::fs::read_to_string(self.directory.path().join("report.json"));
        let report = report.unwrap_or_else(|_| panic!("{output:?}"));
        (output, serde_json::from_str(&report).unwrap())
    }
}

fn has(report: &Value, code: &str) -> bool {
    report["warnings"].as_array().unwrap().iter().any(|it| it["code"] == code)
}

#[test]
fn a_domain_that_migrates_away_has_the_report_of_a_run() {
    let stage = Stage::new();
    let (output, report) = stage.watch(&["tern", "-c", "source", "--destination", "destination"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(report["engine"]["control"], "observed");
    let summary = &report["summary"];
    assert_eq!(summary["verdict"], "completed");
    // From the events, and not the 3.263 s that libvirt counts from its own call on.
    let total = summary["total_time_seconds"].as_f64().unwrap();
    assert!((2.0..3.0).contains(&total), "{total} s");
    let watch = &report["engine"]["details"]["watch"];
    assert_eq!(watch["way"], "libvirt");
    assert_eq!(watch["libvirt_claims"]["time_elapsed_seconds"], 3.263);
    let downtime = summary["downtime_seconds"].as_f64().unwrap();
    assert!((0.04..0.5).contains(&downtime), "{downtime} s");
    assert_eq!(summary["downtime_uncertainty_seconds"], 0.004);
    assert_eq!(summary["downtime_claimed_seconds"], 0.052);
    assert_eq!(summary["wire_bytes"], 1_810_376);
    // The third synchronisation and the stop have the same stamp, and their order counts.
    let passes = report["passes"].as_array().unwrap();
    assert_eq!(passes.iter().filter(|it| it["kind"] == "pass").count(), 3, "{passes:?}");
    assert_eq!(summary["passes"], 3);
    assert_eq!(report["scenario"]["migration"]["downtime-limit"], "300ms");
}

#[test]
fn a_migration_that_fails_has_qemus_words_and_the_domain_goes_on() {
    let stage = Stage::new();
    stage.put("fails");
    let (output, report) = stage.watch(&["tern"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(report["summary"]["verdict"], "failed");
    assert_eq!(report["summary"]["verdict_reason"], "Unable to write to socket: Broken pipe");
    assert!(report["summary"]["downtime_seconds"].is_null());
}

#[test]
fn without_the_destination_the_downtime_is_what_libvirt_claims() {
    let stage = Stage::new();
    let (_, report) = stage.watch(&["tern"]);
    assert_eq!(report["summary"]["verdict"], "completed");
    assert!(report["summary"]["downtime_seconds"].is_null());
    assert_eq!(report["summary"]["downtime_claimed_seconds"], 0.052);
    assert!(has(&report, "downtime-not-seen") && has(&report, "destination-not-seen"));
}

#[test]
fn what_virsh_refuses_is_shown_in_its_words() {
    let stage = Stage::new();
    let refusal = |arguments: &[&str]| {
        let output = stage.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(refusal(&["nix"]).contains("failed to get domain 'nix'"));
    let wrong = refusal(&["tern", "-c", "wrong"]);
    assert!(wrong.contains("virsh -c wrong") && wrong.contains("no connection driver"), "{wrong}");
    let absent = refusal(&["tern", "--virsh", "/nowhere/virsh"]);
    assert!(absent.contains("libvirt-clients"), "{absent}");
    let never = refusal(&["tern", "--timeout", "1s"]);
    assert!(never.contains("No migration began"), "{never}");
}
