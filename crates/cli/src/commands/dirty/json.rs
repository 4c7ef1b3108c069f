//! For programs: from what was seen to the documents of the `report` crate.

use anyhow::Result;
use sterna_report::Word;
use sterna_report::dirty::{
    DirtyCorruption, DirtyEnding, DirtyGap, DirtyInterval, DirtyReport, DirtySpec, DirtyStart,
    DirtySummary, DirtyTimes, LatencyCell, PageKind,
};
use sterna_sys::PAGE_BYTES;
use sterna_sys::region::HugePages;
use sterna_workload::{Corruption, Histogram, Pace};

use super::begin::Begin;
use super::look::{Stretch, Times, bytes};
use super::report::{Ending, Report};
use crate::args::DirtyOptions;
use crate::machine;

/// What is about to begin.
pub fn start(begin: &Begin<'_>, options: &DirtyOptions) -> DirtyStart {
    let (tool, host) = (machine::tool(), machine::host());
    let start = DirtyStart::new(tool, host, begin.started_at.clone(), spec(begin, options));
    DirtyStart { labels: options.telling.labels.iter().cloned().collect(), ..start }
}

/// One interval.
pub fn interval(stretch: &Stretch) -> DirtyInterval {
    DirtyInterval {
        start_seconds: stretch.start_seconds,
        end_seconds: stretch.end_seconds,
        touched_pages: stretch.touched_pages,
        touch_rate_pages_per_second: stretch.touch_rate(),
        touch_rate_bytes_per_second: stretch.touch_rate().map(bytes),
        distinct_pages: stretch.distinct_pages,
        dirty_rate_pages_per_second: stretch.dirty_rate(),
        dirty_rate_bytes_per_second: stretch.dirty_rate().map(bytes),
        load: stretch.load(),
        gaps: stretch.gaps,
        longest_gap_ns: stretch.longest_gap_ns,
        latency: stretch.times.map(times),
        since_due: stretch.since_due.map(times),
    }
}

/// The numbers in all.
pub fn summary(report: &Report<'_>) -> DirtySummary {
    let all = &report.all;
    DirtySummary {
        ended_by: report.ending.map(ending),
        duration_seconds: all.seconds(),
        touched_pages: all.touched_pages,
        touched_bytes: all.touched_pages * PAGE_BYTES as u64,
        touch_rate_pages_per_second: all.touch_rate(),
        touch_rate_bytes_per_second: all.touch_rate().map(bytes),
        asked_rate_pages_per_second: report.asked(),
        rate_reached: report.is_rate_reached(),
        full_speed_pages_per_second: report.full_speed,
        distinct_pages: all.distinct_pages,
        dirty_rate_pages_per_second: report.dirty_rate(),
        dirty_rate_bytes_per_second: report.dirty_rate().map(bytes),
        load: all.load(),
        cpu_seconds: all.cpu_ns.map(|it| it as f64 / 1e9),
        gaps: all.gaps,
        longest_gap_ns: all.longest_gap_ns,
        stalls_noted: report.stalls.map(|it| it.noted),
        stalls_lost: report.stalls.map(|it| it.lost),
        compressibility: report.compressibility,
        integrity: report.integrity(),
        pages_checked: report.verification.as_ref().map(|it| it.pages_checked),
        corrupt_pages: report.verification.as_ref().map(|it| it.corrupt_pages),
        latency: all.times.map(times),
        since_due: all.since_due.map(times),
        timing_clock_ns: report.timing.map(|it| it.clock_ns),
        timing_record_ns: report.timing.map(|it| it.record_ns),
    }
}

/// All that is known.
pub fn report(report: &Report<'_>, options: &DirtyOptions) -> DirtyReport {
    let corrupt = report.verification.iter().flat_map(|it| &it.corrupt);
    let is_timed = report.all.times.is_some();
    DirtyReport {
        start: start(report.begin, options),
        summary: summary(report),
        intervals: report.intervals.iter().map(interval).collect(),
        gaps: gaps(report),
        latency_cells: cells(report.latency),
        latency_mig_mon_buckets: is_timed.then(|| report.latency.mig_mon_buckets().to_vec()),
        corruptions: corrupt.map(corruption).collect(),
        warnings: report.warnings.clone(),
    }
}

/// Over several lines, with one at the end.
///
/// # Errors
/// None that is known; numbers, texts and lists always have a form in JSON.
pub fn pretty(document: &DirtyReport) -> Result<String> {
    // By way of a value, so that fields stand in the order of their names in every document.
    Ok(format!("{:#}\n", serde_json::to_value(document)?))
}

fn spec(begin: &Begin<'_>, options: &DirtyOptions) -> DirtySpec {
    let (plan, spec) = (begin.plan, &begin.plan.spec);
    let phases = (!spec.phases.is_empty()).then(|| spec.phases.to_string());
    DirtySpec {
        memory_bytes: spec.memory.0,
        workers: spec.workers,
        pattern: spec.pattern.to_string(),
        method: spec.method.to_string(),
        rate: spec.pace.to_string(),
        rate_bytes_per_second: match spec.pace {
            Pace::BytesPerSecond(rate) => Some(rate.bytes_per_second_f64()),
            Pace::PagesPerSecond(pages) => Some(bytes(pages.get() as f64)),
            _ => None,
        },
        catch_up: spec.catch_up,
        seed: spec.seed,
        latency: spec.latency,
        phases,
        repeat: spec.phases.repeat(),
        huge_pages: kind(plan.region.huge_pages),
        page_bytes: begin.pages.page_bytes(),
        huge_bytes: begin.pages.huge_bytes,
        locked: plan.region.locked,
        numa_nodes: plan.numa_nodes.clone(),
        cpus: plan.crew.cpus.clone(),
        remap: plan.crew.remap,
        verify: options.verify,
        verify_final: options.verify_final,
        duration_seconds: options.duration.map(|it| it.seconds()),
        interval_seconds: options.telling.interval.seconds(),
        text: spec.to_string(),
    }
}

fn kind(huge_pages: HugePages) -> PageKind {
    match huge_pages {
        HugePages::None => PageKind::None,
        HugePages::Thp => PageKind::Thp,
        HugePages::Size2MiB => PageKind::Size2MiB,
        HugePages::Size1GiB => PageKind::Size1GiB,
    }
}

fn ending(ending: Ending) -> DirtyEnding {
    match ending {
        Ending::Duration => DirtyEnding::Duration,
        Ending::Signal => DirtyEnding::Signal,
        Ending::Interrupted => DirtyEnding::Interrupted,
        Ending::Unread => DirtyEnding::Unread,
    }
}

fn times(times: Times) -> DirtyTimes {
    let [p50_ns, p90_ns, p99_ns, p99_9_ns, p99_99_ns, p99_999_ns] = times.percentiles_ns;
    let Times { count, mean_ns, max_ns, .. } = times;
    DirtyTimes { count, mean_ns, p50_ns, p90_ns, p99_ns, p99_9_ns, p99_99_ns, p99_999_ns, max_ns }
}

fn cells(histogram: &Histogram) -> Vec<LatencyCell> {
    let cells = histogram.cells();
    cells.map(|(from_ns, to_ns, count)| LatencyCell { from_ns, to_ns, count }).collect()
}

fn gaps(report: &Report<'_>) -> Vec<DirtyGap> {
    let start_ns = report.released_ns;
    let gap = |gap: &sterna_workload::Gap| DirtyGap {
        worker: gap.worker,
        start_seconds: gap.start_ns.saturating_sub(start_ns) as f64 / 1e9,
        length_ns: gap.length_ns(),
    };
    report.longest_gaps.iter().map(gap).collect()
}

fn corruption(found: &Corruption) -> DirtyCorruption {
    DirtyCorruption {
        page: found.page as u64,
        offset_bytes: found.offset_bytes as u64,
        expected: Word(found.expected),
        found: Word(found.found),
    }
}
