//! What watching a guest costs it: pilot and samplers against the same workers left alone.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sterna_report::{CpuSample, Report, Side};
use sterna_sys::clock::monotonic_ns;
use sterna_sys::region::{HugePages, Region, RegionOptions};
use sterna_sys::{cpu, process};
use sterna_units::Bytes;
use sterna_workload::{Crew, CrewOptions, CrewState, Pace, Spec, fill};

use super::samples::Samples;
use super::table::Table;
use super::{Options, target};
use crate::flight::{Flights, flags};

/// The part of the write rate that watching may cost.
const MOST_LOSS: f64 = 0.01;

const MEMORY: Bytes = Bytes(64 << 20);
const WATCHED: Duration = Duration::from_secs(2);

/// Workers alone in a process; the benchmark starts it.
#[derive(clap::Args)]
pub struct CrewOptionsArgs {
    /// How many
    workers: u32,
}

/// Runs workers for as long as the warm-up lasts and tells how many pages they wrote each second.
pub fn run_crew(options: &CrewOptionsArgs) -> Result<()> {
    let settings = RegionOptions { bytes: MEMORY.0, huge_pages: HugePages::None, locked: false };
    let region = Arc::new(Region::new(&settings)?);
    region.prealloc(cpu::online(), &AtomicU64::new(0))?;
    fill(&region, 0..region.pages(), 1, cpu::online());
    let spec = Spec {
        workers: options.workers,
        pace: Pace::Unlimited,
        latency: false,
        ..Spec::of(MEMORY)
    };
    let fresh = CrewState::fresh(options.workers);
    let crew = Crew::start(&region, &spec, &fresh, CrewOptions::default())?;
    let look = || (monotonic_ns(), crew.counts().iter().sum::<u64>());
    let (start_ns, before) = look();
    std::thread::sleep(WATCHED);
    let (end_ns, after) = look();
    println!("{}", (after - before) as f64 / ((end_ns - start_ns) as f64 / 1e9));
    Ok(())
}

/// Measures in pairs: the baseline of a flight, and the same workers in a process of their own.
pub fn run(options: &Options, flights: &Flights) -> Result<()> {
    // One on each processor, so that whatever else runs takes from them.
    let workers = cpu::online() as u32;
    let (mut watched, mut alone, mut control) =
        (Samples::default(), Samples::default(), Samples::default());
    for pair in 0..options.pairs {
        if pair % 2 == 0 {
            alone.push(crew_alone(workers)?);
        }
        let report = busy_flight(flights, workers)?;
        watched.push(report.summary.baseline_pages_per_second.context("There is no baseline")?);
        control.push(control_share(&report.cpu)?);
        if pair % 2 == 1 {
            alone.push(crew_alone(workers)?);
        }
    }
    let ratios = watched.ratios(&alone);
    let mut table = Table::new(format!(
        "Write rate of {workers} unlimited worker(s) on {MEMORY}, {} pairs",
        options.pairs
    ));
    table.row("alone (million pages/s)", &alone.scaled(1e-6), 1);
    table.row("watched by a pilot (million pages/s)", &watched.scaled(1e-6), 1);
    table.row("watched / alone, by pair", &ratios, 3);
    table.row("threads that watch (% of the processors)", &control.scaled(100.0), 3);
    table.print();
    let loss = 1.0 - ratios.median();
    target(
        "Loss of write rate, median of the pairs",
        &format!("{:.2} %", loss * 100.0),
        &format!("<= {:.0} %", MOST_LOSS * 100.0),
        loss <= MOST_LOSS,
    );
    target(
        "Processor time of watching in both hosts, median",
        &format!("{:.3} %", control.median() * 100.0),
        &format!("<= {:.0} %", MOST_LOSS * 100.0),
        control.median() <= MOST_LOSS,
    );
    Ok(())
}

/// An unlimited workload never gets little enough to be sent, so the migration pauses it at once.
fn busy_flight(flights: &Flights, workers: u32) -> Result<Report> {
    let landed = flights.fly(&flags([
        ("memory", MEMORY.to_string()),
        ("workload-memory", MEMORY.to_string()),
        ("vcpus", workers.to_string()),
        ("workload-latency", "false".to_owned()),
        ("rate", "unlimited".to_owned()),
        ("max-bandwidth", "unlimited".to_owned()),
        ("pause-after", "100ms".to_owned()),
        ("warmup", format!("{}s", WATCHED.as_secs())),
        ("cooldown", "0s".to_owned()),
    ]))?;
    Ok(landed.report)
}

fn crew_alone(workers: u32) -> Result<f64> {
    let program = std::env::current_exe().context("Cannot find my own program file")?;
    let mut command = Command::new(program);
    command.args(["crew", &workers.to_string()]).stdin(Stdio::null()).stderr(Stdio::inherit());
    process::die_with_parent(&mut command);
    let output = command.output().context("Cannot start the workers")?;
    ensure!(output.status.success(), "The workers ended with {}", output.status);
    let said = String::from_utf8_lossy(&output.stdout);
    said.trim().parse().with_context(|| format!("Not a rate: {said:?}"))
}

/// The share of all processors that the hosts' own threads took while the guest was warmed up.
fn control_share(samples: &[CpuSample]) -> Result<f64> {
    let mut share = 0.0;
    for side in [Side::Source, Side::Destination] {
        let mut warm_up = samples.iter().filter(|it| it.side == side && it.t_seconds < 0.0);
        let first = warm_up.next().context("There are no samples of the warm-up")?;
        let last = warm_up.next_back().context("There is one sample of the warm-up only")?;
        let control = |it: &CpuSample| it.classes.get("control").copied().unwrap_or(0.0);
        share += (control(last) - control(first)) / (last.t_seconds - first.t_seconds);
    }
    Ok(share / cpu::online() as f64)
}
