//! `drain`.

use anyhow::Result;
use sterna_kubevirt::rbac::Command;
use sterna_kubevirt::{DrainEvent, DrainOptions};

use super::records::Records;
use super::{Phases, connect, ready};
use crate::args::kubevirt::{DrainArgs, PlaceArgs, duration};
use crate::output::Output;

/// Drains, and writes a report of each migration as soon as it is over.
pub fn run(args: &DrainArgs, place: &PlaceArgs, output: Output) -> Result<u8> {
    let session = connect(place, false)?;
    let preflight = ready(&session, Command::Drain, output)?;
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
                let path = records.write(record)?;
                let _ = output.result(&format!("{}\n", path.display()));
            }
            DrainEvent::Uncordoned => output.progress(&format!("{node} is uncordoned\n")),
        }
        Ok(())
    })?;
    let (calls, retries) = session.cluster().calls();
    output.progress(&format!(
        "{} of {} guests left {node} in {:.1} s; {} migrations recorded, {calls} calls, {retries} of them again\n",
        drained.guests - drained.left.len(),
        drained.guests,
        drained.seconds,
        drained.migrations,
    ));
    for (guest, why) in drained.left.iter().filter(|_| !args.dry_run) {
        output.warn(&format!("{guest} is still on {node}: {why}"));
    }
    let is_left = !drained.left.is_empty() && !args.dry_run;
    // A migration that still ran when the time was up is no interruption of ours.
    Ok(if is_left { 3 } else { records.exit_code() })
}
