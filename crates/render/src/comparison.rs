//! Comparisons and repeats for people: as text for a terminal, and as Markdown.

use sterna_report::comparison::{
    Change, Comparison, Metric, MetricComparison, Repeats, Sample, ScenarioComparison,
};
use sterna_units::{human_bytes, human_bytes_per_second};

use crate::{
    Style,
    markdown::escape,
    number::{DASH, count, or_dash, seconds, three_digits},
    page::{Page, Tone},
    table::{Column, Table},
};

/// A comparison as text that ends with a newline; the first line says all in numbers.
pub fn comparison_text(comparison: &Comparison, style: Style) -> String {
    let mut page = Page::new(style);
    page.paragraph(&comparison_line(comparison), Some(tone_of(comparison)));
    for scenario in &comparison.scenarios {
        section(scenario, &mut page);
    }
    for note in notes(comparison) {
        page.bullet(&note);
    }
    page.finish()
}

/// A comparison as Markdown, a table for each scenario.
pub fn comparison_markdown(comparison: &Comparison) -> String {
    let mut text = format!("**{}**\n", escape(&comparison_line(comparison)));
    for scenario in &comparison.scenarios {
        text.push_str(&format!("\n### {}\n\n", escape(&heading(scenario))));
        for (label, words) in rulings(scenario) {
            text.push_str(&format!("- {label}: {}\n", escape(&words)));
        }
        text.push_str("\n| metric | reference | candidate | difference | p | |\n");
        text.push_str("| --- | ---: | ---: | ---: | ---: | --- |\n");
        for metric in &scenario.metrics {
            text.push_str(&format!("| {} |\n", cells(metric).join(" | ")));
        }
    }
    let notes = notes(comparison);
    if !notes.is_empty() {
        text.push('\n');
    }
    for note in notes {
        text.push_str(&format!("- {}\n", escape(&note)));
    }
    text
}

/// A comparison in one line without a newline.
pub fn comparison_line(comparison: &Comparison) -> String {
    let scenarios = count(comparison.scenarios.len() as u64, "scenario", "scenarios");
    let number = |change: Change| comparison.changes().filter(|it| *it == change).count();
    let words: Vec<String> = ORDER
        .iter()
        .filter(|it| number(**it) > 0)
        .map(|it| format!("{} {}", number(*it), it.words()))
        .collect();
    match words.is_empty() {
        true => "Nothing to compare: no scenario is in both".to_owned(),
        false => format!("{scenarios} compared: {}", words.join(", ")),
    }
}

/// What repeats of a run say together, as text that ends with a newline.
pub fn repeats_text(repeats: &Repeats, style: Style) -> String {
    let mut page = Page::new(style);
    let verdicts: Vec<String> =
        repeats.verdicts.iter().map(|it| format!("{} {}", it.count, it.verdict)).collect();
    let corrupt = match repeats.corrupt {
        0 => String::new(),
        n => format!("; memory CORRUPT in {n}"),
    };
    let tone = match () {
        () if repeats.corrupt > 0 => Tone::Bad,
        () if repeats.completed == repeats.runs => Tone::Good,
        () => Tone::Doubtful,
    };
    let runs = count(repeats.runs, "run", "runs");
    page.paragraph(&format!("{runs}: {}{corrupt}", verdicts.join(", ")), Some(tone));
    page.heading("Medians with their 95 % intervals");
    let mut table = Table::new(vec![
        Column::word("metric"),
        Column::number("median", 0),
        Column::number("95 % interval", 0),
        Column::number("least", 2),
        Column::number("greatest", 2),
        Column::number("runs", 1),
    ]);
    for metric in &repeats.metrics {
        let show = |value: Option<f64>| or_dash(value, |it| amount(&metric.unit, it));
        let sample = &metric.sample;
        let end = |pick: fn(f64, f64) -> f64| sample.values.iter().copied().reduce(pick);
        table.row(vec![
            title(&metric.metric),
            show(sample.median),
            range(&metric.unit, sample.low, sample.high),
            show(end(f64::min)),
            show(end(f64::max)),
            sample.count.to_string(),
        ]);
    }
    page.table(&table);
    page.finish()
}

const ORDER: [Change; 6] = [
    Change::Regressed,
    Change::Improved,
    Change::NoChange,
    Change::TooNoisy,
    Change::TooFew,
    Change::NotMeasured,
];

fn tone_of(comparison: &Comparison) -> Tone {
    let has = |change: Change| comparison.changes().any(|it| it == change);
    match () {
        () if has(Change::Regressed) => Tone::Bad,
        () if has(Change::TooNoisy) || has(Change::TooFew) => Tone::Doubtful,
        () => Tone::Good,
    }
}

fn section(scenario: &ScenarioComparison, page: &mut Page) {
    page.heading(&heading(scenario));
    for (label, words) in rulings(scenario) {
        page.row(label, &words);
    }
    let mut table = Table::new(vec![
        Column::word("metric"),
        Column::number("reference", 1),
        Column::number("candidate", 1),
        Column::number("difference", 0),
        Column::number("p", 3),
        Column::word(""),
    ]);
    for metric in &scenario.metrics {
        table.row(cells(metric));
    }
    page.table(&table);
}

pub(crate) fn heading(scenario: &ScenarioComparison) -> String {
    let ScenarioComparison { scenario: name, engine, reference, candidate, .. } = scenario;
    let runs = count(scenario.candidate_runs, "run", "runs");
    let against = scenario.reference_runs;
    format!("{name} ({engine}): {candidate} against {reference}, {runs} against {against}")
}

/// What is said in words, with a label for each.
pub(crate) fn rulings(scenario: &ScenarioComparison) -> Vec<(&'static str, String)> {
    let differences = scenario.differences.iter().map(|it| {
        let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        ("differs in", format!("{}: {} → {}", it.path, word(&it.reference), word(&it.candidate)))
    });
    let rulings = [("integrity", &scenario.integrity), ("outcome", &scenario.outcome)];
    let rulings = rulings.map(|(label, it)| (label, format!("{}: {}", it.change.words(), it.text)));
    differences.chain(rulings).collect()
}

pub(crate) fn cells(metric: &MetricComparison) -> Vec<String> {
    let relative = metric.relative_difference.map(|it| format!("{:+.1} %", it * 100.0));
    let absolute = metric.difference.map(|it| {
        let sign = if it > 0.0 { "+" } else { "" };
        format!("{sign}{}", amount(&metric.unit, it))
    });
    vec![
        title(&metric.metric),
        sample(&metric.unit, &metric.reference),
        sample(&metric.unit, &metric.candidate),
        relative.or(absolute).unwrap_or_else(|| DASH.to_owned()),
        or_dash(least_p_value(metric), |it| match it < 0.0001 {
            true => "<0.0001".to_owned(),
            false => format!("{it:.4}"),
        }),
        metric.change.words().to_owned(),
    ]
}

/// Of the two tests the p-value of the one that says more; that of the runs that are worse than all
/// others says nothing of a difference for the better.
fn least_p_value(metric: &MetricComparison) -> Option<f64> {
    let worst = metric.adjusted_worse_p_value.unwrap_or(1.0);
    metric.adjusted_p_value.map(|it| it.min(worst))
}

fn sample(unit: &str, sample: &Sample) -> String {
    let Some(median) = sample.median else { return DASH.to_owned() };
    let at_least = if sample.lower_bounds > 0 { "≥ " } else { "" };
    let median = format!("{at_least}{}", amount(unit, median));
    match sample.low.zip(sample.high) {
        None => median,
        Some(_) => format!("{median} ({})", range(unit, sample.low, sample.high)),
    }
}

fn range(unit: &str, low: Option<f64>, high: Option<f64>) -> String {
    match low.zip(high) {
        None => DASH.to_owned(),
        Some((low, high)) => format!("{} to {}", amount(unit, low), amount(unit, high)),
    }
}

pub(crate) fn amount(unit: &str, value: f64) -> String {
    let sign = if value < 0.0 { "-" } else { "" };
    match unit {
        "seconds" => seconds(value),
        "bytes" => format!("{sign}{}", human_bytes(value.abs())),
        "bytes_per_second" => format!("{sign}{}", human_bytes_per_second(value.abs())),
        _ => three_digits(value),
    }
}

pub(crate) fn title(metric: &str) -> String {
    Metric::named(metric).map_or_else(|| metric.to_owned(), |it| it.title.to_owned())
}

/// What was left out, and how many repeats would let more be said.
pub(crate) fn notes(comparison: &Comparison) -> Vec<String> {
    let mut notes = comparison.notes.clone();
    notes.extend(comparison.scenarios.iter().flat_map(slow_parts));
    let metrics = || comparison.scenarios.iter().flat_map(|it| &it.metrics);
    if let Some(needed) = metrics().filter_map(|it| it.repeats_needed).max() {
        notes.push(format!(
            "With so few runs any difference may be chance; {needed} on each side would do (`sterna run --repeat {needed}`)"
        ));
    }
    notes
}

/// Where a part of the runs is worse than all of the reference's, which a median does not show.
fn slow_parts(scenario: &ScenarioComparison) -> Vec<String> {
    let is_shown = |it: &&MetricComparison| {
        let is_real = it.adjusted_worse_p_value.is_some_and(|p| p <= 0.05);
        it.change == Change::Regressed && is_real
    };
    let one = |it: &MetricComparison| {
        let ScenarioComparison { scenario: name, .. } = scenario;
        format!(
            "{name}: {} of {} runs of the candidate have a worse {} than every run of the reference",
            it.worse_than_all.unwrap_or(0),
            it.candidate.count,
            title(&it.metric)
        )
    };
    scenario.metrics.iter().filter(is_shown).map(one).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use sterna_report::comparison::{Rules, Side, compare};
    use sterna_report::{Engine, Host, Integrity, Report, Summary, Tool, Verdict};

    use super::*;

    pub(crate) fn run(name: &str, total: f64) -> Report {
        let mut scenario = serde_json::Map::new();
        scenario.insert("name".to_owned(), name.into());
        let tool = Tool { name: "sterna".to_owned(), ..Tool::default() };
        let engine = Engine { name: "emulator".to_owned(), ..Engine::default() };
        let summary = Summary {
            verdict: Verdict::Completed,
            integrity: Integrity::Verified,
            total_time_seconds: Some(total),
            wire_bytes: Some(1 << 26),
            ..Summary::default()
        };
        let started_at = "2026-03-01T12:00:00Z".to_owned();
        Report { summary, ..Report::new(tool, Host::default(), engine, started_at, scenario) }
    }

    pub(crate) fn side(label: &str, name: &str, base: f64, count: u32) -> Side {
        let reports = (0..count).map(|it| run(name, base + f64::from(it) * 0.001)).collect();
        Side { label: label.to_owned(), reports }
    }

    fn comparison(name: &str, count: u32) -> Comparison {
        let sides = [side("before", name, 1.0, count), side("after", name, 1.2, count)];
        compare(&sides, &Rules::default(), Tool::default())
    }

    const STYLE: Style = Style { colour: false, width: 120 };

    #[test]
    fn a_comparison_is_a_table_for_each_scenario() {
        let text = comparison_text(&comparison("small", 7), STYLE);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "1 scenario compared: 1 regressed, 3 no change");
        assert_eq!(lines[2], "small (emulator): after against before, 7 runs against 7");
        assert_eq!(lines[3], "  integrity         no change: verified in both");
        let total = lines.iter().find(|it| it.contains("total time")).unwrap();
        assert!(total.contains("1.00 s (1.00 s to 1.00 s)"), "{text}");
        assert!(total.contains("+19.9 %  0.0003  regressed"), "{text}");
        let wire = lines.iter().find(|it| it.contains("on the wire")).unwrap();
        assert!(wire.ends_with("+0.0 %  1.0000  no change"), "{text}");
    }

    #[test]
    fn too_few_runs_are_said_to_be_so() {
        let text = comparison_text(&comparison("small", 2), STYLE);
        assert!(text.contains("too few repeats to say"), "{text}");
        assert!(text.contains("7 on each side would do"), "{text}");
    }

    #[test]
    fn markdown_of_a_hostile_name_stays_text() {
        let text = comparison_markdown(&comparison("<img src=x> | [a](b)\n# `x`", 2));
        let heading = text.lines().find(|it| it.starts_with("###")).unwrap();
        assert_eq!(
            heading,
            "### &lt;img src=x&gt; \\| \\[a\\](b) \\# \\`x\\` (emulator): after against before, 2 runs against 2"
        );
    }

    #[test]
    fn repeats_are_medians_with_intervals() {
        let reports = side("x", "small", 1.0, 5).reports;
        let text = repeats_text(&Repeats::of(&reports, 1), STYLE);
        assert_eq!(text.lines().next(), Some("5 runs: 5 completed"));
        let total = text.lines().find(|it| it.contains("total time")).unwrap();
        assert!(total.contains("1.00 s to 1.00 s"), "{text}");
        assert!(total.ends_with("5"), "{text}");
    }
}
