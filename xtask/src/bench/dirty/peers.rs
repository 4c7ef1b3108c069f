//! Other dirtiers, where they are installed: started, read, and ended as their users do.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use sterna_sys::process;
use sterna_units::Bytes;

use super::runs::Speed;
use crate::machine::on_path;

/// Pages of 4 KiB in a MiB.
const PAGES_PER_MIB: f64 = 256.0;

/// Whether a program is installed.
pub fn is_installed(program: &str) -> bool {
    on_path(program).is_some()
}

/// How fast `mig_mon mm_dirty` writes, by its own lines, of which each covers a second.
///
/// It counts a write as 4 KiB of dirt, in MiB per second. Its first line covers the preparation of
/// the memory, and the line in which it is ended is lost.
pub fn mig_mon(memory: Bytes, flags: &[&str], lines: usize) -> Result<Speed> {
    let mib = (memory.0 >> 20).to_string();
    // Through a pipe it would say nothing until its end.
    let mut command = Command::new("stdbuf");
    command.args(["-oL", "mig_mon", "mm_dirty", "-m", &mib]).args(flags);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    process::die_with_parent(&mut command);
    let mut child = command.spawn().context("Cannot start mig_mon by stdbuf")?;
    let speed = mig_mon_speed(&mut child, lines);
    let _ = child.kill();
    let _ = child.wait();
    speed
}

fn mig_mon_speed(child: &mut Child, lines: usize) -> Result<Speed> {
    let pid = child.id();
    let output = child.stdout.take().context("mig_mon has no output")?;
    let (mut pages, mut seconds, mut cpu_ns) = (0.0, 0.0, 0);
    let mut seen = 0;
    for line in BufReader::new(output).lines() {
        let Some((rate, length)) = rate_and_length(&line?) else { continue };
        if seen == 0 {
            cpu_ns = cpu_of(pid)?;
        } else {
            pages += rate * PAGES_PER_MIB * length;
            seconds += length;
        }
        if seen == lines {
            let cpu_seconds = (cpu_of(pid)? - cpu_ns) as f64 / 1e9;
            return Ok(Speed {
                pages_per_second: pages / seconds,
                pages_per_cpu_second: pages / cpu_seconds,
            });
        }
        seen += 1;
    }
    bail!("mig_mon ended after {seen} lines with a rate")
}

/// MiB per second and the seconds they cover, of `dirty-rate: 245172 (MB/s), time (ms): 1000, …`.
fn rate_and_length(line: &str) -> Option<(f64, f64)> {
    let after = |name: &str| {
        let text = line.split_once(name)?.1.trim_start();
        let end = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
        text[..end].parse::<f64>().ok()
    };
    Some((after("dirty-rate:")?, after("time (ms):")? / 1e3))
}

fn cpu_of(pid: u32) -> Result<u64> {
    let threads = process::thread_cpu_ns(pid).context("mig_mon's processor time is not known")?;
    Ok(threads.iter().map(|it| it.cpu_ns).sum())
}

/// How fast `stress-ng --vm` writes whole pages, by its bogo operations.
///
/// With `write64` one of them is 1 MiB.
pub fn stress_ng(memory: Bytes, seconds: u32) -> Result<Speed> {
    let (bytes, timeout) = (memory.0.to_string(), seconds.to_string());
    let mut command = Command::new("stress-ng");
    command.args(["--vm", "1", "--vm-method", "write64", "--vm-keep", "--metrics"]);
    command.args(["--vm-bytes", &bytes, "-t", &timeout]).stdin(Stdio::null());
    process::die_with_parent(&mut command);
    let output = command.output().context("Cannot start stress-ng")?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(output.status.success(), "stress-ng ended with {}: {said}", output.status);
    stress_ng_speed(&said).with_context(|| format!("stress-ng gave no figure: {said}"))
}

/// Of the line `… vm  OPS REAL USER SYSTEM …` of its table.
fn stress_ng_speed(said: &str) -> Option<Speed> {
    said.lines().find_map(|line| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let place = cells.iter().position(|it| *it == "vm")?;
        let number = |offset: usize| cells.get(place + offset)?.parse::<f64>().ok();
        let pages = number(1)? * PAGES_PER_MIB;
        Some(Speed {
            pages_per_second: pages / number(2)?,
            pages_per_cpu_second: pages / (number(3)? + number(4)?),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_mig_mon_are_understood() {
        let check = |line: &str, expected| assert_eq!(rate_and_length(line), expected, "{line}");
        let line = "dirty-rate: 67355 (MB/s), time (ms): 1184, load: 100.00%, lat (us): p50=1";
        check(line, Some((67355.0, 1.184)));
        check("Dirty memory rate: \tMaximum", None);
        check("", None);
    }

    #[test]
    fn the_table_of_stress_ng_is_understood() {
        let said = "\
stress-ng: info:  [1] dispatching hogs: 1 vm
stress-ng: metrc: [1] stressor       bogo ops real time  usr time  sys time   bogo ops/s
stress-ng: metrc: [1] vm                 7424      2.00      0.26      0.49      3583.56";
        let speed = stress_ng_speed(said).unwrap();
        assert_eq!(speed.pages_per_second, 7424.0 * 256.0 / 2.0);
        assert_eq!(speed.pages_per_cpu_second, 7424.0 * 256.0 / 0.75);
        assert!(stress_ng_speed("stress-ng: error").is_none());
    }
}
