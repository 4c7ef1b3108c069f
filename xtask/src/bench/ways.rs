//! The first pass of an idle guest by each way to the destination: one connection or several.

use std::thread::available_parallelism;

use anyhow::Result;

use super::first_pass::{idle_flight, wire_bytes_per_second};
use super::samples::Samples;
use super::table::Table;
use super::{Options, target};
use crate::flight::Flights;

/// What several connections shall win over one, where there are processors for them.
const LEAST_RATIO: f64 = 1.3;

/// Processors from which on that is asked for: two ends of two connections.
const JUDGED_PROCESSORS: usize = 4;

/// Name, and what is asked for beyond the defaults.
const WAYS: [(&str, &[(&str, &str)]); 6] = [
    ("one TCP connection", &[]),
    ("one Unix connection", &[("transport", "unix")]),
    ("multifd, 2 channels", &[("multifd-channels", "2")]),
    ("multifd, 4 channels", &[("multifd-channels", "4")]),
    ("multifd, 2 channels, Unix", &[("multifd-channels", "2"), ("transport", "unix")]),
    ("multifd, 2 channels, zero-copy", &[("multifd-channels", "2"), ("zero-copy", "true")]),
];

/// Flies all ways next to each other, each time beginning with another one.
pub fn run(options: &Options, flights: &Flights) -> Result<()> {
    let mut found: Vec<Samples> = WAYS.iter().map(|_| Samples::default()).collect();
    for round in 0..options.pairs as usize {
        for turn in 0..WAYS.len() {
            let way = (round + turn) % WAYS.len();
            let report = idle_flight(flights, options.guest_memory(), WAYS[way].1)?;
            found[way].push(wire_bytes_per_second(&report)?);
        }
    }
    let mut table = Table::new(format!(
        "First pass of an idle guest of {} by each way, {} rounds (GB/s)",
        options.guest_memory(),
        options.pairs
    ));
    for ((name, _), samples) in WAYS.iter().zip(&found) {
        table.row(*name, &samples.scaled(1e-9), 2);
    }
    for ((name, _), samples) in WAYS.iter().zip(&found).skip(1) {
        table.row(format!("{name} / one TCP, by round"), &samples.ratios(&found[0]), 2);
    }
    table.print();
    let best = found[2..4].iter().map(Samples::median).fold(0.0, f64::max);
    let ratio = best / found[0].median();
    let processors = available_parallelism().map_or(1, usize::from);
    if processors >= JUDGED_PROCESSORS {
        let wanted = format!(">= {LEAST_RATIO}");
        target("Multifd / one connection", &format!("{ratio:.2}"), &wanted, ratio >= LEAST_RATIO);
    } else {
        println!(
            "Multifd / one connection: {ratio:.2}, not judged with {processors} processors: two connections need {JUDGED_PROCESSORS}"
        );
    }
    Ok(())
}
