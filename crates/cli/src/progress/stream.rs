//! Events as NDJSON on stdout: `{"event": NAME, "data": {…}}`, one a line, flushed at each.

use anyhow::Result;
use serde_json::{Value, json};
use sterna_pilot::Notice;
use sterna_report::Report;

use super::Watcher;
use crate::output::Output;

/// Prints everything as it happens.
pub struct Stream {
    output: Output,
}

impl Stream {
    /// Prints to stdout.
    pub fn new(output: Output) -> Stream {
        Stream { output }
    }
}

impl Watcher for Stream {
    fn notice(&mut self, guest: Option<u32>, notice: &Notice) {
        let (event, mut data) = describe(notice);
        if let (Some(guest), Some(fields)) = (guest, data.as_object_mut()) {
            fields.insert("guest".to_owned(), guest.into());
        }
        // A stdout that fails for good is met again, and told, when the report is printed.
        let _ = self.output.result(&line(event, &data));
    }
}

/// The last line: the whole report.
pub fn stream_report(report: &Report, output: Output) -> Result<()> {
    Ok(output.result(&line("report", &serde_json::to_value(report)?))?)
}

fn line(event: &str, data: &Value) -> String {
    format!("{}\n", json!({ "event": event, "data": data }))
}

fn describe(notice: &Notice) -> (&'static str, Value) {
    match notice {
        Notice::Phase(phase) => ("phase", json!({ "phase": phase.as_str() })),
        Notice::Progress(it) => {
            ("progress", json!({ "what": it.what, "done": it.done, "total": it.total }))
        }
        Notice::Silence { elapsed_seconds, side, silent_seconds } => (
            "silence",
            json!({ "t_seconds": elapsed_seconds, "side": side, "silent_seconds": silent_seconds }),
        ),
        Notice::Status { elapsed_seconds, status, stalled_seconds } => (
            "status",
            json!({
                "t_seconds": elapsed_seconds,
                "state": status.state.as_str(),
                "pass": status.pass,
                "remaining_bytes": status.remaining_bytes,
                "transferred_bytes": status.transferred_bytes,
                "bandwidth_bytes_per_second": status.bandwidth_bytes_per_second,
                "dirty_rate_bytes_per_second": status.dirty_rate_bytes_per_second,
                "threshold_bytes": status.threshold_bytes,
                "expected_downtime_seconds": status.expected_downtime_seconds,
                "throttle_percent": status.throttle_percent,
                "stalled_seconds": stalled_seconds,
            }),
        ),
        Notice::Event { elapsed_seconds, kind, text } => {
            ("event", json!({ "t_seconds": elapsed_seconds, "kind": kind, "text": text }))
        }
    }
}
