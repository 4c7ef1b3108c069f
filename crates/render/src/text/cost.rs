//! What the migration cost the two hosts.

use std::collections::BTreeMap;

use sterna_report::{ClassCpu, Report};
use sterna_units::Bytes;

use crate::{
    number::{UNKNOWN, or_dash},
    page::Page,
    table::{Column, Table},
};

/// CPU time by class of threads, and resident memory, both sides beside each other.
pub fn section(report: &Report, page: &mut Page) {
    let cpu = &report.summary.cpu;
    page.heading("Hosts");
    if cpu.source.is_empty() && cpu.destination.is_empty() {
        page.row("CPU", UNKNOWN);
    } else {
        page.table(&cpu_table(&cpu.source, &cpu.destination));
    }
    let resident = |bytes: Option<u64>| or_dash(bytes, |bytes| Bytes(bytes).human());
    let peak = &report.summary.resident_peak_bytes;
    page.row(
        "resident peak",
        &format!("source {}, destination {}", resident(peak.source), resident(peak.destination)),
    );
}

fn cpu_table(source: &[ClassCpu], destination: &[ClassCpu]) -> Table {
    let mut classes: BTreeMap<&str, [Option<&ClassCpu>; 2]> = BTreeMap::new();
    for (side, list) in [source, destination].into_iter().enumerate() {
        for cpu in list {
            classes.entry(&cpu.class).or_default()[side] = Some(cpu);
        }
    }
    let mut table = Table::new(vec![
        Column::word("CPU by threads"),
        Column::number("source s", 0),
        Column::number("cores", 0),
        Column::number("destination s", 0),
        Column::number("cores", 0),
    ]);
    for (class, sides) in classes {
        let cells = sides.iter().flat_map(|cpu| cells(*cpu));
        table.row(std::iter::once(format!("  {class}")).chain(cells).collect());
    }
    table
}

fn cells(cpu: Option<&ClassCpu>) -> [String; 2] {
    [
        or_dash(cpu, |cpu| format!("{:.3}", cpu.cpu_seconds)),
        or_dash(cpu.and_then(|cpu| cpu.cores_mean), |cores| format!("{cores:.2}")),
    ]
}
