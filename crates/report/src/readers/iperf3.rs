//! What `iperf3 -J` prints: a stream over the link, often watched while a guest moved.
//!
//! It knows of no migration. Its intervals become the time line, intervals in which nothing arrived
//! become outages of a probe, and what a migration would have besides stays unknown. Since an interval
//! with some bytes may hold a silence as well, a file never shows that there was no outage.

mod shape;

use serde_json::{Map, Value, json};

use super::foreign::{moment, report, set, warn, warn_of_unmapped};
use crate::{Direction, Outage, Poll, Probe, Report, Verdict, statistics};
use shape::{File, Sum};

/// The events of `--json-stream` as one document; `None` where there are none.
pub(super) fn of_events(documents: &[Value]) -> Option<Value> {
    let event = |it: &Value| Some((it.get("event")?.as_str()?.to_owned(), it.get("data")?.clone()));
    let events: Vec<(String, Value)> = documents.iter().filter_map(event).collect();
    let is_one = |it: &(String, Value)| it.0 == "interval" || it.0 == "start" && it.1.is_object();
    events.iter().any(is_one).then(|| {
        let of = |name: &'static str| {
            events.iter().filter(move |it| it.0 == name).map(|it| it.1.clone())
        };
        let mut file = Map::new();
        file.insert("start".to_owned(), of("start").next().unwrap_or_else(|| json!({})));
        file.insert("intervals".to_owned(), of("interval").collect());
        file.insert("end".to_owned(), of("end").next().unwrap_or_else(|| json!({})));
        if let Some(error) = of("error").next() {
            file.insert("error".to_owned(), error);
        }
        Value::Object(file)
    })
}

/// Reads the result of a client or a server.
pub(super) fn read(value: Value) -> Result<Report, String> {
    let file: File = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if file.intervals.is_empty() && file.error.is_none() {
        return Err("its `intervals` are empty: nothing was measured".to_owned());
    }
    let version = file.start.version.as_deref().map(|it| it.trim_start_matches("iperf "));
    let mut report = report("iperf3", version, "iperf3");
    if let Some(epoch) = file.start.timestamp.as_ref().and_then(|it| it.timesecs) {
        report.started_at = moment(epoch).unwrap_or(report.started_at);
    }
    if let Some(title) = &file.title {
        set(&mut report.scenario, "name", title.as_str());
    }
    let sums: Vec<Sum> =
        file.intervals.iter().filter_map(|it| it.sum()).filter(|it| !it.omitted).collect();
    report.timeline = timeline(&sums);
    report.probes = vec![probe(&file, &sums)];
    add_summary(&file, &sums, &mut report);
    add_details(&file, &mut report);
    warn_of_unmapped(&mut report, unmapped(&file));
    Ok(report)
}

fn timeline(sums: &[Sum]) -> Vec<Poll> {
    let mut transferred = Some(0_u64);
    let poll = |sum: &Sum| {
        // From an interval on whose bytes are unknown, the amount so far is.
        transferred = transferred.zip(sum.bytes).map(|(sum, bytes)| sum.saturating_add(bytes));
        poll_at(sum.end, transferred, sum.rate())
    };
    let first = sums.first().map(|it| poll_at(it.start, Some(0), None));
    first.into_iter().chain(sums.iter().map(poll)).collect()
}

fn poll_at(t_seconds: f64, transferred: Option<u64>, bandwidth: Option<f64>) -> Poll {
    Poll {
        t_seconds,
        state: "active".to_owned(),
        pass: None,
        remaining_bytes: None,
        transferred_bytes: transferred,
        bandwidth_bytes_per_second: bandwidth,
        dirty_rate_bytes_per_second: None,
        threshold_bytes: None,
        expected_downtime_seconds: None,
        throttle_percent: None,
    }
}

/// The stream as an observer.
fn probe(file: &File, sums: &[Sum]) -> Probe {
    let datagrams = |name: &str| file.end.sum.as_ref()?.get(name)?.as_u64();
    let lost = datagrams("lost_packets");
    let sent = datagrams("packets");
    // A sender of datagrams sends whether they arrive or not.
    let outages =
        if is_udp(file) && sums.iter().any(|it| it.is_sender) { Vec::new() } else { outages(sums) };
    Probe {
        kind: format!("iperf3-{}", if is_udp(file) { "udp" } else { "tcp" }),
        interval_seconds: statistics::median(&lengths(sums)),
        sent,
        received: sent.zip(lost).map(|(sent, lost)| sent.saturating_sub(lost)),
        duplicates: None,
        round_trip: None,
        late_seconds: None,
        outages,
        // An outage shorter than two intervals may leave none of them without a byte.
        outage_resolution_seconds: None,
    }
}

fn is_udp(file: &File) -> bool {
    let protocol = file.start.test_start.as_ref().and_then(|it| it.get("protocol"));
    protocol.and_then(Value::as_str).is_some_and(|it| it.eq_ignore_ascii_case("udp"))
}

/// Neighbouring intervals without a byte are one outage.
fn outages(sums: &[Sum]) -> Vec<Outage> {
    let mut outages: Vec<Outage> = Vec::new();
    let mut is_silent = false;
    for sum in sums {
        let length = sum.end - sum.start;
        match (sum.bytes == Some(0), is_silent, outages.last_mut()) {
            (true, true, Some(last)) => last.length_seconds += length,
            (true, _, _) => outages.push(Outage {
                start_seconds: sum.start,
                length_seconds: length,
                has_ended: false,
                lost: None,
                direction: Direction::RoundTrip,
                // It may have begun and ended within the intervals beside it, which had bytes too.
                resolution_seconds: Some(2.0 * length),
            }),
            (false, true, Some(last)) => last.has_ended = sum.bytes.is_some(),
            (false, _, _) => {}
        }
        is_silent = sum.bytes == Some(0);
    }
    outages
}

fn lengths(sums: &[Sum]) -> Vec<f64> {
    sums.iter().map(|it| it.end - it.start).collect()
}

fn add_summary(file: &File, sums: &[Sum], report: &mut Report) {
    let ends = [&file.end.sum_received, &file.end.sum_sent, &file.end.sum];
    let number = |name: &str| {
        let mut all = ends.iter().filter_map(|it| it.as_ref()?.get(name)?.as_f64());
        all.find(|it| *it > 0.0)
    };
    report.engine.is_instrument = true;
    let summary = &mut report.summary;
    summary.verdict = Verdict::Interrupted;
    summary.verdict_reason = Some(match &file.error {
        Some(error) => format!("iperf3 measured a stream, which ended with an error: {error}"),
        None => "iperf3 measured a stream".to_owned(),
    });
    summary.wire_bytes = number("bytes").map(|it| it as u64).or_else(|| counted(sums));
    summary.bandwidth_mean_bytes_per_second =
        number("bits_per_second").map(|it| it / 8.0).or_else(|| mean(sums));
    let step = statistics::median(&lengths(sums));
    let is_window = step.is_some_and(|it| {
        (it - statistics::BANDWIDTH_WINDOW_SECONDS).abs()
            < 0.1 * statistics::BANDWIDTH_WINDOW_SECONDS
    });
    if is_window {
        let rates = || sums.iter().filter_map(Sum::rate);
        summary.bandwidth_min_bytes_per_second = rates().min_by(f64::total_cmp);
        summary.bandwidth_max_bytes_per_second = rates().max_by(f64::total_cmp);
    } else if let Some(step) = step {
        let text = format!(
            "Least and greatest bandwidth are those of windows of 100 ms, and the intervals are of {step:.1} s: see the time line (`iperf3 -i 0.1` would do)"
        );
        warn(report, "not-mapped", text);
    }
}

/// What the intervals say together, where the end of the file says nothing: it was interrupted.
fn counted(sums: &[Sum]) -> Option<u64> {
    let bytes: Option<Vec<u64>> = sums.iter().map(|it| it.bytes).collect();
    bytes.filter(|it| !it.is_empty()).map(|it| it.into_iter().fold(0, u64::saturating_add))
}

fn mean(sums: &[Sum]) -> Option<f64> {
    let seconds: f64 = lengths(sums).iter().sum();
    counted(sums).filter(|_| seconds > 0.0).map(|it| it as f64 / seconds)
}

fn add_details(file: &File, report: &mut Report) {
    let details = &mut report.engine.details;
    details.insert("read_from".to_owned(), json!("iperf3"));
    let test = file.start.test_start.as_ref();
    let protocol = test.and_then(|it| it.get("protocol")).and_then(Value::as_str);
    report.engine.transport = protocol.map(str::to_lowercase);
    let parts = [
        ("system_info", json!(file.start.system_info)),
        ("test_start", json!(test)),
        ("sum_sent", json!(file.end.sum_sent)),
        ("sum_received", json!(file.end.sum_received)),
        ("sum", json!(file.end.sum)),
        ("cpu_utilization_percent", json!(file.end.cpu_utilization_percent)),
    ];
    for (name, value) in parts {
        if !value.is_null() {
            details.insert(name.to_owned(), value);
        }
    }
}

fn unmapped(file: &File) -> Vec<String> {
    let mut names: Vec<String> = file.rest.keys().cloned().collect();
    if file.intervals.iter().any(|it| it.has_other_way()) {
        names.push("intervals.sum_bidir_reverse".to_owned());
    }
    if file.intervals.iter().any(|it| it.sum().is_none()) {
        names.push("intervals without sum".to_owned());
    }
    names
}
