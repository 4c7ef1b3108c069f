//! A run of probes: begin, tell each outage when it is over, end, report.

use std::fs::File;
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use sterna_pilot::Interrupt;
use sterna_probe::noise::Heartbeat;
use sterna_probe::watch::{Failure, Watch};
use sterna_report::probing::{NamedOutage, ProbeEnding, ProbeEvent, ProbeReport, ProbeStart};
use sterna_sys::clock::monotonic_ns;

use super::super::kept;
use super::convert::{self, Scale, Witness};
use super::{Named, metrics, text};
use crate::args::{ProbeFormat, ProbeTelling};
use crate::machine;
use crate::output::Output;
use crate::usage;

/// This machine lacks what was asked for.
const UNSUPPORTED: u8 = 5;
const TOO_LONG: u8 = 4;
const INTERRUPTED: u8 = 130;

/// How often it is asked whether something has happened.
const POLL: Duration = Duration::from_millis(50);

/// An outage that lasts for so long is told before it is over.
const LONG_SILENCE: Duration = Duration::from_secs(1);

/// Runs the probes until their time is over or a signal comes.
pub fn run(probes: Vec<Named>, telling: &ProbeTelling, output: Output) -> Result<u8> {
    telling.report.as_deref().map(super::super::check_writable).transpose()?;
    let began_seconds = jiff::Timestamp::now().as_millisecond() as f64 / 1e3;
    let mut spikes = telling.spikes.as_deref().map(create).transpose()?;
    if let Some(file) = &mut spikes {
        // mig_mon begins so; whoever draws its logs takes times from here.
        writeln!(file, "{began_seconds:.0},-1").context("Cannot write --spikes")?;
    }
    let interrupt = super::super::interrupt_on_signals()?;
    let heart = Heartbeat::start().context("No thread can be had")?;
    let started_at = jiff::Timestamp::now().to_string();
    let scale = Scale { begin_ns: monotonic_ns() };
    let mut watches = Vec::new();
    for Named { name, plan } in probes {
        match Watch::start(plan.clone()) {
            Ok(watch) => {
                watches.push(Witness { name, plan, watch, told: 0, told_silence_ns: None });
            }
            Err(failure) => return refuse(&failure, output),
        }
    }
    let max_outage = telling.max_outage.map(|it| it.seconds());
    let start = ProbeStart::new(machine::tool(), machine::host(), started_at, max_outage);
    let mut run = Run { watches, heart, scale, telling, output, spikes, began_seconds };
    run.tell(&ProbeEvent::Start(Box::new(start.clone())))?;
    let ending = run.until_the_end(&interrupt)?;
    run.finish(start, ending)
}

fn create(path: &std::path::Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("Cannot write {}", path.display()));
    file.map_err(usage)
}

fn refuse(failure: &Failure, output: Output) -> Result<u8> {
    if let Failure::Unsupported(reason) = failure {
        output.error(reason);
        return Ok(UNSUPPORTED);
    }
    Err(anyhow!("{failure}"))
}

struct Run<'a> {
    watches: Vec<Witness>,
    heart: Heartbeat,
    scale: Scale,
    telling: &'a ProbeTelling,
    output: Output,
    spikes: Option<File>,
    /// Seconds since 1970.
    began_seconds: f64,
}

impl Run<'_> {
    fn until_the_end(&mut self, interrupt: &Interrupt) -> Result<ProbeEnding> {
        let length_ns = self.telling.duration.map(|it| it.0.as_nanos() as u64);
        if let Some(length_ns) = length_ns {
            let end_ns = self.scale.begin_ns.saturating_add(length_ns);
            self.watches.iter().for_each(|it| it.watch.end_at(end_ns, true));
        }
        let mut ending = ProbeEnding::Duration;
        while self.watches.iter().any(|it| !it.watch.is_over()) {
            if interrupt.requested() {
                let is_early = length_ns.is_some();
                ending = if is_early { ProbeEnding::Interrupted } else { ProbeEnding::Signal };
                self.end_now();
                return Ok(ending);
            }
            self.tell_outages()?;
            self.tell_silences()?;
            if self.is_for_nobody() {
                self.end_now();
                return Ok(ProbeEnding::Unread);
            }
            sleep(POLL);
        }
        self.tell_outages()?;
        let now_ns = monotonic_ns();
        if length_ns.is_none_or(|it| now_ns < self.scale.begin_ns.saturating_add(it)) {
            ending = ProbeEnding::Failed;
        }
        Ok(ending)
    }

    /// Whether nobody reads the result, and no file will be whole by itself.
    fn is_for_nobody(&self) -> bool {
        let writes_files = self.telling.report.is_some() || self.spikes.is_some();
        let is_for_files = writes_files && self.telling.duration.is_some();
        !is_for_files && !self.output.is_read()
    }

    fn end_now(&self) {
        let now_ns = monotonic_ns();
        self.watches.iter().for_each(|it| it.watch.end_at(now_ns, false));
        // Who waits for a page or a disk that hangs would not notice for long.
        for _ in 0..20 {
            if self.watches.iter().all(|it| it.watch.is_over()) {
                return;
            }
            sleep(Duration::from_millis(10));
        }
    }

    /// Those that are over and were not told yet.
    fn tell_outages(&mut self) -> Result<()> {
        for index in 0..self.watches.len() {
            let witness = &self.watches[index];
            if witness.watch.ended_outages().is_none_or(|it| it <= witness.told) {
                continue;
            }
            let noise = self.heart.noise();
            let outages = convert::outages(&witness.watch.look(), &noise, self.scale);
            let new: Vec<_> =
                outages.into_iter().filter(|it| it.has_ended).skip(witness.told).collect();
            let name = witness.name.clone();
            self.watches[index].told += new.len();
            for outage in new {
                if let Some(file) = &mut self.spikes {
                    // Each line is whole, also for those who follow the file.
                    writeln!(file, "{}", convert::spike(&outage, self.began_seconds))
                        .context("Cannot write --spikes")?;
                }
                if self.telling.format == ProbeFormat::Text {
                    self.output.progress(&text::outage_line(&name, &outage));
                }
                let named = NamedOutage { probe: name.clone(), outage };
                self.tell(&ProbeEvent::Outage(Box::new(named)))?;
            }
        }
        Ok(())
    }

    /// Those that last, each once, so that whoever waits for the end of an outage knows that there is one.
    fn tell_silences(&mut self) -> Result<()> {
        for index in 0..self.watches.len() {
            let witness = &self.watches[index];
            let Some(since_ns) = witness.watch.silent_since_ns() else { continue };
            let patience = LONG_SILENCE + 3 * witness.plan.interval;
            let silent_ns = monotonic_ns().saturating_sub(since_ns);
            if witness.told_silence_ns == Some(since_ns) || silent_ns < patience.as_nanos() as u64 {
                continue;
            }
            let outages = convert::outages(&witness.watch.look(), &self.heart.noise(), self.scale);
            let Some(outage) = outages.into_iter().rfind(|it| !it.has_ended) else { continue };
            let probe = witness.name.clone();
            self.watches[index].told_silence_ns = Some(since_ns);
            if self.telling.format == ProbeFormat::Text {
                self.output.progress(&text::outage_line(&probe, &outage));
            }
            self.tell(&ProbeEvent::Silence(Box::new(NamedOutage { probe, outage })))?;
        }
        Ok(())
    }

    fn tell(&self, event: &ProbeEvent) -> Result<()> {
        if self.telling.format == ProbeFormat::Ndjson {
            // Whether somebody reads is asked elsewhere.
            self.output.result(&format!("{}\n", serde_json::to_string(event)?))?;
        }
        Ok(())
    }

    fn finish(mut self, start: ProbeStart, ending: ProbeEnding) -> Result<u8> {
        // Waiting for answers that were under way is no part of the run.
        let length_ns = self.telling.duration.map_or(u64::MAX, |it| it.0.as_nanos() as u64);
        let end_ns = monotonic_ns().min(self.scale.begin_ns.saturating_add(length_ns));
        let mut failures = Vec::new();
        for witness in &mut self.watches {
            // One that hangs in the kernel is left to it.
            let failure = if witness.watch.is_over() { witness.watch.join() } else { None };
            failures.push(failure);
        }
        let noise = self.heart.noise();
        let report =
            convert::report(start, ending, &self.watches, &failures, &noise, self.scale, end_ns);
        let printed = if ending == ProbeEnding::Unread { Ok(()) } else { self.show(&report) };
        let code = code(&report, ending, &failures);
        let code = match &self.telling.report {
            Some(path) => kept::report(path, &pretty(&report)?, code, self.output),
            None => code,
        };
        printed?;
        if ending == ProbeEnding::Unread {
            return Ok(code);
        }
        for (witness, failure) in self.watches.iter().zip(&failures) {
            if let Some(failure) = failure {
                let name = if self.watches.len() > 1 {
                    format!("{}: ", witness.name)
                } else {
                    String::new()
                };
                self.output.error(&format!("{name}{failure}"));
            }
        }
        Ok(code)
    }

    fn show(&self, report: &ProbeReport) -> Result<()> {
        let has_seen = has_seen(report) || report.is_within_limit == Some(false);
        match self.telling.format {
            ProbeFormat::Text if !has_seen => {}
            ProbeFormat::Text => self.output.result(&text::page(report))?,
            ProbeFormat::Json => self.output.result(&pretty(report)?)?,
            ProbeFormat::OpenMetrics => self.output.result(&metrics::page(report))?,
            ProbeFormat::Ndjson => self.tell(&ProbeEvent::Report(Box::new(report.clone())))?,
        }
        for warning in report.warnings.iter().filter(|_| self.telling.format != ProbeFormat::Ndjson)
        {
            self.output.warn(warning);
        }
        Ok(())
    }
}

/// Whether anything answered at all.
fn has_seen(report: &ProbeReport) -> bool {
    report.probes.iter().any(|it| it.received > 0)
}

fn code(report: &ProbeReport, ending: ProbeEnding, failures: &[Option<Failure>]) -> u8 {
    let is_unsupported = |it: &Failure| matches!(it, Failure::Unsupported(_));
    let is_broken = |it: &Failure| matches!(it, Failure::Broken(_));
    match ending {
        ProbeEnding::Interrupted => INTERRUPTED,
        // Whoever left did not wait for an answer either.
        ProbeEnding::Unread if report.is_within_limit != Some(false) || !has_seen(report) => 0,
        _ if failures.iter().flatten().any(is_unsupported) => UNSUPPORTED,
        _ if failures.iter().flatten().any(is_broken) => 1,
        // A target that never answered gives no evidence that the limit was kept.
        _ if report.is_within_limit == Some(false) => TOO_LONG,
        _ if failures.iter().any(Option::is_some) => 1,
        _ => 0,
    }
}

fn pretty(report: &ProbeReport) -> Result<String> {
    // By way of a value, so that fields stand in the order of their names in every document.
    Ok(format!("{:#}\n", serde_json::to_value(report)?))
}
