//! The real binary with real QEMUs, where there are any; each test says what it lacks when it skips.
//!
//! `STERNA_TEST_QEMU` names the program to take; without it the one that `cargo xtask qemu` has fetched comes before the distribution's.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]
#![allow(clippy::print_stderr, reason = "a test that skips says why, also in its helpers")]

mod accelerators;
mod all_memory;
mod counters;
mod faults;
#[path = "../run/harness.rs"]
#[allow(dead_code, reason = "these tests use a part of it")]
mod harness;
mod hops;
mod leftovers;
mod lost_link;
mod network;
mod phases;
mod resources;
#[path = "../sshd/mod.rs"]
mod sshd;
mod techniques;
mod time;
mod tls;
mod together;
mod transports;
mod two_machines;
mod versions;

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use harness::{Outcome, Run};
use serde_json::Value;

/// A guest that is quick to boot and to verify.
const SMALL: [&str; 10] = [
    "--engine",
    "qemu",
    "--memory",
    "160MiB",
    "--workload-memory",
    "32MiB",
    "--warmup",
    "500ms",
    "--cooldown",
    "1s",
];

/// A guest that writes more than may be sent.
const NEVER_ENDING: [&str; 6] =
    ["--rate", "unlimited", "--max-bandwidth", "20MB/s", "--downtime-limit", "50ms"];

/// Emulated guests share few processors badly, so one test runs at a time.
static TURN: Mutex<()> = Mutex::new(());

/// The oldest QEMU that Sterna runs with, by its major version.
const OLDEST: u32 = 7;

/// A QEMU, and our turn to use it.
struct Bench {
    program: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    /// `None` when something is missing, which has been printed.
    fn new() -> Option<Bench> {
        Bench::since(OLDEST)
    }

    /// With a QEMU of this major version or later.
    fn since(least: u32) -> Option<Bench> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let kernels = std::fs::read_dir("/boot").into_iter().flatten().flatten();
        if !kernels.into_iter().any(|it| it.file_name().to_string_lossy().starts_with("vmlinuz")) {
            eprintln!("skipped: there is no kernel in /boot");
            return None;
        }
        let Some(program) =
            candidates().into_iter().find(|it| major(it).is_some_and(|it| it >= least))
        else {
            eprintln!("skipped: there is no QEMU {least} or later; `cargo xtask qemu` fetches one");
            return None;
        };
        Some(Bench { program, _turn: turn })
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let source = self.program.to_str().unwrap();
        Run::new(&[&SMALL[..], &["--qemu-source", source], arguments].concat())
    }

    fn outcome(&self, arguments: &[&str]) -> Outcome {
        self.run(arguments).outcome()
    }
}

fn candidates() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map_or_else(|| PathBuf::from(home).join(".cache"), PathBuf::from);
    let asked = std::env::var_os("STERNA_TEST_QEMU").map(PathBuf::from);
    let fetched = cache.join("sterna/qemu/qemu-system-x86_64");
    asked.into_iter().chain([fetched, PathBuf::from("qemu-system-x86_64")]).collect()
}

fn major(program: &PathBuf) -> Option<u32> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().nth(3)?.split('.').next()?.parse().ok()
}

/// A fact of the engine that has no field of its own.
#[track_caller]
fn detail<'a>(outcome: &'a Outcome, path: &str) -> &'a Value {
    let details = &outcome.report()["engine"]["details"];
    details.pointer(path).unwrap_or_else(|| panic!("no {path} in {details}"))
}
