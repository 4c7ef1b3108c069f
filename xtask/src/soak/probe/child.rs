//! The two programs of a trial.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use sterna_sys::process;

/// A program that does not outlive its trial.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program and leaves its output to be read.
pub fn start(mut command: Command) -> Result<Running> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    process::die_with_parent(&mut command);
    Ok(Running(command.spawn().context("Cannot start a program of the trial")?))
}

/// A responder and its address.
pub fn serve(mut command: Command, listen: &str) -> Result<(Running, String)> {
    command.args(["probe", "serve", "--listen", listen]);
    let mut running = start(command)?;
    let stdout = running.0.stdout.take().context("Its output is not piped")?;
    let mut address = String::new();
    BufReader::new(stdout).read_line(&mut address)?;
    ensure!(!address.is_empty(), "The responder gave no address");
    Ok((running, address.trim().to_owned()))
}

/// A probe that has begun.
pub struct Probe {
    running: Running,
    events: BufReader<ChildStdout>,
}

/// Starts a probe of 1 ms for so long, and returns when it has begun: on a busy machine that takes longer than any margin.
pub fn probe(mut command: Command, target: &str, seconds: f64) -> Result<Probe> {
    let duration = format!("{}ms", (seconds * 1e3) as u64);
    command.args(["probe", "udp", target, "--interval", "1ms", "--format", "ndjson"]);
    command.args(["--duration", &duration]);
    let mut running = start(command)?;
    let stdout = running.0.stdout.take().context("Its output is not piped")?;
    let mut events = BufReader::new(stdout);
    let mut first = String::new();
    events.read_line(&mut first)?;
    ensure!(first.contains("\"start\""), "The probe did not begin: {first}");
    Ok(Probe { running, events })
}

/// Its report.
pub fn report(mut probe: Probe) -> Result<Value> {
    let mut text = String::new();
    probe.events.read_to_string(&mut text)?;
    probe.running.0.wait()?;
    let last = text.lines().last().context("The probe said nothing")?;
    let mut event: Value = serde_json::from_str(last).context("There is no report")?;
    Ok(event["data"].take())
}

/// The longest outage in a report; 0 without any.
pub fn longest(report: &Value) -> f64 {
    report["longest_outage_seconds"].as_f64().unwrap_or(0.0)
}

/// `sterna`.
pub fn sterna(program: &Path) -> Command {
    Command::new(program)
}
