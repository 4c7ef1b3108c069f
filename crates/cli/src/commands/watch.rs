//! `sterna watch`: from options to a way of looking, then to a report and an exit code.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use sterna_pilot::RealClock;
use sterna_report::Report;
use sterna_sys::clock::monotonic_ns;
use sterna_watch::libvirt::Libvirt;
use sterna_watch::qmp::{Held, Monitors, Shared};
use sterna_watch::{Options, WatchError, Way, watch};

use super::kept;
use crate::args::{Format, WatchOptions, WatchTarget};
use crate::output::Output;
use crate::{machine, progress};

/// Watches one migration.
pub fn run(options: &WatchOptions, output: Output) -> Result<u8> {
    options.report.as_deref().map(super::check_writable).transpose()?;
    let interrupt = super::interrupt_on_signals()?;
    let started_at = jiff::Timestamp::now().to_string();
    let mut way = way(&options.target)?;
    output.progress(&format!(
        "Watching {}; nothing of it is changed, and it goes on when this ends\n",
        words(&options.target)
    ));
    let clock = RealClock::starting_at(monotonic_ns());
    let mut watcher = progress::watcher(options.progress, false, output);
    let how = Options { timeout: Duration::from_secs_f64(options.timeout.seconds()) };
    let watched = watch(way.as_mut(), how, &clock, &interrupt, &mut |it| watcher.notice(None, &it));
    watcher.finish();
    let watched = match watched {
        Err(WatchError::Interrupted) => {
            output.error(&WatchError::Interrupted.to_string());
            return Ok(super::INTERRUPTED as u8);
        }
        other => other?,
    };
    let mut report = watched.report(machine::tool(), machine::host(), started_at);
    report.advice = sterna_advice::diagnose(&report).advice;
    tell(&report, options, output)
}

fn way(target: &WatchTarget) -> Result<Box<dyn Way>, WatchError> {
    match target {
        WatchTarget::Qmp { source, destination, is_shared, may_change } => {
            let monitors = Monitors {
                source: source.clone(),
                destination: destination.clone(),
                may_change: *may_change,
            };
            Ok(match is_shared {
                true => Box::new(Shared::new(monitors)),
                false => Box::new(Held::open(monitors)?),
            })
        }
        WatchTarget::Libvirt(domain) => Ok(Box::new(Libvirt::open(domain.clone())?)),
    }
}

fn words(target: &WatchTarget) -> String {
    match target {
        WatchTarget::Qmp { source, .. } => source.display().to_string(),
        WatchTarget::Libvirt(domain) => format!("domain {}", domain.name),
    }
}

/// The result to stdout, then the report to its file; returns the exit code.
fn tell(report: &Report, options: &WatchOptions, output: Output) -> Result<u8> {
    let printed = print(report, options.format, output);
    let keep =
        |path: &Path| kept::report(path, &report.to_json_pretty(), report.exit_code(), output);
    let code = options.report.as_deref().map_or(report.exit_code(), keep);
    printed?;
    Ok(code)
}

fn print(report: &Report, format: Format, output: Output) -> Result<()> {
    if format == Format::Json {
        output.result(&report.to_json_pretty())?;
        for warning in &report.warnings {
            output.warn(&warning.text);
        }
        return Ok(());
    }
    let style = sterna_render::Style { colour: output.colour(), width: output.width() };
    Ok(output.result(&sterna_render::text(report, style))?)
}
