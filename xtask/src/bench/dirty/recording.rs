//! What it costs to record how long each write took.

use anyhow::{Context as _, Result};

use super::Bench;
use crate::bench::samples::Samples;
use crate::bench::table::Table;
use crate::bench::target;

/// The most that recording may cost beyond the clock, in ns for each write.
const MOST_NS: f64 = 12.0;

/// Pairs with and without, in memory that stays in the cache, where writes themselves cost least.
pub fn run(bench: &Bench) -> Result<()> {
    const MEMORY: &str = "1MiB";
    let (mut told, mut clock, mut seen) =
        (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..bench.pairs {
        let plain = bench.sterna.speed(&["--memory", MEMORY], bench.seconds)?;
        let report = bench.sterna.run(&["--memory", MEMORY, "--latency"], bench.seconds)?;
        let summary = &report.summary;
        let clock_ns = summary.timing_clock_ns.context("The clock's cost is not told")?;
        told.push(summary.timing_record_ns.context("The cost is not told")?);
        clock.push(clock_ns);
        let timed = super::runs::Speed::of(&report);
        // By processor time, since others take it from both.
        seen.push(1e9 / timed.pages_per_cpu_second - 1e9 / plain.pages_per_cpu_second - clock_ns);
    }
    let mut table =
        Table::new(format!("Timing each write, {} pairs (ns for each write)", bench.pairs));
    table.row("one look at the clock", &clock, 1);
    table.row("recording, as the program measures and prints it", &told, 1);
    table.row("runs with --latency less those without less the clock", &seen, 1);
    table.print();
    if !bench.is_short {
        for (what, samples) in [("as printed", told), ("as seen in the rate", seen)] {
            let ns = samples.median();
            target(
                &format!("Recording, {what}, median"),
                &format!("{ns:.1} ns"),
                &format!("<= {MOST_NS} ns"),
                ns <= MOST_NS,
            );
        }
    }
    Ok(())
}
