//! The page of a comparison: what may be said of each metric, and the runs behind it.

use std::collections::BTreeSet;

use maud::{Markup, html};
use sterna_report::Report;
use sterna_report::comparison::{Change, Comparison, Metric, MetricComparison, ScenarioComparison};

use super::{
    Detail, Scripts,
    figure::{Axis, Chart, Series, Shape},
    labels::Ending,
    several::{self, Drawn},
    shell::Shell,
    table::{Cell, Table, Tone},
};
use crate::comparison::{amount, cells, comparison_line, heading, notes, rulings, title};

/// Charts of more scenarios than these would make the page slow.
const CHARTED_SCENARIOS: usize = 6;
/// More runs of a side than these hide each other.
const DRAWN_RUNS: usize = 12;
/// What is drawn on a page of many charts.
const DETAIL: Detail = Detail { points_per_chart: 4_000, table_rows: 0 };
/// Beyond this many times the reference an axis in equal steps would show nothing else.
const WIDE: f64 = 8.0;

/// A comparison with the runs that it was made of.
pub struct ComparisonPage<'a> {
    /// What was found.
    pub comparison: &'a Comparison,
    /// The reports of each scenario: the reference's and the candidate's. Those without series are in
    /// the tables only.
    pub runs: &'a [[Vec<&'a Report>; 2]],
    /// Where plotly is.
    pub scripts: Scripts<'a>,
}

/// The page.
pub fn comparison(page: &ComparisonPage<'_>) -> String {
    let found = page.comparison;
    let charted = charted(&found.scenarios);
    let sections: Vec<(Vec<Chart>, Markup)> = found
        .scenarios
        .iter()
        .zip(page.runs)
        .enumerate()
        .map(|(index, (scenario, runs))| {
            let charts = match charted.contains(&index) {
                true => charts(index, scenario, runs, &after_title(&found.scenarios, index)),
                false => Vec::new(),
            };
            let markup = section(index, scenario, &charts);
            (charts, markup)
        })
        .collect();
    let name = name(found);
    let body = html! {
        div class={ "head " (ending(found).class) } {
            (ending(found).badge())
            h1 { (name) }
            p.lead { (comparison_line(found)) }
        }
        @if found.scenarios.len() > 1 { (overview(found)) }
        @for (_, markup) in &sections { (markup) }
        @if !notes(found).is_empty() || charted.len() < found.scenarios.len() {
            section aria-labelledby="notes" {
                h2 #notes { "Notes" }
                ul {
                    @for note in notes(found) { li { (note) } }
                    @if charted.len() < found.scenarios.len() {
                        li { "Charts are shown for " (charted.len()) " of " (found.scenarios.len()) " scenarios, for those first in which something changed; compare one of the others by itself to see its charts." }
                    }
                }
            }
        }
        section aria-labelledby="words" {
            h2 #words { "What the words mean" }
            (glossary(found))
        }
    };
    let (charts, _): (Vec<Vec<Chart>>, Vec<Markup>) = sections.into_iter().unzip();
    let charts: Vec<Chart> = charts.into_iter().flatten().collect();
    let tool = format!("{} {}", found.tool.name, found.tool.version);
    Shell { title: &name, scripts: page.scripts, ways: &[], body, charts: &charts, tool: &tool }
        .page()
}

fn name(found: &Comparison) -> String {
    match &found.sides[..] {
        [reference, candidate] => format!("{} against {}", candidate.label, reference.label),
        [reference, rest @ ..] => format!("{} sides against {}", rest.len(), reference.label),
        [] => "Nothing compared".to_owned(),
    }
}

/// What is worst in all that is said.
fn ending(found: &Comparison) -> Ending {
    let has = |change: Change| found.changes().any(|it| it == change);
    match () {
        () if found.scenarios.is_empty() => {
            Ending { class: "missing", sign: "?", word: "nothing compared" }
        }
        () if has(Change::Regressed) => Ending { class: "failed", sign: "✕", word: "regressed" },
        () if has(Change::TooNoisy) || has(Change::TooFew) => {
            Ending { class: "forced", sign: "?", word: "not all can be said" }
        }
        () if has(Change::Improved) => Ending { class: "completed", sign: "✓", word: "improved" },
        () => Ending { class: "completed", sign: "✓", word: "no change" },
    }
}

/// Scenarios whose charts are shown: those in which something changed, then the others.
fn charted(scenarios: &[ScenarioComparison]) -> BTreeSet<usize> {
    let changed = |it: &ScenarioComparison| {
        it.metrics.iter().any(|it| matches!(it.change, Change::Regressed | Change::Improved))
    };
    let (first, then): (Vec<usize>, Vec<usize>) =
        (0..scenarios.len()).partition(|it| changed(&scenarios[*it]));
    first.into_iter().chain(then).take(CHARTED_SCENARIOS).collect()
}

/// Scenarios down, metrics across.
fn overview(found: &Comparison) -> Markup {
    let metrics: Vec<&Metric> = Metric::ALL
        .iter()
        .filter(|metric| {
            let mut all = found.scenarios.iter().flat_map(|it| &it.metrics);
            all.any(|it| it.metric == metric.name)
        })
        .collect();
    let mut table = Table::new("All scenarios", &["scenario", "memory", "outcome"]);
    table.columns.extend(metrics.iter().map(|it| it.title.to_owned()));
    table.sortable = true;
    for (index, scenario) in found.scenarios.iter().enumerate() {
        let mut row = vec![
            Cell::words(heading(scenario)).leading_to(format!("#scenario-{index}")),
            ruled(scenario.integrity.change),
            ruled(scenario.outcome.change),
        ];
        row.extend(metrics.iter().map(|metric| {
            let mut all = scenario.metrics.iter();
            all.find(|it| it.metric == metric.name).map_or(Cell::words("–"), difference)
        }));
        table.rows.push(row);
    }
    html! {
        section aria-labelledby="overview" {
            h2 #overview { "All scenarios" }
            (table.markup())
        }
    }
}

fn ruled(change: Change) -> Cell {
    toned(Cell::words(change.words()), change)
}

/// The difference, and what may be said of it where that is not plain.
fn difference(metric: &MetricComparison) -> Cell {
    let Some(share) = metric.relative_difference else { return ruled(metric.change) };
    let text = format!("{:+.1} % {}", share * 100.0, metric.change.words());
    toned(Cell { text, value: Some(share), ..Cell::default() }, metric.change)
}

fn toned(cell: Cell, change: Change) -> Cell {
    match change {
        Change::Improved => cell.toned(Tone::Good),
        Change::Regressed => cell.toned(Tone::Bad),
        Change::TooNoisy | Change::TooFew => cell.toned(Tone::Doubtful),
        Change::NoChange | Change::NotMeasured => cell,
    }
}

fn section(index: usize, scenario: &ScenarioComparison, charts: &[Chart]) -> Markup {
    let id = format!("scenario-{index}");
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (heading(scenario)) }
            dl.words {
                @for (label, words) in rulings(scenario) { dt { (label) } dd { (words) } }
            }
            (metrics(index, scenario).markup())
            @if !charts.is_empty() {
                div.charts.below { @for chart in charts { (chart.markup()) } }
            }
        }
    }
}

fn metrics(index: usize, scenario: &ScenarioComparison) -> Table {
    let caption = format!("{} {}", index + 1, heading(scenario));
    let columns = ["metric", "reference", "candidate", "difference", "p", "what may be said"];
    let mut table = Table::new(caption, &columns);
    for metric in &scenario.metrics {
        let mut row: Vec<Cell> = cells(metric).into_iter().map(Cell::words).collect();
        let numbers = [
            metric.reference.median,
            metric.candidate.median,
            metric.relative_difference,
            metric.adjusted_p_value,
        ];
        for (cell, number) in row.iter_mut().skip(1).zip(numbers) {
            cell.value = Some(number.unwrap_or(f64::NAN));
        }
        if let Some(last) = row.pop() {
            row.push(toned(last, metric.change));
        }
        table.rows.push(row);
    }
    table
}

/// What keeps the charts of a scenario apart from those of others.
fn after_title(scenarios: &[ScenarioComparison], index: usize) -> String {
    let ScenarioComparison { scenario, engine, candidate, .. } = &scenarios[index];
    match scenarios.len() {
        1 => String::new(),
        _ => format!(": {scenario} ({engine}), {candidate}, {}", index + 1),
    }
}

fn charts(
    index: usize,
    scenario: &ScenarioComparison,
    runs: &[Vec<&Report>; 2],
    after_title: &str,
) -> Vec<Chart> {
    let before_id = format!("s{index}-");
    let names = sides(scenario);
    let drawn: Vec<Drawn<'_>> = names
        .iter()
        .zip(runs)
        .map(|(name, reports)| Drawn {
            name: name.clone(),
            reports: reports.iter().take(DRAWN_RUNS).copied().collect(),
        })
        .collect();
    let mut charts = vec![Chart {
        id: format!("{before_id}values"),
        ..values(scenario, runs, &format!("Every run{after_title}"))
    }];
    charts.extend(several::charts(&drawn, DETAIL, &before_id, after_title));
    let left_out = runs.iter().any(|it| it.len() > DRAWN_RUNS);
    for chart in charts.iter_mut().skip(1).filter(|_| left_out) {
        chart.caption.push_str(&format!(" The first {DRAWN_RUNS} runs of each side are drawn."));
    }
    charts.retain(|it| !it.is_empty());
    charts
}

/// Names of the two sides that differ, also where a side is compared with itself.
fn sides(scenario: &ScenarioComparison) -> [String; 2] {
    let (reference, candidate) = (&scenario.reference, &scenario.candidate);
    match reference == candidate {
        false => [reference.clone(), candidate.clone()],
        true => [format!("{reference} (reference)"), format!("{candidate} (candidate)")],
    }
}

/// Each run's numbers as shares of the reference's medians, a row for each metric.
fn values(scenario: &ScenarioComparison, runs: &[Vec<&Report>; 2], title: &str) -> Chart {
    let names = sides(scenario);
    let mut chart = Chart::over_time("values", title);
    chart.over_time = false;
    chart.across = "% of the reference's median";
    chart.caption =
        "A point for each run, and a line for the 95 % interval of each side's median. \
        Where the two lines of a metric lie apart, the sides differ."
            .to_owned();
    let shown: Vec<&MetricComparison> = scenario
        .metrics
        .iter()
        .filter(|it| it.reference.median.is_some_and(|it| it != 0.0))
        .filter(|it| it.candidate.count > 0)
        .collect();
    // Rows are counted from below.
    chart.rows = shown.iter().rev().map(|it| self::title(&it.metric)).collect();
    for (side, name) in names.iter().enumerate() {
        let (mut points, mut intervals) = (Vec::new(), Vec::new());
        for (row, metric) in shown.iter().rev().enumerate() {
            let sample = if side == 0 { &metric.reference } else { &metric.candidate };
            let middle = metric.reference.median.unwrap_or(f64::NAN).abs();
            let at = row as f64 + if side == 0 { 0.16 } else { -0.16 };
            points.extend(sample.values.iter().map(|it| (100.0 * it / middle, at)));
            if let Some((low, high)) = sample.low.zip(sample.high) {
                intervals.extend([(100.0 * low / middle, at), (100.0 * high / middle, at)]);
                intervals.push((f64::NAN, f64::NAN));
            }
        }
        let colour = 1 + side as u8;
        let unit = "% of the reference's median".to_owned();
        let dots =
            Series { shape: Shape::Dots, unit: unit.clone(), ..Series::new(name, points, colour) };
        chart.series.push(dots);
        if !intervals.is_empty() {
            let name = format!("{name}, 95 % of the median");
            chart.series.push(Series { unit, ..Series::new(name, intervals, colour) });
        }
    }
    let known = || chart.series.iter().flat_map(|it| &it.points).map(|it| it.0);
    let positive = known().filter(|it| *it > 0.0);
    let (least, most) = positive.fold((f64::INFINITY, 0.0), |(a, b), it| (it.min(a), it.max(b)));
    chart.across_log = most > WIDE * 100.0 && least > 0.0;
    if chart.across_log {
        for series in &mut chart.series {
            series.points.retain(|it| it.0.is_nan() || it.0 > 0.0);
        }
        chart.caption.push_str(" The axis is logarithmic.");
    }
    chart.axes.push(Axis::default());
    chart.height = 90 + 44 * chart.rows.len() as u32;
    chart.table = numbers(runs, &names, title);
    chart
}

/// Each run of both sides with its numbers.
fn numbers(runs: &[Vec<&Report>; 2], names: &[String; 2], caption: &str) -> Table {
    let is_known = |it: &&Metric| runs.iter().flatten().any(|run| it.value(run).is_some());
    let metrics: Vec<&Metric> = Metric::ALL.iter().filter(is_known).collect();
    let mut table = Table::new(caption, &["run"]);
    table.columns.extend(metrics.iter().map(|it| it.title.to_owned()));
    for (name, reports) in names.iter().zip(runs) {
        for (index, report) in reports.iter().enumerate() {
            let mut row = vec![Cell::words(format!("{name}, run {}", index + 1))];
            row.extend(metrics.iter().map(|metric| {
                Cell::number(metric.value(report), |it| amount(metric.unit.as_str(), it))
            }));
            table.rows.push(row);
        }
    }
    table
}

fn glossary(found: &Comparison) -> Markup {
    let alpha = found.alpha;
    let words: [(&str, String); 6] = [
        (
            "improved, regressed",
            "The difference is not chance, and larger than noise; \"regressed\" also where only a part of the runs became worse.".to_owned(),
        ),
        ("no change", "The difference is shown to lie within the noise threshold.".to_owned()),
        (
            "too noisy to say",
            "There may be a difference; the runs scatter too much to tell.".to_owned(),
        ),
        (
            "too few repeats to say",
            "With so few runs no difference, however large, could be distinguished from chance.".to_owned(),
        ),
        (
            "p",
            format!(
                "How likely so large a difference is by chance, by the test that says more, adjusted for the number of tests; at most {alpha} counts."
            ),
        ),
        ("in brackets", "The 95 % interval of the median, by resampling the runs.".to_owned()),
    ];
    html! {
        dl.words { @for (word, meaning) in &words { dt { (word) } dd { (meaning) } } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::tests::{run, side};
    use sterna_report::comparison::{Rules, Side, compare, reports_behind};
    use sterna_report::{GuestSample, Tool};

    fn page(sides: &[Side]) -> String {
        let found = compare(sides, &Rules::default(), Tool::default());
        let runs = reports_behind(sides);
        comparison(&ComparisonPage { comparison: &found, runs: &runs, scripts: Scripts::Inside })
    }

    fn both(name: &str) -> [Side; 2] {
        [side("before", name, 1.0, 7), side("after", name, 1.2, 7)]
    }

    #[test]
    fn a_page_says_what_regressed_and_shows_every_run() {
        let page = page(&both("small"));
        assert!(page.contains("<h1>after against before</h1>"));
        assert!(page.contains("1 scenario compared: 1 regressed, 3 no change"));
        assert!(page.contains(r#"<td class=" bad">regressed</td>"#), "the word has its colour");
        assert!(page.contains("before, run 7") && page.contains("after, run 7"));
        assert!(!page.contains("id=\"s0-guest\""), "there are no series to draw");
    }

    #[test]
    fn a_name_of_others_stays_a_text() {
        let page = page(&both("</script><script>alert(1)</script>"));
        assert!(!page.contains("<script>alert"));
        assert!(page.contains("&lt;/script&gt;&lt;script&gt;alert(1)"));
    }

    #[test]
    fn runs_of_a_side_have_one_colour_and_are_not_joined() {
        let sample = |t_seconds: f64| GuestSample {
            t_seconds,
            side: sterna_report::Side::Source,
            interval_seconds: 0.1,
            counts_per_worker: vec![10],
            writes_per_second: 100.0,
            checking_seconds: None,
            latency: None,
            latency_histogram: None,
        };
        let with_series = |total: f64| {
            let mut report = run("small", total);
            report.guest = (1..5).map(|it| sample(0.1 * f64::from(it))).collect();
            report
        };
        let reports = [with_series(1.0), with_series(2.0), with_series(3.0)];
        let drawn = [Drawn { name: "a".to_owned(), reports: reports.iter().collect() }];
        let charts = several::charts(&drawn, DETAIL, "x-", ": y");
        assert_eq!((charts[0].id.as_str(), charts[0].series.len()), ("x-guest", 1));
        let breaks = charts[0].series[0].points.iter().filter(|it| it.0.is_nan()).count();
        assert_eq!(breaks, 2, "three runs have two breaks between them");
    }

    #[test]
    fn charts_are_for_scenarios_that_changed_first() {
        let many = |label: &str, slow: f64| {
            let reports = (0..10).flat_map(|scenario| {
                let base = if scenario == 9 { slow } else { 1.0 };
                side(label, &format!("scenario {scenario}"), base, 7).reports
            });
            Side { label: label.to_owned(), reports: reports.collect() }
        };
        let page = page(&[many("before", 1.0), many("after", 1.5)]);
        let has_charts = |index: usize| page.contains(&format!("id=\"s{index}-values\""));
        let charted: Vec<usize> = (0..10).filter(|it| has_charts(*it)).collect();
        assert_eq!(charted, [0, 1, 2, 3, 4, 9]);
        assert!(page.contains("Charts are shown for 6 of 10 scenarios"));
    }
}
