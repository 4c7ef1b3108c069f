//! `sterna probe`: the probe library on real sockets, and what is seen of it.

mod config;
mod convert;
mod details;
mod metrics;
mod serve;
mod session;
mod text;
mod verify;

use std::time::Duration;

use anyhow::{Result, anyhow};
use sterna_probe::watch::{Plan, Task};
use sterna_units::Span;

use crate::args::{Looking, ProbeCommand, ProbeTelling};
use crate::output::Output;
use crate::usage;

/// What one probe is called, and what it does.
struct Named {
    name: String,
    plan: Plan,
}

/// No probe sends more seldom.
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);

/// Does what was asked; returns the exit code.
pub fn run(command: ProbeCommand, output: Output) -> Result<u8> {
    match command {
        ProbeCommand::Serve { listen, disk, echo } => serve::run(&listen, disk, echo, output),
        ProbeCommand::Verify { path, acknowledged, format } => {
            verify::run(&path, acknowledged.as_deref(), format, output)
        }
        ProbeCommand::One { task, looking, telling } => {
            let named = named(task, looking, &telling)?;
            session::run(vec![named], &telling, output)
        }
        ProbeCommand::All { host, config, telling } => {
            session::run(all(&host, &config, &telling)?, &telling, output)
        }
    }
}

/// The probes of a file; their names tell them apart.
fn all(host: &str, path: &std::path::Path, telling: &ProbeTelling) -> Result<Vec<Named>> {
    let mut all: Vec<Named> = Vec::new();
    for (task, looking) in config::read(path, host)? {
        let named = named(task, looking, telling)?;
        if all.iter().any(|it| it.name == named.name) {
            return Err(usage(anyhow!(
                "Two probes in {} are called `{}`; give one another name",
                path.display(),
                named.name
            )));
        }
        all.push(named);
    }
    Ok(all)
}

fn named(task: Task, looking: Looking, telling: &ProbeTelling) -> Result<Named> {
    let interval = looking.interval.map_or(task.default_interval(), |it| it.0);
    let (kind, shortest) = (task.kind(), task.shortest_interval());
    if interval < shortest || interval > LONGEST_INTERVAL {
        return Err(usage(anyhow!(
            "--interval {} does not suit `probe {kind}`; use {} to 1h",
            Span(interval),
            Span(shortest)
        )));
    }
    let name = looking.name.unwrap_or_else(|| format!("{kind} {}", task.target()));
    let plan = Plan { task, interval, patience: telling.patience.0, follow: looking.follow };
    let resolution = plan.resolution();
    if let Some(limit) = telling.max_outage.filter(|it| it.0 < resolution) {
        return Err(usage(anyhow!(
            "--max-outage {limit} is shorter than what `probe {kind}` can distinguish from a late answer at --interval {}, which is {}; send more often, or raise it",
            Span(interval),
            Span(resolution)
        )));
    }
    Ok(Named { name, plan })
}
