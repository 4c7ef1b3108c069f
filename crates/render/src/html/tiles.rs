//! The numbers that a reader wants first.

use maud::{Markup, html};
use sterna_report::{Integrity, Report, Verdict};
use sterna_units::{human_bits_per_second, human_bytes, human_bytes_per_second};

use crate::number::{UNKNOWN, count, or_unknown, seconds, three_digits};

/// One number with its name, and what belongs to it in small.
struct Tile {
    name: &'static str,
    value: String,
    below: String,
    class: &'static str,
}

/// The headline numbers of a run.
pub fn tiles(report: &Report) -> Markup {
    let mut tiles = vec![
        integrity(report),
        total(report),
        downtime(report),
        blackout(report),
        lost_work(report),
        guest(report),
        wire(report),
        dirty(report),
    ];
    tiles.extend(disk(report));
    html! {
        dl.tiles {
            @for tile in &tiles {
                div class={ "tile " (tile.class) } {
                    dt { (tile.name) }
                    dd { (value(&tile.value)) @if !tile.below.is_empty() { small { (tile.below) } } }
                }
            }
        }
    }
}

/// A number larger than its unit.
fn value(text: &str) -> Markup {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '≥');
    match text.rsplit_once(' ').filter(|_| is_number) {
        Some((number, unit)) => html! { span.value { (number) span.unit { " " (unit) } } },
        None => html! { span.value.words { (text) } },
    }
}

fn tile(name: &'static str, value: String, below: String) -> Tile {
    let class = if value == UNKNOWN { "unknown" } else { "" };
    Tile { name, value, below, class }
}

fn integrity(report: &Report) -> Tile {
    let summary = &report.summary;
    let below = match &summary.integrity_detail {
        Some(it) if it.corrupt_pages > 0 => {
            format!("{} of {} pages are wrong", it.corrupt_pages, it.pages_checked)
        }
        Some(it) if it.writes_after_go.is_some_and(|writes| writes > 0) => {
            "two copies of the guest ran".to_owned()
        }
        Some(it) => {
            let pages = count(it.pages_checked, "page", "pages");
            match it.memory_pages.filter(|all| *all > it.pages_checked) {
                Some(all) => {
                    let percent = it.pages_checked as f64 * 100.0 / all as f64;
                    format!("{pages} compared, {percent:.0} % of memory")
                }
                None => format!("{pages} compared"),
            }
        }
        None => String::new(),
    };
    let integrity = summary.memory_integrity();
    let class = match integrity {
        Integrity::Verified => "good",
        Integrity::Corrupt => "bad",
        Integrity::Unchecked => "doubtful",
    };
    Tile { class, ..tile("Memory", integrity.as_str().to_owned(), below) }
}

fn disk(report: &Report) -> Option<Tile> {
    let disk = report.summary.disk_integrity.as_ref()?;
    let (class, word, below) = match disk.wrong_records() {
        0 => (
            "good",
            "sound",
            format!("{} read again", count(disk.records_checked, "record", "records")),
        ),
        wrong => {
            ("bad", "corrupt", format!("{wrong} of {} records are wrong", disk.records_checked))
        }
    };
    Some(Tile { class, ..tile("Disk", word.to_owned(), below) })
}

fn total(report: &Report) -> Tile {
    let summary = &report.summary;
    let passes = count(summary.passes, "pass", "passes");
    let below = match summary.convergence_pass {
        Some(pass) => format!("{passes}, converged in pass {pass}"),
        None => passes,
    };
    tile("Total time", or_unknown(summary.total_time_seconds, seconds), below)
}

fn downtime(report: &Report) -> Tile {
    let summary = &report.summary;
    let Some(downtime) = summary.downtime_seconds else {
        return without_downtime(report);
    };
    let mut below: Vec<String> = Vec::new();
    below.extend(summary.downtime_uncertainty_seconds.map(|it| format!("± {}", seconds(it))));
    if let Some(over) = summary.downtime_over_limit() {
        let limit = or_unknown(summary.downtime_limit_seconds, seconds);
        below.push(format!("above the limit of {limit} by {}", seconds(over)));
        return Tile { class: "bad", ..tile("Downtime", seconds(downtime), below.join(", ")) };
    }
    below.extend(
        crate::text::setting(report, "migration", "downtime-limit").map(|it| format!("limit {it}")),
    );
    tile("Downtime", seconds(downtime), below.join(", "))
}

fn without_downtime(report: &Report) -> Tile {
    let summary = &report.summary;
    let has_moved = matches!(summary.verdict, Verdict::Completed | Verdict::CompletedForced);
    match summary.downtime_claimed_seconds {
        Some(_) => tile("Downtime", "unknown".to_owned(), crate::downtime::claim(report)),
        None if has_moved => tile("Downtime", "unknown".to_owned(), "not measured".to_owned()),
        None => tile("Downtime", "none".to_owned(), "the guest was never switched over".to_owned()),
    }
}

fn blackout(report: &Report) -> Tile {
    let summary = &report.summary;
    let below = match summary.blackout_phase {
        Some(phase) => {
            format!("longest time without progress, {}", crate::text::blackout_phase(phase))
        }
        None => "longest time without progress in the guest".to_owned(),
    };
    let value = match (summary.blackout_seconds, summary.blackout_resolution_seconds) {
        (Some(0.0), Some(resolution)) => format!("under {}", seconds(resolution)),
        (blackout, _) => or_unknown(blackout, seconds),
    };
    tile("Blackout", value, below)
}

fn lost_work(report: &Report) -> Tile {
    let summary = &report.summary;
    let at_least = if summary.lost_work_lower_bound == Some(true) { "≥ " } else { "" };
    let value = or_unknown(summary.lost_work_seconds, |it| format!("{at_least}{}", seconds(it)));
    let back = summary.resumption.at_95_percent_seconds;
    let below = match back {
        Some(back) => format!("back at 95 % after {}", seconds(back)),
        None => "of guest time".to_owned(),
    };
    tile("Lost work", value, below)
}

fn guest(report: &Report) -> Tile {
    let summary = &report.summary;
    let share = summary
        .baseline_pages_per_second
        .filter(|it| *it > 0.0)
        .zip(summary.touch_rate_pages_per_second)
        .map(|(baseline, during)| 100.0 * during / baseline);
    let value = or_unknown(share, |it| format!("{it:.0} %"));
    let below = match summary.touch_rate_bytes_per_second {
        Some(rate) => format!("of its baseline; wrote {}", human_bytes_per_second(rate)),
        None => "of its baseline".to_owned(),
    };
    tile("Guest speed", value, below)
}

fn wire(report: &Report) -> Tile {
    let summary = &report.summary;
    let mut below: Vec<String> = Vec::new();
    below.extend(summary.amplification.map(|it| format!("{} × memory", three_digits(it))));
    below.extend(summary.bandwidth_mean_bytes_per_second.map(human_bits_per_second));
    let bytes = summary.wire_bytes.map(|it| it as f64);
    tile("On the wire", or_unknown(bytes, human_bytes), below.join(", "))
}

fn dirty(report: &Report) -> Tile {
    let summary = &report.summary;
    let below = match summary.pages_resent {
        Some(pages) => format!("{} sent again", count(pages, "page", "pages")),
        None => "distinct pages".to_owned(),
    };
    let rate = summary.dirty_rate_bytes_per_second;
    if summary.dirty_rate_lower_bound == Some(true) {
        let value = or_unknown(rate, |it| format!("≥ {}", human_bytes_per_second(it)));
        return tile("Dirty rate", value, "every page was written again in every pass".to_owned());
    }
    tile("Dirty rate", or_unknown(rate, human_bytes_per_second), below)
}
