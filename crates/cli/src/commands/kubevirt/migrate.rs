//! `migrate`.

use std::time::Duration;

use anyhow::{Result, anyhow};
use sterna_kubevirt::rbac::Command;
use sterna_kubevirt::{GuestsTell, MigrateEvent, MigrateOptions, Preflight, Prometheus, Session};

use super::records::Records;
use super::{Phases, connect, ready};
use crate::args::kubevirt::{GuestTells, MigrateArgs, PlaceArgs, duration};
use crate::output::Output;
use crate::usage;

/// An abort has 30 s in libvirt, and the target Pod's grace period on top.
const ABORT_PATIENCE: Duration = Duration::from_secs(120);

/// Migrates, and writes a report of each migration as soon as it is over.
pub fn run(args: &MigrateArgs, place: &PlaceArgs, output: Output) -> Result<u8> {
    let session = connect(place, false)?;
    let prometheus = prometheus(args, &session)?;
    let preflight = ready(&session, Command::Migrate, output)?;
    let mut records = Records::open(&args.records, args.run_id.as_deref(), &preflight)?;
    let options = MigrateOptions {
        run_id: args.run_id.clone(),
        guests: args.guests.clone(),
        count: args.count,
        at_once: args.at_once as usize,
        max_time: args.max_time.map(duration),
        abort_patience: ABORT_PATIENCE,
        read_logs: preflight.may("pods/log"),
        read_events: preflight.may("events"),
        guests_tell: guests_tell(args, &preflight),
        prometheus,
    };
    let interrupt = super::super::interrupt_on_signals()?;
    let mut phases = Phases::default();
    let outcome = session.migrate(&options, &interrupt, &mut |event| {
        match event {
            MigrateEvent::Began(guest, number) => {
                output.progress(&format!("{guest}: migration {number} of {}\n", args.count));
            }
            MigrateEvent::Moved(record) => phases.tell(record, output),
            MigrateEvent::Aborting(name) => {
                output.progress(&format!("{name}: asked to stop, waiting for the abort\n"));
            }
            MigrateEvent::Ended(record) => {
                let path = records.write(record, output);
                let (verdict, reason) = record.verdict();
                let why = reason.map_or_else(String::new, |it| format!(": {it}"));
                output.progress(&format!("{}: {verdict}{why}\n", record.vmi));
                // A reader who has gone is no reason to stop migrating.
                let _ = output.result(&format!("{}\n", path.display()));
            }
        }
        Ok(())
    });
    outcome?;
    Ok(records.exit_code())
}

/// Whether guests are asked, and whether they may be.
fn guests_tell(args: &MigrateArgs, preflight: &Preflight) -> Option<GuestsTell> {
    let is_wanted = args.guest != GuestTells::None;
    let (warm_up, cool_down) = (duration(args.warmup), duration(args.warmup));
    let is_all = args.guest == GuestTells::All;
    let how = GuestsTell { warm_up, cool_down, check_memory: is_all, follow_disk: is_all };
    (is_wanted && preflight.may_ask_guests()).then_some(how)
}

fn prometheus(args: &MigrateArgs, session: &Session) -> Result<Option<Prometheus>> {
    let Some(url) = &args.prometheus else { return Ok(None) };
    let token = match &args.prometheus_token_file {
        Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
            usage(anyhow!("--prometheus-token-file {} cannot be read: {error}", file.display()))
        })?),
        None => None,
    };
    // Its client lives on the session's runtime.
    Ok(Some(session.block_on(async { Prometheus::new(url, token.as_deref()) })?))
}
