//! Pages of metrics, in the text format of Prometheus and OpenMetrics: what changed from one scrape to the next that should not have.

use std::collections::{BTreeMap, BTreeSet};

/// Findings of each sort beyond these are only counted.
const MOST_KEPT: usize = 1_000;

/// One page, as far as continuity goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Each series by its name and labels, with value and time stamp.
    samples: BTreeMap<String, Sample>,
    /// Names of families that only grow.
    counters: BTreeSet<String>,
    /// Series that stand on the page more than once.
    doubled: u64,
    /// Lines that are no samples.
    unreadable: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    value: f64,
    stamp: Option<f64>,
}

/// What all scrapes have shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricsSeen {
    /// Pages that could be read.
    pub scrapes: u64,
    /// Series on the newest page.
    pub series: u64,
    /// Series that stood more than once on a page, or came again with a time stamp they had before.
    pub duplicates: u64,
    /// Lines that are no samples.
    pub unreadable: u64,
    /// How often a counter was smaller than before.
    pub reset_count: u64,
    /// The first of them.
    pub resets: Vec<Reset>,
    /// How often a series was missing that had been there.
    pub gap_count: u64,
    /// The first of them.
    pub gaps: Vec<Gap>,
    /// How often a family's series had other labels than before.
    pub label_change_count: u64,
    /// The first of them.
    pub label_changes: Vec<LabelChange>,
    /// Errors of scrapes that failed.
    pub errors: BTreeMap<String, u64>,
    last: Option<Page>,
    missing: BTreeSet<String>,
}

/// A counter that fell: its owner began anew.
#[derive(Clone, Debug, PartialEq)]
pub struct Reset {
    /// Of the scrape, CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// Which.
    pub series: String,
    /// Its value before.
    pub from: f64,
    /// Its value now.
    pub to: f64,
}

/// A series that is not there any more, while others are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Of the scrape without it.
    pub at_ns: u64,
    /// Which.
    pub series: String,
    /// When it was back.
    pub back_ns: Option<u64>,
}

/// A family whose series went and came with other labels at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelChange {
    /// Of the scrape.
    pub at_ns: u64,
    /// The name of the family.
    pub name: String,
    /// One that is gone.
    pub before: String,
    /// One that is new.
    pub after: String,
}

impl Page {
    /// Reads a page; lines that are none are counted.
    pub fn parse(text: &str) -> Page {
        let mut page = Page::default();
        for line in text.lines().map(str::trim).filter(|it| !it.is_empty()) {
            if let Some(comment) = line.strip_prefix('#') {
                let mut words = comment.split_whitespace();
                if let (Some("TYPE"), Some(name), Some("counter" | "histogram" | "summary")) =
                    (words.next(), words.next(), words.next())
                {
                    page.counters.insert(name.to_owned());
                }
                continue;
            }
            match sample(line) {
                Some((series, sample)) => {
                    let before = page.samples.insert(series.to_owned(), sample);
                    page.doubled += u64::from(before.is_some());
                }
                None => page.unreadable += 1,
            }
        }
        page
    }

    /// Whether there is nothing on it.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Whether a series only grows: what its family is said to be, or its name.
    fn is_counter(&self, series: &str) -> bool {
        let name = name(series);
        let suffixes = ["_total", "_count", "_bucket", "_sum"];
        let family = suffixes.iter().find_map(|it| name.strip_suffix(it)).unwrap_or(name);
        let is_declared = self.counters.contains(name) || self.counters.contains(family);
        // The sum of a summary may fall when what is summed is negative.
        name.ends_with("_total")
            || is_declared && name != family && !name.ends_with("_sum")
            || self.counters.contains(name) && name == family
    }
}

impl MetricsSeen {
    /// A page was scraped.
    pub fn scraped(&mut self, page: Page, at_ns: u64) {
        self.scrapes += 1;
        self.series = page.samples.len() as u64;
        self.duplicates += page.doubled;
        self.unreadable += page.unreadable;
        if let Some(last) = self.last.take() {
            self.compare(&last, &page, at_ns);
        }
        self.note_returns(&page, at_ns);
        self.last = Some(page);
    }

    /// A scrape failed.
    pub fn failed(&mut self, error: String) {
        *self.errors.entry(error).or_default() += 1;
    }

    fn compare(&mut self, last: &Page, page: &Page, at_ns: u64) {
        for (series, now) in &page.samples {
            let Some(before) = last.samples.get(series) else { continue };
            if now.stamp.is_some() && now.stamp == before.stamp {
                self.duplicates += 1;
            }
            if now.value < before.value && page.is_counter(series) {
                self.reset_count += 1;
                let reset =
                    Reset { at_ns, series: series.clone(), from: before.value, to: now.value };
                keep(&mut self.resets, reset);
            }
        }
        let gone = last.samples.keys().filter(|it| !page.samples.contains_key(*it));
        let come: BTreeMap<&str, &String> = page
            .samples
            .keys()
            .filter(|it| !last.samples.contains_key(*it) && !self.missing.contains(*it))
            .map(|it| (name(it), it))
            .collect();
        for series in gone {
            match come.get(name(series)) {
                Some(after) => {
                    self.label_change_count += 1;
                    let change = LabelChange {
                        at_ns,
                        name: name(series).to_owned(),
                        before: series.clone(),
                        after: (*after).clone(),
                    };
                    keep(&mut self.label_changes, change);
                }
                None => {
                    self.gap_count += 1;
                    self.missing.insert(series.clone());
                    keep(&mut self.gaps, Gap { at_ns, series: series.clone(), back_ns: None });
                }
            }
        }
    }

    fn note_returns(&mut self, page: &Page, at_ns: u64) {
        let back: Vec<String> =
            self.missing.iter().filter(|it| page.samples.contains_key(*it)).cloned().collect();
        for series in back {
            self.missing.remove(&series);
            let open = self.gaps.iter_mut().rev().find(|it| it.series == series);
            if let Some(gap) = open.filter(|it| it.back_ns.is_none()) {
                gap.back_ns = Some(at_ns);
            }
        }
    }
}

fn keep<T>(list: &mut Vec<T>, it: T) {
    if list.len() < MOST_KEPT {
        list.push(it);
    }
}

fn name(series: &str) -> &str {
    series.split('{').next().unwrap_or_default()
}

/// Name and labels, value, time stamp.
fn sample(line: &str) -> Option<(&str, Sample)> {
    let end = match line.find('{') {
        Some(open) => open + closing(&line[open..])?,
        None => line.find(char::is_whitespace)?,
    };
    let (series, rest) = line.split_at(end);
    let begins = series.starts_with(|it: char| it.is_ascii_alphabetic() || "_:".contains(it));
    // What OpenMetrics puts behind a `#` is an exemplar.
    let mut words = rest.split('#').next()?.split_whitespace();
    let value = number(words.next()?)?;
    let stamp = match words.next() {
        Some(word) => Some(number(word)?),
        None => None,
    };
    (begins && words.next().is_none()).then_some((series, Sample { value, stamp }))
}

/// Behind the brace that closes the labels; one within a quoted value does not.
fn closing(labels: &str) -> Option<usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, it) in labels.char_indices() {
        match it {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            '}' if !is_quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn number(word: &str) -> Option<f64> {
    match word {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        word => word.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pages: &[&str]) -> MetricsSeen {
        let mut seen = MetricsSeen::default();
        for (at, page) in pages.iter().enumerate() {
            seen.scraped(Page::parse(page), at as u64);
        }
        seen
    }

    #[test]
    fn lines_are_read_as_the_format_has_them() {
        let check = |line: &str, expected: Option<(&str, f64, Option<f64>)>| {
            let found = sample(line).map(|(series, it)| (series, it.value, it.stamp));
            assert_eq!(found, expected, "{line}");
        };
        check("up 1", Some(("up", 1.0, None)));
        check(
            "a_total{x=\"y}\\\"z\"} 2.5e3 17",
            Some(("a_total{x=\"y}\\\"z\"}", 2500.0, Some(17.0))),
        );
        check(
            "h_bucket{le=\"+Inf\"} +Inf # {id=\"1\"} 3",
            Some(("h_bucket{le=\"+Inf\"}", f64::INFINITY, None)),
        );
        for line in ["up", "up one", "1up 1", "a{x=\"y\" 1", "<html>", "up 1 2 3"] {
            check(line, None);
        }
    }

    #[test]
    fn a_counter_that_falls_was_reset_and_a_gauge_may_fall() {
        let seen = seen(&[
            "# TYPE a counter\n# TYPE h histogram\na_total 5\ng 5\nc_total 7\nh_count 3\nh_sum 3",
            "# TYPE a counter\n# TYPE h histogram\na_total 1\ng 1\nc_total 8\nh_count 2\nh_sum 2",
        ]);
        let resets: Vec<&str> = seen.resets.iter().map(|it| it.series.as_str()).collect();
        assert_eq!(resets, ["a_total", "h_count"]);
        assert_eq!((seen.resets[0].from, seen.resets[0].to, seen.resets[0].at_ns), (5.0, 1.0, 1));
        assert_eq!((seen.scrapes, seen.series, seen.reset_count, seen.gap_count), (2, 5, 2, 0));
    }

    #[test]
    fn gaps_and_label_changes_are_told_apart() {
        let seen = seen(&[
            "a{node=\"1\"} 1\nb 1\nc 1",
            "a{node=\"2\"} 1\nc 1",
            "a{node=\"2\"} 1\nb 1\nc 1",
        ]);
        let [change] = &seen.label_changes[..] else { panic!("{seen:?}") };
        assert_eq!((change.name.as_str(), change.after.as_str()), ("a", "a{node=\"2\"}"));
        let gap = Gap { at_ns: 1, series: "b".to_owned(), back_ns: Some(2) };
        assert_eq!((&seen.gaps[..], seen.gap_count), (&[gap][..], 1));
    }

    #[test]
    fn samples_that_come_again_are_duplicates() {
        let seen = seen(&["a 1 100\nb 1 100\nb 2 100", "a 1 100\nb 3 101\nnonsense"]);
        assert_eq!((seen.duplicates, seen.unreadable), (2, 1));
        assert!(Page::parse("# nothing\n").is_empty());
    }
}
