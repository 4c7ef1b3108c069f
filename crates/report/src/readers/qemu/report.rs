//! The report of a log of answers: what is in it, and nothing else.

use serde_json::json;

use super::super::foreign::{moment, report as empty, set, warn, warn_of_kept};
use super::{Answer, AnswerSource, MigrationLog, QueryMigrate};
use crate::{Event, EventSide, PAGE_BYTES, Poll, Report, Summary, Verdict};

/// The report.
pub(in super::super) fn report(log: &MigrationLog) -> Report {
    let (tool, read_from) = match log.source {
        AnswerSource::Qmp => ("qemu", "QMP query-migrate"),
        AnswerSource::Hmp => ("qemu", "HMP info migrate"),
        AnswerSource::JobInfo => ("libvirt", "virsh domjobinfo"),
        AnswerSource::Launcher => ("kubevirt", "virt-launcher's log"),
    };
    let engine = if log.source == AnswerSource::Launcher { "kubevirt" } else { "qemu" };
    let mut report = empty(tool, None, engine);
    let began = began(log);
    if let Some(text) = began.and_then(moment) {
        report.started_at = text;
    }
    report.engine.details.insert("read_from".to_owned(), json!(read_from));
    add_setting(log, &mut report);
    let timed = || log.answers.iter().filter_map(|it| Some((seconds(it, began)?, it)));
    let with_amounts = timed().filter(|it| it.1.query.has_amounts());
    report.timeline = with_amounts.map(|(at, it)| poll(at, &it.query)).collect();
    report.events = events(timed());
    report.summary = summary(log);
    add_other(log, &mut report);
    if report.summary.downtime_claimed_seconds.is_some() {
        let text = "The downtime is what the source claims, and it was not measured, so only `downtime_claimed_seconds` is known";
        warn(&mut report, "claimed-downtime", text);
    }
    report
}

/// When the migration began, in seconds since 1970, by the earliest that an answer says.
fn began(log: &MigrationLog) -> Option<f64> {
    let by_length = |it: &Answer| {
        let is_running = !is_terminal(it.query.status.as_deref().unwrap_or_default());
        let length = it.query.total_time_seconds.filter(|_| is_running)?;
        Some(it.at_epoch_seconds? - length)
    };
    let exact = log.answers.iter().filter_map(by_length).min_by(f64::total_cmp);
    let stamps = log.answers.iter().filter_map(|it| it.at_epoch_seconds);
    exact.or_else(|| stamps.min_by(f64::total_cmp))
}

fn is_terminal(status: &str) -> bool {
    ["completed", "failed", "cancelled"].contains(&status)
}

fn seconds(answer: &Answer, began: Option<f64>) -> Option<f64> {
    let of_stamp = answer.at_epoch_seconds.zip(began).map(|(at, began)| at - began);
    answer.query.total_time_seconds.or(of_stamp)
}

fn poll(t_seconds: f64, query: &QueryMigrate) -> Poll {
    let page = query.page_bytes.unwrap_or(PAGE_BYTES) as f64;
    Poll {
        t_seconds,
        state: query.status.clone().unwrap_or_else(|| "unknown".to_owned()),
        pass: query.dirty_sync_count.filter(|it| *it > 0),
        remaining_bytes: query.remaining_bytes,
        transferred_bytes: query.transferred_bytes,
        bandwidth_bytes_per_second: query.bandwidth_bytes_per_second,
        dirty_rate_bytes_per_second: query.dirty_pages_per_second.map(|it| it * page),
        threshold_bytes: None,
        expected_downtime_seconds: query.expected_downtime_seconds,
        throttle_percent: query.throttle_percent,
    }
}

/// The first time of each status.
fn events<'a>(answers: impl Iterator<Item = (f64, &'a Answer)>) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for (t_seconds, answer) in answers {
        let Some(status) = &answer.query.status else { continue };
        if events.iter().all(|it| it.kind != *status) {
            events.push(Event {
                t_seconds,
                side: EventSide::Source,
                kind: status.clone(),
                text: format!("The status was first seen to be {status}"),
            });
        }
    }
    events
}

fn summary(log: &MigrationLog) -> Summary {
    let (verdict, verdict_reason) = verdict(log);
    let is_over = log.last_status().is_some_and(is_terminal);
    let has_moved = verdict == Verdict::Completed;
    let total = log.last(|it| it.total_time_seconds).filter(|it| *it > 0.0);
    let setup = log.last(|it| it.setup_seconds);
    let wire_bytes = log.last(|it| it.transferred_bytes);
    let memory = log.last(|it| it.total_bytes).filter(|it| *it > 0);
    let sending = total.map(|it| it - setup.unwrap_or(0.0)).filter(|it| *it > 0.0);
    Summary {
        verdict,
        verdict_reason,
        total_time_seconds: total.filter(|_| is_over),
        setup_seconds: setup,
        downtime_claimed_seconds: log.last(|it| it.downtime_seconds).filter(|_| has_moved),
        // The first synchronisation is that of the setup.
        passes: log.last(|it| it.dirty_sync_count).unwrap_or(0).saturating_sub(1),
        pages_sent: log.last(|it| small_pages(it, it.normal_pages)),
        zero_pages: log.last(|it| small_pages(it, it.duplicate_pages)),
        wire_bytes,
        amplification: wire_bytes.zip(memory).map(|(wire, memory)| wire as f64 / memory as f64),
        bandwidth_mean_bytes_per_second: wire_bytes.zip(sending).map(|(b, s)| b as f64 / s),
        ..Summary::default()
    }
}

/// Pages of 4 KiB; what is not that is unknown.
fn small_pages(query: &QueryMigrate, pages: Option<u64>) -> Option<u64> {
    pages.filter(|_| query.page_bytes.is_none_or(|it| it == PAGE_BYTES))
}

fn verdict(log: &MigrationLog) -> (Verdict, Option<String>) {
    let error = log.last(|it| it.error.clone());
    let statuses = || log.answers.iter().filter_map(|it| it.query.status.as_deref());
    let had_postcopy = statuses().any(|it| it.starts_with("postcopy"));
    match log.last_status() {
        Some("completed") => (Verdict::Completed, None),
        Some("cancelled" | "cancelling") => {
            (Verdict::Cancelled, Some(error.unwrap_or_else(|| "It was cancelled".to_owned())))
        }
        Some("failed") if had_postcopy => (
            Verdict::Lost,
            Some(error.unwrap_or_else(|| "It failed after post-copy had begun".to_owned())),
        ),
        Some("failed") => (
            Verdict::Failed,
            Some(error.unwrap_or_else(|| "The last status was `failed`".to_owned())),
        ),
        Some(other) => {
            (Verdict::Interrupted, Some(format!("The last status in the file is `{other}`")))
        }
        None => {
            let why = "The file does not say how the migration ended";
            (Verdict::Interrupted, Some(why.to_owned()))
        }
    }
}

fn add_setting(log: &MigrationLog, report: &mut Report) {
    let parameters = &log.parameters;
    if let Some(limit) = parameters.downtime_limit_seconds {
        let text = format!("{}ms", (limit * 1e3).round());
        set(&mut report.scenario, "migration.downtime-limit", text);
    }
    if let Some(rate) = parameters.max_bandwidth_bytes_per_second {
        let text = if rate > 0.0 { format!("{}B/s", rate.round()) } else { "unlimited".to_owned() };
        set(&mut report.scenario, "migration.max-bandwidth", text);
    }
    let is_on = |name: &str| log.capabilities.get(name) == Some(&true);
    if let Some(channels) = parameters.multifd_channels.filter(|_| is_on("multifd")) {
        set(&mut report.scenario, "migration.multifd.channels", channels);
    }
}

/// What has no place in a report is kept in the engine's details, and named.
fn add_other(log: &MigrationLog, report: &mut Report) {
    let details = &mut report.engine.details;
    if !log.capabilities.is_empty() {
        details.insert("capabilities".to_owned(), json!(log.capabilities));
    }
    let numbers = [
        ("memory_bytes", log.last(|it| it.total_bytes)),
        ("multifd_bytes", log.last(|it| it.multifd_bytes)),
        ("precopy_bytes", log.last(|it| it.precopy_bytes)),
        ("downtime_bytes", log.last(|it| it.downtime_bytes)),
        ("postcopy_bytes", log.last(|it| it.postcopy_bytes)),
        ("postcopy_requests", log.last(|it| it.postcopy_requests)),
        ("dirty_sync_count", log.last(|it| it.dirty_sync_count)),
    ];
    for (name, value) in numbers {
        if let Some(value) = value {
            details.insert(name.to_owned(), json!(value));
        }
    }
    let mut other = serde_json::Map::new();
    for answer in &log.answers {
        // The last answer that has it.
        other.extend(answer.query.other.clone());
    }
    let names: Vec<String> = other.keys().cloned().collect();
    if !other.is_empty() {
        details.insert("other".to_owned(), other.into());
    }
    warn_of_kept(report, names);
}
