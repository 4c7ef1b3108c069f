//! Other programs, where they are installed: started, read, and ended as their users do.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use sterna_sys::process;

/// How long a server may take until it listens.
const START: Duration = Duration::from_millis(300);

/// A program that is ended with the value.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Bytes per second by one stream of iperf3, as they arrived; over the congestion control that connections of a migration have on loopback.
pub fn iperf3(block: u64, seconds: f64) -> Result<f64> {
    let (port, block) = (free_port()?, block.to_string());
    let seconds = (seconds.ceil() as u64).to_string();
    let _server = background(Command::new("iperf3").args(["-s", "-1", "-p", &port]))?;
    std::thread::sleep(START);
    let mut client = Command::new("iperf3");
    client.args(["-c", "127.0.0.1", "-p", &port, "-l", &block, "-t", &seconds, "-C", "reno", "-J"]);
    let output = finished(&mut client)?;
    let report: Value = serde_json::from_str(&output).context("iperf3 does not speak JSON")?;
    let bits = report.pointer("/end/sum_received/bits_per_second").and_then(Value::as_f64);
    Ok(bits.with_context(|| format!("iperf3 gives no figure: {output}"))? / 8.0)
}

/// Bytes per second of `mig_mon vm -t precopy`, heads included as it counts them; the mean of so many lines, of which each covers a second.
pub fn mig_mon_precopy(lines: usize) -> Result<f64> {
    let port = free_port()?;
    let _destination = background(mig_mon(&["-d", "-p", &port]).stdout(Stdio::null()))?;
    std::thread::sleep(START);
    let (_source, output) =
        talking(&mut mig_mon(&["-s", "-H", "127.0.0.1", "-p", &port, "-t", "precopy"]))?;
    Ok(mean_of_lines(output, "Speed:", lines)? * f64::from(1 << 20))
}

/// Nanoseconds of a request of `mig_mon vm -t postcopy`, the mean over so many seconds.
pub fn mig_mon_postcopy(lines: usize) -> Result<f64> {
    let port = free_port()?;
    let (_destination, output) = talking(&mut mig_mon(&["-d", "-p", &port]))?;
    std::thread::sleep(START);
    let source = ["-s", "-H", "127.0.0.1", "-p", &port, "-t", "postcopy"];
    let _source = background(mig_mon(&source).stdout(Stdio::null()))?;
    Ok(mean_of_lines(output, "Latency: average", lines)? * 1e3)
}

/// Nanoseconds of a round trip of sockperf's ping-pong over TCP; it prints half of it.
pub fn sockperf(bytes: u64, seconds: f64) -> Result<f64> {
    let (port, bytes) = (free_port()?, bytes.to_string());
    let seconds = (seconds.ceil() as u64).to_string();
    let mut server = Command::new("sockperf");
    server.args(["sr", "--tcp", "-i", "127.0.0.1", "-p", &port]);
    let _server = background(server.stdout(Stdio::null()))?;
    std::thread::sleep(START);
    let mut client = Command::new("sockperf");
    client.args(["pp", "--tcp", "-i", "127.0.0.1", "-p", &port, "-m", &bytes, "-t", &seconds]);
    let output = finished(&mut client)?;
    let half = number_after(&output, "avg-latency=");
    Ok(half.with_context(|| format!("sockperf gives no figure: {output}"))? * 2.0 * 1e3)
}

fn mig_mon(flags: &[&str]) -> Command {
    // Through a pipe it would say nothing until its end.
    let mut command = Command::new("stdbuf");
    command.args(["-oL", "mig_mon", "vm"]).args(flags);
    command
}

fn free_port() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string())
}

fn background(command: &mut Command) -> Result<Background> {
    command.stdin(Stdio::null()).stderr(Stdio::null());
    if !matches!(command.get_program().to_str(), Some("stdbuf" | "sockperf")) {
        command.stdout(Stdio::null());
    }
    process::die_with_parent(command);
    let child = command.spawn();
    Ok(Background(child.with_context(|| format!("Cannot start {:?}", command.get_program()))?))
}

fn talking(command: &mut Command) -> Result<(Background, ChildStdout)> {
    let mut child = background(command.stdout(Stdio::piped()))?;
    let output = child.0.stdout.take().context("A program has no output")?;
    Ok((child, output))
}

fn finished(command: &mut Command) -> Result<String> {
    process::die_with_parent(command);
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("Cannot start {:?}", command.get_program()))?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "{:?}: {said}", command.get_program());
    Ok(said)
}

/// The mean of the numbers after a name, of so many lines; the first one also covers the start.
fn mean_of_lines(output: ChildStdout, name: &str, lines: usize) -> Result<f64> {
    let mut found = Vec::new();
    for line in BufReader::new(output).lines() {
        found.extend(number_after(&line?, name));
        if found.len() > lines {
            return Ok(found[1..].iter().sum::<f64>() / lines as f64);
        }
    }
    bail!("mig_mon ended after {} lines with a figure", found.len())
}

fn number_after(text: &str, name: &str) -> Option<f64> {
    let text = text.split_once(name)?.1.trim_start();
    let end = text.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_in_what_is_said() {
        let check =
            |text: &str, name: &str, expected| assert_eq!(number_after(text, name), expected);
        check("Speed: 4301 (MB/s)", "Speed:", Some(4301.0));
        check("Latency: average 57 (us), max: 90 (us)", "Latency: average", Some(57.0));
        check("====> avg-latency=10.496 (std-dev=80.3)", "avg-latency=", Some(10.496));
        check("Connected", "Speed:", None);
    }
}
