//! For people: a line for each interval of each side, and a summary.

use std::fmt::Write;

use sterna_report::stream::{
    StreamEnding, StreamEstimate, StreamInterval, StreamMode, StreamReport, StreamSide,
    StreamSideSummary, StreamSpec, StreamStart, StreamTimes,
};
use sterna_units::{human_bits_per_second, human_bytes, human_bytes_per_second};

/// What an unknown number looks like.
const UNKNOWN: &str = "–";

/// What is about to begin.
pub fn start(start: &StreamStart) -> String {
    let spec = &start.spec;
    let mut text = format!("{}: {}\n\n", start.server_address, what(spec));
    let _ = write!(text, "{:<6} {:>9}", "side", "time");
    if has_bulk(spec) {
        let _ = write!(text, "  {:>23}  {:>23}", "sent", "received");
    }
    if has_requests(spec) {
        let _ = write!(text, "  {:>9}  {:>8}  {:>8}  {:>8}", "requests", "p50", "p99", "max");
    }
    let _ = write!(text, "  {:>7}  {:>8}  {:>9}  {:>9}", "retrans", "rtt", "cwnd", "CPU/GiB");
    text + "\n"
}

/// One interval of one side.
pub fn interval(it: &StreamInterval, spec: &StreamSpec) -> String {
    let side = match it.side {
        StreamSide::Client => "client",
        StreamSide::Server => "server",
    };
    let mut text = format!("{side:<6} {:>7.1} s", it.end_seconds);
    if has_bulk(spec) {
        let sent = rates(it.sent_bytes_per_second);
        let _ = write!(text, "  {sent:>23}  {:>23}", rates(it.received_bytes_per_second));
    }
    if has_requests(spec) {
        let times = it.requests.unwrap_or_default();
        let count = it.requests.map(|it| it.count).or(it.answered_requests);
        let _ = write!(
            text,
            "  {:>9}  {:>8}  {:>8}  {:>8}",
            count.map_or(UNKNOWN.to_owned(), |it| it.to_string()),
            time(times.p50_ns),
            time(times.p99_ns),
            time(times.max_ns)
        );
    }
    let _ = write!(
        text,
        "  {:>7}  {:>8}  {:>9}  {:>9}",
        it.retransmits.map_or(UNKNOWN.to_owned(), |it| it.to_string()),
        time(it.rtt_ns),
        it.congestion_window_bytes.map_or(UNKNOWN.to_owned(), |it| human_bytes(it as f64)),
        cpu(it.cpu_seconds_per_gib),
    );
    text + "\n"
}

/// All of it.
pub fn summary(report: &StreamReport) -> String {
    let mut text = String::from("\n");
    let summary = &report.summary;
    row(
        &mut text,
        "time",
        &format!("{:.3} s{}", summary.duration_seconds, ending(summary.ended_by)),
    );
    side(&mut text, "client", Some(&summary.client));
    side(&mut text, "server", summary.server.as_ref());
    if let Some(found) = &summary.estimate {
        text += &estimate(found);
    }
    text
}

/// What a server says of a trial.
pub fn in_one_line(summary: &StreamSideSummary) -> String {
    let mut parts = Vec::new();
    let bulk =
        [("sent", summary.sent_bytes_per_second), ("received", summary.received_bytes_per_second)];
    parts.extend(
        bulk.into_iter().filter_map(|(name, rate)| Some(format!("{name} {}", spoken(Some(rate?))))),
    );
    parts.extend(summary.answered_requests.map(|it| format!("{it} requests answered")));
    if let Some(times) = summary.requests.as_ref().and_then(|it| it.awaited) {
        parts.push(format!("{} requests, p50 {}", times.count, time(times.p50_ns)));
    }
    parts.extend(summary.error.clone());
    parts.join(", ")
}

fn what(spec: &StreamSpec) -> String {
    use sterna_report::stream::StreamDirection::{Both, Receive, Send};
    let mode = match (spec.mode, spec.preempt) {
        (StreamMode::Precopy, _) => "bulk",
        (StreamMode::Postcopy, _) => "page requests",
        (StreamMode::Both, false) => "bulk and page requests on one connection",
        (StreamMode::Both, true) => "bulk, and page requests on a connection of their own",
    };
    let way = match spec.direction {
        Send => "to the server",
        Receive => "to the client",
        Both => "both ways",
    };
    let mut parts = vec![format!("{mode} {way}")];
    if spec.channels > 1 {
        parts.push(format!("{} channels", spec.channels));
    }
    if has_bulk(spec) {
        parts.push(format!("blocks of {}", human_bytes(spec.block_bytes as f64)));
    }
    parts.extend(spec.memory_bytes.map(|it| format!("from {}", human_bytes(it as f64))));
    parts.extend(spec.dirty.as_ref().map(|_| "dirtied meanwhile".to_owned()));
    parts.extend(
        spec.bandwidth_bytes_per_second.map(|it| format!("at most {}", human_bits_per_second(it))),
    );
    parts.extend(spec.tls.then(|| "TLS".to_owned()));
    parts.extend(Some(spec.compression.clone()).filter(|it| it != "none"));
    parts.extend(spec.zero_copy.then(|| "zero-copy".to_owned()));
    parts.join(", ")
}

fn side(text: &mut String, name: &str, found: Option<&StreamSideSummary>) {
    let Some(found) = found else { return row(text, name, "its numbers did not come") };
    let mut name = name;
    let mut one = |what: &str, value: String| {
        let _ = writeln!(text, "{:<10}{what:<18}{value}", std::mem::take(&mut name));
    };
    let bulk = [
        ("sent", found.sent_bytes, found.sent_bytes_per_second),
        ("received", found.received_bytes, found.received_bytes_per_second),
    ];
    for (what, bytes, rate) in bulk {
        if let Some(bytes) = bytes {
            one(what, format!("{}, {} in all", spoken(rate), human_bytes(bytes as f64)));
        }
    }
    if let Some(answered) = found.answered_requests {
        one("answered", format!("{answered} requests"));
    }
    if let Some(times) = &found.requests {
        one("requests", distribution(times.awaited.as_ref()));
        if times.ahead.is_some() {
            one("asked for ahead", distribution(times.ahead.as_ref()));
        }
        if times.unanswered > 0 {
            one("unanswered", format!("{} requests", times.unanswered));
        }
    }
    if let Some(tcp) = &found.tcp {
        let window =
            tcp.congestion_window_max_bytes.map_or(UNKNOWN.to_owned(), |it| human_bytes(it as f64));
        let rtt = [tcp.rtt_min_ns, tcp.rtt_mean_ns, tcp.rtt_max_ns].map(time);
        one(
            "TCP",
            format!(
                "{} retransmits, rtt {} ({} to {}), cwnd up to {window}",
                tcp.retransmits, rtt[1], rtt[0], rtt[2]
            ),
        );
    }
    let seconds = found.cpu_seconds.map_or(UNKNOWN.to_owned(), |it| format!("{it:.2} s"));
    one("CPU", format!("{seconds}, {} for each GiB", cpu(found.cpu_seconds_per_gib)));
    if let Some(zero_copy) = found.zero_copy {
        one(
            "zero-copy",
            format!(
                "{} sends, {} of them copied by the kernel after all, {} refused",
                zero_copy.sends, zero_copy.copied, zero_copy.refused
            ),
        );
    }
    if let Some(rate) = found.touch_rate_bytes_per_second {
        one("touch rate", human_bytes_per_second(rate));
    }
}

fn estimate(found: &StreamEstimate) -> String {
    let mut text = format!(
        "\nAt {}, once through the memory, and the dirty rate up to which a migration converges:\n",
        spoken(Some(found.throughput_bytes_per_second))
    );
    let _ = write!(text, "{:>10}  {:>10}", "memory", "to send");
    let downtimes = found.sizes.first().map(|it| &*it.ceilings).unwrap_or_default();
    for ceiling in downtimes {
        let _ = write!(
            text,
            "  {:>16}",
            format!("within {}", time(Some((ceiling.downtime_seconds * 1e9) as u64)))
        );
    }
    text.push('\n');
    for size in &found.sizes {
        let memory = format!("{} GiB", size.memory_bytes >> 30);
        let _ = write!(text, "{memory:>10}  {:>10}", long_time(size.send_seconds));
        for ceiling in &size.ceilings {
            let rate = ceiling.dirty_rate_bytes_per_second;
            let _ = write!(text, "  {:>16}", rate.map_or("any".to_owned(), human_bytes_per_second));
        }
        text.push('\n');
    }
    text + "  By QEMU's algorithm at a constant throughput, pages written at random all over the memory, at most 30 passes\n"
}

fn row(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "{name:<10}{value}");
}

fn ending(ending: StreamEnding) -> &'static str {
    match ending {
        StreamEnding::Duration | StreamEnding::Bytes | StreamEnding::Signal => "",
        StreamEnding::Interrupted => ", interrupted",
        StreamEnding::Failed => ", broken",
    }
}

fn distribution(times: Option<&StreamTimes>) -> String {
    let Some(it) = times else { return "none came back".to_owned() };
    format!(
        "{}, mean {}, p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
        it.count,
        time(it.mean_ns.map(|it| it as u64)),
        time(it.p50_ns),
        time(it.p90_ns),
        time(it.p99_ns),
        time(it.p99_9_ns),
        time(it.max_ns)
    )
}

fn has_bulk(spec: &StreamSpec) -> bool {
    spec.mode != StreamMode::Postcopy
}

fn has_requests(spec: &StreamSpec) -> bool {
    spec.mode != StreamMode::Precopy
}

fn rates(bytes_per_second: Option<f64>) -> String {
    bytes_per_second.map_or(UNKNOWN.to_owned(), |it| {
        format!("{} {:>11}", human_bits_per_second(it), human_bytes_per_second(it))
    })
}

/// The same within a sentence.
fn spoken(bytes_per_second: Option<f64>) -> String {
    bytes_per_second.map_or(UNKNOWN.to_owned(), |it| {
        format!("{} ({})", human_bits_per_second(it), human_bytes_per_second(it))
    })
}

fn cpu(seconds_per_gib: Option<f64>) -> String {
    seconds_per_gib.map_or(UNKNOWN.to_owned(), |it| time(Some((it * 1e9) as u64)))
}

/// Three digits and a unit.
fn time(ns: Option<u64>) -> String {
    let Some(ns) = ns else { return UNKNOWN.to_owned() };
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} {unit}")
}

/// Of anything from a second to days.
fn long_time(seconds: f64) -> String {
    match seconds {
        0.0..120.0 => time(Some((seconds * 1e9) as u64)),
        120.0..7200.0 => format!("{:.1} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        let check = |ns: u64, expected: &str| assert_eq!(time(Some(ns)), expected);
        check(999, "999 ns");
        check(45_600, "45.6 µs");
        check(789_000_000, "789 ms");
        assert_eq!(time(None), UNKNOWN);
        assert_eq!(long_time(0.25), "250 ms");
        assert_eq!(long_time(300.0), "5.0 min");
        assert_eq!(long_time(10_000.0), "2.8 h");
    }

    #[test]
    fn columns_stand_under_their_headings() {
        let spec = StreamSpec { mode: StreamMode::Both, ..spec() };
        let heading = start(&StreamStart::new(
            sterna_report::Tool::default(),
            sterna_report::Host::default(),
            String::new(),
            spec.clone(),
        ));
        let row = interval(
            &StreamInterval {
                end_seconds: 1.0,
                sent_bytes_per_second: Some(4.3e9),
                requests: Some(StreamTimes {
                    count: 12_345,
                    p50_ns: Some(25_000),
                    ..StreamTimes::default()
                }),
                congestion_window_bytes: Some(3 << 20),
                ..StreamInterval::default()
            },
            &spec,
        );
        let width = |line: &str| line.trim_end_matches('\n').chars().count();
        assert_eq!(width(heading.lines().last().unwrap()), width(&row), "{heading}{row}");
    }

    fn spec() -> StreamSpec {
        serde_json::from_value(serde_json::json!({
            "mode": "precopy", "preempt": false, "direction": "send", "channels": 1,
            "block_bytes": 131072, "memory_bytes": null, "place": false, "dirty": null,
            "bandwidth_bytes_per_second": null, "duration_seconds": 10.0, "bytes": null,
            "interval_seconds": 1.0, "vcpus": 1, "prefetch": 0, "zero_copy": false, "tls": false,
            "compression": "none", "compression_level": null, "congestion": null, "dscp": null,
            "send_buffer_bytes": null, "receive_buffer_bytes": null, "bind": null
        }))
        .unwrap()
    }
}
