//! The model against the emulator: random scenarios are run by both, and the model's errors stand beside those of simple rules.
//!
//! Runs whose guest did not reach the rate that was asked for are no evidence for or against a model; they are dropped and counted.

mod choose;
mod rules;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use sterna_report::{Report, Verdict};
use sterna_scenario::Scenario;
use sterna_workload::Pace;

use crate::flight::Flights;
use rules::Baselines;

/// A guest that wrote more or less than asked by this part was another one than the model's.
const RATE_SLACK: f64 = 0.05;

/// Where the guest dirties about as much as the link carries, a migration may end either way.
const CRITICAL: std::ops::Range<f64> = 0.9..1.1;

/// What one scenario showed.
struct Row {
    total: f64,
    downtime: Option<(f64, f64)>,
    bytes: f64,
    is_right: bool,
    is_critical: bool,
    baselines: Baselines,
}

/// Runs `count` scenarios from `first_seed` on.
pub fn run(sterna: PathBuf, first_seed: u64, count: u32) -> Result<()> {
    let flights = Flights::of(sterna)?;
    let (mut rows, mut dropped) = (Vec::new(), 0);
    for seed in first_seed..first_seed + u64::from(count) {
        match one(&flights, seed).with_context(|| format!("seed {seed}"))? {
            Some(row) => rows.push(row),
            None => dropped += 1,
        }
    }
    println!();
    println!("{} scenarios, {dropped} dropped since the guest missed its rate", rows.len());
    print_all(&rows);
    Ok(())
}

/// One scenario on both engines.
fn one(flights: &Flights, seed: u64) -> Result<Option<Row>> {
    let toml = choose::scenario(seed);
    let scenario = Scenario::from_toml(&toml, "drawn")?;
    let path = flights.temporary().join("scenario.toml");
    std::fs::write(&path, &toml)?;
    let fly =
        |engine: &str| flights.fly(&[path.display().to_string(), format!("--engine={engine}")]);
    let (real, model) = (fly("emulator")?.report, fly("model")?.report);
    let words = choose::words(&scenario);
    if !has_kept_its_rate(&real, &scenario) {
        println!("{seed:5} dropped: {words}");
        return Ok(None);
    }
    let baselines = Baselines::of(&scenario);
    let row = Row {
        total: relative(model.summary.total_time_seconds, real.summary.total_time_seconds),
        downtime: model.summary.downtime_seconds.zip(real.summary.downtime_seconds),
        bytes: relative(
            model.summary.wire_bytes.map(|it| it as f64),
            real.summary.wire_bytes.map(|it| it as f64),
        ),
        is_right: is_completed(&real) == is_completed(&model),
        is_critical: CRITICAL.contains(&baselines.ratio),
        baselines: baselines.errors(real.summary.total_time_seconds.unwrap_or(f64::NAN)),
    };
    println!(
        "{seed:5} total {:6.2} s, model {:6.2} s ({:+5.1} %); downtime {}; {} {}: {words}",
        real.summary.total_time_seconds.unwrap_or(f64::NAN),
        model.summary.total_time_seconds.unwrap_or(f64::NAN),
        row.total * 100.0,
        row.downtime.map_or("-".to_owned(), |(model, real)| {
            format!("{:3.0} ms, model {:3.0} ms", real * 1e3, model * 1e3)
        }),
        real.summary.verdict.as_str(),
        if row.is_right { "as the model said" } else { "OTHERWISE THAN THE MODEL SAID" },
    );
    Ok(Some(row))
}

fn print_all(rows: &[Row]) {
    let right: Vec<&Row> = rows.iter().filter(|it| it.is_right).collect();
    let sizes = |part: &dyn Fn(&Row) -> f64| -> Vec<f64> {
        right.iter().map(|it| part(it).abs()).filter(|it| it.is_finite()).collect()
    };
    print("total time, model", sizes(&|it| it.total), "2 % / 7 %");
    print("  RAM / bandwidth", sizes(&|it| it.baselines.memory), "");
    print("  content / bandwidth", sizes(&|it| it.baselines.content), "");
    print("  geometric series", sizes(&|it| it.baselines.geometric), "");
    print("  loop over the dirty curve", sizes(&|it| it.baselines.curve), "");
    print("bytes on the wire", sizes(&|it| it.bytes), "p90 10 %");
    let downtimes = right.iter().filter_map(|it| it.downtime);
    let relative: Vec<f64> = downtimes.clone().map(|(a, b)| (a / b - 1.0).abs()).collect();
    print("downtime", relative, "15 % / 30 %");
    let mut absolute: Vec<f64> = downtimes.map(|(a, b)| (a - b).abs() * 1e3).collect();
    absolute.sort_by(f64::total_cmp);
    println!(
        "{:28} p50 {:5.1} ms  p90 {:5.1} ms   wanted: or 8 ms / 25 ms",
        "downtime",
        quantile(&absolute, 0.5),
        quantile(&absolute, 0.9)
    );
    let judged: Vec<&Row> = rows.iter().filter(|it| !it.is_critical).collect();
    let correct = judged.iter().filter(|it| it.is_right).count();
    println!(
        "{:28} {correct} of {} right, {} near the critical ratio left out   wanted: 99 %",
        "outcome",
        judged.len(),
        rows.len() - judged.len()
    );
}

fn print(what: &str, mut errors: Vec<f64>, wanted: &str) {
    errors.sort_by(f64::total_cmp);
    let wanted = if wanted.is_empty() { String::new() } else { format!("   wanted: {wanted}") };
    println!(
        "{what:28} p50 {:5.1} %   p90 {:5.1} %{wanted}",
        quantile(&errors, 0.5) * 100.0,
        quantile(&errors, 0.9) * 100.0
    );
}

/// The value below which that part of sorted values lies; NaN of none.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted.get((last * part).round() as usize).copied().unwrap_or(f64::NAN)
}

fn relative(model: Option<f64>, real: Option<f64>) -> f64 {
    model.zip(real).map_or(f64::NAN, |(model, real)| model / real - 1.0)
}

fn is_completed(report: &Report) -> bool {
    matches!(report.summary.verdict, Verdict::Completed | Verdict::CompletedForced)
}

fn has_kept_its_rate(report: &Report, scenario: &Scenario) -> bool {
    let Pace::BytesPerSecond(asked) = scenario.workload.rate else { return true };
    let asked = asked.bytes_per_second() as f64;
    let reached = report.summary.baseline_bytes_per_second;
    reached.is_some_and(|reached| (reached / asked - 1.0).abs() <= RATE_SLACK)
}
