//! Text of what `sterna dirty`, `sterna probe` and `sterna stream` saw.

use std::fmt::Write as _;

use sterna_report::dirty::DirtyReport;
use sterna_report::instrument::Instrument;
use sterna_report::probing::ProbeReport;
use sterna_report::stream::{StreamReport, StreamSideSummary};
use sterna_units::{human_bits_per_second, human_bytes, human_bytes_per_second};

use crate::number::{UNKNOWN, count, nanoseconds, or_unknown, seconds};

/// One report with the name by which a text calls it, and where it begins on the time axis of all.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    /// A name that is short and unlike the others.
    pub name: &'a str,
    /// From the beginning of the first of all; None where its beginning is not known.
    pub offset_seconds: Option<f64>,
    /// What was seen.
    pub instrument: &'a Instrument,
}

/// All of them, one after another, by the time at which they began.
pub fn instruments_text(all: &[Placed<'_>]) -> String {
    let mut text = String::new();
    for (index, placed) in all.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let begins = match (all.len(), placed.offset_seconds) {
            (1, _) => String::new(),
            (_, Some(offset)) => format!(", begins at {offset:.3} s"),
            (_, None) => ", begins at an unknown time".to_owned(),
        };
        let _ = writeln!(text, "{} ({}{begins})", placed.name, placed.instrument.command());
        for (name, value) in facts(placed.instrument) {
            let _ = writeln!(text, "  {name:<14} {value}");
        }
        for (at, what) in moments(placed).into_iter().take(MOST_MOMENTS) {
            let _ = writeln!(text, "  at {at:>9.3} s  {what}");
        }
        for warning in placed.instrument.warnings() {
            let _ = writeln!(text, "  warning: {warning}");
        }
    }
    text
}

/// More moments of one report than these are no text any more; the report has them all.
const MOST_MOMENTS: usize = 50;

/// The headline numbers, each with its name.
pub(crate) fn facts(instrument: &Instrument) -> Vec<(String, String)> {
    let mut facts = match instrument {
        Instrument::Dirty(it) => dirty(it),
        Instrument::Probe(it) => probe(it),
        Instrument::Stream(it) => stream(it),
    };
    facts.insert(0, ("length".to_owned(), seconds(instrument.duration_seconds())));
    facts
}

fn dirty(report: &DirtyReport) -> Vec<(String, String)> {
    let (spec, summary) = (&report.start.spec, &report.summary);
    let rate = |it: Option<f64>| or_unknown(it, human_bytes_per_second);
    let gap = summary.longest_gap_ns.map_or_else(
        || "none of 2 ms or more".to_owned(),
        |it| format!("{}, the longest of {}", nanoseconds(it), summary.gaps),
    );
    let mut facts = vec![
        (
            "memory",
            format!(
                "{}, {}, {} workers",
                human_bytes(spec.memory_bytes as f64),
                spec.pattern,
                spec.workers
            ),
        ),
        ("asked for", spec.rate.clone()),
        ("touch rate", rate(summary.touch_rate_bytes_per_second)),
        ("dirty rate", rate(summary.dirty_rate_bytes_per_second)),
        ("no progress", gap),
        ("integrity", summary.integrity.as_str().to_owned()),
    ];
    let named_times =
        [("write latency", &summary.latency), ("since pages were due", &summary.since_due)];
    for (name, times) in named_times {
        let Some(times) = times else { continue };
        facts.push((
            name,
            format!(
                "p50 {}, p99 {}, longest {}",
                or_unknown(times.p50_ns, nanoseconds),
                or_unknown(times.p99_ns, nanoseconds),
                or_unknown(times.max_ns, nanoseconds),
            ),
        ));
    }
    named(facts)
}

fn probe(report: &ProbeReport) -> Vec<(String, String)> {
    let longest = |it: Option<f64>| match it {
        Some(0.0) => "no outage".to_owned(),
        Some(length) => format!("longest outage {}", seconds(length)),
        None => "never answered".to_owned(),
    };
    report
        .probes
        .iter()
        .map(|it| {
            let round_trip = it.round_trip.map_or_else(String::new, |it| {
                format!(
                    "; round trip p50 {}, p99 {}",
                    nanoseconds(it.p50_ns),
                    nanoseconds(it.p99_ns)
                )
            });
            let value = format!(
                "{}; {} of {} answered{round_trip}",
                longest(it.longest_outage_seconds),
                it.received,
                it.sent
            );
            (it.name.clone(), value)
        })
        .collect()
}

fn stream(report: &StreamReport) -> Vec<(String, String)> {
    let side = |it: &StreamSideSummary| {
        let mut words = Vec::new();
        words.extend(
            it.sent_bytes_per_second.map(|it| format!("sent {}", human_bits_per_second(it))),
        );
        words.extend(
            it.received_bytes_per_second
                .map(|it| format!("received {}", human_bits_per_second(it))),
        );
        let awaited = it.requests.as_ref().and_then(|it| it.awaited);
        words.extend(awaited.map(|it| {
            format!(
                "page requests p50 {}, p99 {}",
                or_unknown(it.p50_ns, nanoseconds),
                or_unknown(it.p99_ns, nanoseconds)
            )
        }));
        if words.is_empty() { UNKNOWN.to_owned() } else { words.join(", ") }
    };
    let summary = &report.summary;
    let mut facts = vec![
        ("server", report.start.server_address.clone()),
        ("client saw", side(&summary.client)),
        ("server saw", summary.server.as_ref().map_or_else(|| UNKNOWN.to_owned(), side)),
    ];
    facts.extend(summary.error.clone().map(|it| ("broke", it)));
    named(facts)
}

fn named(facts: Vec<(&str, String)>) -> Vec<(String, String)> {
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What happened, on the time axis of all.
fn moments(placed: &Placed<'_>) -> Vec<(f64, String)> {
    let offset = placed.offset_seconds.unwrap_or(0.0);
    let mut moments: Vec<(f64, String)> = match placed.instrument {
        Instrument::Probe(it) => it
            .probes
            .iter()
            .flat_map(|probe| probe.outages.iter().map(move |outage| (probe, outage)))
            .map(|(probe, outage)| {
                let more = if outage.has_ended { "" } else { " and more" };
                let text = format!(
                    "{}: no answer for {}{more}",
                    probe.name,
                    seconds(outage.length_seconds)
                );
                (offset + outage.start_seconds, text)
            })
            .collect(),
        Instrument::Dirty(it) => it
            .gaps
            .iter()
            .take(5)
            .map(|gap| {
                let text = format!(
                    "worker {}: no progress for {}",
                    gap.worker,
                    nanoseconds(gap.length_ns)
                );
                (offset + gap.start_seconds, text)
            })
            .collect(),
        Instrument::Stream(_) => Vec::new(),
    };
    moments.sort_by(|a, b| a.0.total_cmp(&b.0));
    moments
}

/// A title for all of them.
pub(crate) fn title(all: &[Placed<'_>]) -> String {
    match all {
        [one] => format!("{}: {}", one.instrument.command(), one.name),
        _ => count(all.len() as u64, "report over one time axis", "reports over one time axis"),
    }
}
