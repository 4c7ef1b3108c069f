//! Reports as JUnit's XML, which systems for continuous integration show as tests.

use std::fmt::Write as _;

use sterna_report::{Integrity, Report, Verdict};

use crate::text::one_line;
use crate::thresholds;

/// One run as a test.
#[derive(Clone, Copy, Debug)]
pub struct TestCase<'a> {
    /// The run's name.
    pub name: &'a str,
    /// What was seen; `None` where the run left no report.
    pub report: Option<&'a Report>,
    /// Why there is none.
    pub without_report: &'a str,
}

/// What a run is as a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    /// The migration did not do what was asked for.
    Failed,
    /// It is not known what it would have done.
    Error,
    Skipped,
}

/// All runs as one suite of tests.
///
/// Completed and forced runs pass, unless memory was corrupt or a threshold was missed; cancelled, failed and lost
/// ones, corrupt memory and missed thresholds are failures; interrupted runs and those without a report are errors; what was not
/// supported, and files without a migration, were skipped.
pub fn junit(suite: &str, runs: &[TestCase<'_>]) -> String {
    let count = |outcome| runs.iter().filter(|it| it.outcome() == outcome).count();
    let time: f64 = runs.iter().map(TestCase::seconds).sum();
    let numbers = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{time:.6}\"",
        runs.len(),
        count(Outcome::Failed),
        count(Outcome::Error),
        count(Outcome::Skipped),
    );
    let suite = escape(suite);
    let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    let _ = writeln!(out, "<testsuites name=\"{suite}\" {numbers}>");
    let _ = writeln!(out, "  <testsuite name=\"{suite}\" {numbers}{}>", begun(runs));
    for run in runs {
        run.write(&mut out);
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

/// The first run's beginning; the format has no fractions and no zone there.
fn begun(runs: &[TestCase<'_>]) -> String {
    let first = runs.iter().find_map(|it| it.report).and_then(|it| it.started_at.get(..19));
    first.map_or(String::new(), |it| format!(" timestamp=\"{}\"", escape(it)))
}

impl TestCase<'_> {
    fn outcome(&self) -> Outcome {
        let Some(report) = self.report else { return Outcome::Error };
        match (report.summary.verdict, report.summary.integrity) {
            (_, Integrity::Corrupt) => Outcome::Failed,
            _ if report.misses_a_threshold() => Outcome::Failed,
            _ if report.engine.is_instrument => Outcome::Skipped,
            (Verdict::Completed | Verdict::CompletedForced, _) => Outcome::Passed,
            (Verdict::Cancelled | Verdict::Failed | Verdict::Lost, _) => Outcome::Failed,
            (Verdict::Unsupported, _) => Outcome::Skipped,
            (Verdict::Interrupted, _) => Outcome::Error,
        }
    }

    fn seconds(&self) -> f64 {
        let seconds = self.report.and_then(|it| it.summary.total_time_seconds);
        seconds.filter(|it| it.is_finite() && *it >= 0.0).unwrap_or(0.0)
    }

    fn write(&self, out: &mut String) {
        let engine = self.report.map_or("unknown", |it| it.engine.name.as_str());
        let _ = writeln!(
            out,
            "    <testcase name=\"{}\" classname=\"sterna.{}\" time=\"{:.6}\">",
            escape(self.name),
            escape(engine),
            self.seconds()
        );
        let line = self.report.map_or_else(|| self.without_report.to_owned(), one_line);
        let missed = self.report.filter(|it| it.misses_a_threshold()).and_then(thresholds::line);
        let reason = self.report.and_then(|it| it.summary.verdict_reason.clone());
        let reason = missed.or(reason);
        let kind = match self.report {
            Some(it) if it.summary.integrity == Integrity::Corrupt => "corrupt",
            Some(it) if it.misses_a_threshold() => "threshold",
            Some(it) => it.summary.verdict.as_str(),
            None => "no-report",
        };
        let element = match self.outcome() {
            Outcome::Passed => None,
            Outcome::Failed => Some("failure"),
            Outcome::Error => Some("error"),
            Outcome::Skipped => Some("skipped"),
        };
        if let Some(element) = element {
            let message = escape(reason.as_deref().unwrap_or(&line));
            // A skipped test has no type in the format.
            let kind =
                if element == "skipped" { String::new() } else { format!(" type=\"{kind}\"") };
            let _ = writeln!(out, "      <{element} message=\"{message}\"{kind}/>");
        }
        let _ = writeln!(out, "      <system-out>{}</system-out>", escape(&line));
        out.push_str("    </testcase>\n");
    }
}

/// Text for XML, without the characters that XML cannot hold.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' | '\t' => out.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
