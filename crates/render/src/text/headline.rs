//! The verdict and the headline numbers.

use sterna_report::{Control, DiskDefect, Integrity, Report, Summary, Tracker, Verdict};
use sterna_units::{Bytes, human_bits_per_second, human_bytes_per_second};

use super::{fleet, hops};
use crate::{
    number::{UNKNOWN, count, or_unknown, seconds, three_digits},
    page::{Page, Tone},
    thresholds,
};

/// The result in one line without a newline: verdict, memory, total time, downtime.
pub fn one_line(report: &Report) -> String {
    let summary = &report.summary;
    if let Some(fleet) = &report.fleet
        && summary.verdict != Verdict::Unsupported
    {
        return fleet::one_line(report, fleet);
    }
    if report.engine.is_instrument {
        return format!("No migration: a measurement by {}", report.tool.name);
    }
    if !report.hops.is_empty() {
        return hops::one_line(report);
    }
    let ending = match summary.verdict {
        Verdict::Completed => "Completed",
        Verdict::CompletedForced => "Completed, but forced",
        Verdict::Cancelled => "Cancelled, the guest runs on at the source",
        Verdict::Failed if never_began(report) => {
            let place =
                summary.failed_in.map_or_else(String::new, |it| format!(" ({})", it.as_str()));
            return format!("Failed before a migration began{place}");
        }
        Verdict::Failed => "Failed, the guest runs on at the source",
        Verdict::Lost => "Lost, no side can run the guest",
        Verdict::Unsupported => return "Unsupported, nothing was started".to_owned(),
        Verdict::Interrupted => "Interrupted",
    };
    let total = or_unknown(summary.total_time_seconds, seconds);
    let memory = memory_words(summary);
    let line = format!("{ending}: {memory}, total time {total}, {}", downtime_words(report));
    format!("{line}{}{}", doubt(report), thresholds::suffix(report))
}

/// What a number in the report may not be taken for.
pub(super) fn doubt(report: &Report) -> &'static str {
    match report.engine.tracker.as_ref().is_some_and(|tracker| !tracker.cost_is_real()) {
        true => "; cooperative tracker: the cost of tracking is not real",
        false => "",
    }
}

/// The verdict line and why.
pub fn verdict(report: &Report, page: &mut Page) {
    page.paragraph(&one_line(report), Some(tone(report)));
    if let Some(reason) = &report.summary.verdict_reason {
        page.note(reason);
    }
    if let Some(line) = thresholds::line(report) {
        let tone = if report.misses_a_threshold() { Tone::Bad } else { Tone::Good };
        page.paragraph(&line, Some(tone));
    }
}

/// What was run, and by what.
pub fn run(report: &Report, page: &mut Page) {
    page.heading("Run");
    page.row("scenario", &scenario(report));
    let engine = &report.engine;
    let transport = engine.transport.as_deref().map(|transport| format!(" over {transport}"));
    let control = match engine.control {
        Control::Observed => ", observed",
        Control::Steered => "",
    };
    let name = format!("{}{}{control}", engine.name, transport.unwrap_or_default());
    let peers = &engine.peer_versions;
    let source = peers.source.as_ref().map(|version| format!("source {version}"));
    let destination = peers.destination.as_ref().map(|version| format!("destination {version}"));
    page.row("engine", &append_in_brackets(name, source.into_iter().chain(destination)));
    page.row("tracker", &tracker(report));
    let host = &report.host;
    let kernel = host.kernel.as_ref().map(|kernel| format!("kernel {kernel}"));
    let words = [&host.hostname, &host.os, &kernel, &host.cpu_model].into_iter().flatten();
    let mut words: Vec<String> = words.cloned().collect();
    words.extend(host.cpus.map(|cpus| count(cpus, "CPU", "CPUs")));
    words.extend(host.memory_bytes.map(|bytes| Bytes(bytes).human()));
    page.row("host", &if words.is_empty() { UNKNOWN.to_owned() } else { words.join(", ") });
    page.row(
        "started",
        &format!("{} by {} {}", report.started_at, report.tool.name, report.tool.version),
    );
}

/// How long everything took.
pub fn time(report: &Report, page: &mut Page) {
    let summary = &report.summary;
    page.heading("Time");
    page.row("total", &or_unknown(summary.total_time_seconds, seconds));
    page.row("setup", &or_unknown(summary.setup_seconds, seconds));
    page.row("downtime", &crate::downtime::long(report));
    page.row("  final sync", &or_unknown(summary.final_sync_seconds, seconds));
    page.row("  final transfer", &or_unknown(summary.final_transfer_seconds, seconds));
    page.row("  resume", &or_unknown(summary.resume_seconds, seconds));
    let point = summary.convergence_pass.zip(summary.convergence_seconds);
    let convergence =
        point.map(|(pass, at)| format!("in pass {pass}, {} after the start", seconds(at)));
    page.row("convergence", convergence.as_deref().unwrap_or("none seen"));
}

/// What was moved, and whether it arrived whole.
pub fn memory(report: &Report, page: &mut Page) {
    let summary = &report.summary;
    page.heading("Memory and network");
    integrity(report, page);
    let amplification =
        summary.amplification.map(|x| format!(", {} × guest memory", three_digits(x)));
    let wire = or_unknown(summary.wire_bytes, |bytes| Bytes(bytes).human());
    page.row("on the wire", &format!("{wire}{}", amplification.unwrap_or_default()));
    page.row("bandwidth", &bandwidth(report));
    page.row("pages", &pages(report));
    page.row(
        "dirty rate",
        &match summary.dirty_rate_bytes_per_second {
            Some(rate) => {
                let passes = count(summary.passes, "pass", "passes");
                let rate = human_bytes_per_second(rate);
                if summary.dirty_rate_lower_bound == Some(true) {
                    format!("at least {rate} (every page was written again in every pass), distinct pages, over {passes}")
                } else {
                    format!("{rate}, distinct pages, over {passes}")
                }
            }
            None => UNKNOWN.to_owned(),
        },
    );
    page.row(
        "touch rate",
        &match summary.touch_rate_bytes_per_second {
            Some(rate) => format!("{}, repeats included", human_bytes_per_second(rate)),
            None => UNKNOWN.to_owned(),
        },
    );
}

/// What to trust less, and what to do about it.
pub fn warnings(report: &Report, page: &mut Page) {
    if report.warnings.is_empty() {
        return;
    }
    page.heading("Warnings");
    for warning in &report.warnings {
        page.bullet(&format!("{} [{}]", warning.text, warning.code));
        if let Some(advice) = &warning.advice {
            page.below_bullet(advice);
        }
    }
}

fn tone(report: &Report) -> Tone {
    let summary = &report.summary;
    if report.misses_a_threshold() {
        return Tone::Bad;
    }
    match (summary.verdict, summary.integrity) {
        (_, Integrity::Corrupt) | (Verdict::Lost | Verdict::Failed, _) => Tone::Bad,
        (Verdict::Completed, Integrity::Verified) => Tone::Good,
        _ => Tone::Doubtful,
    }
}

/// What became of the memory, and of the disk if there was one.
pub(super) fn memory_words(summary: &Summary) -> String {
    let memory = match summary.memory_integrity() {
        Integrity::Verified => match part_of_memory(summary) {
            Some(percent) => return with_disk(&format!("memory verified ({percent})"), summary),
            None => "memory verified",
        },
        Integrity::Corrupt => "MEMORY CORRUPT",
        Integrity::Unchecked => "memory unchecked",
    };
    with_disk(memory, summary)
}

/// How much of the guest's memory was checked, where it was not all of it.
fn part_of_memory(summary: &Summary) -> Option<String> {
    let detail = summary.integrity_detail.as_ref()?;
    let pages = detail.memory_pages.filter(|pages| *pages > detail.pages_checked)?;
    Some(percent_of(detail.pages_checked, pages))
}

fn percent_of(part: u64, all: u64) -> String {
    let percent = part as f64 * 100.0 / all as f64;
    if percent < 1.0 { "under 1 %".to_owned() } else { format!("{percent:.0} %") }
}

fn with_disk(memory: &str, summary: &Summary) -> String {
    match &summary.disk_integrity {
        None => memory.to_owned(),
        Some(it) if it.is_sound() => format!("{memory}, disk sound"),
        Some(_) => format!("{memory}, DISK CORRUPT"),
    }
}

pub(super) fn downtime_words(report: &Report) -> String {
    let summary = &report.summary;
    match (summary.downtime_seconds, summary.verdict) {
        (Some(downtime), _) => {
            format!("downtime {}{}", seconds(downtime), crate::downtime::over_limit(summary))
        }
        (None, Verdict::Cancelled | Verdict::Failed) => "no switchover".to_owned(),
        (None, _) => format!("downtime {}", crate::downtime::unknown(report)),
    }
}

fn bandwidth(report: &Report) -> String {
    let summary = &report.summary;
    let Some(mean) = summary.bandwidth_mean_bytes_per_second else { return UNKNOWN.to_owned() };
    let extremes = summary
        .bandwidth_min_bytes_per_second
        .zip(summary.bandwidth_max_bytes_per_second)
        .map(|(min, max)| {
            format!(
                "{} to {} in windows of 100 ms",
                human_bits_per_second(min),
                human_bits_per_second(max)
            )
        });
    let limit = setting(report, "migration", "max-bandwidth").map(|limit| format!("limit {limit}"));
    let mean = format!("{} mean", human_bits_per_second(mean));
    append_in_brackets(mean, extremes.into_iter().chain(limit))
}

pub fn append_in_brackets(words: String, more: impl Iterator<Item = String>) -> String {
    let more: Vec<String> = more.collect();
    if more.is_empty() { words } else { format!("{words} ({})", more.join(", ")) }
}

fn pages(report: &Report) -> String {
    let summary = &report.summary;
    if (summary.pages_sent, summary.zero_pages, summary.pages_resent) == (None, None, None) {
        return UNKNOWN.to_owned();
    }
    let number = |n: Option<u64>| or_unknown(n, |n| n.to_string());
    format!(
        "{} sent, {} zero, {} sent again while the guest ran",
        number(summary.pages_sent),
        number(summary.zero_pages),
        number(summary.pages_resent)
    )
}

fn integrity(report: &Report, page: &mut Page) {
    let summary = &report.summary;
    memory_integrity(summary, page);
    let Some(disk) = &summary.disk_integrity else { return };
    let word = if disk.is_sound() { "sound" } else { "corrupt" };
    let side = crate::text::guest::side_word(disk.side);
    let checked = count(disk.records_checked, "record", "records");
    page.row(
        "disk",
        &format!(
            "{word}: {checked} checked on the {side}, {} missing, {} torn, {} in the place of others",
            disk.missing_records, disk.torn_records, disk.misplaced_records
        ),
    );
    for DiskDefect { record, offset_bytes, what } in &disk.first {
        page.row("", &format!("record {record} at byte {offset_bytes}: {what}"));
    }
}

fn memory_integrity(summary: &Summary, page: &mut Page) {
    let integrity = summary.memory_integrity();
    let Some(detail) = &summary.integrity_detail else {
        return page.row("integrity", integrity.as_str());
    };
    let side = crate::text::guest::side_word(detail.side);
    let checked = count(detail.pages_checked, "page", "pages");
    let scope = match detail.memory_pages {
        None => format!("{checked} checked"),
        Some(all) if all <= detail.pages_checked => format!("all {checked} of memory checked"),
        Some(all) => {
            let percent = percent_of(detail.pages_checked, all);
            format!("the workload's {checked}, {percent} of memory, checked")
        }
    };
    page.row(
        "integrity",
        &format!("{integrity}: {scope} on the {side}, {} corrupt", detail.corrupt_pages),
    );
    if let Some(first) = detail.first_writes.filter(|it| it.pages_checked > 0) {
        let pages = count(first.pages_checked, "page", "pages");
        let took = seconds(first.checking_seconds);
        let from = match first.began_seconds {
            Some(began) if began > 0.0 => format!(", from {} after it on", seconds(began)),
            _ => String::new(),
        };
        page.row(
            "",
            &format!(
                "{pages} also before their first write after the resume{from}, {} wrong; the {took} that this took the workers are left out of lost work and blackout",
                first.corrupt_pages
            ),
        );
    }
    if let Some(writes) = detail.writes_after_go.filter(|writes| *writes > 0) {
        let writes = count(writes, "page", "pages");
        page.row("", &format!("the source's guest still wrote {writes} after it was given up"));
    }
    for wrong in &detail.first {
        page.row(
            "",
            &format!(
                "page {} at byte {}: {} in place of {}",
                wrong.page, wrong.offset_bytes, wrong.found, wrong.expected
            ),
        );
    }
}

fn tracker(report: &Report) -> String {
    let engine = &report.engine;
    let Some(tracker) = &engine.tracker else { return UNKNOWN.to_owned() };
    let page = or_unknown(engine.tracking_page_bytes, page_size);
    let mut words = format!("{tracker}, page size {page}");
    if let Some(reason) = &engine.tracker_reason {
        words.push_str(&format!(" ({reason})"));
    }
    if *tracker == Tracker::Cooperative {
        words.push_str("; the guest did not pay for tracking as under a hypervisor");
    }
    words
}

/// A size that is whole in its unit, which page sizes are.
fn page_size(bytes: u64) -> String {
    match bytes {
        _ if bytes > 0 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes > 0 && bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => Bytes(bytes).human(),
    }
}

fn scenario(report: &Report) -> String {
    let name = report.scenario.get("name").and_then(|name| name.as_str()).map(str::to_owned);
    let vcpus = setting(report, "guest", "vcpus").map(|n| format!("{n} vCPUs"));
    let memory = setting(report, "guest", "memory").map(|memory| format!("{memory} of memory"));
    let words: Vec<String> = [name, vcpus, memory].into_iter().flatten().collect();
    if words.is_empty() { UNKNOWN.to_owned() } else { words.join(", ") }
}

/// A setting of the scenario as the scenario file spells it; `None` when it is not set.
pub fn setting(report: &Report, table: &str, key: &str) -> Option<String> {
    let value = report.scenario.get(table)?.get(key)?;
    match value.as_str() {
        Some(text) => Some(text.to_owned()),
        None => value.as_u64().map(|number| number.to_string()),
    }
}

/// Whether not even a status was polled, since the guest could not be built or started.
fn never_began(report: &Report) -> bool {
    report.timeline.is_empty() && report.summary.total_time_seconds.is_none()
}
