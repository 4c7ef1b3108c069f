//! `drain`.

use anyhow::Result;
use sterna_kubevirt::{DrainEvent, DrainOptions};

use super::records::Records;
use super::{Phases, connect, judge};
use crate::args::kubevirt::{DrainArgs, PlaceArgs, duration};
use crate::output::Output;

/// Drains, and writes a report of each migration as soon as it is over.
pub fn run(args: &DrainArgs, place: &PlaceArgs, output: Output) -> Result<u8> {
    let session = connect(place, false)?;
    let preflight = judge(session.preflight_to_drain(&args.node)?, output)?;
    let mut records = Records::open(&args.records, None, &preflight)?;
    let options = DrainOptions {
        node: args.node.clone(),
        patience: duration(args.timeout),
        keep_cordoned: args.keep_cordoned,
        dry_run: args.dry_run,
        read_logs: false,
        read_events: false,
    };
    let interrupt = super::super::interrupt_on_signals()?;
    let node = &args.node;
    let mut phases = Phases::default();
    let drained = session.drain(&options, &interrupt, &mut |event| {
        match event {
            DrainEvent::Cordoned => output.progress(&format!("{node} is cordoned\n")),
            DrainEvent::Guests(count) => output.progress(&format!("{count} guests on {node}\n")),
            DrainEvent::Evicted(guest, words) => output.progress(&format!("{guest}: {words}\n")),
            DrainEvent::Moved(record) => phases.tell(record, output),
            DrainEvent::Ended(record) => {
                let path = records.write(record, output);
                let _ = output.result(&format!("{}\n", path.display()));
            }
            DrainEvent::Node(words) => output.warn(words),
            DrainEvent::Uncordoned => output.progress(&format!("{node} is uncordoned\n")),
        }
        Ok(())
    })?;
    let cluster = session.cluster();
    let (calls, retries) = cluster.calls();
    output.progress(&format!(
        "{} of {} guests left {node} in {:.1} s; {} migrations recorded; {calls} calls, {retries} of them again, {} in the busiest second\n",
        drained.guests - drained.left.len() - drained.lost.len(),
        drained.guests,
        drained.seconds,
        drained.migrations,
        cluster.busiest_second(),
    ));
    for (guest, why) in drained.left.iter().filter(|_| !args.dry_run) {
        output.warn(&format!("{guest} is still on {node}: {why}"));
    }
    for guest in &drained.lost {
        output.warn(&format!(
            "{guest} was lost with {node}; its machine starts it elsewhere if its run strategy says so"
        ));
    }
    let is_clear = drained.left.is_empty() && drained.lost.is_empty();
    // A migration that still ran when the time was up is no interruption of ours.
    Ok(if is_clear || args.dry_run { records.exit_code() } else { 3 })
}
