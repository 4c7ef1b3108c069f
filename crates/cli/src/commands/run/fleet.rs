//! A run of several guests.

use std::sync::Mutex;

use anyhow::{Context, Result};
use sterna_emulator::{Emulator, EmulatorOptions, SharedLink, available_bytes};
use sterna_pilot::{Hypervisor, Interrupt, Notice, RealClock, assemble_fleet, fly_fleet};
use sterna_report::Report;
use sterna_scenario::{Fleet, Scenario};
use sterna_sys::clock::monotonic_ns;

use crate::args::RunOptions;
use crate::output::Output;
use crate::progress;

/// Flies all guests over one link.
pub fn fly(
    scenario: &Scenario,
    fleet: Fleet,
    options: &RunOptions,
    interrupt: &Interrupt,
    output: Output,
) -> Result<Report> {
    let link = SharedLink::new(fleet.parallel).context("The shared link cannot be made")?;
    let emulator = prepared(super::emulator(options, output)?, &link);
    let engine = || Box::new(Emulator::new(emulator.clone())) as Box<dyn Hypervisor>;
    let started_at = jiff::Timestamp::now().to_string();
    let clock = RealClock::starting_at(monotonic_ns());
    let mut watcher = progress::fleet_watcher(options.progress, options.json_stream, output);
    let records = {
        let tell = |guest: u32, notice: Notice| watcher.notice(Some(guest), &notice);
        fly_fleet(scenario, fleet, &engine, &clock, interrupt, &Mutex::new(tell))
            .context("A guest of the fleet cannot be watched")?
    };
    watcher.finish();
    let identity = super::identity(scenario, started_at)?;
    Ok(assemble_fleet(&identity, fleet.parallel, &records))
}

/// Hosts that are started here find the link by an argument. All guests take their memory at the same time, so what is there is asked for before.
fn prepared(mut emulator: EmulatorOptions, link: &SharedLink) -> EmulatorOptions {
    emulator.available_bytes = available_bytes();
    emulator.host_command.extend(["--shared-link".into(), link.path().as_os_str().to_owned()]);
    emulator
}
