//! `sterna probe disk FILE --verify`: the proof.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde_json::json;
use sterna_probe::disk::{Verdict, verify};

use crate::args::ProbeFormat;
use crate::output::Output;
use crate::usage;

/// A record that was safe is not what it should be.
const CORRUPT: u8 = 4;

/// Checks a file of records; returns the exit code.
pub fn run(
    path: &Path,
    acknowledged: Option<&str>,
    format: ProbeFormat,
    output: Output,
) -> Result<u8> {
    let acknowledged = acknowledged.map(last).transpose()?.flatten();
    let verdict = verify(path, acknowledged)?;
    let text = match format {
        ProbeFormat::Json => format!("{:#}\n", document(&verdict, acknowledged)),
        ProbeFormat::Ndjson => format!("{}\n", document(&verdict, acknowledged)),
        ProbeFormat::Text => text(&verdict, acknowledged),
        ProbeFormat::OpenMetrics => {
            return Err(usage(anyhow!("--verify has no metrics; use --format text or json")));
        }
    };
    output.result(&text)?;
    Ok(if verdict.is_sound() { 0 } else { CORRUPT })
}

/// A number, or the last whole line of a file of numbers; None when it has none.
fn last(given: &str) -> Result<Option<u64>> {
    if let Ok(number) = given.parse() {
        return Ok(Some(number));
    }
    let text = std::fs::read_to_string(given)
        .with_context(|| {
            format!("--acknowledged {given} is neither a number nor a file that can be read")
        })
        .map_err(usage)?;
    // A line that was cut off may lack a digit.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let Some(line) = whole.lines().last() else { return Ok(None) };
    let number = line.trim().parse();
    let number = number.map_err(|_| {
        usage(anyhow!("--acknowledged {given} ends with `{line}`, which is no number of a record"))
    })?;
    Ok(Some(number))
}

fn text(verdict: &Verdict, acknowledged: Option<u64>) -> String {
    let Verdict { records, first, last, defects, tail_bytes, .. } = verdict;
    let mut lines = vec![match verdict.is_sound() {
        true => "Sound: no record that was safe is missing, torn or out of order".to_owned(),
        false => format!(
            "Corrupt: {} records missing, {} torn, {} out of order",
            defects.missing, defects.torn, defects.out_of_order
        ),
    }];
    let last = last.map_or("none".to_owned(), |it| it.to_string());
    lines.push(format!("  whole         {records} records, from {first} to {last}"));
    lines.push(match acknowledged {
        Some(number) => format!("  acknowledged  up to {number}"),
        None => "  acknowledged  unknown; what stands before a whole record is taken to have been"
            .to_owned(),
    });
    if *tail_bytes > 0 {
        lines.push(format!(
            "  at the end    {tail_bytes} bytes that are no whole record and were never promised"
        ));
    }
    for defect in &defects.first {
        lines.push(format!(
            "  record {}, at byte {}: {}",
            defect.number, defect.offset_bytes, defect.what
        ));
    }
    lines.join("\n") + "\n"
}

fn document(verdict: &Verdict, acknowledged: Option<u64>) -> serde_json::Value {
    let defects: Vec<_> = verdict
        .defects
        .first
        .iter()
        .map(|it| json!({ "number": it.number, "offset_bytes": it.offset_bytes, "what": it.what }))
        .collect();
    json!({
        "schema": "sterna-probe-disk",
        "schema_version": "1.0",
        "is_sound": verdict.is_sound(),
        "record_bytes": verdict.record_bytes,
        "records": verdict.records,
        "first": verdict.first,
        "last": verdict.last,
        "last_acknowledged": acknowledged,
        "missing": verdict.defects.missing,
        "torn": verdict.defects.torn,
        "out_of_order": verdict.defects.out_of_order,
        "tail_bytes": verdict.tail_bytes,
        "defects": defects,
    })
}
