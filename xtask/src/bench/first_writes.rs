//! What checking pages before their first write adds to a switchover: nothing to the downtime, and next to nothing to the
//! blackout.

use anyhow::{Context as _, Result};
use sterna_report::Summary;
use sterna_units::Bytes;

use super::samples::Samples;
use super::table::Table;
use super::{Options, target};
use crate::flight::{Flights, flags};

/// What it may add to downtime and blackout, in ms.
const MOST_MS: f64 = 0.1;

const MEMORY: Bytes = Bytes(64 << 20);

/// Measures in pairs: a migration whose destination checks, and one whose destination does not.
pub fn run(options: &Options, flights: &Flights) -> Result<()> {
    let mut columns: [(Samples, Samples); 3] = Default::default();
    let mut checking = Samples::default();
    for pair in 0..options.pairs {
        let order = if pair % 2 == 0 { [true, false] } else { [false, true] };
        for checks in order {
            let summary = fly(flights, checks)?;
            let numbers =
                [summary.downtime_seconds, summary.blackout_seconds, summary.lost_work_seconds];
            for (column, number) in columns.iter_mut().zip(numbers) {
                let to = if checks { &mut column.0 } else { &mut column.1 };
                to.push(number.context("A migration has no such number")? * 1e3);
            }
            if checks {
                let found = summary.integrity_detail.and_then(|it| it.first_writes);
                checking.push(found.context("Nothing was checked")?.checking_seconds * 1e3);
            }
        }
    }
    let mut table = Table::new(format!(
        "A guest that writes whole pages without a limit on {MEMORY}, {} pairs, in ms",
        options.pairs
    ));
    for (name, (with, without)) in ["downtime", "blackout", "lost work"].iter().zip(&columns) {
        table.row(format!("{name}, with checks"), with, 3);
        table.row(format!("{name}, without"), without, 3);
    }
    table.row("time of all workers on checks", &checking, 3);
    table.print();
    for (name, (with, without)) in ["downtime", "blackout"].iter().zip(&columns) {
        let more = with.minus(without).median();
        target(
            &format!("What checks add to the {name}, median of the pairs"),
            &format!("{more:.3} ms"),
            &format!("<= {MOST_MS} ms"),
            more <= MOST_MS,
        );
    }
    Ok(())
}

fn fly(flights: &Flights, checks: bool) -> Result<Summary> {
    let mut chosen = flags([
        ("memory", MEMORY.to_string()),
        ("workload-memory", "48MiB".to_owned()),
        ("method", "fill-random".to_owned()),
        ("workload-latency", "false".to_owned()),
        ("rate", "unlimited".to_owned()),
        ("max-bandwidth", "unlimited".to_owned()),
        ("pause-after", "100ms".to_owned()),
        ("warmup", "1s".to_owned()),
        ("cooldown", "1500ms".to_owned()),
    ]);
    if !checks {
        chosen.extend(flags([("x-break", "destination:skip-first-checks".to_owned())]));
    }
    Ok(flights.fly(&chosen)?.report.summary)
}
