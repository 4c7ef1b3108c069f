//! For people: one line for each interval, and a summary.

use std::fmt::Write;

use sterna_units::{Bytes, human_bytes, human_bytes_per_second};
use sterna_workload::Histogram;

use super::begin::Begin;
use super::look::{PERCENTILES, Stretch, Times, bytes};
use super::report::{Ending, Report};
use crate::args::{Buckets, DirtyOptions};

/// What an unknown number looks like.
const UNKNOWN: &str = "–";

/// So many of the percentiles are told for each interval.
const IN_INTERVALS: usize = 4;

/// What is about to begin.
pub fn start(begin: &Begin<'_>, options: &DirtyOptions) -> String {
    let spec = &begin.plan.spec;
    let workers = if spec.workers == 1 { "worker" } else { "workers" };
    let mut text = format!(
        "Dirtying {memory} ({kind}) with {count} {workers}: {pattern}, {method}, {pace}\n",
        memory = human_bytes(spec.memory.0 as f64),
        kind = kind(begin),
        count = spec.workers,
        pattern = spec.pattern,
        method = spec.method,
        pace = spec.pace,
    );
    if options.duration.is_none() {
        text += "Until SIGINT or SIGTERM; SIGUSR2 prints a summary\n";
    }
    let _ = write!(
        text,
        "\n{:>9}  {:>24}  {:>12}  {:>6}  {:>9}",
        "time", "touch rate", "dirty rate", "load", "stall"
    );
    if spec.latency {
        PERCENTILES.iter().take(IN_INTERVALS).for_each(|(name, _)| {
            let _ = write!(text, "  {name:>8}");
        });
        let _ = write!(text, "  {:>8}", "max");
    }
    text + "\n"
}

/// One interval.
pub fn interval(stretch: &Stretch) -> String {
    let pages = stretch.touch_rate().map_or(UNKNOWN.to_owned(), |it| format!("{it:.0} p/s"));
    let touch = format!("{pages} {:>11}", rate(stretch.touch_rate()));
    let mut text = format!(
        "{time:>7.1} s  {touch:>24}  {dirty:>12}  {load:>6}  {stall:>9}",
        time = stretch.end_seconds,
        dirty = rate(stretch.dirty_rate()),
        load = load(stretch.load()),
        stall = stretch.longest_gap_ns.map_or(UNKNOWN.to_owned(), time),
    );
    if let Some(times) = stretch.times {
        for ns in times.percentiles_ns.into_iter().take(IN_INTERVALS).chain([times.max_ns]) {
            let _ = write!(text, "  {:>8}", optional_time(ns));
        }
    }
    text + "\n"
}

/// All of it, at the end or in the middle.
pub fn summary(report: &Report<'_>, buckets: Option<Buckets>) -> String {
    let mut text = String::from("\n");
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<16}{value}");
    };
    let all = &report.all;
    row("time", format!("{:.3} s{}", all.seconds(), ending(report.ending)));
    row("touch rate", rates(all.touch_rate()));
    if let Some(asked) = report.asked() {
        let reached = all
            .touch_rate()
            .map_or(UNKNOWN.to_owned(), |it| format!("{:.2} %", it / asked * 100.0));
        row("", format!("{reached} of the {} that were asked for", rate(Some(asked))));
    }
    if let Some(full) = report.full_speed {
        row("", format!("{} without a limit, as found at start", rate(Some(full as f64))));
    }
    row(
        "dirty rate",
        format!("{} of distinct pages within an interval", rates(report.dirty_rate())),
    );
    row(
        "written",
        format!(
            "{} pages, {} of them distinct ({})",
            all.touched_pages,
            all.distinct_pages,
            human_bytes(bytes(all.distinct_pages as f64))
        ),
    );
    row("load", format!("{} of a processor for each worker", load(all.load())));
    row("stalls", gaps(report));
    if let Some(ratio) = report.compressibility {
        row(
            "compressibility",
            format!("{ratio:.2} × smaller by zstd level 1, page by page, on a sample"),
        );
    }
    row("integrity", integrity(report));
    text += &corrupt_pages(report);
    text += &latency(report);
    if buckets == Some(Buckets::MigMon) {
        text += &mig_mon(report.latency);
    }
    text
}

fn kind(begin: &Begin<'_>) -> String {
    let locked = if begin.plan.region.locked { ", locked" } else { "" };
    format!("{}{locked}", begin.pages.text())
}

fn ending(ending: Option<Ending>) -> &'static str {
    match ending {
        None => ", and going on",
        Some(Ending::Interrupted) => ", interrupted",
        Some(Ending::Duration | Ending::Signal | Ending::Unread) => "",
    }
}

fn rate(pages_per_second: Option<f64>) -> String {
    pages_per_second.map_or(UNKNOWN.to_owned(), |it| human_bytes_per_second(bytes(it)))
}

fn rates(pages_per_second: Option<f64>) -> String {
    pages_per_second.map_or(UNKNOWN.to_owned(), |it| {
        format!("{} ({it:.0} pages/s)", human_bytes_per_second(bytes(it)))
    })
}

fn load(load: Option<f64>) -> String {
    load.map_or(UNKNOWN.to_owned(), |it| format!("{:.1} %", it * 100.0))
}

fn gaps(report: &Report<'_>) -> String {
    let all = &report.all;
    let longest = all.longest_gap_ns.map_or("none of 2 ms or more".to_owned(), |ns| {
        format!("{} of 2 ms or more, the longest {}", all.gaps, time(ns))
    });
    let noted = report.stalls.map(|it| {
        let lost =
            if it.lost > 0 { format!(", {} more came too fast", it.lost) } else { String::new() };
        format!("; {} single writes noted{lost}", it.noted)
    });
    longest + &noted.unwrap_or_default()
}

fn integrity(report: &Report<'_>) -> String {
    let word = report.integrity();
    match &report.verification {
        Some(found) if !found.is_clean() => {
            format!(
                "{word}: {} pages are not as they must be, of {} looks",
                found.corrupt_pages, found.pages_checked
            )
        }
        Some(found) => format!("{word}, {} looks at pages", found.pages_checked),
        None => word.to_string(),
    }
}

fn corrupt_pages(report: &Report<'_>) -> String {
    let corrupt = report.verification.iter().flat_map(|it| &it.corrupt);
    corrupt.fold(String::new(), |text, it| {
        format!(
            "{text}  page {} ({} from the start), offset {}: expected {:#018x}, found {:#018x}\n",
            it.page,
            Bytes(it.page as u64 * 4096),
            it.offset_bytes,
            it.expected,
            it.found
        )
    })
}

fn latency(report: &Report<'_>) -> String {
    let Some(times) = report.all.times else { return String::new() };
    let mean = times.mean_ns.unwrap_or_default();
    let mut text = format!("\n{:<16}{} writes, mean {mean:.1} ns\n", "latency", times.count);
    let due = report.all.since_due;
    if due.is_some() {
        let _ = writeln!(text, "{:<16}{:>10}  {:>10}", "", "service", "since due");
    }
    let of = |times: Times| times.percentiles_ns.into_iter().chain([times.max_ns]);
    let mut due = due.map(of);
    let names = PERCENTILES.iter().map(|it| it.0).chain(["max"]);
    for (name, ns) in names.zip(of(times)) {
        let _ = write!(text, "  {name:<14}{:>10}", optional_time(ns));
        let due = due.as_mut().and_then(Iterator::next);
        let due = due.map_or(String::new(), |ns| format!("  {:>10}", optional_time(ns)));
        let _ = writeln!(text, "{due}");
    }
    if due.is_some() {
        text += "  since due: from when the rate made a page due to the end of its write, stalls included\n";
    }
    if let Some(cost) = report.timing {
        let _ = writeln!(
            text,
            "  timing a write costs {:.1} ns for the clock and {:.1} ns to record it",
            cost.clock_ns, cost.record_ns
        );
    }
    text
}

/// The buckets of mig_mon: a write is in the first whose label it stays below.
fn mig_mon(latency: &Histogram) -> String {
    let mut text = String::from("\nlatency in mig_mon's buckets\n");
    for (power, count) in latency.mig_mon_buckets().into_iter().enumerate() {
        let _ = writeln!(text, "  {:>8} us: {count:>14}", 1u64 << power);
    }
    text
}

fn optional_time(ns: Option<u64>) -> String {
    ns.map_or(UNKNOWN.to_owned(), time)
}

/// Three digits and a unit.
fn time(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        let check = |ns: u64, expected: &str| assert_eq!(time(ns), expected);
        check(0, "0 ns");
        check(999, "999 ns");
        check(1_234, "1.23 µs");
        check(45_600, "45.6 µs");
        check(789_000_000, "789 ms");
        check(12_000_000_000, "12.0 s");
    }
}
