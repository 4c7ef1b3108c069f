//! Whether max-bandwidth holds over any second, however many connections share it.

use anyhow::Result;
use sterna_report::Report;
use sterna_units::Bytes;

use super::first_pass::idle_flight;
use super::{Options, target};
use crate::flight::Flights;

/// How far above the limit a second may be.
const MOST_RATIO: f64 = 1.03;

const GUEST: Bytes = Bytes(256 << 20);

/// Flies an idle guest under limits, on one connection and on up to 16.
pub fn run(_: &Options, flights: &Flights) -> Result<()> {
    println!("\nBandwidth in the busiest second before the stop");
    for limit in [30e6, 100e6] {
        for channels in [None, Some("1"), Some("4"), Some("16")] {
            let limit_text = format!("{limit}B/s");
            let mut flags =
                vec![("max-bandwidth", limit_text.as_str()), ("sample-interval", "20ms")];
            flags.extend(channels.map(|it| ("multifd-channels", it)));
            let report = idle_flight(flights, GUEST, &flags)?;
            let ratio = most_in_a_second(&report) / limit;
            let name = channels.map_or("one connection".to_owned(), |it| format!("{it} channels"));
            target(
                &format!("{:.0} MB/s, {name}", limit / 1e6),
                &format!("{:.1} %", ratio * 100.0),
                &format!("<= {:.0} %", MOST_RATIO * 100.0),
                ratio <= MOST_RATIO,
            );
        }
    }
    Ok(())
}

/// Most bytes that left within a second, by any two polls at most that far apart.
fn most_in_a_second(report: &Report) -> f64 {
    let polls: Vec<(f64, f64)> = report
        .timeline
        .iter()
        .filter(|it| it.state == "active")
        .filter_map(|it| Some((it.t_seconds, it.transferred_bytes? as f64)))
        .collect();
    let mut most: f64 = 0.0;
    for (index, from) in polls.iter().enumerate() {
        let within = polls[index..].iter().take_while(|it| it.0 <= from.0 + 1.0);
        most = within.fold(most, |most, to| most.max(to.1 - from.1));
    }
    most
}
