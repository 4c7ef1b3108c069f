//! A run of the model, in simulated time.

use anyhow::Result;
use sterna_pilot::{Interrupt, Pilot, SimulatedClock, assemble};
use sterna_report::Report;
use sterna_scenario::Scenario;
use sterna_simulated::Simulated;

use crate::args::RunOptions;
use crate::output::Output;
use crate::progress;

/// Flies the scenario under the same pilot as every engine; an hour takes no time.
pub fn fly(
    scenario: &Scenario,
    options: &RunOptions,
    interrupt: &Interrupt,
    output: Output,
) -> Result<Report> {
    let clock = SimulatedClock::default();
    let mut engine = Simulated::new(&clock);
    let started_at = jiff::Timestamp::now().to_string();
    let mut watcher = progress::watcher(options.progress, options.json_stream, output);
    let record = Pilot {
        scenario,
        hypervisor: &mut engine,
        clock: &clock,
        interrupt,
        observer: &mut |notice| watcher.notice(None, &notice),
    }
    .fly();
    watcher.finish();
    Ok(assemble(super::identity(scenario, started_at)?, &record))
}
