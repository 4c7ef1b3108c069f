//! Whole pages against `memset` of the same memory in the same process.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use sterna_sys::clock::monotonic_ns;
use sterna_sys::region::{HugePages, Region, RegionOptions};
use sterna_sys::{PAGE_BYTES, cpu};
use sterna_workload::{Crew, CrewOptions, CrewState, Method, Pace, Pattern, Spec, fill, verify};
use sterna_workload::{Layout, Verification};

use super::Bench;
use crate::bench::samples::Samples;
use crate::bench::table::Table;
use crate::bench::target;

/// The methods, and the least share of memset's speed.
const METHODS: [(Method, Option<f64>); 6] = [
    (Method::Write64, Some(0.7)),
    (Method::Write64Nt, Some(0.95)),
    (Method::FillRandom, Some(0.95)),
    (Method::Write1024, None),
    (Method::Zero, None),
    (Method::XorRandom, None),
];

/// Each method next to memset, in turn first.
pub fn run(bench: &Bench) -> Result<()> {
    let bytes = bench.memory.0;
    let mut region =
        Region::new(&RegionOptions { bytes, huge_pages: HugePages::Thp, locked: false })?;
    region.prealloc(cpu::online(), &AtomicU64::new(0))?;
    let mut table = Table::new(format!(
        "Whole pages of {}, in {} MiB of huge pages, one worker, {} pairs (GB/s)",
        bench.memory,
        region.huge_bytes().map_or("unknown".to_owned(), |it| (it >> 20).to_string()),
        bench.pairs
    ));
    let mut ratios = Vec::new();
    for (method, least) in METHODS {
        let (mut memset_speed, mut ours) = (Samples::default(), Samples::default());
        for pair in 0..bench.pairs {
            // The handle to the only region goes into the crew and comes back.
            let mut shared = Arc::new(region);
            if pair % 2 == 0 {
                memset_speed.push(memset(&mut shared, bench.seconds)?);
            }
            ours.push(written(&shared, method, bench)?);
            if pair % 2 == 1 {
                memset_speed.push(memset(&mut shared, bench.seconds)?);
            }
            region = Arc::into_inner(shared).context("A worker still holds the memory")?;
        }
        let ratio = ours.ratios(&memset_speed);
        table.row(format!("memset beside {method}"), &memset_speed.scaled(1e-9), 2);
        table.row(format!("{method}"), &ours.scaled(1e-9), 2);
        table.row(format!("{method} / memset, by pair"), &ratio, 2);
        ratios.extend(least.map(|least| (method, ratio.median(), least)));
    }
    table.print();
    for (method, ratio, least) in ratios.into_iter().filter(|_| !bench.is_short) {
        target(
            &format!("{method} / memset, median of the pairs"),
            &format!("{ratio:.2}"),
            &format!(">= {least}"),
            ratio >= least,
        );
    }
    Ok(())
}

/// Bytes per second of filling all of it again and again, as long as a measurement lasts.
fn memset(region: &mut Arc<Region>, seconds: f64) -> Result<f64> {
    let bytes = region.exclusive().context("A worker still holds the memory")?;
    bytes.fill(1);
    let (start, mut rounds) = (Instant::now(), 0u8);
    while start.elapsed().as_secs_f64() < seconds {
        rounds = rounds.wrapping_add(1);
        // One byte over all of it, which the compiler turns into a call of memset.
        std::hint::black_box(&mut *bytes).fill(rounds);
    }
    Ok(bytes.len() as f64 * f64::from(rounds) / start.elapsed().as_secs_f64())
}

/// Bytes per second of a worker; in the short form, what it wrote is checked as well.
fn written(region: &Arc<Region>, method: Method, bench: &Bench) -> Result<f64> {
    let spec = Spec {
        workers: 1,
        pattern: Pattern::Sequential,
        method,
        pace: Pace::Unlimited,
        latency: false,
        ..Spec::of(bench.memory)
    };
    fill(region, 0..spec.pages(), spec.seed, cpu::online());
    let crew = Crew::start(region, &spec, &CrewState::fresh(1), CrewOptions::default())?;
    let look = || (monotonic_ns(), crew.counts().iter().sum::<u64>());
    let (start_ns, before) = look();
    std::thread::sleep(Duration::from_secs_f64(bench.seconds));
    let (end_ns, after) = look();
    let state = crew.stop();
    if bench.is_short {
        let pages = spec.pages();
        let layout = Layout { workload_pages: pages, ballast_pages: 0, total_pages: pages };
        let found: Verification = verify(region, &layout, &spec, &state.counts, cpu::online());
        ensure!(found.is_clean(), "{method} left what it should not: {:?}", found.corrupt);
    }
    Ok((after - before) as f64 * PAGE_BYTES as f64 / ((end_ns - start_ns) as f64 / 1e9))
}
