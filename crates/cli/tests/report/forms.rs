//! Forms for programs and for comments.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::{batch, real_report, report, rich_report, sterna, words, write};

#[test]
fn a_real_report_can_be_shown_in_every_form() {
    let directory = tempfile::tempdir().unwrap();
    let input = real_report(directory.path());
    let input = input.to_str().unwrap();
    assert!(report(&["summary", input]).starts_with("Completed: memory verified"));
    assert!(report(&["markdown", input]).starts_with("### ✓ a real run"));
    assert!(report(&["junit", input]).contains("tests=\"1\" failures=\"0\""));
    assert!(report(&["openmetrics", input]).ends_with("# EOF\n"));
    let page = report(&["html", input, "-o", "-"]);
    assert!(
        page.starts_with("<!DOCTYPE html>")
            && page.contains("<title>Completed in ")
            && page.contains(" · a real run</title>")
    );
}

#[test]
fn a_corrupt_memory_is_exit_code_4_in_every_form() {
    let directory = tempfile::tempdir().unwrap();
    let mut corrupt = rich_report(10);
    corrupt["summary"]["integrity"] = json!("corrupt");
    let input = write(&directory.path().join("a.json"), &corrupt);
    for form in ["summary", "html", "markdown", "csv", "openmetrics", "junit"] {
        let output = sterna(&["report", form, &input]);
        assert_eq!(output.status.code(), Some(4), "{form}: {}", words(&output.stderr));
    }
}

#[test]
fn rows_of_values_have_as_many_fields_as_their_heading() {
    let directory = tempfile::tempdir().unwrap();
    let a = write(&directory.path().join("a.json"), &rich_report(50));
    let b = write(&directory.path().join("b.json"), &rich_report(70));
    let out = directory.path().join("tables/");
    report(&["csv", &a, &b, "-o", &format!("{}/", out.display())]);
    let expected = [
        ("summary", 2),
        ("passes", 10),
        ("timeline", 120),
        ("guest", 480),
        ("cpu", 2400),
        ("events", 6),
        ("outages", 4),
    ];
    for (table, rows) in expected {
        let text = fs::read_to_string(out.join(format!("{table}.csv"))).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), rows + 1, "{table}");
        let fields = lines[0].split(',').count();
        assert!(lines.iter().all(|it| it.split(',').count() == fields), "{table}: {}", lines[1]);
    }
    let summary = report(&["csv", &a]);
    let (head, row) = summary.split_once("\r\n").unwrap();
    let value = |column: &str| {
        let at = head.split(',').position(|it| it == column).unwrap();
        row.trim_end().split(',').nth(at).unwrap().to_owned()
    };
    assert_eq!(value("run"), "a");
    assert_eq!(value("downtime_seconds"), "0.2");
    assert_eq!(value("verdict_reason"), "");
    assert_eq!(value("longest_outage_seconds"), "0.21");
    assert_eq!(value("cpu_destination_seconds"), "");
}

#[test]
fn every_column_is_told_of_in_the_docs() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reports.md");
    let docs = fs::read_to_string(docs).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let input = write(&directory.path().join("a.json"), &rich_report(10));
    for table in ["summary", "passes", "timeline", "guest", "cpu", "events", "outages"] {
        let text = report(&["csv", &input, "--table", table]);
        for column in text.lines().next().unwrap().split(',') {
            assert!(docs.contains(&format!("`{column}`")), "{table}: {column}");
        }
    }
}

#[test]
fn metrics_are_well_formed() {
    let directory = tempfile::tempdir().unwrap();
    let a = write(&directory.path().join("a.json"), &rich_report(10));
    let mut unknown = rich_report(10);
    unknown["summary"]["downtime_seconds"] = json!(null);
    let b = write(&directory.path().join("b\"\\.json"), &unknown);
    let text = report(&["openmetrics", &a, &b]);
    let mut lines = text.lines().peekable();
    let mut families = Vec::new();
    while let Some(line) = lines.next() {
        if line == "# EOF" {
            assert!(lines.next().is_none(), "nothing follows the end");
            break;
        }
        let family = line.strip_prefix("# TYPE ").unwrap_or_else(|| panic!("{line}"));
        let (name, kind) = family.split_once(' ').unwrap();
        assert!(!families.contains(&name.to_owned()), "{name} twice");
        families.push(name.to_owned());
        if let Some(unit) = lines.next_if(|it| it.starts_with("# UNIT ")) {
            let unit = unit.strip_prefix(&format!("# UNIT {name} ")).unwrap();
            assert!(name.ends_with(&format!("_{unit}")), "{name} {unit}");
        }
        assert!(lines.next().unwrap().starts_with(&format!("# HELP {name} ")));
        let suffix = if kind == "info" { "_info" } else { "" };
        let mut samples = 0;
        while let Some(sample) = lines.next_if(|it| !it.starts_with('#')) {
            assert!(sample.starts_with(&format!("{name}{suffix}{{run=\"")), "{sample}");
            let value = sample.rsplit_once("} ").unwrap().1;
            assert!(value.parse::<f64>().unwrap().is_finite(), "{sample}");
            samples += 1;
        }
        assert!(samples > 0, "{name}");
    }
    assert!(text.contains("sterna_downtime_seconds{run=\"a\"} 0.2\n"), "{text}");
    assert!(!text.contains("sterna_downtime_seconds{run=\"b"), "what is unknown has no sample");
    assert!(text.contains("run=\"b\\\"\\\\\""), "{text}");
}

#[test]
fn each_run_of_a_batch_is_a_test() {
    let directory = tempfile::tempdir().unwrap();
    let batch = batch(directory.path());
    let text = report(&["junit", batch.to_str().unwrap()]);
    assert!(
        text.contains(
            "<testsuites name=\"techniques\" tests=\"4\" failures=\"1\" errors=\"1\" skipped=\"0\""
        ),
        "{text}"
    );
    assert!(
        text.contains("<failure message=\"Limit reached: 60 s\" type=\"cancelled\"/>"),
        "{text}"
    );
    assert!(text.contains("type=\"no-report\""), "{text}");
    let markdown = report(&["markdown", batch.to_str().unwrap()]);
    assert!(markdown.contains("| run | verdict |"), "{markdown}");
    assert!(markdown.contains("No report was left, exit code 1"), "{markdown}");
    let summary = report(&["summary", batch.to_str().unwrap()]);
    assert_eq!(summary.lines().count(), 4, "{summary}");
}

#[test]
fn a_report_may_come_by_a_pipe() {
    let directory = tempfile::tempdir().unwrap();
    let input = write(&directory.path().join("a.json"), &rich_report(10));
    let child = Command::new(env!("CARGO_BIN_EXE_sterna"))
        .args(["report", "summary", "-"])
        .stdin(fs::File::open(input).unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(words(&child.wait_with_output().unwrap().stdout).starts_with("Completed"));
}
