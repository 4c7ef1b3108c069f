//! `sterna watch`: from options to a way of looking, then to a report and an exit code.

mod probing;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use sterna_pilot::RealClock;
use sterna_probe::serve::pages::serve_metrics;
use sterna_render::html::Named;
use sterna_report::Report;
use sterna_sys::clock::monotonic_ns;
use sterna_watch::libvirt::Libvirt;
use sterna_watch::qmp::{Held, Monitors, Shared};
use sterna_watch::{Options, WatchError, Way, watch};

use self::probing::Probing;
use super::kept;
use crate::args::{Format, WatchOptions, WatchTarget};
use crate::output::Output;
use crate::{machine, progress};

/// Watches one migration.
pub fn run(options: &WatchOptions, output: Output) -> Result<u8> {
    options.report.as_deref().map(super::check_writable).transpose()?;
    let interrupt = super::interrupt_on_signals()?;
    let started_at = jiff::Timestamp::now().to_string();
    let page = options.listen.map(|it| listen(it, output)).transpose()?;
    let mut way = way(&options.target)?;
    output.progress(&format!(
        "Watching {}; nothing of it is changed, and it goes on when this ends\n",
        words(&options.target)
    ));
    let probing = match &options.probe_target {
        Some(target) => Some(Probing::start(&options.probes, target, &interrupt)?),
        None => None,
    };
    let clock = RealClock::starting_at(monotonic_ns());
    let mut watcher = progress::watcher(options.progress, false, output);
    let how = Options { timeout: Duration::from_secs_f64(options.timeout.seconds()) };
    let watched = watch(way.as_mut(), how, &clock, &interrupt, &mut |it| watcher.notice(None, &it));
    watcher.finish();
    let mut watched = match watched {
        Err(WatchError::Interrupted) => {
            output.error(&WatchError::Interrupted.to_string());
            return Ok(super::INTERRUPTED as u8);
        }
        other => other?,
    };
    if let Some(probing) = probing {
        watched.add_probes(probing.finish(&interrupt));
    }
    let mut report = watched.report(machine::tool(), machine::host(), started_at);
    report.advice = sterna_advice::diagnose(&report).advice;
    let code = tell(&report, options, output)?;
    if let Some(page) = page {
        let name = words(&options.target);
        *page.lock().unwrap_or_else(PoisonError::into_inner) =
            sterna_render::openmetrics(&[Named { name: &name, report: &report }]);
        while !interrupt.requested() {
            std::thread::sleep(NAP);
        }
    }
    Ok(code)
}

/// How long a signal may go unheeded while the last migration is served.
const NAP: Duration = Duration::from_millis(50);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves a page without a sample, until there is a migration.
fn listen(address: SocketAddr, output: Output) -> Result<Arc<Mutex<String>>> {
    let page = Arc::new(Mutex::new(sterna_render::openmetrics(&[])));
    let shown = Arc::clone(&page);
    let shown = move || Some(shown.lock().unwrap_or_else(PoisonError::into_inner).clone());
    let address = serve_metrics(address, OPEN_METRICS, shown)
        .with_context(|| format!("Cannot serve metrics on {address}"))?;
    output.progress(&format!("Metrics at http://{address}/metrics\n"));
    Ok(page)
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
