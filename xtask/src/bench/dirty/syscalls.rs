//! That a worker without a limit does not call the kernel.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use sterna_sys::process;

use super::Bench;
use crate::process::works;

/// What strace saw of one thread: when each call began, in seconds.
type Calls = Vec<f64>;

/// Runs under strace, if it is here and may trace.
pub fn run(bench: &Bench) -> Result<()> {
    if !works(Command::new("strace").args(["-o", "/dev/null", "true"])) {
        println!("\nskipped: strace is not installed, or tracing is not allowed here");
        return Ok(());
    }
    println!();
    let seconds = if bench.is_short { 1 } else { 5 };
    for pattern in ["sequential", "random"] {
        let calls = traced(bench, pattern, seconds)?;
        let silence = longest_silence(&calls);
        println!(
            "strace -ff, {pattern}, unlimited, {seconds} s: the worker made {} calls in its life, and none for {silence:.3} s in a row",
            calls.len()
        );
        let is_met = silence >= f64::from(seconds) * 0.99;
        super::super::target(
            &format!("Calls of the kernel within {seconds} s of unlimited writes, {pattern}"),
            if is_met { "0" } else { "more than 0" },
            "0",
            is_met,
        );
        // This does not depend on the machine.
        ensure!(is_met, "The hot loop calls the kernel");
    }
    Ok(())
}

/// The calls of the only worker.
fn traced(bench: &Bench, pattern: &str, seconds: u32) -> Result<Calls> {
    let folder = tempfile::tempdir().context("Cannot create a temporary folder")?;
    let mut strace = Command::new("strace");
    strace.args(["-ff", "-ttt", "-o"]).arg(folder.path().join("t")).arg(bench.sterna.path());
    strace.args(["dirty", "-p", pattern, "--memory", "64MiB", "--progress", "none"]);
    strace.args(["--duration", &format!("{seconds}s")]);
    strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    process::die_with_parent(&mut strace);
    let status = strace.status().context("Cannot start strace")?;
    ensure!(status.success(), "strace ended with {status}");
    let files = fs::read_dir(folder.path())?.filter_map(Result::ok);
    let texts = files.filter_map(|it| fs::read_to_string(Path::new(&it.path())).ok());
    let mut workers = texts.filter(|it| it.contains("PR_SET_NAME, \"dirty-0\""));
    let worker = workers.next().context("strace saw no thread of the worker's name")?;
    Ok(worker.lines().filter_map(|it| it.split(' ').next()?.parse().ok()).collect())
}

fn longest_silence(calls: &Calls) -> f64 {
    calls.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max)
}
