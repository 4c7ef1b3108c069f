//! The first page of a batch: which technique made the guest's migration complete over which link.

use maud::{Markup, html};
use sterna_report::Report;
use sterna_units::human_bytes;

use super::{
    Named,
    labels::{self, Ending, ending},
    overlay,
    script::Scripts,
    shell::Shell,
};
use crate::number::{DASH, seconds};

/// One run of a batch. Of its report the headline numbers are enough.
pub struct BatchRun {
    /// A name that no other run has.
    pub name: String,
    /// The row of the grid in which it stands.
    pub variant: String,
    /// The column.
    pub point: String,
    /// By what it was run.
    pub engine: String,
    /// What was seen; `None` where the run left no report.
    pub report: Option<Report>,
    /// What stands in the cell of a run without a report.
    pub without_report: String,
    /// Its page, as seen from the index.
    pub page: Option<String>,
    /// The page on which its row lies over each other, as seen from the index.
    pub row_page: Option<String>,
}

/// A batch to be shown.
pub struct Batch {
    /// The name of its suite.
    pub suite: String,
    /// What the suite is for.
    pub about: String,
    /// In their order.
    pub runs: Vec<BatchRun>,
}

/// A number that the cells of a grid can show.
struct Kind {
    id: &'static str,
    name: &'static str,
    value: fn(&Report) -> Option<f64>,
    format: fn(f64) -> String,
}

const KINDS: [Kind; 5] = [
    Kind {
        id: "total",
        name: "Total time",
        value: |it| it.summary.total_time_seconds,
        format: seconds,
    },
    Kind {
        id: "downtime",
        name: "Downtime",
        value: |it| it.summary.downtime_seconds,
        format: seconds,
    },
    Kind {
        id: "blackout",
        name: "Blackout",
        value: |it| it.summary.blackout_seconds,
        format: seconds,
    },
    Kind {
        id: "lost",
        name: "Lost work",
        value: |it| it.summary.lost_work_seconds,
        format: seconds,
    },
    Kind {
        id: "wire",
        name: "On the wire",
        value: |it| it.summary.wire_bytes.map(|it| it as f64),
        format: human_bytes,
    },
];

/// The page.
pub fn index(batch: &Batch) -> String {
    let mut engines: Vec<&str> = Vec::new();
    for run in &batch.runs {
        if !engines.contains(&run.engine.as_str()) {
            engines.push(&run.engine);
        }
    }
    let body = html! {
        div.head {
            h1 { "Batch " (batch.suite) }
            @if !batch.about.is_empty() { p.reason { (batch.about) } }
            p.lead { (count_words(batch)) }
        }
        @for (number, engine) in engines.iter().enumerate() {
            @let runs: Vec<&BatchRun> = batch.runs.iter().filter(|it| it.engine == **engine).collect();
            (grid(&runs, engine, number))
        }
        section aria-labelledby="runs" {
            h2 #runs { "All runs" }
            (all_runs(batch))
            @let without: Vec<&BatchRun> = batch.runs.iter().filter(|it| it.report.is_none()).collect();
            @if !without.is_empty() {
                h3 { "Without a report" }
                ul { @for run in without { li { (run.name) ": " (run.without_report) } } }
            }
        }
    };
    let title = format!("Batch {}", batch.suite);
    let tool = batch.runs.iter().find_map(|it| it.report.as_ref());
    let tool = tool.map_or("sterna".to_owned(), labels::tool);
    Shell { title: &title, scripts: Scripts::Inside, ways: &[], body, charts: &[], tool: &tool }
        .page()
}

fn all_runs(batch: &Batch) -> Markup {
    let with_report = batch.runs.iter().filter_map(|it| Some((it, it.report.as_ref()?)));
    let (runs, pages): (Vec<Named<'_>>, Vec<String>) = with_report
        .map(|(run, report)| {
            let named = Named { name: &run.name, report };
            (named, run.page.clone().unwrap_or_default())
        })
        .unzip();
    html! { (overlay::runs(&runs, &pages).markup()) }
}

fn count_words(batch: &Batch) -> String {
    let mut words = vec![crate::number::count(batch.runs.len() as u64, "run", "runs")];
    let mut endings: Vec<(&str, usize)> = Vec::new();
    for run in &batch.runs {
        let word = of_run(run).word;
        match endings.iter_mut().find(|it| it.0 == word) {
            Some(it) => it.1 += 1,
            None => endings.push((word, 1)),
        }
    }
    words.extend(endings.iter().map(|(word, count)| format!("{count} {word}")));
    words.join(" · ")
}

/// Techniques down, links across.
fn grid(runs: &[&BatchRun], engine: &str, number: usize) -> Markup {
    let points = distinct(runs, |it| &it.point);
    let variants = distinct(runs, |it| &it.variant);
    let (id, heading) = (format!("grid-{number}"), format!("grid-heading-{number}"));
    let most_lost = runs.iter().filter_map(|it| lost_share(it)).fold(0.0, f64::max);
    let across = field_of(&points);
    html! {
        section aria-labelledby=(heading) {
            h2 id=(heading) { "Techniques on the engine " (engine) }
            p.lead { "A row for each variant" @if let Some(across) = &across { ", a column for each " code { (across) } } ". Each cell leads to its run, each name of a row to a page on which its runs lie over each other. The stronger a cell's colour, the more of the guest's work was lost." }
            (key(runs))
            div.choice role="group" aria-label="Number shown in the grid" data-choice=(id) hidden {
                @for (index, kind) in KINDS.iter().enumerate() {
                    button type="button" data-kind=(kind.id) aria-pressed=(index == 0) { (kind.name) }
                }
            }
            div.scroll.grid role="region" tabindex="0" aria-label={ "Grid of the engine " (engine) } {
                table id=(id) data-sortable style={ "--columns:" (points.len()) } {
                    caption.unseen { "How each run ended, by technique and by point" }
                    thead { tr {
                        th scope="col" { "variant" }
                        @for point in &points { th scope="col" { (short(point)) } }
                    } }
                    tbody {
                        @for variant in &variants {
                            @let row: Vec<&&BatchRun> = runs.iter().filter(|it| it.variant == *variant).collect();
                            tr {
                                th scope="row" {
                                    @match row.iter().find_map(|it| it.row_page.as_ref()) {
                                        Some(page) => a href=(page) { (variant) },
                                        None => (variant),
                                    }
                                }
                                @for point in &points {
                                    @let here: Vec<&&&BatchRun> = row.iter().filter(|it| it.point == *point).collect();
                                    td data-value=(sort_value(&here)) {
                                        @for run in &here { (cell(run, most_lost)) }
                                        @if here.is_empty() { (DASH) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The signs that occur, with their words.
fn key(runs: &[&BatchRun]) -> Markup {
    let mut endings: Vec<Ending> = Vec::new();
    for run in runs {
        let ending = of_run(run);
        if !endings.contains(&ending) {
            endings.push(ending);
        }
    }
    html! {
        ul.key aria-label="Signs" {
            @for it in endings {
                li class=(it.class) { span.sign aria-hidden="true" { (it.sign) } " " (it.word) }
            }
        }
    }
}

fn cell(run: &BatchRun, most_lost: f64) -> Markup {
    let ending = of_run(run);
    let weight = lost_share(run).filter(|_| most_lost > 0.0).map_or(0.0, |it| it / most_lost);
    let style = format!("--weight:{weight:.3}");
    let class = format!("cell {}", ending.class);
    let text = |kind: &Kind| {
        let value = run.report.as_ref().and_then(kind.value);
        match (&run.report, kind.id) {
            (Some(report), "downtime") => crate::downtime::short(report),
            _ => value.map_or(DASH.to_owned(), kind.format),
        }
    };
    let value = |kind: &Kind| run.report.as_ref().and_then(kind.value);
    let content = html! {
        span.main { (text(&KINDS[0])) }
        span.sub {
            span.sign aria-hidden="true" { (ending.sign) } " " (ending.word)
            @if let Some(lost) = run.report.as_ref().and_then(|it| it.summary.lost_work_seconds) {
                br; "lost work " (seconds(lost))
            }
            @if run.report.as_ref().is_some_and(|it| it.summary.downtime_over_limit().is_some()) {
                br; "downtime above its limit"
            }
        }
    };
    html! {
        @match &run.page {
            Some(page) => a class=(class) style=(style) href=(page)
                data-total=(text(&KINDS[0])) data-total-value=[value(&KINDS[0])]
                data-downtime=(text(&KINDS[1])) data-downtime-value=[value(&KINDS[1])]
                data-blackout=(text(&KINDS[2])) data-blackout-value=[value(&KINDS[2])]
                data-lost=(text(&KINDS[3])) data-lost-value=[value(&KINDS[3])]
                data-wire=(text(&KINDS[4])) data-wire-value=[value(&KINDS[4])]
                { (content) },
            None => span class=(class) style=(style) title=(run.without_report) { (content) },
        }
    }
}

fn of_run(run: &BatchRun) -> Ending {
    match &run.report {
        Some(report) => ending(report),
        None => Ending { class: "missing", sign: "?", word: "no report" },
    }
}

/// Which part of the time of the migration was lost work.
fn lost_share(run: &BatchRun) -> Option<f64> {
    let summary = &run.report.as_ref()?.summary;
    let total = summary.total_time_seconds.filter(|it| *it > 0.0)?;
    Some((summary.lost_work_seconds? / total).clamp(0.0, 1.0))
}

/// A cell with repetitions is sorted by their median.
fn sort_value(runs: &[&&&BatchRun]) -> String {
    let totals = runs.iter().filter_map(|it| (KINDS[0].value)(it.report.as_ref()?));
    let mut totals: Vec<f64> = totals.collect();
    totals.sort_by(f64::total_cmp);
    totals.get(totals.len() / 2).map_or(String::new(), f64::to_string)
}

fn distinct<'a>(runs: &[&'a BatchRun], field: fn(&BatchRun) -> &String) -> Vec<&'a str> {
    let mut found: Vec<&str> = Vec::new();
    for run in runs {
        let text = field(run).as_str();
        if !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

/// The field that a column is a value of, where there is only one.
fn field_of(points: &[&str]) -> Option<String> {
    let mut fields = points.iter().map(|it| match it.contains(' ') {
        true => None,
        false => it.split_once('=').map(|it| it.0),
    });
    let first = fields.next()??;
    fields.all(|it| it == Some(first)).then(|| first.to_owned())
}

/// The values without the names of their fields.
fn short(point: &str) -> String {
    let values = point.split(' ').map(|it| it.split_once('=').map_or(it, |(_, value)| value));
    let text = values.collect::<Vec<_>>().join(" ");
    if text.is_empty() { "run".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_named_by_their_values_and_their_common_field_once() {
        assert_eq!(short("link.bandwidth=1Gbit/s guest.vcpus=4"), "1Gbit/s 4");
        assert_eq!(short(""), "run");
        assert_eq!(field_of(&["a.b=1", "a.b=2"]).as_deref(), Some("a.b"));
        assert_eq!(field_of(&["a.b=1", "c=2"]), None);
        assert_eq!(field_of(&["a=1 b=2"]), None);
        assert_eq!(field_of(&[""]), None);
    }
}
