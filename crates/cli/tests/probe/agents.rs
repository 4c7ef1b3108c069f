//! The agent of a guest as the other end.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::{number, probe, wait_until};

/// An agent that runs here as a service, and the address of its responder.
struct Agent {
    child: Child,
    address: String,
}

impl Agent {
    /// `None` where there is no agent, which has been printed.
    fn start(directory: &Path, disk: &str) -> Option<Agent> {
        let Some(bytes) = sterna_agent::program() else {
            eprintln!("skipped: the agent could not be built statically here");
            return None;
        };
        let (program, config) = (directory.join("agent"), directory.join("config"));
        fs::write(&program, bytes).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        // Somebody else may take the port in between; then the agent ends, and the test fails with its words.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let text = format!("workload=memory=1MiB\nport-name=-\necho-port={port}\ndisk={disk}\n");
        fs::write(&config, text).unwrap();
        let mut command = Command::new(program);
        command.arg("--config").arg(config).stdin(Stdio::piped()).stdout(Stdio::piped());
        let said = directory.join("said");
        let child = command.stderr(File::create(&said).unwrap()).spawn().unwrap();
        let mut agent = Agent { child, address: format!("127.0.0.1:{port}") };
        wait_until("it does not listen", || {
            let has_ended = agent.child.try_wait().unwrap();
            assert!(has_ended.is_none(), "{}", fs::read_to_string(&said).unwrap());
            std::net::TcpStream::connect(&agent.address).is_ok()
        });
        Some(agent)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn report(flags: &[&str]) -> Value {
    let outcome = probe(&[flags, &["--duration", "500ms", "--format", "json"]].concat());
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    outcome.json()
}

#[test]
fn an_agent_answers_every_probe_that_needs_somebody_there() {
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let Some(agent) = Agent::start(directory.path(), disk.to_str().unwrap()) else { return };
    for kind in ["udp", "tcp", "clock", "playout"] {
        let report = report(&[kind, &agent.address]);
        assert!(number(&report, "/probes/0/received") > 2.0, "{report:#}");
    }
    let report = report(&["disk", "--remote", &agent.address, "--interval", "2ms"]);
    let written = &report["probes"][0]["disk"];
    assert!(number(written, "/acknowledged") > 20.0, "{written:#}");
    // As if the guest were gone, at once.
    drop(agent);
    let (file, last) = (written["files"][0].as_str().unwrap(), &written["last_acknowledged"]);
    assert!(file.starts_with(disk.to_str().unwrap()), "{file}");
    let proof = probe(&["disk", file, "--verify", "--acknowledged", &last.to_string()]);
    assert_eq!(proof.code, Some(0), "{}", proof.stdout);
}

#[test]
fn an_agent_needs_no_thread_for_an_idle_connection_and_closes_the_most_silent_ones() {
    let directory = tempfile::tempdir().unwrap();
    let Some(agent) = Agent::start(directory.path(), "none") else { return };
    let idle: Vec<TcpStream> =
        (0..400).map(|_| TcpStream::connect(&agent.address).unwrap()).collect();
    let outcome = report(&["tcp", &agent.address]);
    assert!(number(&outcome, "/probes/0/received") > 2.0, "{outcome:#}");
    let status = fs::read_to_string(format!("/proc/{}/status", agent.child.id())).unwrap();
    let threads = status.lines().find_map(|it| it.strip_prefix("Threads:")).unwrap();
    assert!(threads.trim().parse::<u32>().unwrap() < 20, "{threads} threads");
    let descriptors = fs::read_dir(format!("/proc/{}/fd", agent.child.id())).unwrap().count();
    assert!(descriptors < 300, "{descriptors} descriptors");
    drop(idle);
}

#[test]
fn an_agent_without_a_disk_says_how_it_would_have_one() {
    let directory = tempfile::tempdir().unwrap();
    let Some(agent) = Agent::start(directory.path(), "none") else { return };
    let outcome = probe(&["disk", "--remote", &agent.address, "--duration", "2s"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("`disk=DIRECTORY` in its configuration"), "{}", outcome.stderr);
}
