//! Under what conditions figures were taken: without them a figure is worth nothing.

use std::fs;
use std::time::Instant;

use sterna_sys::cpu;

use super::samples::Samples;

/// Bytes that the calibration copies: more than most caches hold, so that it feels what others do
/// to memory, as a migration does.
const CALIBRATION_BYTES: usize = 64 << 20;

/// Tells the machine and how busy it is.
pub fn tell(when: &str) {
    println!("{when}: {}", machine());
    let times = calibration();
    println!(
        "{when}: a copy of 64 MiB takes {:.2} ms, {:.2} to {:.2} in {} trials, MAD {:.1} %; stolen from this machine since it started: {} of processor time",
        times.median(),
        times.min(),
        times.max(),
        times.count(),
        times.relative_mad() * 100.0,
        stolen().map_or("unknown".to_owned(), |it| format!("{:.1} %", it * 100.0)),
    );
}

fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).ok().map(|it| it.trim().to_owned());
    let unknown = || "unknown".to_owned();
    let model = read("/proc/cpuinfo").and_then(|it| field(&it, "model name"));
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg").map(|it| it.split(' ').take(3).collect::<Vec<_>>().join(" "));
    // A congestion control that paces, such as bbr, makes loopback slow and irregular.
    let congestion = read("/proc/sys/net/ipv4/tcp_congestion_control");
    format!(
        "{}, {} processors, Linux {}, TCP congestion control {}, load average {}",
        model.unwrap_or_else(unknown),
        cpu::online(),
        kernel.unwrap_or_else(unknown),
        congestion.unwrap_or_else(unknown),
        load.unwrap_or_else(unknown),
    )
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|it| it.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Milliseconds of the same copy over and over: on a quiet machine they hardly differ.
fn calibration() -> Samples {
    let from = vec![1u8; CALIBRATION_BYTES];
    let mut to = vec![2u8; CALIBRATION_BYTES];
    let once = || {
        let start = Instant::now();
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&to);
        start.elapsed().as_secs_f64() * 1e3
    };
    std::iter::repeat_with(once).take(21).collect()
}

/// The share of processor time that a hypervisor gave to others although this machine wanted it.
fn stolen() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let fields = text.lines().next()?.split_whitespace().skip(1);
    let ticks: Vec<f64> = fields.take(8).filter_map(|it| it.parse().ok()).collect();
    Some(ticks.get(7)? / ticks.iter().sum::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name() {
        let text = "processor : 0\nmodel name\t: A Processor\n";
        assert_eq!(field(text, "model name").unwrap(), "A Processor");
        assert_eq!(field(text, "cache size"), None);
    }

    #[test]
    fn stolen_time_is_a_share() {
        assert!((0.0..=1.0).contains(&stolen().unwrap()));
    }
}
