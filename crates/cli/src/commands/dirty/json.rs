//! For programs: units in names, null for what is not known.

use std::path::Path;

use anyhow::Result;
use serde_json::{Map, Value, json};
use sterna_sys::region::HugePages;
use sterna_workload::{Corruption, Histogram, Pace};

use super::look::{PERCENTILES, Stretch, Times, bytes};
use super::plan::Plan;
use super::report::Report;
use crate::args::DirtyOptions;
use crate::machine;

/// What kind of document this is.
const SCHEMA: &str = "sterna-dirty";
/// Additions raise the second number; nothing is renamed within the first.
const SCHEMA_VERSION: &str = "1.0";
/// What is about to begin.
pub fn start(plan: &Plan, options: &DirtyOptions, started_at: &str) -> Value {
    json!({
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "tool": { "name": "sterna", "version": env!("CARGO_PKG_VERSION") },
        "host": machine::host(),
        "started_at": started_at,
        "labels": labels(options),
        "spec": spec(plan, options),
    })
}

/// One interval.
pub fn interval(stretch: &Stretch) -> Value {
    json!({
        "start_seconds": stretch.start_seconds,
        "end_seconds": stretch.end_seconds,
        "touched_pages": stretch.touched_pages,
        "touch_rate_pages_per_second": stretch.touch_rate(),
        "touch_rate_bytes_per_second": stretch.touch_rate().map(bytes),
        "distinct_pages": stretch.distinct_pages,
        "dirty_rate_pages_per_second": stretch.dirty_rate(),
        "dirty_rate_bytes_per_second": stretch.dirty_rate().map(bytes),
        "load": stretch.load(),
        "gaps": stretch.gaps,
        "longest_gap_ns": stretch.longest_gap_ns,
        "latency": stretch.times.map(latency),
    })
}

/// The numbers in all.
pub fn summary(report: &Report<'_>) -> Value {
    let all = &report.all;
    json!({
        "ended_by": report.ending.map(|it| it.as_str()),
        "duration_seconds": all.seconds(),
        "touched_pages": all.touched_pages,
        "touched_bytes": all.touched_pages * sterna_sys::PAGE_BYTES as u64,
        "touch_rate_pages_per_second": all.touch_rate(),
        "touch_rate_bytes_per_second": all.touch_rate().map(bytes),
        "asked_rate_pages_per_second": report.asked(),
        "rate_reached": report.is_rate_reached(),
        "full_speed_pages_per_second": report.full_speed,
        "distinct_pages": all.distinct_pages,
        "dirty_rate_pages_per_second": report.dirty_rate(),
        "dirty_rate_bytes_per_second": report.dirty_rate().map(bytes),
        "load": all.load(),
        "cpu_seconds": all.cpu_ns.map(|it| it as f64 / 1e9),
        "gaps": all.gaps,
        "longest_gap_ns": all.longest_gap_ns,
        "stalls_noted": report.stalls.map(|it| it.noted),
        "stalls_lost": report.stalls.map(|it| it.lost),
        "compressibility": report.compressibility,
        "integrity": report.integrity(),
        "pages_checked": report.verification.as_ref().map(|it| it.pages_checked),
        "corrupt_pages": report.verification.as_ref().map(|it| it.corrupt_pages),
        "latency": all.times.map(latency),
        "timing_clock_ns": report.timing.map(|it| it.clock_ns),
        "timing_record_ns": report.timing.map(|it| it.record_ns),
    })
}

/// All that is known.
pub fn report(report: &Report<'_>, options: &DirtyOptions) -> Value {
    let mut document = match start(report.plan, options, report.started_at) {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    let mut add = |name: &str, value: Value| document.insert(name.to_owned(), value);
    add("summary", summary(report));
    add("intervals", report.intervals.iter().map(interval).collect());
    add("gaps", gaps(report));
    add("latency_cells", cells(report.latency));
    let buckets = report.all.times.map(|_| report.latency.mig_mon_buckets());
    add("latency_mig_mon_buckets", json!(buckets));
    let corrupt = report.verification.iter().flat_map(|it| &it.corrupt);
    add("corruptions", corrupt.map(corruption).collect());
    add("warnings", json!(report.warnings));
    Value::Object(document)
}

/// Over several lines, with one at the end.
pub fn pretty(document: &Value) -> String {
    format!("{document:#}\n")
}

/// To a file, which is whole or not there.
///
/// # Errors
/// It cannot be written.
pub fn write(document: &Value, path: &Path) -> Result<()> {
    Ok(sterna_report::write_atomically(path, pretty(document).as_bytes())?)
}

fn labels(options: &DirtyOptions) -> Value {
    let labels = options.telling.labels.iter();
    Value::Object(labels.map(|(name, value)| (name.clone(), json!(value))).collect())
}

fn spec(plan: &Plan, options: &DirtyOptions) -> Value {
    let spec = &plan.spec;
    let phases = (!spec.phases.is_empty()).then(|| spec.phases.to_string());
    json!({
        "memory_bytes": spec.memory.0,
        "workers": spec.workers,
        "pattern": spec.pattern.to_string(),
        "method": spec.method.to_string(),
        "rate": spec.pace.to_string(),
        "rate_bytes_per_second": match spec.pace {
            Pace::BytesPerSecond(rate) => Some(rate.bytes_per_second_f64()),
            Pace::PagesPerSecond(pages) => Some(bytes(pages.get() as f64)),
            _ => None,
        },
        "catch_up": spec.catch_up,
        "seed": spec.seed,
        "latency": spec.latency,
        "phases": phases,
        "repeat": spec.phases.repeat(),
        "huge_pages": match plan.region.huge_pages {
            HugePages::None => "none",
            HugePages::Thp => "thp",
            HugePages::Size2MiB => "2MiB",
            HugePages::Size1GiB => "1GiB",
        },
        "page_bytes": plan.region.huge_pages.page_bytes(),
        "locked": plan.region.locked,
        "numa_nodes": plan.numa_nodes,
        "cpus": plan.crew.cpus,
        "remap": plan.crew.remap,
        "verify": options.verify,
        "verify_final": options.verify_final,
        "duration_seconds": options.duration.map(|it| it.seconds()),
        "interval_seconds": options.telling.interval.seconds(),
        "text": spec.to_string(),
    })
}

fn latency(times: Times) -> Value {
    let mut object = Map::new();
    object.insert("count".to_owned(), json!(times.count));
    object.insert("mean_ns".to_owned(), json!(times.mean_ns));
    for ((name, _), ns) in PERCENTILES.iter().zip(times.percentiles_ns) {
        object.insert(format!("{}_ns", name.replace('.', "_")), json!(ns));
    }
    object.insert("max_ns".to_owned(), json!(times.max_ns));
    Value::Object(object)
}

fn cells(histogram: &Histogram) -> Value {
    let cells = histogram.cells();
    cells
        .map(|(low, high, count)| json!({ "from_ns": low, "to_ns": high, "count": count }))
        .collect()
}

fn gaps(report: &Report<'_>) -> Value {
    let start_ns = report.released_ns;
    let gaps = report.longest_gaps.iter();
    gaps.map(|gap| {
        let start_seconds = gap.start_ns.saturating_sub(start_ns) as f64 / 1e9;
        json!({ "worker": gap.worker, "start_seconds": start_seconds, "length_ns": gap.length_ns() })
    })
    .collect()
}

/// Words as texts, because many readers take numbers for floats and lose their last bits.
fn corruption(found: &Corruption) -> Value {
    json!({
        "page": found.page,
        "offset_bytes": found.offset_bytes,
        "expected": format!("{:#018x}", found.expected),
        "found": format!("{:#018x}", found.found),
    })
}
