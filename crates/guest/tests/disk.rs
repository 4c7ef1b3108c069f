//! Records on a disk, begun and ended over HTTP, with an agent that is stopped and killed and disks that are full.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sterna_wire::guest_config::GuestConfig;
use sterna_wire::guest_disk::{DiskEnded, DiskPage, DiskRefused};

struct Agent {
    child: Child,
    port: u16,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the agent with a directory `disk`, on which that script mounts something first.
fn agent(directory: &Path, mount: Option<&str>) -> Agent {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = GuestConfig {
        port_name: "-".to_owned(),
        echo_port: None,
        start_at_once: true,
        metrics_port: Some(port),
        disk: Some(directory.join("disk").display().to_string()),
        disk_is_mount: mount.is_some(),
        ..GuestConfig::of("memory=1MiB workers=1 rate=1MiB/s")
    };
    let _ = fs::create_dir(directory.join("disk"));
    let file = directory.join("config");
    fs::write(&file, config.to_string()).unwrap();
    let program = format!("exec {} --config config", env!("CARGO_BIN_EXE_sterna-guest"));
    let mut command = match mount {
        Some(mount) => in_its_own_namespace(&format!("{mount} && {program}")),
        None => in_a_shell(&program),
    };
    command.current_dir(directory);
    // An agent that speaks over its input ends with it.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    sterna_sys::process::die_with_parent(&mut command);
    let agent = Agent { child: command.spawn().unwrap(), port };
    let deadline = Instant::now() + Duration::from_secs(20);
    while agent.get("metrics").is_none() {
        assert!(Instant::now() < deadline, "the agent does not answer");
        std::thread::sleep(Duration::from_millis(20));
    }
    agent
}

fn in_a_shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn in_its_own_namespace(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", script]);
    command
}

impl Agent {
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
        write!(stream, "GET /{path} HTTP/1.1\r\nHost: guest\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        Some(body.to_owned())
    }

    fn page(&self, path: &str) -> DiskPage {
        self.get(path).unwrap().parse().unwrap()
    }

    fn begin(&self) {
        let page = self.page("disk/begin");
        assert!(matches!(page, DiskPage::Begun { .. }), "{page:?}");
    }

    fn end(&self) -> DiskEnded {
        match self.page("disk/end") {
            DiskPage::Ended(ended) => *ended,
            other => panic!("{other:?}"),
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

#[test]
fn a_standstill_is_a_stall_and_a_dead_agent_leaves_nothing_for_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let first = agent(directory.path(), None);
    assert!(first.get("disk/beginning").unwrap().contains("page_writes_total"));
    first.begin();
    std::thread::sleep(Duration::from_millis(300));
    first.signal(Signal::STOP);
    std::thread::sleep(Duration::from_millis(600));
    first.signal(Signal::CONT);
    std::thread::sleep(Duration::from_millis(300));
    let told = first.end();
    assert!(told.longest_stall_ns >= 590_000_000, "{told:?}");
    let longest = told.stalls.iter().max_by_key(|it| it.length_ns).unwrap();
    assert!(longest.has_ended && longest.length_ns == told.longest_stall_ns, "{told:?}");
    // All that came due meanwhile is made up for.
    assert!(told.due >= 110 && told.due == told.acknowledged, "{told:?}");
    // Whether the agent was late itself depends on whether it was stopped while the disk had it.
    assert!(told.times.unwrap().max_ns >= 500_000_000, "{told:?}");
    assert!(told.proof.unwrap().is_sound());
    let counters = first.get("metrics").unwrap();
    assert!(counters.contains("page_writes_total") && !counters.contains("disk"), "{counters}");

    first.begin();
    drop(first);
    let left = || fs::read_dir(directory.path().join("disk")).unwrap().count();
    assert_eq!(left(), 1, "it was killed");
    let second = agent(directory.path(), None);
    let DiskPage::Refused(refused) = second.page("disk/end") else { panic!() };
    assert_eq!(refused.why, DiskRefused::NotBegun);
    second.begin();
    assert!(second.end().proof.unwrap().is_sound());
    assert_eq!(left(), 0);
}

#[test]
fn a_disk_that_is_full_or_read_only_is_told_and_the_agent_lives() {
    let allowed = in_its_own_namespace("mount -t tmpfs none /mnt").stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|it| it.success()) {
        return eprintln!("skipped: this user may mount nothing, not even with `unshare -rm`");
    }
    let refuses = |mount: &str, words: &str| {
        let directory = tempfile::tempdir().unwrap();
        let agent = agent(directory.path(), Some(mount));
        for _ in 0..2 {
            match agent.page("disk/begin") {
                DiskPage::Refused(it) => {
                    assert_eq!(it.why, DiskRefused::Broken);
                    assert!(it.text.contains(words), "{it:?}, wanted {words:?}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(agent.get("metrics").unwrap().contains("page_writes_total"));
    };
    refuses("mount -t tmpfs -o ro none disk", "Read-only file system");
    let full = "mount -t tmpfs -o size=4k none disk && head -c 4096 /dev/zero > disk/full";
    refuses(full, "No space left");
    refuses("true", "No disk is mounted at");

    let directory = tempfile::tempdir().unwrap();
    let agent = agent(directory.path(), Some("mount -t tmpfs -o size=16k none disk"));
    agent.begin();
    std::thread::sleep(Duration::from_millis(1000));
    let told = agent.end();
    assert!(told.error.as_ref().unwrap().contains("No space left"), "{told:?}");
    assert!((1..=32).contains(&told.acknowledged) && told.due >= 90, "{told:?}");
    let last = told.stalls.last().unwrap();
    assert!(!last.has_ended && last.length_ns > 300_000_000, "{told:?}");
    // What the disk had promised is there all the same.
    assert!(told.proof.as_ref().unwrap().is_sound(), "{told:?}");
    agent.begin();
}
