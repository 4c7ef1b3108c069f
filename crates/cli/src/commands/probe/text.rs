//! What was seen, for people.

use std::fmt::Write;

use sterna_render::number::{nanoseconds, seconds};
use sterna_report::probing::{
    ClockRun, ProbeDirection, ProbeOutage, ProbeReport, ProbeResult, ThreadPriority, TimelineKind,
};
use sterna_units::pad_right;

/// Outages beyond these are in the JSON.
const MOST_OUTAGES: usize = 20;
/// And so are events.
const MOST_EVENTS: usize = 40;

/// The whole page.
pub fn page(report: &ProbeReport) -> String {
    let mut page = headline(report);
    for probe in &report.probes {
        page.push('\n');
        page.push_str(&section(probe));
    }
    if report.probes.len() > 1 {
        page.push_str(&timeline(report));
    }
    let noise = &report.noise;
    let _ = writeln!(
        page,
        "\nOwn noise  late by {} at p99, {} at most ({} threads)",
        nanoseconds(noise.late_p99_ns),
        nanoseconds(noise.late_max_ns),
        match noise.priority {
            ThreadPriority::RealTime => "real-time",
            ThreadPriority::Raised => "preferred",
            ThreadPriority::Normal => "ordinary",
        }
    );
    page
}

/// An outage that is just over, or lasts.
pub fn outage_line(name: &str, outage: &ProbeOutage) -> String {
    format!("{name}: {}\n", words(outage))
}

fn headline(report: &ProbeReport) -> String {
    let longest = match report.longest_outage_seconds {
        None => unanswered(report),
        Some(0.0) => {
            let coarsest = report.probes.iter().map(|it| it.resolution_seconds).fold(0.0, f64::max);
            format!(
                "No outage longer than {} in {}",
                seconds(coarsest),
                seconds(report.duration_seconds)
            )
        }
        Some(longest) => {
            let count: usize = report.probes.iter().map(|it| it.outages.len()).sum();
            let noun = if count == 1 { "outage" } else { "outages" };
            format!(
                "{count} {noun} in {}, the longest {}",
                seconds(report.duration_seconds),
                seconds(longest)
            )
        }
    };
    let limit = report.start.max_outage_seconds.map(seconds).unwrap_or_default();
    match report.is_within_limit {
        Some(true) => format!("{longest}; none is longer than {limit}\n"),
        Some(false) if report.longest_outage_seconds.is_none() => {
            format!("{longest}, so nothing shows that none was longer than {limit}\n")
        }
        Some(false) => format!("{longest}; more than {limit}\n"),
        None => format!("{longest}\n"),
    }
}

/// Who never answered.
fn unanswered(report: &ProbeReport) -> String {
    let silent = report.probes.iter().filter(|it| it.longest_outage_seconds.is_none());
    let names: Vec<&str> = silent.map(|it| it.name.as_str()).collect();
    if report.probes.len() == 1 {
        return "No answer".to_owned();
    }
    format!("{} never answered", names.join(" and "))
}

fn section(probe: &ProbeResult) -> String {
    if probe.kind == "icmp" {
        return ping(probe);
    }
    let mut text = format!("{} every {}\n", probe.name, seconds(probe.interval_seconds));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<13} {value}");
    };
    let noun = match probe.kind.as_str() {
        "playout" => "frames",
        "disk" => "records",
        "http" => "requests",
        "metrics" => "scrapes",
        _ => "messages",
    };
    line(noun, counts(probe));
    if let Some(it) = probe.round_trip {
        let [p50, p90, p99, p99_9, max] =
            [it.p50_ns, it.p90_ns, it.p99_ns, it.p99_9_ns, it.max_ns].map(nanoseconds);
        let name = if probe.kind == "disk" { "until safe" } else { "round trip" };
        line(name, format!("p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p99_9}, max {max}"));
    }
    if let Some(it) = probe.one_way {
        let way = |it: sterna_report::probing::WayTimes| {
            let [p50, p99, max] = [it.p50_ns, it.p99_ns, it.max_ns].map(nanoseconds);
            format!("p50 {p50}, p99 {p99}, max {max}")
        };
        line("there", format!("{} (± {})", way(it.to_responder), nanoseconds(it.uncertainty_ns)));
        line("back", format!("{} (∓ {})", way(it.from_responder), nanoseconds(it.uncertainty_ns)));
    }
    details(probe, &mut line);
    for outage in probe.outages.iter().take(MOST_OUTAGES) {
        line(if probe.playout.is_some() { "freeze" } else { "outage" }, words(outage));
    }
    if probe.outages.len() > MOST_OUTAGES {
        line("", format!("and {} more", probe.outages.len() - MOST_OUTAGES));
    }
    if let Some(failure) = &probe.failure {
        line("ended early", failure.clone());
    }
    text
}

fn counts(probe: &ProbeResult) -> String {
    let mut text = format!("{} sent, {} received, {} lost", probe.sent, probe.received, probe.lost);
    if let Some((to, from)) = probe.lost_to_responder.zip(probe.lost_from_responder)
        && to + from > 0
    {
        let _ = write!(text, " ({to} on the way there, {from} on the way back)");
    }
    for (count, what) in [(probe.duplicates, "came twice"), (probe.reordered, "overtaken")] {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    if let Some(restarts) = probe.responder_restarts.filter(|it| *it > 0) {
        let _ = write!(text, "; the responder restarted {restarts} times");
    }
    text
}

/// The summary that everybody knows.
fn ping(probe: &ProbeResult) -> String {
    let percent = if probe.sent == 0 { 0.0 } else { 100.0 * probe.lost as f64 / probe.sent as f64 };
    let time_ms = probe.sent.saturating_sub(1) as f64 * probe.interval_seconds * 1e3;
    let duplicates = if probe.duplicates > 0 {
        format!("+{} duplicates, ", probe.duplicates)
    } else {
        String::new()
    };
    let percent = format!("{percent:.4}");
    let percent = percent.trim_end_matches('0').trim_end_matches('.');
    let mut text = format!(
        "--- {} ping statistics ---\n{} packets transmitted, {} received, {duplicates}{percent}% packet loss, time {time_ms:.0}ms\n",
        probe.target, probe.sent, probe.received
    );
    if let Some(it) = probe.round_trip {
        let ms = |ns: u64| ns as f64 / 1e6;
        let _ = writeln!(
            text,
            "rtt min/avg/max/mdev = {:.3}/{:.3}/{:.3}/{:.3} ms",
            ms(it.min_ns),
            ms(it.mean_ns),
            ms(it.max_ns),
            ms(it.deviation_ns)
        );
    }
    for outage in probe.outages.iter().take(MOST_OUTAGES) {
        let _ = writeln!(text, "outage {}", words(outage));
    }
    text
}

/// `300 ms from 2.012 s on, 291 lost on the way there`.
fn words(outage: &ProbeOutage) -> String {
    let mut text =
        format!("{} from {:.3} s on", seconds(outage.length_seconds), outage.start_seconds);
    if !outage.has_ended {
        text.push_str(", and it lasts");
    }
    let way = match outage.direction {
        ProbeDirection::ToResponder => " on the way there",
        ProbeDirection::FromResponder => " on the way back",
        ProbeDirection::Both => " on both ways",
        ProbeDirection::Unknown => "",
    };
    let _ = write!(text, ", {} lost{way}", outage.lost);
    if outage.noise_seconds > 0.0 {
        let _ =
            write!(text, " (this process did not run for {} of it)", seconds(outage.noise_seconds));
    }
    text
}

fn details(probe: &ProbeResult, line: &mut impl FnMut(&str, String)) {
    if let Some(it) = &probe.playout {
        line(
            "picture",
            format!(
                "{:.0} frames/s with a buffer of {}; stood still {} times, {} in all, {} at most; {} frames late, {} dropped",
                it.frames_per_second,
                seconds(it.buffer_seconds),
                it.freezes,
                seconds(it.frozen_seconds),
                seconds(it.longest_freeze_seconds),
                it.late_frames,
                it.dropped_frames
            ),
        );
    }
    if let Some(it) = &probe.tcp {
        let first = it.first_connect_seconds.map(seconds).unwrap_or_else(|| "never".to_owned());
        line("connections", format!("{}, the first within {first}", it.established));
        for it in &it.reconnections {
            let again = match it.reestablish_seconds {
                Some(it) => format!("established again after {}", seconds(it)),
                None => "not established again".to_owned(),
            };
            line("broken", format!("at {:.3} s ({}), {again}", it.broken_seconds, it.reason));
        }
    }
    if let Some(it) = &probe.arp {
        let mac = it.mac.as_deref().unwrap_or("no machine");
        line(
            "owner",
            format!(
                "{mac}; changed {} times, announced itself {} times",
                it.mac_changes, it.announcements
            ),
        );
    }
    if let Some(it) = &probe.http {
        let statuses = it.statuses.iter().map(|(status, count)| format!("{count} × {status}"));
        let errors = it.errors.iter().map(|(error, count)| format!("{count} × {error}"));
        let all: Vec<String> = statuses.chain(errors).collect();
        line("answers", all.join(", "));
    }
    if let Some(it) = &probe.disk {
        let last = it.last_acknowledged.map_or("none".to_owned(), |it| it.to_string());
        let stall = it.longest_stall_seconds.map(seconds).unwrap_or_else(|| "unknown".to_owned());
        line(
            "safe",
            format!("{} records, the last is {last}; the longest stall {stall}", it.acknowledged),
        );
        it.files.iter().for_each(|it| line("file", it.clone()));
    }
    if probe.kind == "clock"
        && let Some(it) = &probe.clock
    {
        line("monotonic", clock(&it.monotonic));
        line("realtime", clock(&it.realtime));
        if let Some((ahead, uncertainty)) =
            it.realtime_ahead_seconds.zip(it.realtime_ahead_uncertainty_seconds)
        {
            line("ahead of us", format!("{} ± {}", seconds(ahead), seconds(uncertainty)));
        }
    }
    if let Some(it) = &probe.metrics {
        line(
            "series",
            format!(
                "{}; {} resets, {} gaps, {} label changes, {} duplicates, {} unreadable lines",
                it.series,
                it.reset_count,
                it.gap_count,
                it.label_change_count,
                it.duplicate_samples,
                it.unreadable_lines
            ),
        );
        it.errors.iter().for_each(|(error, count)| line("failed", format!("{count} × {error}")));
    }
}

fn clock(run: &ClockRun) -> String {
    let drift = match run.drift_per_million.zip(run.drift_uncertainty_per_million) {
        Some((drift, uncertainty)) => format!("{drift:.1} ± {uncertainty:.1} ppm"),
        None => "unknown".to_owned(),
    };
    let mut text =
        format!("drift {drift}, {} jumps, {} times backwards", run.jumps.len(), run.backwards);
    for jump in run.jumps.iter().take(MOST_OUTAGES) {
        let _ = write!(
            text,
            "; by {} ± {} at {:.3} s",
            seconds(jump.by_seconds),
            seconds(jump.uncertainty_seconds),
            jump.t_seconds
        );
    }
    text
}

fn timeline(report: &ProbeReport) -> String {
    if report.timeline.is_empty() {
        return String::new();
    }
    let mut text = "\nTimeline\n".to_owned();
    let width = report.probes.iter().map(|it| it.name.chars().count()).max().unwrap_or(0);
    for event in report.timeline.iter().take(MOST_EVENTS) {
        let mark = match event.kind {
            TimelineKind::OutageStart => "▼",
            TimelineKind::OutageEnd => "▲",
            _ => "·",
        };
        let _ = writeln!(
            text,
            "  {:>10.4} s  {mark} {}  {}",
            event.t_seconds,
            pad_right(&event.probe, width),
            event.text
        );
    }
    if report.timeline.len() > MOST_EVENTS {
        let _ = writeln!(text, "  and {} more", report.timeline.len() - MOST_EVENTS);
    }
    text
}
