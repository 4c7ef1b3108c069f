//! The numbers as OpenMetrics, read when somebody asks.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sterna_workload::{Crew, Histogram, Spec};

use super::look::{Stretch, bytes};

/// Media type of what is served.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a scrape needs; it holds the crew only as long as somebody else does.
pub struct Metrics {
    crew: Weak<Crew>,
    spec: Spec,
    labels: Vec<(String, String)>,
    created_seconds: f64,
    /// What only the intervals tell.
    seen: Mutex<Seen>,
}

/// Numbers of the intervals so far.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    dirty_rate_bytes_per_second: Option<f64>,
    load: Option<f64>,
    gaps: u64,
    gap_seconds: f64,
}

impl Metrics {
    /// Of a crew that is released now.
    pub fn new(crew: &Arc<Crew>, spec: &Spec, labels: &[(String, String)]) -> Metrics {
        Metrics {
            crew: Arc::downgrade(crew),
            spec: spec.clone(),
            labels: labels.to_vec(),
            created_seconds: now_seconds(),
            seen: Mutex::default(),
        }
    }

    /// Takes note of an interval.
    pub fn interval(&self, stretch: &Stretch) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.dirty_rate_bytes_per_second = stretch.dirty_rate().map(bytes);
        seen.load = stretch.load();
        seen.gaps += stretch.gaps;
        seen.gap_seconds += stretch.gap_ns as f64 / 1e9;
    }

    /// The page; None when the run is over.
    pub fn page(&self) -> Option<String> {
        let crew = self.crew.upgrade()?;
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = crew.counts();
        let times = self.spec.latency.then(|| [crew.latency(), crew.since_due()]);
        Some(self.render(&counts, times.as_ref(), seen, now_seconds()))
    }

    fn render(
        &self,
        counts: &[u64],
        times: Option<&[Histogram; 2]>,
        seen: Seen,
        now: f64,
    ) -> String {
        let mut page =
            Page { text: String::new(), labels: &self.labels, created: self.created_seconds, now };
        page.family(
            "sterna_dirty_workload",
            "info",
            None,
            "What is done, in the short form of a workload",
        );
        page.sample("sterna_dirty_workload_info", &[("spec", &self.spec.to_string())], "1");
        page.family("sterna_dirty_memory_bytes", "gauge", Some("bytes"), "Memory of all workers");
        page.sample("sterna_dirty_memory_bytes", &[], &self.spec.memory.0.to_string());
        page.family(
            "sterna_dirty_touched_pages",
            "counter",
            None,
            "Pages of 4 KiB written, with repeats",
        );
        for (worker, count) in counts.iter().enumerate() {
            page.counter(
                "sterna_dirty_touched_pages",
                &[("worker", &worker.to_string())],
                &count.to_string(),
            );
        }
        page.family(
            "sterna_dirty_gaps",
            "counter",
            None,
            "Times of 2 ms or more in which a worker made no progress although work was due",
        );
        page.counter("sterna_dirty_gaps", &[], &seen.gaps.to_string());
        page.family(
            "sterna_dirty_gap_seconds",
            "counter",
            Some("seconds"),
            "How long these times were, together",
        );
        page.counter("sterna_dirty_gap_seconds", &[], &seen.gap_seconds.to_string());
        if let Some(rate) = seen.dirty_rate_bytes_per_second {
            page.family(
                "sterna_dirty_rate_bytes_per_second",
                "gauge",
                None,
                "Distinct pages written in the last interval, per second",
            );
            page.sample("sterna_dirty_rate_bytes_per_second", &[], &rate.to_string());
        }
        if let Some(load) = seen.load {
            page.family(
                "sterna_dirty_load_ratio",
                "gauge",
                Some("ratio"),
                "Share of the last interval in which a worker had a processor",
            );
            page.sample("sterna_dirty_load_ratio", &[], &load.to_string());
        }
        if let Some([latency, since_due]) = times {
            let what = "How long single writes took";
            page.histogram("sterna_dirty_write_latency_seconds", what, latency);
            if since_due.count() > 0 {
                let what =
                    "From when the rate made a page due to the end of its write, stalls included";
                page.histogram("sterna_dirty_write_since_due_seconds", what, since_due);
            }
        }
        page.text + "# EOF\n"
    }
}

/// A page as it grows.
struct Page<'a> {
    text: String,
    labels: &'a [(String, String)],
    created: f64,
    now: f64,
}

impl Page<'_> {
    fn family(&mut self, name: &str, kind: &str, unit: Option<&str>, help: &str) {
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
        if let Some(unit) = unit {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.text, "# HELP {name} {help}");
    }

    /// A sample with the time at which it was taken.
    fn sample(&mut self, name: &str, own: &[(&str, &str)], value: &str) {
        let labels = self.label_set(own);
        let _ = writeln!(self.text, "{name}{labels} {value} {:.3}", self.now);
    }

    fn counter(&mut self, name: &str, own: &[(&str, &str)], value: &str) {
        self.sample(&format!("{name}_total"), own, value);
        let labels = self.label_set(own);
        let _ = writeln!(self.text, "{name}_created{labels} {:.3}", self.created);
    }

    /// Buckets end at powers of two of a nanosecond, from 16 ns to a second.
    fn histogram(&mut self, name: &str, what: &str, histogram: &Histogram) {
        self.family(name, "histogram", Some("seconds"), what);
        let cells: Vec<(u64, u64, u64)> = histogram.cells().collect();
        for power in 4..=30 {
            let end_ns = 1u64 << power;
            let count: u64 =
                cells.iter().filter(|(_, high, _)| *high < end_ns).map(|it| it.2).sum();
            let le = (end_ns as f64 / 1e9).to_string();
            self.sample(&format!("{name}_bucket"), &[("le", &le)], &count.to_string());
        }
        let count = cells.iter().map(|it| it.2).sum::<u64>();
        self.sample(&format!("{name}_bucket"), &[("le", "+Inf")], &count.to_string());
        self.sample(&format!("{name}_count"), &[], &count.to_string());
        let sum = histogram.mean_ns().unwrap_or(0.0) * count as f64 / 1e9;
        self.sample(&format!("{name}_sum"), &[], &sum.to_string());
    }

    fn label_set(&self, own: &[(&str, &str)]) -> String {
        let given = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let all: Vec<String> = given
            .chain(own.iter().copied())
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn now_seconds() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_units::Bytes;

    fn page(times: Option<&[Histogram; 2]>) -> String {
        let metrics = Metrics {
            crew: Weak::new(),
            spec: Spec::of(Bytes(4096)),
            labels: vec![("run".to_owned(), "a\"b".to_owned())],
            created_seconds: 1.0,
            seen: Mutex::default(),
        };
        assert_eq!(metrics.page(), None, "no crew is left");
        metrics.render(&[7, 8], times, Seen::default(), 2.5)
    }

    #[test]
    fn counters_have_a_beginning_and_a_time() {
        let page = page(None);
        for line in [
            "# TYPE sterna_dirty_touched_pages counter",
            "sterna_dirty_touched_pages_total{run=\"a\\\"b\",worker=\"1\"} 8 2.500",
            "sterna_dirty_touched_pages_created{run=\"a\\\"b\",worker=\"1\"} 1.000",
            "sterna_dirty_memory_bytes{run=\"a\\\"b\"} 4096 2.500",
        ] {
            assert!(page.lines().any(|it| it == line), "no `{line}` in {page}");
        }
        assert!(page.ends_with("# EOF\n"));
        assert!(!page.contains("rate_bytes_per_second"), "not known before the first interval");
        assert!(!page.contains("latency_seconds"), "writes are not timed");
    }

    #[test]
    fn buckets_are_cumulative() {
        let mut histogram = Histogram::default();
        [10, 20, 5_000, 3_000_000_000].into_iter().for_each(|ns| histogram.record(ns));
        let page = page(Some(&[histogram.clone(), histogram]));
        assert!(page.contains("sterna_dirty_write_since_due_seconds_count{run=\"a\\\"b\"} 4 "));
        let count = |le: &str| {
            let start =
                format!("sterna_dirty_write_latency_seconds_bucket{{run=\"a\\\"b\",le=\"{le}\"}} ");
            let line = page.lines().find_map(|it| it.strip_prefix(&start)).unwrap_or("absent");
            line.split(' ').next().unwrap_or("absent").to_owned()
        };
        assert_eq!(count("0.000000016"), "1");
        assert_eq!(count("0.000000032"), "2");
        assert_eq!(count("0.000008192"), "3");
        assert_eq!(count("1.073741824"), "3");
        assert_eq!(count("+Inf"), "4");
    }
}
