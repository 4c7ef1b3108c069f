//! Results as they really lie about: marked, packed, twice in a file, with text around, with odd values.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::{io::Write, path::Path};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sterna_report::Report;
use sterna_report::comparison::{Change, Metric, Rules, Side, compare};
use sterna_report::readers::{AnyReadError, Format, Found, MOST_UNPACKED_BYTES, read_any_bytes};

const COMPLETED: &str = include_str!("data/completed-1.0.json");
const GUESTPERF: &str = include_str!("data/guestperf-7.2.json");
const IPERF3: &str = include_str!("data/iperf3.json");
const STREAM: &str = include_str!("data/iperf3-stream.json");
const BIDIR: &str = include_str!("data/iperf3-bidir.json");
const OLD_MM_DIRTY: &str = include_str!("data/mm_dirty-old.txt");
const PREFIXED_MM_DIRTY: &str = include_str!("data/mm_dirty-prefixed.txt");

fn read_bytes(bytes: &[u8]) -> Result<Found, AnyReadError> {
    read_any_bytes(Path::new("odd"), bytes)
}

fn read(text: &str) -> Report {
    read_bytes(text.as_bytes()).unwrap().report
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn marks_utf16_and_gzip_change_nothing_in_any_format() {
    for text in [COMPLETED, GUESTPERF, IPERF3, STREAM, OLD_MM_DIRTY] {
        let plain = read(text);
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let forms = [
            [&[0xef, 0xbb, 0xbf], text.as_bytes()].concat(),
            [&[0xff, 0xfe], &wide[..]].concat(),
            packed(text.as_bytes()),
            packed(&[&[0xff, 0xfe], &wide[..]].concat()),
        ];
        for form in forms {
            assert_eq!(read_bytes(&form).unwrap().report, plain);
        }
    }
}

#[test]
fn a_small_file_that_unpacks_to_a_huge_one_is_refused() {
    let bomb = packed(&vec![b' '; MOST_UNPACKED_BYTES as usize + 1]);
    assert!(bomb.len() < 1 << 20);
    let error = read_bytes(&bomb).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("larger than 64 MiB"), "{source}");
    let cut = packed(COMPLETED.as_bytes());
    let error = read_bytes(&cut[..cut.len() / 2]).unwrap_err();
    assert!(matches!(error, AnyReadError::Undecodable { .. }), "{error}");
}

/// A value at a pointer, replaced.
fn changed(text: &str, pointer: &str, value: Value) -> String {
    let mut file: Value = serde_json::from_str(text).unwrap();
    *file.pointer_mut(pointer).unwrap() = value;
    file.to_string()
}

fn codes(report: &Report) -> Vec<&str> {
    report.warnings.iter().map(|it| it.code.as_str()).collect()
}

#[test]
fn text_around_a_document_and_a_second_one_are_said() {
    for text in [GUESTPERF, IPERF3] {
        let plain = read(text);
        let twice = read(&format!("{text}\n{text}"));
        assert_eq!(twice.summary, plain.summary);
        assert!(codes(&twice).contains(&"more-documents"), "{:?}", twice.warnings);
        let noisy = read(&format!("Running post-copy-5\nwarning: [42] is nan\n{text}\ndone {{\n"));
        assert_eq!(noisy.timeline, plain.timeline);
        assert!(codes(&noisy).contains(&"text-around"), "{:?}", noisy.warnings);
        assert!(!codes(&plain).contains(&"text-around"));
    }
}

#[test]
fn numbers_that_are_none_are_unknown() {
    for word in ["NaN", "-nan", "nan", "Infinity", "-inf", "null"] {
        let text = IPERF3.replace("1000000000.0", word);
        let report = read(&text);
        assert_eq!(report.timeline.len(), 6, "{word}");
        // The rate follows from bytes and time where iperf3 prints none.
        assert!(report.timeline.iter().skip(1).all(|it| it.bandwidth_bytes_per_second.is_some()));
        let is_said = codes(&report).contains(&"not-a-number");
        assert_eq!(is_said, word != "null", "{word}");
    }
    let odd = read(&changed(IPERF3, "/intervals/0/sum/bytes", json!("many")));
    assert_eq!(odd.timeline[1].transferred_bytes, None);
    assert_eq!(odd.summary.wire_bytes, Some(380_000_000));
}

#[test]
fn the_first_of_two_sums_is_the_way_that_is_sent() {
    let report = read(BIDIR);
    let amounts: Vec<Option<u64>> = report.timeline.iter().map(|it| it.transferred_bytes).collect();
    assert_eq!(amounts, [Some(0), Some(60_000_000), Some(100_000_000)]);
    assert_eq!(report.summary.wire_bytes, Some(99_000_000));
    let text = &report.warnings.iter().find(|it| it.text.contains("bidir")).unwrap().text;
    assert!(text.contains("sum_bidir_reverse"), "{text}");
}

#[test]
fn a_stream_of_events_is_a_document() {
    let report = read(STREAM);
    assert_eq!((report.tool.version.as_str(), report.timeline.len()), ("3.17", 4));
    assert_eq!(report.summary.wire_bytes, Some(119_000_000));
    assert_eq!(report.probes[0].outages.len(), 1);
    // Without its end, as after an interrupt, the intervals say how much it was.
    let cut: String = STREAM.lines().take(4).map(|it| format!("{it}\n")).collect();
    assert_eq!(read(&cut).summary.wire_bytes, Some(120_000_000));
}

#[test]
fn interrupted_runs_have_the_amounts_of_their_intervals_and_the_words_of_the_error() {
    let mut file: Value = serde_json::from_str(IPERF3).unwrap();
    file["end"] = json!({});
    file["error"] = json!("interrupt - the client has terminated");
    let report = read(&file.to_string());
    let sums = file["intervals"].as_array().unwrap().iter();
    let bytes: u64 = sums.filter_map(|it| it["sum"]["bytes"].as_u64()).sum();
    assert_eq!(report.summary.wire_bytes, Some(bytes));
    assert!(report.summary.verdict_reason.unwrap().contains("the client has terminated"));
    let alone = r#"{"error": "error - unable to connect to server: Connection refused"}"#;
    let found = read_bytes(alone.as_bytes()).unwrap();
    assert_eq!(found.format, Format::Iperf3);
    assert!(found.report.summary.verdict_reason.unwrap().contains("Connection refused"));
}

/// Outages, and whether a comparison knows of their length.
fn outages(report: &Report) -> (usize, Option<f64>) {
    let metric = Metric::named("outage").unwrap();
    (report.probes[0].outages.len(), metric.value(report))
}

#[test]
fn a_file_that_could_not_show_an_outage_says_nothing_of_outages() {
    let busy = r#"{"start": {"connected": []}, "intervals": [], "end": {}, "error": "busy"}"#;
    let full = IPERF3.replace("\"bytes\": 0", "\"bytes\": 9000");
    let udp = IPERF3.replace("\"protocol\": \"TCP\"", "\"protocol\": \"UDP\"");
    let mut without_sum: Value = serde_json::from_str(IPERF3).unwrap();
    for interval in without_sum["intervals"].as_array_mut().unwrap() {
        interval.as_object_mut().unwrap().remove("sum");
    }
    assert_eq!(outages(&read(busy)), (0, None));
    assert_eq!(outages(&read(&full)), (0, None), "each interval had some bytes");
    assert_eq!(outages(&read(&udp)), (0, None), "a sender of datagrams hears nothing");
    assert_eq!(outages(&read(IPERF3)), (1, Some(2.0)));
    assert_eq!(outages(&read(&without_sum.to_string())), (1, Some(2.0)), "streams add up");
    assert_eq!(read(IPERF3).probes[0].outages[0].resolution_seconds, Some(2.0));

    let side =
        |label: &str, text: &str| Side { label: label.to_owned(), reports: vec![read(text); 20] };
    for candidate in [busy, &full, &udp] {
        let sides = [side("a", IPERF3), side("b", candidate)];
        let comparison = compare(&sides, &Rules::default(), sterna_report::Tool::default());
        let metrics = &comparison.scenarios[0].metrics;
        let outage = metrics.iter().find(|it| it.metric == "outage").unwrap();
        assert_eq!((outage.change, outage.candidate.median), (Change::NotMeasured, None));
    }
}

#[test]
fn every_release_of_mig_mon_is_read_also_from_a_collected_log() {
    let old = read(OLD_MM_DIRTY);
    let counts: Vec<u64> = old.guest.iter().map(|it| it.counts_per_worker[0]).collect();
    assert_eq!(counts, [64_000, 64_128]);
    assert_eq!(
        (old.tool.version.as_str(), &old.scenario["workload"]["rate"]),
        ("v0.2.1", &json!("250MiB/s"))
    );
    let prefixed = read(PREFIXED_MM_DIRTY);
    let counts: Vec<u64> = prefixed.guest.iter().map(|it| it.counts_per_worker[0]).collect();
    assert_eq!(counts, [76_800, 76_800]);
}

#[test]
fn a_spike_log_whose_last_line_is_cut_is_read_without_it() {
    let report = read("1772366400,-1\n1772366420,450\n17723");
    assert_eq!(report.probes[0].outages.len(), 1);
    assert!(codes(&report).contains(&"cut-line"));
    assert_eq!(Metric::named("outage").unwrap().value(&read("1772366400,-1\n")), None);
    assert!(read_bytes(b"1772366400,-1\nnot a line\n").is_err());
}
