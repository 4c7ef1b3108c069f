//! Evidence from a migration that was: each of its passes is a window over the guest's writes.

use sterna_model::{Content, Host, Plan, Rules};
use sterna_report::foresight::EvidenceKind;
use sterna_report::{PAGE_BYTES, Pass, PassKind, Poll, Report};
use sterna_scenario::Scenario;
use sterna_units::human_bytes_per_second;

use super::{Evidence, EvidenceError, Load, load};
use crate::fit::CurvePoint;

/// Shorter passes are mostly the time of their synchronisation.
const SHORTEST_WINDOW_SECONDS: f64 = 0.02;

/// Windows closer together than this, as a factor, count as one, so that a thousand equal passes are not a thousand points.
const BINS_PER_DECADE: f64 = 12.0;

/// A pass shorter than this says little of the link, whose limit works in windows of 100 ms.
const SHORTEST_LINK_SECONDS: f64 = 0.3;

/// From this share of the limit on it is the limit that was seen, not the link.
const LIMIT_BINDS: f64 = 0.85;

/// The final transfer shows the link only where it moved this much.
const LEAST_FINAL_BYTES: u64 = 4 << 20;

/// The scatter of a link that was seen once or twice.
const USUAL_SPREAD: f64 = 0.05;

impl Evidence {
    /// From the report of an earlier migration of the same guest, whatever came of it. Figures given beside it fill in what
    /// it does not say.
    ///
    /// # Errors
    /// The report says too little, or is none of a single real guest.
    pub fn from_report(
        report: &Report,
        file: Option<String>,
        figures: &super::Figures,
    ) -> Result<Evidence, EvidenceError> {
        // The hops of one guest show the same writes; the first began as its user left it.
        if let Some(first) = report.hops.first() {
            return Evidence::from_report(&first.report, file, figures);
        }
        if report.engine.name == "model" {
            return Err(EvidenceError::Simulated);
        }
        if report.engine.is_instrument {
            let measured = report.summary.verdict_reason.as_ref().unwrap_or(&report.tool.name);
            return Err(EvidenceError::NoMigration { measured: measured.clone() });
        }
        if let Some(fleet) = &report.fleet {
            return Err(EvidenceError::Fleet { guests: fleet.guests.len() });
        }
        let scenario = Scenario::from_document(&report.scenario)?;
        let memory_bytes =
            figures.memory_bytes.or_else(|| memory_bytes(report)).ok_or(EvidenceError::NoMemory)?;
        let content_bytes = content_bytes(report, memory_bytes);
        let points = binned(points(report));
        let (host, rules) = machines(report);
        let mut assumptions = Vec::new();
        let load = match load(points, content_bytes.unwrap_or(memory_bytes), touch(report)) {
            Some(load) => load,
            None => rate(report, figures, &mut assumptions)?,
        };
        let link = link(report, &scenario);
        if link.is_none() && figures.link_bytes_per_second.is_none() {
            assumptions.push(format!(
                "only the bandwidth limit of this migration was seen; without it the link carries {:.1} GB/s",
                host.send_bytes_per_second / 1e9
            ));
        }
        if content_bytes.is_none() {
            assumptions.push("all memory has content, none is zero".to_owned());
        }
        let content = content(report, &scenario, host, rules);
        if content.is_none() {
            assumptions.push("how well pages compress is unknown: from a quarter of their size to all of it was drawn".to_owned());
        }
        assumptions.extend(host.assumptions());
        let spread = spread(report);
        let mut evidence = Evidence {
            kind: EvidenceKind::Passes,
            file,
            vcpus: vcpus(report),
            own: is_ours(report).then(|| Box::new(scenario.clone())),
            scenario,
            memory_bytes,
            content_bytes,
            load,
            content,
            link_bytes_per_second: link,
            link_is_measured: link.is_some(),
            link_spread: spread,
            host,
            rules,
            assumptions,
        };
        evidence.overrule(figures)?;
        Ok(evidence.settle())
    }
}

/// Where no pass was seen: the rate that is given, or the engine's own.
fn rate(
    report: &Report,
    figures: &super::Figures,
    assumptions: &mut Vec<String>,
) -> Result<Load, EvidenceError> {
    let seen = crate::diagnose::rates(&report.timeline).map(|it| it.0);
    if let Some(rate) = seen.filter(|_| figures.dirty_bytes_per_second.is_none()) {
        assumptions.push(format!(
            "{} is the dirty rate by the engine's own count, over a pass of unknown length; how much the guest writes in other windows is unknown, so sweeps and hot sets of many sizes were drawn",
            human_bytes_per_second(rate)
        ));
    }
    let given = figures.dirty_bytes_per_second.map(|it| it as f64);
    Ok(Load::Rate {
        bytes_per_second: given.or(seen).ok_or(EvidenceError::NoPass)?,
        working_set_bytes: figures.working_set_bytes.map(|it| it as f64),
    })
}

/// Other programs' reports need not have a scenario, but all memory is dirty in the first pass.
fn memory_bytes(report: &Report) -> Option<u64> {
    let guest = report.scenario.get("guest");
    let text = guest.and_then(|it| it.get("memory")).and_then(|it| it.as_str());
    let said = text.and_then(|it| it.parse::<sterna_units::Bytes>().ok()).map(|it| it.0);
    let first = report.passes.first().and_then(|it| it.dirty_pages_at_sync);
    let seen = report.engine.details.get("memory_bytes").and_then(|it| it.as_u64());
    said.or(seen).or(first.map(|it| it * PAGE_BYTES)).filter(|it| *it > 0)
}

fn vcpus(report: &Report) -> Option<u32> {
    let said = report.scenario.get("guest")?.get("vcpus")?.as_u64()?;
    u32::try_from(said).ok()
}

/// What the first pass sent with content, where it went through all memory.
fn content_bytes(report: &Report, memory_bytes: u64) -> Option<u64> {
    let first = report.passes.first().filter(|it| it.length_seconds.is_some())?;
    let (sent, zero) = (first.pages_sent?, first.zero_pages?);
    let all = memory_bytes / PAGE_BYTES;
    // A first pass that was cut short, or that sent pages twice, does not show what there is.
    let is_whole = (sent + zero).abs_diff(all) <= all / 10;
    (is_whole && sent > 0).then(|| memory_bytes * sent / (sent + zero))
}

/// A window for each pass whose written pages were counted. While the guest was throttled it got less done, so its
/// window counts as shorter.
fn points(report: &Report) -> Vec<CurvePoint> {
    let rows = report.passes.iter().zip(report.passes.iter().skip(1));
    let point = |(pass, next): (&Pass, &Pass)| {
        let length = pass.length_seconds.filter(|_| pass.kind == PassKind::Pass)?;
        let bytes = (next.dirty_pages_at_sync? * PAGE_BYTES) as f64;
        let window_seconds = length * running_share(&report.timeline, pass.started_seconds, length);
        (window_seconds >= SHORTEST_WINDOW_SECONDS).then_some(CurvePoint { window_seconds, bytes })
    };
    rows.filter_map(point).collect()
}

/// The rate of all writes while the guest ran unhindered: the middle one of its passes.
fn touch(report: &Report) -> Option<f64> {
    let mut rates: Vec<f64> = report
        .passes
        .iter()
        .filter_map(|it| {
            let length = it.length_seconds.filter(|it| *it >= SHORTEST_WINDOW_SECONDS)?;
            let rate = it.touch_rate_bytes_per_second.filter(|it| *it > 0.0)?;
            Some(rate / running_share(&report.timeline, it.started_seconds, length))
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied()
}

/// How much of its time the guest could run, from 0 to 1.
fn running_share(timeline: &[Poll], start: f64, length: f64) -> f64 {
    let within = timeline.iter().filter(|it| (start..=start + length).contains(&it.t_seconds));
    let held: Vec<f64> = within.filter_map(|it| it.throttle_percent).collect();
    if held.is_empty() {
        return 1.0;
    }
    1.0 - (held.iter().sum::<f64>() / held.len() as f64 / 100.0).clamp(0.0, 0.99)
}

/// Neighbouring windows become one with their mean, shortest first.
fn binned(mut points: Vec<CurvePoint>) -> Vec<CurvePoint> {
    points.sort_by(|a, b| a.window_seconds.total_cmp(&b.window_seconds));
    let bin = |it: &CurvePoint| (it.window_seconds.log10() * BINS_PER_DECADE).floor();
    let groups = points.chunk_by(|a, b| bin(a) == bin(b));
    groups
        .map(|group| {
            let mean =
                |of: fn(&CurvePoint) -> f64| group.iter().map(of).sum::<f64>() / group.len() as f64;
            CurvePoint { window_seconds: mean(|it| it.window_seconds), bytes: mean(|it| it.bytes) }
        })
        .collect()
}

/// What the link carried, where no limit held it back; from the final transfer where one did.
fn link(report: &Report, scenario: &Scenario) -> Option<f64> {
    let long = report.passes.iter().filter(|it| {
        it.kind == PassKind::Pass && it.length_seconds.is_some_and(|it| it >= SHORTEST_LINK_SECONDS)
    });
    let (mut bytes, mut seconds) = (0.0, 0.0);
    for pass in long {
        let (Some(wire), Some(length)) = (pass.wire_bytes, pass.length_seconds) else { continue };
        bytes += wire as f64;
        seconds += length;
    }
    let mean = if seconds > 0.0 {
        Some(bytes / seconds)
    } else {
        report.summary.bandwidth_mean_bytes_per_second
    };
    let limit = scenario.migration.max_bandwidth.map(|it| it.bytes_per_second_f64());
    // Where the report does not say what the limit was, the stream may have been held back by one.
    let knows_limit = report.scenario.contains_key("migration");
    match (mean, limit) {
        (Some(mean), Some(limit)) if knows_limit && mean >= LIMIT_BINDS * limit => {
            final_rate(report)
        }
        (mean, _) => mean,
    }
}

fn final_rate(report: &Report) -> Option<f64> {
    let last = report.passes.iter().find(|it| it.kind == PassKind::Final)?;
    let bytes = last.wire_bytes.filter(|it| *it >= LEAST_FINAL_BYTES)?;
    let length = report.summary.final_transfer_seconds.or(last.length_seconds)?;
    (length > 0.0).then(|| bytes as f64 / length)
}

fn spread(report: &Report) -> f64 {
    let rates: Vec<f64> = report
        .passes
        .iter()
        .filter(|it| it.length_seconds.is_some_and(|it| it >= SHORTEST_LINK_SECONDS))
        .filter_map(|it| it.bandwidth_bytes_per_second)
        .collect();
    if rates.len() < 3 {
        return USUAL_SPREAD;
    }
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    let variance = rates.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / rates.len() as f64;
    (variance.sqrt() / mean).clamp(0.01, 0.5)
}

/// What the hosts need time for: the defaults of the engine, with what this report measured in their place.
fn machines(report: &Report) -> (Host, Rules) {
    let is_emulator = report.engine.name == "emulator";
    let is_emulated =
        report.engine.details.get("accelerator").and_then(|it| it.as_str()) == Some("tcg");
    let (mut host, rules) = match (is_emulator, is_emulated) {
        (true, _) => (Host::emulator(), Rules::EMULATOR),
        (_, true) => (Host::qemu_kvm(), Rules::QEMU_10_TCG),
        _ => (Host::qemu_kvm(), Rules::QEMU_10_KVM),
    };
    let summary = &report.summary;
    if let Some(seconds) = summary.setup_seconds.filter(|it| *it >= 0.0) {
        host.setup_ns = (seconds * 1e9) as u64;
    }
    if let Some(ns) = fixed_downtime_ns(report) {
        host.fixed_downtime_ns = ns;
    }
    (host, rules)
}

/// The downtime without the time that its bytes took.
fn fixed_downtime_ns(report: &Report) -> Option<u64> {
    let downtime = report.summary.downtime_seconds?;
    let last = report.passes.iter().find(|it| it.kind == PassKind::Final)?;
    let bytes = last.wire_bytes? as f64;
    let rate = report.summary.bandwidth_max_bytes_per_second.filter(|it| *it > 0.0)?;
    let parts = report.summary.final_sync_seconds.unwrap_or(0.0)
        + report.summary.resume_seconds.unwrap_or(0.0);
    let fixed = (downtime - bytes / rate).max(parts).clamp(0.0, downtime);
    Some((fixed * 1e9) as u64)
}

/// Whether the guest was one of Sterna's own, with a load that its scenario says.
fn is_ours(report: &Report) -> bool {
    ["emulator", "qemu"].contains(&report.engine.name.as_str())
        && report.scenario.contains_key("workload")
}

/// Sterna's own guests hold what their scenario says.
fn content(report: &Report, scenario: &Scenario, host: Host, rules: Rules) -> Option<Content> {
    let mut plain = Scenario { guest: scenario.guest.clone(), ..Scenario::default() };
    plain.workload = scenario.workload.clone();
    let plan = is_ours(report).then(|| Plan::of_scenario(&plain, host, rules).ok()).flatten()?;
    let busiest = plan
        .guest
        .dirty
        .regions
        .iter()
        .max_by(|a, b| a.activity.writes_per_second.total_cmp(&b.activity.writes_per_second))?;
    Some(busiest.written)
}
