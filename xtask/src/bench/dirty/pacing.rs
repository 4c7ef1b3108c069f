//! How evenly pages come at a given rate, and what that costs.

use anyhow::{Context as _, Result, ensure};
use sterna_report::dirty::{DirtyInterval, DirtyReport};

use super::Bench;
use crate::bench::samples::Samples;
use crate::bench::table::Table;
use crate::bench::target;

/// Rates, and the most processor time that one may take.
const RATES: [(&str, Option<f64>); 3] =
    [("100MB/s", None), ("500MB/s", Some(0.03)), ("2GB/s", None)];

/// How far the mean may be from what was asked for.
const MOST_ERROR: f64 = 0.001;

/// The 99th percentile of the windows, in parts of the mean.
const MOST_UNEVEN: f64 = 1.3;

/// What the runs at one rate showed.
#[derive(Default)]
struct Figures {
    mean: Samples,
    uneven: Samples,
    load: Samples,
    gaps: Samples,
}

/// Runs at each rate, in windows of 10 ms.
pub fn run(bench: &Bench) -> Result<()> {
    let seconds = if bench.is_short { 1.0 } else { 10.0 };
    let rates = RATES.iter().take(if bench.is_short { 1 } else { RATES.len() });
    let mut all: Vec<_> = rates.map(|rate| (rate, Figures::default())).collect();
    for _ in 0..bench.pairs {
        for ((rate, _), figures) in &mut all {
            let memory = bench.memory.to_string();
            let flags = ["--memory", &memory, "--rate", rate, "--interval", "10ms"];
            figures.add(&bench.sterna.run(&flags, seconds)?)?;
        }
    }
    let mut table =
        Table::new(format!("Touch rates, sequential, {} runs of {seconds} s", bench.pairs));
    for ((rate, _), figures) in &all {
        table.row(format!("{rate}: mean / asked"), &figures.mean, 5);
        table.row(format!("{rate}: 99th percentile of 10 ms / mean"), &figures.uneven, 3);
        table.row(format!("{rate}: load (% of a processor)"), &figures.load.scaled(100.0), 2);
        table.row(format!("{rate}: times of 2 ms or more without progress"), &figures.gaps, 0);
    }
    table.print();
    if !bench.is_short {
        all.iter().for_each(|((rate, most_load), figures)| figures.targets(rate, *most_load));
    }
    Ok(())
}

impl Figures {
    fn add(&mut self, report: &DirtyReport) -> Result<()> {
        let summary = &report.summary;
        let asked = summary.asked_rate_pages_per_second.context("No rate was asked for")?;
        let mean = summary.touch_rate_pages_per_second.context("Nothing was written")?;
        ensure!(mean > asked * 0.05, "{mean} pages/s where {asked} were asked for");
        self.mean.push(mean / asked);
        self.uneven.push(percentile_99(&report.intervals) / mean);
        self.load.push(summary.load.unwrap_or(f64::NAN));
        self.gaps.push(summary.gaps as f64);
        Ok(())
    }

    fn targets(&self, rate: &str, most_load: Option<f64>) {
        let error = (self.mean.median() - 1.0).abs();
        target(
            &format!("{rate}: mean, median of the runs"),
            &format!("{:+.3} %", (self.mean.median() - 1.0) * 100.0),
            &format!("within {:.1} %", MOST_ERROR * 100.0),
            error <= MOST_ERROR,
        );
        let uneven = self.uneven.median();
        target(
            &format!("{rate}: 99th percentile of 10 ms windows / mean, median of the runs"),
            &format!("{uneven:.3}"),
            &format!("<= {MOST_UNEVEN}"),
            uneven <= MOST_UNEVEN,
        );
        if let Some(most) = most_load {
            let load = self.load.median();
            target(
                &format!("{rate}: load, median of the runs"),
                &format!("{:.2} %", load * 100.0),
                &format!("<= {:.0} %", most * 100.0),
                load <= most,
            );
        }
    }
}

/// Of the rates of all windows, each for its own real length, which the watcher's wake-ups decide.
fn percentile_99(intervals: &[DirtyInterval]) -> f64 {
    // A window that is cut short by the end says nothing.
    let whole = intervals.iter().filter(|it| it.end_seconds - it.start_seconds > 0.005);
    let mut rates: Vec<f64> = whole.filter_map(|it| it.touch_rate_pages_per_second).collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() * 99 / 100).copied().unwrap_or(f64::NAN)
}
