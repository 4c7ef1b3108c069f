//! The two programs of a trial.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

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

/// Starts a probe of 1 ms for so long.
pub fn probe(mut command: Command, target: &str, seconds: f64) -> Result<Running> {
    let duration = format!("{}ms", (seconds * 1e3) as u64);
    command.args(["probe", "udp", target, "--interval", "1ms", "--format", "json"]);
    command.args(["--duration", &duration]);
    start(command)
}

/// Its report.
pub fn report(mut running: Running) -> Result<Value> {
    let mut text = String::new();
    running.0.stdout.take().context("Its output is not piped")?.read_to_string(&mut text)?;
    let mut words = String::new();
    running.0.stderr.take().context("Its output is not piped")?.read_to_string(&mut words)?;
    running.0.wait()?;
    serde_json::from_str(&text).with_context(|| format!("There is no report: {words}"))
}

/// The longest outage in a report; 0 without any.
pub fn longest(report: &Value) -> f64 {
    report["longest_outage_seconds"].as_f64().unwrap_or(0.0)
}

/// `sterna`.
pub fn sterna(program: &Path) -> Command {
    Command::new(program)
}
