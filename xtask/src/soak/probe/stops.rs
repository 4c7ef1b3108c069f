//! A responder that is stopped, and one that is not.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Trial;
use super::child::{longest, probe, report, serve, sterna};

/// Before the first stop and after the last.
const MARGIN: Duration = Duration::from_millis(400);

/// No outage of this length may be invented.
const MOST_INVENTED_SECONDS: f64 = 0.020;
const QUIET_SECONDS: f64 = 60.0;

/// Stops a responder for so long, again and again.
pub fn run(program: &Path, count: u32, length_ms: u64) -> Result<Vec<Trial>> {
    let (responder, address) = serve(sterna(program), "127.0.0.1:0")?;
    let pid = responder.0.id().to_string();
    let length = Duration::from_millis(length_ms);
    let mut trials = Vec::new();
    for _ in 0..count {
        let running = probe(sterna(program), &address, (2 * MARGIN + length).as_secs_f64())?;
        sleep(MARGIN);
        let truth = stop(&pid, length)?;
        let report = report(running)?;
        trials.push(Trial { truth, reported: longest(&report) });
    }
    Ok(trials)
}

/// How long it was really stopped: from the signals' returns, and from before they were sent.
fn stop(pid: &str, length: Duration) -> Result<(f64, f64)> {
    // A shell sends both, so that nothing has to be started in between.
    let before = Instant::now();
    signal(pid, "STOP")?;
    let stopped = Instant::now();
    sleep(length);
    let least = stopped.elapsed();
    signal(pid, "CONT")?;
    Ok((least.as_secs_f64(), before.elapsed().as_secs_f64()))
}

fn signal(pid: &str, name: &str) -> Result<()> {
    let status = Command::new("kill").args(["-s", name, pid]).status()?;
    ensure!(status.success(), "kill -s {name} {pid} ended with {status}");
    Ok(())
}

/// A minute in which nothing happens.
pub fn quiet(program: &Path) -> Result<bool> {
    let (_responder, address) = serve(sterna(program), "127.0.0.1:0")?;
    let report = report(probe(sterna(program), &address, QUIET_SECONDS)?)?;
    let longest = longest(&report);
    println!(
        "{QUIET_SECONDS:.0} quiet seconds: the longest outage {:.2} ms of at most {:.0} ms; this process itself was late by {:.2} ms at most",
        longest * 1e3,
        MOST_INVENTED_SECONDS * 1e3,
        report["noise"]["late_max_ns"].as_f64().unwrap_or(0.0) / 1e6
    );
    Ok(longest <= MOST_INVENTED_SECONDS)
}
