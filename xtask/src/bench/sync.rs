//! How long a synchronisation takes when all of memory was written, with the writers running on.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use sterna_sys::cpu;
use sterna_sys::region::{HugePages, Region, RegionOptions};
use sterna_sys::tracking::WpTracker;
use sterna_workload::{Crew, CrewOptions, CrewState, Pace, Pattern, Spec};

use super::samples::Samples;
use super::table::Table;
use super::{Options, target};

/// What a synchronisation of 1 GiB may take.
const MOST_SECONDS: f64 = 0.040;

/// Longest time in which the workers shall have written all of memory once.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures in this process: the tracker and the crew are those of a host.
pub fn run(options: &Options) -> Result<()> {
    let memory = options.guest_memory();
    let settings = RegionOptions { bytes: memory.0, huge_pages: HugePages::None, locked: false };
    let region = Arc::new(Region::new(&settings)?);
    region.prealloc(cpu::online(), &AtomicU64::new(0))?;
    let mut tracker = match WpTracker::attach(&region) {
        Ok(tracker) => tracker,
        Err(error) => {
            println!("\nSynchronisation is not measured: {error}");
            return Ok(());
        }
    };
    // One processor is left to the thread that synchronises, as a host with a migration has it.
    let workers = (cpu::online() - 1).max(1) as u32;
    let crew = start(&region, workers)?;
    let (mut syncs, mut pages) = (Samples::default(), Samples::default());
    tracker.sync(&mut |_, _| {})?;
    for _ in 0..options.pairs {
        wait_until_all_is_written(&crew, region.pages() as u64, workers)?;
        let stats = tracker.sync(&mut |first, count| {
            std::hint::black_box((first, count));
        })?;
        syncs.push(stats.elapsed_ns as f64 / 1e6);
        pages.push(stats.pages as f64);
    }
    crew.stop();
    let mut table = Table::new(format!(
        "Synchronisation of {memory} written all over, {workers} worker(s) running on, {} times",
        options.pairs
    ));
    table.row("wp-async (ms)", &syncs, 1);
    table.row("pages found dirty", &pages, 0);
    table.print();
    let most = MOST_SECONDS * memory.0 as f64 / f64::from(1 << 30);
    target(
        "Synchronisation, median",
        &format!("{:.1} ms", syncs.median()),
        &format!("<= {:.0} ms", most * 1e3),
        syncs.median() <= most * 1e3,
    );
    Ok(())
}

fn start(region: &Arc<Region>, workers: u32) -> Result<Crew> {
    let spec = Spec {
        workers,
        // In order, so that one round has written every page.
        pattern: Pattern::Sequential,
        pace: Pace::Unlimited,
        latency: false,
        ..Spec::of(sterna_units::Bytes(region.bytes()))
    };
    let crew = Crew::start(region, &spec, &CrewState::fresh(workers), CrewOptions::default());
    crew.context("The workers cannot start")
}

fn wait_until_all_is_written(crew: &Crew, pages: u64, workers: u32) -> Result<()> {
    // A round and a little: the count of a worker may be behind by some writes.
    let round = pages / u64::from(workers) + 4096;
    let start = Instant::now();
    let before = crew.counts();
    while crew.counts().iter().zip(&before).any(|(now, before)| now - before < round) {
        ensure!(start.elapsed() < PATIENCE, "The workers do not write");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
