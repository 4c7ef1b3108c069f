//! What mig_mon leaves: the lines of `mm_dirty`, and the spike logs of its server and client.
//!
//! Neither knows when a migration began, so times count from the beginning of the file, and how a
//! migration ended is unknown.

use serde_json::json;

use super::foreign::{moment, report, set, warn};
use crate::{Direction, GuestSample, Integrity, Outage, PAGE_BYTES, Probe, Report, Side, Verdict};

/// Its MB are of 1024 × 1024 bytes.
const PAGES_PER_MB: f64 = 1_048_576.0 / PAGE_BYTES as f64;

/// A line of `mm_dirty`.
struct Line {
    megabytes_per_second: f64,
    milliseconds: u64,
    load_percent: Option<f64>,
    /// p50, p99 and the longest, in microseconds.
    latency: Option<[u64; 3]>,
}

/// Whether a text has a line of `mm_dirty`.
pub(super) fn is_dirty(text: &str) -> bool {
    text.lines().any(|it| line(it).is_some())
}

/// Whether a text is a spike log: lines of two whole numbers and nothing else, but for a last line that
/// is cut.
pub(super) fn is_spikes(text: &str) -> bool {
    let mut lines = without_cut_line(text).lines().filter(|it| !it.trim().is_empty()).peekable();
    lines.peek().is_some() && lines.all(|it| spike(it).is_some())
}

/// The text without a last line that has no end and is no spike.
fn without_cut_line(text: &str) -> &str {
    let (whole, last) = text.rsplit_once('\n').unwrap_or((text, ""));
    let is_cut = !last.is_empty() && last.chars().all(|c| c.is_ascii_digit() || c == ',');
    if is_cut && spike(last).is_none() { whole } else { text }
}

/// Reads what `mm_dirty` printed.
pub(super) fn read_dirty(text: &str) -> Result<Report, String> {
    let mut report = report("mig_mon mm_dirty", header(text, "Binary version:"), "guest workload");
    let (mut t_seconds, mut pages_before) = (0.0, 0.0);
    let (mut loads, mut latencies) = (Vec::new(), Vec::new());
    for line in text.lines().filter_map(line) {
        let seconds = line.milliseconds as f64 / 1e3;
        t_seconds += seconds;
        let pages = line.megabytes_per_second * seconds * PAGES_PER_MB + pages_before;
        pages_before = pages.fract();
        report.guest.push(GuestSample {
            t_seconds,
            side: Side::Source,
            interval_seconds: seconds,
            counts_per_worker: vec![pages as u64],
            writes_per_second: pages.floor() / seconds,
            checking_seconds: None,
            latency: None,
            latency_histogram: None,
        });
        loads.push(line.load_percent);
        latencies.extend(line.latency.map(|[p50, p99, max]| json!([t_seconds, p50, p99, max])));
    }
    add_setting(text, &mut report);
    let writes: u64 = report.guest.iter().flat_map(|it| &it.counts_per_worker).sum();
    let touch = (t_seconds > 0.0).then(|| writes as f64 / t_seconds);
    let summary = &mut report.summary;
    summary.touch_rate_pages_per_second = touch;
    summary.touch_rate_bytes_per_second = touch.map(|it| it * PAGE_BYTES as f64);
    if text.contains("detected corrupted memory") {
        summary.integrity = Integrity::Corrupt;
    }
    let details = &mut report.engine.details;
    details.insert("load_percent".to_owned(), json!(loads));
    if !latencies.is_empty() {
        details.insert("latency_seconds_p50_p99_max_us".to_owned(), json!(latencies));
        let text = "Its latencies have no 99.9th percentile, and a latency here has one: they are in engine.details";
        warn(&mut report, "not-mapped", text);
    }
    let buckets = buckets(text);
    if !buckets.is_empty() {
        report.engine.details.insert("latency_buckets_us_count".to_owned(), json!(buckets));
    }
    end(
        &mut report,
        "writes to the guest's memory",
        "Rates are whole MB/s in the file, so throughput is rounded to those",
    );
    Ok(report)
}

/// Reads a spike log.
pub(super) fn read_spikes(text: &str) -> Result<Report, String> {
    let spikes: Vec<(u64, i64)> = text.lines().filter_map(spike).collect();
    let first = spikes.first().map_or(0, |it| it.0);
    let mut report = report("mig_mon", None, "network probe");
    if without_cut_line(text).len() < text.len() {
        warn(&mut report, "cut-line", "The last line is cut and was left out");
    }
    report.started_at = moment(first as f64).unwrap_or(report.started_at);
    let outage = |(at, milliseconds): &(u64, i64)| {
        let length_seconds = *milliseconds as f64 / 1e3;
        Outage {
            start_seconds: at.saturating_sub(first) as f64 - length_seconds,
            length_seconds,
            has_ended: true,
            lost: None,
            direction: Direction::RoundTrip,
            resolution_seconds: Some(0.001),
        }
    };
    report.probes.push(Probe {
        kind: "udp".to_owned(),
        interval_seconds: None,
        sent: None,
        received: None,
        duplicates: None,
        round_trip: None,
        late_seconds: None,
        // The first line has no delay: it says when the log began.
        outages: spikes.iter().filter(|it| it.1 > 0).map(outage).collect(),
        // From which length on a delay is a spike, its user decides; the log does not say.
        outage_resolution_seconds: None,
    });
    report.engine.details.insert("read_from".to_owned(), json!("mig_mon spike log"));
    end(
        &mut report,
        "late messages",
        "Its moments are whole seconds; lengths are exact to the millisecond. Whether messages went one way or both the log does not say",
    );
    Ok(report)
}

fn end(report: &mut Report, measured: &str, text: &str) {
    report.engine.is_instrument = true;
    report.summary.verdict = Verdict::Interrupted;
    report.summary.verdict_reason = Some(format!("mig_mon measured {measured}"));
    warn(report, "no-migration", text);
}

/// `dirty-rate: 500 (MB/s), time (ms): 1000, load: 12.50%, lat (us): p50=1 p99=2 max=30`, in older
/// releases `Dirty rate: 500 (MB/s), duration: 1000 (ms), load: 12.50%`; a log may put a stamp before it.
fn line(text: &str) -> Option<Line> {
    let text = text.rsplit('\r').find(|it| !it.trim().is_empty())?;
    let names = ["dirty-rate:", "Dirty rate:", "dirty rate:"];
    let rest = names.iter().find_map(|it| text.split_once(it))?.1;
    let (rate, rest) = rest.split_once("(MB/s),")?;
    let mut parts = rest.splitn(3, ',');
    let time = parts.next()?.trim();
    let time = time.strip_prefix("time (ms):").or_else(|| time.strip_prefix("duration:"))?;
    let time = time.trim().trim_end_matches("(ms)").trim_end();
    let milliseconds: u64 = time.parse().ok().filter(|it| *it > 0)?;
    let load = parts.next().and_then(|it| it.trim().strip_prefix("load:"));
    let megabytes_per_second: f64 = rate.trim().parse().ok()?;
    // A page cannot be written 10^9 times in a microsecond.
    let is_sane = (0.0..1e9).contains(&megabytes_per_second) && milliseconds < 1 << 40;
    is_sane.then_some(Line {
        megabytes_per_second,
        milliseconds,
        load_percent: load.and_then(|it| it.trim().trim_end_matches('%').parse().ok()),
        latency: parts.next().and_then(latency),
    })
}

fn latency(text: &str) -> Option<[u64; 3]> {
    let (_, values) = text.split_once("(us):")?;
    let value = |name: &str| {
        let word = values.split_whitespace().find_map(|it| it.strip_prefix(name));
        word?.strip_prefix('=')?.parse().ok()
    };
    Some([value("p50")?, value("p99")?, value("max")?])
}

/// `1464690000,1234`; the first delay is -1, which older versions write without its sign.
fn spike(text: &str) -> Option<(u64, i64)> {
    let (at, delay) = text.trim().split_once(',')?;
    let signed = delay.parse::<i64>().ok();
    let delay = signed.or_else(|| delay.parse::<u64>().ok().map(|it| it as i64))?;
    Some((at.parse().ok()?, delay))
}

/// `         8 (us): 1454`
fn buckets(text: &str) -> Vec<[u64; 2]> {
    let bucket = |line: &str| {
        let (limit, count) = line.split_once("(us):")?;
        Some([limit.trim().parse().ok()?, count.trim().parse().ok()?])
    };
    text.lines().filter_map(bucket).collect()
}

fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|it| it.split_once(name)).map(|it| it.1.trim())
}

fn add_setting(text: &str, report: &mut Report) {
    let number = |name: &str| header(text, name)?.split_whitespace().next()?.parse::<u64>().ok();
    if let Some(size) = number("Test memory size:") {
        set(&mut report.scenario, "workload.memory", format!("{size}MiB"));
    }
    let rate = match header(text, "Dirty memory rate:") {
        Some("Maximum") => Some("unlimited".to_owned()),
        Some(_) => number("Dirty memory rate:").map(|it| format!("{it}MiB/s")),
        None => None,
    };
    if let Some(rate) = rate {
        set(&mut report.scenario, "workload.rate", rate);
    }
    if let Some(pattern) = header(text, "Dirty pattern:") {
        set(&mut report.scenario, "workload.pattern", pattern);
    }
    report.engine.details.insert("read_from".to_owned(), json!("mig_mon mm_dirty"));
}
