//! The table of passes.

use sterna_report::{Pass, PassKind, Report};

use crate::{
    number::or_dash,
    page::Page,
    table::{Column, Table},
};

/// A run that does not converge has hundreds of passes, of which the first ones show how it began
/// and the last ones how it ended.
const FIRST: usize = 8;
const LAST: usize = 16;

const MIB: f64 = 1_048_576.0;

/// One row for each pass; nothing when there was none.
pub fn section(report: &Report, page: &mut Page) {
    let passes = &report.passes;
    if passes.is_empty() {
        return;
    }
    page.heading("Passes, in pages of 4 KiB");
    let left_out = passes.len().saturating_sub(FIRST + LAST);
    let mut table = Table::new(columns());
    for pass in &passes[..FIRST.min(passes.len())] {
        table.row(row(pass));
    }
    for pass in &passes[(FIRST + left_out).min(passes.len())..] {
        table.row(row(pass));
    }
    page.table(&table);
    if left_out > 0 {
        page.note(&format!(
            "{left_out} rows after row {FIRST} are left out; the JSON has them all."
        ));
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::number("pass", 0),
        Column::number("start s", 6),
        Column::number("length s", 0),
        Column::number("sync ms", 3),
        Column::number("dirty", 2),
        Column::number("sent", 0),
        Column::number("zero", 5),
        Column::number("resent", 1),
        Column::number("wire MiB", 0),
        Column::number("Mbit/s", 0),
        Column::number("dirty MiB/s", 0),
        Column::number("touch MiB/s", 4),
        Column::number("dip %", 2),
    ]
}

fn row(pass: &Pass) -> Vec<String> {
    let number = match pass.kind {
        PassKind::Pass => pass.number.to_string(),
        PassKind::Final => "final".to_owned(),
    };
    let pages = |n: Option<u64>| or_dash(n, |n| n.to_string());
    let scaled = |value: Option<f64>, factor: f64, decimals: usize| {
        or_dash(value, |value| format!("{:.decimals$}", value * factor))
    };
    vec![
        number,
        format!("{:.3}", pass.started_seconds),
        scaled(pass.length_seconds, 1.0, 3),
        scaled(pass.sync_seconds, 1e3, 2),
        pages(pass.dirty_pages_at_sync),
        pages(pass.pages_sent),
        pages(pass.zero_pages),
        pages(pass.pages_resent),
        scaled(pass.wire_bytes.map(|bytes| bytes as f64), 1.0 / MIB, 1),
        scaled(pass.bandwidth_bytes_per_second, 8e-6, 0),
        scaled(pass.dirty_rate_bytes_per_second, 1.0 / MIB, 1),
        scaled(pass.touch_rate_bytes_per_second, 1.0 / MIB, 1),
        scaled(pass.guest_dip_percent, 1.0, 1),
    ]
}
