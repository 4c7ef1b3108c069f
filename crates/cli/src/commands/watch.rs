//! `sterna watch`: from options to a way of looking, then to a report and an exit code.

mod probing;
mod series;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use sterna_pilot::{Interrupt, RealClock};
use sterna_probe::serve::pages::serve_metrics;
use sterna_render::html::Named;
use sterna_report::Report;
use sterna_sys::clock::monotonic_ns;
use sterna_watch::libvirt::Libvirt;
use sterna_watch::qmp::{Held, Monitors, Shared};
use sterna_watch::{Options, WatchError, Way, watch};

use self::probing::Probing;
use self::series::{Folder, Next};
use super::batch::worst_exit_code;
use super::kept;
use crate::args::{Format, WatchOptions, WatchTarget};
use crate::output::Output;
use crate::{machine, progress};

/// Watches one migration, or several.
pub fn run(options: &WatchOptions, output: Output) -> Result<u8> {
    let is_one = options.repeat.is_none() && options.listen.is_none();
    let report = options.report.as_deref();
    report.filter(|_| is_one).map(super::check_writable).transpose()?;
    let folder = report.filter(|_| !is_one).map(Folder::open).transpose()?;
    let interrupt = super::interrupt_on_signals()?;
    let page = options.listen.map(|it| listen(it, output)).transpose()?;
    let way = way(&options.target)?;
    output.progress(&format!(
        "Watching {}; nothing of it is changed, and it goes on when this ends\n",
        words(&options.target)
    ));
    let limit = if is_one { Some(1) } else { options.repeat };
    let mut series = Series { options, output, interrupt, way, folder, page, codes: Vec::new() };
    let ended = series.watch(limit);
    let code = series.code(ended)?;
    if series.page.is_some() && !series.codes.is_empty() {
        while !series.interrupt.requested() {
            std::thread::sleep(NAP);
        }
    }
    Ok(code)
}

/// Migrations, one after the other.
struct Series<'a> {
    options: &'a WatchOptions,
    output: Output,
    interrupt: Interrupt,
    way: Box<dyn Way>,
    folder: Option<Folder>,
    page: Option<Arc<Mutex<String>>>,
    /// The exit code of each that was seen.
    codes: Vec<u8>,
}

impl Series<'_> {
    /// Until there are as many as this, or there is nothing more to watch.
    fn watch(&mut self, limit: Option<u64>) -> Result<()> {
        let mut target = self.options.target.clone();
        loop {
            let report = match self.one() {
                // Served numbers wait for the next migration as long as it takes.
                Err(error) if limit.is_none() && is_never_began(&error) => continue,
                other => other?,
            };
            let seen = self.codes.len() as u64;
            if limit.is_some_and(|it| seen >= it) || self.interrupt.requested() {
                return Ok(());
            }
            match series::next(&target, report.summary.verdict) {
                Next::Same => {}
                Next::Nowhere(why) => {
                    self.output.progress(&format!("Nothing more is watched: {why}\n"));
                    return Ok(());
                }
                Next::Domain(domain) => {
                    let timeout = limit.map_or(Duration::MAX, |_| self.timeout());
                    self.way = series::reopen(&domain, timeout, &self.interrupt)?;
                    target = WatchTarget::Libvirt(domain);
                }
            }
        }
    }

    fn one(&mut self) -> Result<Report> {
        let Series { options, output, interrupt, .. } = self;
        let started_at = jiff::Timestamp::now().to_string();
        let probing = match &options.probe_target {
            Some(target) => Some(Probing::start(&options.probes, target, interrupt)?),
            None => None,
        };
        let clock = RealClock::starting_at(monotonic_ns());
        let mut watcher = progress::watcher(options.progress, false, *output);
        let how = Options { timeout: Duration::from_secs_f64(options.timeout.seconds()) };
        let notice = &mut |it| watcher.notice(None, &it);
        let watched = watch(self.way.as_mut(), how, &clock, interrupt, notice);
        watcher.finish();
        let mut watched = watched?;
        if let Some(probing) = probing {
            watched.add_probes(probing.finish(interrupt));
        }
        let mut report = watched.report(machine::tool(), machine::host(), started_at);
        report.advice = sterna_advice::diagnose(&report).advice;
        let path = self.folder.as_mut().map(Folder::take).or_else(|| options.report.clone());
        // First of all the numbers: a pipe that is closed keeps them from no one else.
        if let Some(page) = &self.page {
            let name = words(&options.target);
            *page.lock().unwrap_or_else(PoisonError::into_inner) =
                sterna_render::openmetrics(&[Named { name: &name, report: &report }]);
        }
        let code = tell(&report, path.as_deref(), options.format, *output)?;
        self.codes.push(code);
        Ok(report)
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.options.timeout.seconds())
    }

    /// The worst of all; what ended the watch counts only where no migration was seen.
    fn code(&self, ended: Result<()>) -> Result<u8> {
        let is_interrupted = |it: &anyhow::Error| {
            matches!(it.downcast_ref::<WatchError>(), Some(WatchError::Interrupted))
        };
        match (ended, self.codes.as_slice()) {
            (Err(error), []) if is_interrupted(&error) => {
                self.output.error(&error.to_string());
                Ok(super::INTERRUPTED as u8)
            }
            (Err(error), []) => Err(error),
            (Ok(()), [code]) => Ok(*code),
            (ended, codes) => {
                if let Some(error) = ended.err().filter(|it| !is_interrupted(it)) {
                    self.output.warn(&format!("Nothing more is watched: {error:#}"));
                }
                Ok(worst_exit_code(codes.iter().copied()))
            }
        }
    }
}

fn is_never_began(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<WatchError>(), Some(WatchError::NeverBegan(..)))
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
fn tell(report: &Report, path: Option<&Path>, format: Format, output: Output) -> Result<u8> {
    let printed = print(report, format, output);
    let keep =
        |path: &Path| kept::report(path, &report.to_json_pretty(), report.exit_code(), output);
    let code = path.map_or(report.exit_code(), keep);
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
