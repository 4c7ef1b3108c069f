//! First-pass throughput of an idle guest, against the plain walker.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use sterna_report::{ClassCpu, Integrity, Pass, Report};
use sterna_units::Bytes;

use super::costs::Costs;
use super::samples::Samples;
use super::table::Table;
use super::walker::{Walk, walk};
use super::{Options, target};
use crate::flight::{Flights, flags};
use crate::process::works;

/// The share of the walker's throughput that a first pass shall reach.
const LEAST_RATIO: f64 = 0.9;

/// What a host may hold beyond the guest's memory.
const MOST_EXTRA_BYTES: u64 = 64 << 20;

/// What all pairs gave, in bytes per second and in seconds for each GiB.
#[derive(Default)]
struct Figures {
    walker: Samples,
    first_pass: Samples,
    without_arming: Samples,
    iperf3: Samples,
    arming_seconds: Samples,
    walker_send_cpu: Samples,
    walker_receive_cpu: Samples,
    source_cpu: Samples,
    destination_cpu: Samples,
    source_extra_bytes: Samples,
    destination_extra_bytes: Samples,
}

/// Measures in pairs, a walk and a flight next to each other, in turn first and second, so that
/// what the machine does otherwise meets both.
pub fn run(options: &Options, flights: &Flights) -> Result<()> {
    let memory = options.guest_memory();
    let mut figures = Figures::default();
    for pair in 0..options.pairs {
        if pair % 2 == 0 {
            figures.add_walk(&walk(memory.0)?, memory);
            figures.add_flight(&idle_flight(flights, memory, &[])?, memory)?;
        } else {
            figures.add_flight(&idle_flight(flights, memory, &[])?, memory)?;
            figures.add_walk(&walk(memory.0)?, memory);
        }
        if let Some(bytes_per_second) = iperf3()? {
            figures.iperf3.push(bytes_per_second);
        }
    }
    figures.tell(options);
    figures.tell_costs(&Costs::measure(options));
    figures.tell_resident();
    Ok(())
}

/// A guest full of random bytes that writes one page a second, alone in its pass; `more` are flags beyond those.
pub fn idle_flight(flights: &Flights, memory: Bytes, more: &[(&str, &str)]) -> Result<Report> {
    let ballast = Bytes(memory.0 - 4096);
    let mut all = vec![
        ("memory", memory.to_string()),
        ("ballast", ballast.to_string()),
        ("prealloc", "true".to_owned()),
        ("vcpus", "1".to_owned()),
        ("workload-memory", "4KiB".to_owned()),
        ("workload-latency", "false".to_owned()),
        ("rate", "4KiB/s".to_owned()),
        ("max-bandwidth", "unlimited".to_owned()),
        // So that nearly all of memory is sent in the first pass, and not at the stop.
        ("downtime-limit", "1ms".to_owned()),
        ("warmup", "200ms".to_owned()),
        ("cooldown", "100ms".to_owned()),
    ];
    // What was asked for comes in the place of what is here.
    all.retain(|(name, _)| more.iter().all(|it| it.0 != *name));
    all.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let landed = flights.fly(&flags(all))?;
    let summary = &landed.report.summary;
    ensure!(
        summary.integrity == Integrity::Verified,
        "The migrated memory is not verified: {:?}, {:?}, {:?}",
        summary.verdict,
        summary.verdict_reason,
        summary.integrity
    );
    Ok(landed.report)
}

/// Bytes on the wire in each second of the first pass, arming included.
pub fn wire_bytes_per_second(report: &Report) -> Result<f64> {
    let pass = report.passes.first().context("The report has no passes")?;
    let (bytes, length) = pass
        .wire_bytes
        .zip(pass.length_seconds)
        .context("The report does not know its first pass")?;
    Ok(bytes as f64 / length)
}

impl Figures {
    fn add_walk(&mut self, walk: &Walk, memory: Bytes) {
        let gib = gib(memory);
        self.walker.push(memory.0 as f64 / (walk.send.wall_ns as f64 / 1e9));
        self.walker_send_cpu.push(walk.send.cpu_ns as f64 / 1e9 / gib);
        self.walker_receive_cpu.push(walk.receive.cpu_ns as f64 / 1e9 / gib);
    }

    fn add_flight(&mut self, report: &Report, memory: Bytes) -> Result<()> {
        let pass = report.passes.first().context("The report has no passes")?;
        let Pass {
            wire_bytes: Some(wire_bytes),
            length_seconds: Some(length),
            sync_seconds: Some(arming),
            ..
        } = pass
        else {
            anyhow::bail!("The report does not know its first pass: {pass:?}");
        };
        let (wire_bytes, gib) = (*wire_bytes as f64, gib(memory));
        self.first_pass.push(wire_bytes / length);
        self.without_arming.push(wire_bytes / (length - arming));
        self.arming_seconds.push(arming / gib);
        self.source_cpu.push(migration_cpu(&report.summary.cpu.source) / gib);
        self.destination_cpu.push(migration_cpu(&report.summary.cpu.destination) / gib);
        let extra =
            |resident: Option<u64>| resident.map_or(f64::NAN, |it| it as f64 - memory.0 as f64);
        let peak = &report.summary.resident_peak_bytes;
        self.source_extra_bytes.push(extra(peak.source));
        self.destination_extra_bytes.push(extra(peak.destination));
        Ok(())
    }

    fn tell(&self, options: &Options) {
        let gigabytes = |samples: &Samples| samples.scaled(1e-9);
        let mut table = Table::new(format!(
            "First pass of an idle guest of {}, {} pairs (GB/s)",
            options.guest_memory(),
            options.pairs
        ));
        table.row("plain walker", &gigabytes(&self.walker), 2);
        table.row("first pass", &gigabytes(&self.first_pass), 2);
        table.row("first pass without arming", &gigabytes(&self.without_arming), 2);
        if self.iperf3.count() > 0 {
            table.row("iperf3 -l 1M, 1 s", &gigabytes(&self.iperf3), 2);
        }
        let whole = self.first_pass.ratios(&self.walker);
        let unarmed = self.without_arming.ratios(&self.walker);
        table.row("first pass / walker, by pair", &whole, 2);
        table.row("without arming / walker, by pair", &unarmed, 2);
        table.print();
        if self.iperf3.count() == 0 {
            println!("iperf3 is not installed, so its figure is missing");
        }
        println!(
            "Counted: bytes given to the socket, from before the tracker is armed to the synchronisation that ends the pass; the walker until its last write returned"
        );
        let ratio = self.first_pass.median() / self.walker.median();
        target(
            "First pass / walker, ratio of the medians",
            &format!("{ratio:.2}"),
            &format!(">= {LEAST_RATIO}"),
            ratio >= LEAST_RATIO,
        );
        target(
            "The same, median of the pairs",
            &format!("{:.2}", whole.median()),
            &format!(">= {LEAST_RATIO}"),
            whole.median() >= LEAST_RATIO,
        );
    }

    /// What the first pass does besides moving bytes.
    fn tell_costs(&self, costs: &Costs) {
        let millis = |samples: &Samples| samples.scaled(1e3);
        let mut table = Table::new("Where it goes (ms of a thread for each GiB)");
        table.row("walker: write", &millis(&self.walker_send_cpu), 1);
        table.row("source: migration thread", &millis(&self.source_cpu), 1);
        table.row("  arming the tracker", &millis(&self.arming_seconds), 1);
        table.row("  copy and test for zero", &millis(&costs.copy), 1);
        table.row("  checksum of the copy", &millis(&costs.checksum), 1);
        table.row("walker: read", &millis(&self.walker_receive_cpu), 1);
        table.row("destination: migration thread", &millis(&self.destination_cpu), 1);
        table.row("  checksum in memory", &millis(&costs.checksum_in_memory), 1);
        table.print();
        let rest = self.source_cpu.median()
            - self.walker_send_cpu.median()
            - self.arming_seconds.median()
            - costs.copy.median()
            - costs.checksum.median();
        println!(
            "Source, rest: {:.1} ms (frames, status, limits; less what the kernel saves by reading copies that are still in the cache)",
            rest * 1e3
        );
    }

    fn tell_resident(&self) {
        let mut table = Table::new("Resident memory beyond the guest's, at its peak (MiB)");
        let mebibytes = |samples: &Samples| samples.scaled(1.0 / f64::from(1 << 20));
        table.row("source", &mebibytes(&self.source_extra_bytes), 1);
        table.row("destination", &mebibytes(&self.destination_extra_bytes), 1);
        table.print();
        let most = self.source_extra_bytes.max().max(self.destination_extra_bytes.max());
        target(
            "Resident memory beyond the guest's, largest",
            &format!("{:.1} MiB", most / f64::from(1 << 20)),
            &format!("<= {}", Bytes(MOST_EXTRA_BYTES)),
            most <= MOST_EXTRA_BYTES as f64,
        );
    }
}

fn gib(memory: Bytes) -> f64 {
    memory.0 as f64 / f64::from(1 << 30)
}

fn migration_cpu(classes: &[ClassCpu]) -> f64 {
    classes.iter().find(|it| it.class == "migration").map_or(f64::NAN, |it| it.cpu_seconds)
}

/// iperf3's figure on loopback in bytes per second; None when it is not installed.
fn iperf3() -> Result<Option<f64>> {
    if !works(Command::new("iperf3").arg("--version")) {
        return Ok(None);
    }
    // iperf3 cannot choose a port itself and tell it. Nobody else takes one that was free just now.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    let mut server = Command::new("iperf3");
    server.args(["-s", "-1", "-p", &port]).stdin(Stdio::null()).stdout(Stdio::null());
    sterna_sys::process::die_with_parent(&mut server);
    let mut server = server.spawn().context("Cannot start iperf3")?;
    let mut found = None;
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(20));
        found = client(&port);
        if found.is_some() {
            break;
        }
    }
    let _ = server.kill();
    let _ = server.wait();
    Ok(Some(found.context("iperf3 gave no figure")?))
}

fn client(port: &str) -> Option<f64> {
    let mut client = Command::new("iperf3");
    client.args(["-c", "127.0.0.1", "-p", port, "-l", "1M", "-t", "1", "-J"]);
    let output = client.stdin(Stdio::null()).output().ok()?;
    let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
    Some(answer["end"]["sum_received"]["bits_per_second"].as_f64()? / 8.0)
}
