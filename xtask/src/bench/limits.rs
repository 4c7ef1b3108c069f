//! Whether max-bandwidth holds over any second, however many connections share it.

use anyhow::Result;
use sterna_report::Report;
use sterna_units::Bytes;

use super::first_pass::idle_flight;
use super::samples::Samples;
use super::table::Table;
use super::{Options, target};
use crate::flight::Flights;

/// How far above the limit a second may be, and how far below it the whole.
const TOLERANCE: f64 = 0.03;

/// Each limit, with a guest that takes some three seconds under it.
const LIMITS: [(f64, Bytes); 2] = [(30e6, Bytes(96 << 20)), (100e6, Bytes(256 << 20))];

/// One connection, and parallel ones.
const WAYS: [(&str, Option<&str>); 4] = [
    ("one connection", None),
    ("multifd, 1 channel", Some("1")),
    ("multifd, 4 channels", Some("4")),
    ("multifd, 16 channels", Some("16")),
];

/// What one way under one limit gave, as shares of the limit.
#[derive(Default)]
struct Found {
    busiest_second: Samples,
    mean: Samples,
}

/// Flies an idle guest under limits, on one connection and on up to 16.
pub fn run(options: &Options, flights: &Flights) -> Result<()> {
    for (limit, memory) in LIMITS {
        let mut found: Vec<Found> = WAYS.iter().map(|_| Found::default()).collect();
        for round in 0..options.pairs as usize {
            for turn in 0..WAYS.len() {
                let way = (round + turn) % WAYS.len();
                let limit_text = format!("{limit}B/s");
                let mut flags =
                    vec![("max-bandwidth", limit_text.as_str()), ("sample-interval", "20ms")];
                flags.extend(WAYS[way].1.map(|it| ("multifd-channels", it)));
                let report = idle_flight(flights, memory, &flags)?;
                found[way].busiest_second.push(most_in_a_second(&report) / limit);
                found[way].mean.push(mean(&report) / limit);
            }
        }
        tell(limit, options.pairs, &found);
    }
    Ok(())
}

fn tell(limit: f64, rounds: u32, found: &[Found]) {
    let mut table = Table::new(format!(
        "Bandwidth before the stop under a limit of {:.0} MB/s, {rounds} rounds (% of it)",
        limit / 1e6
    ));
    for ((name, _), found) in WAYS.iter().zip(found) {
        table.row(format!("{name}, busiest second"), &found.busiest_second.scaled(100.0), 1);
        table.row(format!("{name}, mean"), &found.mean.scaled(100.0), 1);
    }
    table.print();
    for ((name, _), found) in WAYS.iter().zip(found) {
        let (most, mean) = (found.busiest_second.median(), found.mean.median());
        target(
            &format!("{:.0} MB/s, {name}, busiest second and mean", limit / 1e6),
            &format!("{:.1} % and {:.1} %", most * 100.0, mean * 100.0),
            &format!("within {:.0} %", TOLERANCE * 100.0),
            most <= 1.0 + TOLERANCE && mean >= 1.0 - TOLERANCE,
        );
    }
}

/// Bytes and moments of the polls before the stop.
fn polls(report: &Report) -> Vec<(f64, f64)> {
    let active = report.timeline.iter().filter(|it| it.state == "active");
    active.filter_map(|it| Some((it.t_seconds, it.transferred_bytes? as f64))).collect()
}

/// Most bytes that left within a second, by any two polls at most that far apart.
fn most_in_a_second(report: &Report) -> f64 {
    let polls = polls(report);
    let mut most: f64 = 0.0;
    for (index, from) in polls.iter().enumerate() {
        let within = polls[index..].iter().take_while(|it| it.0 <= from.0 + 1.0);
        most = within.fold(most, |most, to| most.max(to.1 - from.1));
    }
    most
}

/// Bytes over time from the first poll to the last before the stop.
fn mean(report: &Report) -> f64 {
    match polls(report)[..] {
        [first, .., last] => (last.1 - first.1) / (last.0 - first.0),
        _ => f64::NAN,
    }
}
