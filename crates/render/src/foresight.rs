//! Predictions, advice and diagnoses as text.

use sterna_report::Advice;
use sterna_report::foresight::{
    AdviceDocument, Choice, CurveShape, Evidence, EvidenceKind, Goal, Interval, Prediction,
    TechniqueOutcome,
};
use sterna_units::{human_bits_per_second, human_bytes};

use crate::Style;
use crate::number::{DASH, or_unknown, seconds};
use crate::page::{Page, Tone};
use crate::table::{Column, Table};

/// From this share of migrations on, a technique counts as one that completes.
const COMPLETES: f64 = 0.9;

/// Below this share it counts as one that does not.
const HARDLY: f64 = 0.1;

/// A prediction as text that ends with a newline: the answer, a row for each technique, and what it rests on.
pub fn prediction_text(prediction: &Prediction, style: Style) -> String {
    let mut page = Page::new(style);
    let (sentence, tone) = answer(prediction);
    page.paragraph(&sentence, Some(tone));
    page.heading("Technique by technique, the middle nine tenths of simulated migrations");
    let mut table = Table::new(vec![
        Column::word("technique"),
        Column::number("completes", 0),
        Column::number("total", 0),
        Column::number("downtime", 0),
        Column::number("on the wire", 3),
        Column::number("lost work", 1),
        Column::number("throttled", 2),
    ]);
    for row in &prediction.outcomes {
        table.row(cells(row));
    }
    page.table(&table);
    evidence(&prediction.evidence, &mut page);
    page.note(&format!(
        "{} simulated migrations for each technique, seed {}.",
        prediction.draws, prediction.seed
    ));
    page.finish()
}

/// Advice as text that ends with a newline: the settings, why, what is risked, and how they are said.
pub fn advice_text(advice: &AdviceDocument, style: Style) -> String {
    let mut page = Page::new(style);
    match (&advice.best, &advice.nearest) {
        (Some(best), _) => {
            page.paragraph(&headline(best, &advice.goal), Some(Tone::Good));
            choice(best, &mut page);
        }
        (None, Some(nearest)) => {
            let text = format!(
                "Nothing keeps this goal with a confidence of {:.0} %; the nearest is {}",
                advice.goal.confidence * 100.0,
                nearest.choice.outcome.technique
            );
            page.paragraph(&text, Some(Tone::Bad));
            for it in &nearest.shortfalls {
                let asked =
                    it.asked_seconds.map_or_else(String::new, |it| format!(" {}", seconds(it)));
                let kept = match it.kept_seconds {
                    Some(kept) => format!("it would keep {}", seconds(kept)),
                    None => "too many migrations do not complete".to_owned(),
                };
                page.bullet(&format!("{}{asked}: {kept}", it.limit));
            }
            choice(&nearest.choice, &mut page);
        }
        (None, None) => page.paragraph("Nothing could be tried", Some(Tone::Bad)),
    }
    if let Some(second) = &advice.second {
        page.row("second best", &headline(second, &advice.goal));
    }
    for it in &advice.would_change {
        page.row("would change it", it);
    }
    commands(advice, &mut page);
    evidence(&advice.evidence, &mut page);
    page.finish()
}

/// What happened, why, and what to set, as text that ends with a newline.
pub fn diagnosis_text(what: &str, why: &[String], advice: &[Advice], style: Style) -> String {
    let mut page = Page::new(style);
    page.paragraph(what, Some(Tone::Heading));
    for reason in why {
        page.bullet(reason);
    }
    advice_section(advice, &mut page);
    page.finish()
}

/// The section of a report; nothing where there is no advice.
pub(crate) fn advice_section(advice: &[Advice], page: &mut Page) {
    if advice.is_empty() {
        return;
    }
    page.heading("Advice");
    for it in advice {
        let passes = it.passes.map_or_else(String::new, |it| format!(" (from {it} passes)"));
        page.note(&format!("{}{passes}", it.text));
        if let Some(command) = &it.command {
            page.note(&format!("  {command}"));
        }
    }
}

fn answer(prediction: &Prediction) -> (String, Tone) {
    let Some(first) = prediction.outcomes.first() else {
        return ("Nothing could be simulated".to_owned(), Tone::Bad);
    };
    let done = |it: &TechniqueOutcome| it.completes_probability - it.forced_probability;
    if done(first) >= COMPLETES {
        let text = format!("Will complete{}: plain pre-copy is enough", ranges(first));
        return (text, Tone::Good);
    }
    let other = prediction.outcomes.iter().skip(1).find(|it| done(it) >= COMPLETES);
    let plain = match done(first) {
        share if share < HARDLY => "Will not complete with plain pre-copy".to_owned(),
        share => format!(
            "Completes with plain pre-copy in {:.0} % of simulated migrations",
            share * 100.0
        ),
    };
    match other {
        Some(it) => {
            (format!("{plain}; with {} it completes{}", it.technique, ranges(it)), Tone::Doubtful)
        }
        None => {
            (format!("{plain}, and none of the techniques below is sure to complete"), Tone::Bad)
        }
    }
}

/// How long and how frozen, as a half-sentence.
fn ranges(it: &TechniqueOutcome) -> String {
    let range = |it: &Interval| format!("{} to {}", seconds(it.p5), seconds(it.p95));
    match (&it.total_time_seconds, &it.downtime_seconds) {
        (Some(total), Some(downtime)) => {
            format!(
                " in {}, with a freeze of {} (nine of ten times)",
                range(total),
                range(downtime)
            )
        }
        (Some(total), None) => format!(" in {} (nine of ten times)", range(total)),
        (None, _) => String::new(),
    }
}

fn cells(row: &TechniqueOutcome) -> Vec<String> {
    let interval = |it: &Option<Interval>, show: fn(f64) -> String| match it {
        Some(it) => format!("{} ({} to {})", show(it.p50), show(it.p5), show(it.p95)),
        None => DASH.to_owned(),
    };
    let bytes = |it: f64| human_bytes(it);
    vec![
        row.technique.clone(),
        format!("{:.0} %", row.completes_probability * 100.0),
        interval(&row.total_time_seconds, seconds),
        interval(&row.downtime_seconds, seconds),
        interval(&Some(row.wire_bytes), bytes),
        interval(&row.lost_work_seconds, seconds),
        if row.throttle_percent > 0.0 {
            format!("{:.0} %", row.throttle_percent)
        } else {
            DASH.to_owned()
        },
    ]
}

fn evidence(evidence: &Evidence, page: &mut Page) {
    page.heading("What it rests on");
    let content = match evidence.content_bytes {
        Some(bytes) => format!("{} of it not zero", human_bytes(bytes as f64)),
        None => "how much of it is zero is unknown".to_owned(),
    };
    let memory = format!("{} of memory, {content}", human_bytes(evidence.memory_bytes as f64));
    page.row("guest", &memory);
    let load = match (evidence.kind, evidence.shape) {
        (EvidenceKind::Figures, _) => {
            "a rate alone, of unknown shape: the intervals are wide".to_owned()
        }
        (_, _) if evidence.windows.is_empty() => "a rate alone, of unknown shape".to_owned(),
        (_, CurveShape::Sweep) => windows(evidence, "it writes its pages in order"),
        (_, CurveShape::Random) => windows(evidence, "it writes at random places"),
        (_, CurveShape::Unknown) => windows(evidence, "too few to tell a sweep from random writes"),
    };
    page.row("load", &load);
    let source = if evidence.link.is_measured { "measured" } else { "given or assumed" };
    let rate = evidence.link.bytes_per_second;
    let link = or_unknown(rate, |it| format!("{}, {source}", human_bits_per_second(it)));
    page.row("link", &link);
    for it in &evidence.assumptions {
        page.row("assumed", it);
    }
}

fn windows(evidence: &Evidence, shape: &str) -> String {
    let (Some(first), Some(last)) = (evidence.windows.first(), evidence.windows.last()) else {
        return shape.to_owned();
    };
    format!(
        "{} in {} up to {} in {}; {shape}",
        human_bytes(first.bytes as f64),
        seconds(first.window_seconds),
        human_bytes(last.bytes as f64),
        seconds(last.window_seconds),
    )
}

fn headline(choice: &Choice, goal: &Goal) -> String {
    let has_limit = [goal.max_downtime_seconds, goal.max_time_seconds, goal.max_lost_work_seconds]
        .iter()
        .any(Option::is_some);
    let keeps = if has_limit { "keeps the goal" } else { "completes" };
    format!(
        "{} {keeps} in {:.0} % of simulated migrations{}",
        choice.outcome.technique,
        choice.keeps_probability * 100.0,
        ranges(&choice.outcome)
    )
}

fn choice(choice: &Choice, page: &mut Page) {
    for (path, value) in &choice.outcome.settings {
        page.row(path.strip_prefix("migration.").unwrap_or(path), value);
    }
    for it in &choice.because {
        page.row("because", it);
    }
    if let Some(binding) = &choice.binding {
        page.row("decides", binding);
    }
    for it in &choice.risks {
        page.row("risk", it);
    }
}

fn commands(advice: &AdviceDocument, page: &mut Page) {
    if advice.commands.is_empty() {
        return;
    }
    page.heading("Settings");
    for it in &advice.commands {
        if let Some(when) = &it.when {
            page.note(&format!("# {when}:"));
        }
        // A command that is wrapped cannot be copied.
        page.verbatim(&it.text);
    }
    for (field, instead) in &advice.not_expressible {
        page.bullet(&format!("{field} cannot be said here: {instead}"));
    }
}
