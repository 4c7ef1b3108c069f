//! Logs of long writes and of histograms.

use std::fs::read_to_string;

use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use crate::harness::{dirty, number, report};

#[test]
fn long_writes_are_noted_with_their_pages() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stalls.csv");
    // Each first write of a page is a fault, which takes longer than this.
    let options = ["--memory", "8MiB", "--remap", "--duration", "100ms", "--rate", "20000pages/s"];
    let log = ["--stalls", ">200ns", path.to_str().unwrap()];
    let report = report(&[&options[..], &log].concat());
    let text = read_to_string(path).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("start_seconds,length_ns,worker,page"));
    let rows: Vec<Vec<&str>> = lines.map(|it| it.split(',').collect()).collect();
    assert!(!rows.is_empty());
    assert_eq!(rows.len() as f64, number(&report, "/summary/stalls_noted"));
    for row in &rows {
        assert!((0.0..1.0).contains(&row[0].parse::<f64>().unwrap()), "{row:?}");
        assert!(row[1].parse::<u64>().unwrap() > 200, "{row:?}");
        assert_eq!(row[2], "0");
        assert!(row[3].is_empty() || row[3].parse::<usize>().unwrap() < 2048, "{row:?}");
    }
}

#[test]
fn what_is_long_may_be_a_flag_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stalls.csv");
    let log = ["--stalls", path.to_str().unwrap(), "--stalls-over", "10s"];
    let report = report(&[&["--memory", "4MiB", "--duration", "50ms"], &log[..]].concat());
    assert_eq!(report["summary"]["stalls_noted"], 0);
    assert_eq!(read_to_string(path).unwrap().lines().count(), 1);
}

#[test]
fn the_histogram_log_is_read_by_its_reference_implementation() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("latency.hlog");
    let options = ["--memory", "4MiB", "--rate", "20MiB/s", "--duration", "300ms"];
    let log = ["--interval", "100ms", "--histogram", path.to_str().unwrap()];
    let report = report(&[&options[..], &log].concat());
    let text = std::fs::read(&path).unwrap();
    let mut count = 0;
    let mut longest = 0;
    for entry in IntervalLogIterator::new(&text) {
        if let LogEntry::Interval(interval) = entry.unwrap()
            && interval.tag().is_none()
        {
            let bytes = base64(interval.encoded_histogram());
            let histogram: hdrhistogram::Histogram<u64> =
                Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            count += histogram.len();
            longest = longest.max(histogram.max());
        }
    }
    assert_eq!(count as f64, number(&report, "/summary/touched_pages"));
    let max = number(&report, "/summary/latency/max_ns");
    assert!((longest as f64 / max - 1.0).abs() < 0.02, "{longest} and {max}");
}

#[test]
fn files_that_cannot_be_written_are_told_before() {
    for flag in ["--stalls", "--histogram"] {
        let outcome = dirty(&["--memory", "4MiB", flag, "/nonexistent/file"]);
        assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("/nonexistent/file"), "{}", outcome.stderr);
    }
}

#[test]
fn the_sample_compresses_as_asked() {
    let ratio = |method: &str, pattern: &str| {
        let options = ["--memory", "4MiB", "--duration", "100ms", "--compressibility"];
        number(
            &report(&[&options[..], &["--method", method, "-p", pattern]].concat()),
            "/summary/compressibility",
        )
    };
    assert!((0.98..1.01).contains(&ratio("touch", "random")));
    assert!((0.98..1.01).contains(&ratio("fill-random", "sequential")));
    assert!((2.4..3.6).contains(&ratio("compressible(3)", "sequential")));
    assert!(ratio("zero", "sequential") > 100.0);
}

fn base64(text: &str) -> Vec<u8> {
    let value = |it: u8| match it {
        b'A'..=b'Z' => it - b'A',
        b'a'..=b'z' => it - b'a' + 26,
        b'0'..=b'9' => it - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u32> =
        text.trim_end_matches('=').bytes().map(|it| u32::from(value(it))).collect();
    let mut bytes = Vec::new();
    for group in digits.chunks(4) {
        let word = group.iter().fold(0, |word, it| word << 6 | it) << (6 * (4 - group.len()));
        bytes.extend(&word.to_be_bytes()[1..group.len()]);
    }
    bytes
}
