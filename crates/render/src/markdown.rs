//! Reports as Markdown, short enough for a comment below a change.

use std::fmt::Write as _;

use sterna_report::{Report, Verdict};
use sterna_units::{human_bits_per_second, human_bytes, printable};

use crate::{
    html::{Named, title},
    number::{or_dash, seconds, three_digits},
    text::one_line,
    thresholds,
};

/// The most warnings of a run that are shown.
const MOST_WARNINGS: usize = 10;

/// A table of the runs, then what is to be known about each that did not just complete.
pub fn markdown(runs: &[Named<'_>]) -> String {
    let mut out = String::new();
    match runs {
        [one] => {
            single(&mut out, one.report);
            advice(&mut out, one.report);
        }
        several => table(&mut out, several),
    }
    for run in runs {
        warnings(&mut out, run, runs.len() > 1);
    }
    out
}

/// What would have ended it, with the command to try.
fn advice(out: &mut String, report: &Report) {
    if report.advice.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nAdvice:\n");
    for it in &report.advice {
        let _ = writeln!(out, "- {}", escape(&it.text));
        if let Some(command) = &it.command {
            let _ = writeln!(out, "\n  ```console\n  $ {}\n  ```", printable(command));
        }
    }
}

fn single(out: &mut String, report: &Report) {
    let _ = writeln!(out, "### {} {}\n", sign(report), escape(&title(report)));
    let _ = writeln!(out, "{}\n", escape(&one_line(report)));
    if let Some(reason) = &report.summary.verdict_reason {
        let _ = writeln!(out, "{}\n", escape(reason));
    }
    if let Some(line) = thresholds::line(report) {
        let _ = writeln!(out, "{}\n", escape(&line));
    }
    let _ = writeln!(out, "| | |\n|---|---:|");
    for (name, value) in rows(report) {
        let _ = writeln!(out, "| {name} | {} |", escape(&value));
    }
    out.push('\n');
}

fn verdict(report: &Report) -> &'static str {
    if report.engine.is_instrument { "no migration" } else { report.summary.verdict.as_str() }
}

fn rows(report: &Report) -> Vec<(&'static str, String)> {
    let summary = &report.summary;
    vec![
        ("Verdict", verdict(report).to_owned()),
        ("Memory", summary.integrity.to_string()),
        ("Total time", or_dash(summary.total_time_seconds, seconds)),
        ("Downtime", crate::downtime::short(report)),
        ("Blackout", or_dash(summary.blackout_seconds, seconds)),
        ("Lost work", lost_work(report)),
        ("On the wire", wire(report)),
        (
            "Bandwidth, mean",
            or_dash(summary.bandwidth_mean_bytes_per_second, human_bits_per_second),
        ),
        ("Passes", summary.passes.to_string()),
        ("Engine", report.engine.name.clone()),
    ]
}

fn table(out: &mut String, runs: &[Named<'_>]) {
    let _ = writeln!(
        out,
        "| run | verdict | memory | total time | downtime | blackout | lost work | on the wire | passes |"
    );
    let _ = writeln!(out, "|---|---|---|---:|---:|---:|---:|---:|---:|");
    for run in runs {
        let summary = &run.report.summary;
        let _ = writeln!(
            out,
            "| {} | {} {} | {} | {} | {} | {} | {} | {} | {} |",
            escape(run.name),
            sign(run.report),
            verdict(run.report),
            summary.integrity,
            or_dash(summary.total_time_seconds, seconds),
            crate::downtime::short(run.report),
            or_dash(summary.blackout_seconds, seconds),
            lost_work(run.report),
            or_dash(summary.wire_bytes.map(|it| it as f64), human_bytes),
            summary.passes,
        );
    }
    out.push('\n');
    for run in runs.iter().filter(|it| it.report.misses_a_threshold()) {
        if let Some(line) = thresholds::line(run.report) {
            let _ = writeln!(out, "- {}: {}", escape(run.name), escape(&line));
        }
    }
    for run in runs.iter().filter(|it| it.report.summary.verdict != Verdict::Completed) {
        if let Some(reason) = &run.report.summary.verdict_reason {
            let _ = writeln!(out, "- {}: {}", escape(run.name), escape(reason));
        }
    }
}

fn warnings(out: &mut String, run: &Named<'_>, with_name: bool) {
    let warnings = &run.report.warnings;
    if warnings.is_empty() {
        return;
    }
    let name = if with_name { format!(" of {}", escape(run.name)) } else { String::new() };
    let count = crate::number::count(warnings.len() as u64, "warning", "warnings");
    let _ = writeln!(out, "\n<details><summary>{count}{name}</summary>\n");
    for warning in warnings.iter().take(MOST_WARNINGS) {
        let _ = writeln!(out, "- {} ({})", escape(&warning.text), escape(&warning.code));
    }
    if warnings.len() > MOST_WARNINGS {
        let _ = writeln!(out, "- and {} more", warnings.len() - MOST_WARNINGS);
    }
    let _ = writeln!(out, "\n</details>");
}

fn sign(report: &Report) -> &'static str {
    crate::html::ending(report).sign
}

fn lost_work(report: &Report) -> String {
    let at_least = if report.summary.lost_work_lower_bound == Some(true) { "≥ " } else { "" };
    or_dash(report.summary.lost_work_seconds, |it| format!("{at_least}{}", seconds(it)))
}

fn wire(report: &Report) -> String {
    let times = report.summary.amplification.map(|it| format!(" ({} × memory)", three_digits(it)));
    let bytes = or_dash(report.summary.wire_bytes.map(|it| it as f64), human_bytes);
    format!("{bytes}{}", times.unwrap_or_default())
}

/// A text that stays a text: no markup, no element, no mention, and on one line.
pub fn escape(text: &str) -> String {
    let on_one_line = text.replace(['\n', '\r', '\t'], " ");
    let text = printable(&on_one_line);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '~' | '!' | '$' => {
                out.push('\\');
                out.push(c);
            }
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '@' => out.push_str("&#64;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_texts() {
        let table = [
            ("a|b", r"a\|b"),
            ("<img src=x>", "&lt;img src=x&gt;"),
            ("@everyone\n# big", r"&#64;everyone \# big"),
            ("[a](javascript:b)", r"\[a\](javascript:b)"),
            ("5 % of 2 s", "5 % of 2 s"),
            ("\u{1b}[2J", r"\\u001b\[2J"),
        ];
        for (given, expected) in table {
            assert_eq!(escape(given), expected);
        }
    }

    #[test]
    fn advice_of_a_run_is_in_markdown_and_page_as_text() {
        let text = include_str!("../../report/tests/data/completed-1.0.json");
        let mut report = Report::read(text).unwrap();
        report.advice.push(sterna_report::Advice {
            code: "technique".to_owned(),
            text: "post-copy <b>completes</b>".to_owned(),
            command: Some("sterna run --postcopy-after-passes 1".to_owned()),
            passes: Some(6),
        });
        let markdown = markdown(&[Named { name: "a", report: &report }]);
        assert!(markdown.contains("Advice:\n\n- post-copy &lt;b&gt;completes"), "{markdown}");
        assert!(markdown.contains("  $ sterna run --postcopy-after-passes 1\n"), "{markdown}");
        let page =
            crate::html::run(&report, crate::html::Scripts::Inside, crate::html::Detail::FULL, &[]);
        assert!(page.contains("post-copy &lt;b&gt;completes&lt;/b&gt; (from 6 passes)"));
        assert!(page.contains("<code>sterna run --postcopy-after-passes 1</code>"));
    }
}
