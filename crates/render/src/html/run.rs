//! The page of one run.

use maud::{Markup, html};
use sterna_report::{Hop, Report, Side};

use super::{
    Detail, Named, Scripts, chart, facts,
    figure::Chart,
    labels::{self, ending},
    overlay, several,
    shell::Shell,
    tiles,
};
use crate::thresholds;

/// The page of one run. `ways` are links to other pages: a text, and a path as seen from this page.
pub fn run(
    report: &Report,
    scripts: Scripts<'_>,
    detail: Detail,
    ways: &[(String, String)],
) -> String {
    let charts = if report.hops.is_empty() {
        charts(report, detail)
    } else {
        several::charts(&drawn_hops(report), detail, "", "")
    };
    let answer = labels::answer(report);
    let title = match labels::name(report) {
        Some(name) => format!("{answer} · {name}"),
        None => answer.clone(),
    };
    let body = html! {
        (head(report, &answer))
        (tiles::tiles(report))
        (facts::advice(report))
        (facts::warnings(report))
        @if !report.hops.is_empty() { (hops(report)) }
        @if !charts.is_empty() {
            section aria-labelledby="charts" {
                div.charts-head {
                    h2 #charts { "How it went" }
                    (windows(report))
                }
                div.charts { @for chart in &charts { (chart.markup()) } }
            }
        }
        @if !report.passes.is_empty() {
            section aria-labelledby="passes" {
                h2 #passes { "Passes" }
                p.lead { "From one synchronisation of the dirty bitmap to the next, in pages of 4 KiB; what is sent while the guest stands is " em { "final" } "." }
                (facts::passes(report).markup())
                (left_out(report.passes.len()))
            }
        }
        section aria-labelledby="scenario" {
            h2 #scenario { "Scenario" }
            (facts::scenario(report))
        }
        section aria-labelledby="machine" {
            h2 #machine { "Engine and machine" }
            (facts::machine(report).markup())
        }
        @if !report.events.is_empty() {
            section aria-labelledby="events" {
                h2 #events { "Events" }
                (facts::events(report).markup())
                (left_out(report.events.len()))
            }
        }
        section aria-labelledby="words" {
            h2 #words { "What the numbers mean" }
            (facts::glossary())
        }
    };
    let tool = labels::tool(report);
    Shell { title: &title, scripts, ways, body, charts: &charts, tool: &tool }.page()
}

fn charts(report: &Report, detail: Detail) -> Vec<Chart> {
    let mut charts = vec![
        chart::guest(report, detail),
        chart::memory(report, detail),
        chart::rates(report, detail),
        chart::latency_heat(report, detail),
        chart::latency_spread(report),
        chart::latency_tail(report),
        chart::cpu(report, Side::Source, detail),
        chart::cpu(report, Side::Destination, detail),
        chart::probes(report),
    ];
    // A probe without an outage draws nothing and still has something to say.
    charts.retain(|it| !it.is_empty() || !it.rows.is_empty());
    // The probes come last and fill the row.
    let halves = charts.iter().filter(|it| it.half && it.id != "probes").count();
    if let Some(probes) = charts.iter_mut().find(|it| it.id == "probes") {
        probes.half &= halves % 2 == 1;
    }
    charts
}

/// Each hop as a run of its own, its time beginning with its own migrate command.
fn drawn_hops(report: &Report) -> Vec<several::Drawn<'_>> {
    let drawn = |it| several::Drawn { name: hop_name(it), reports: vec![&it.report] };
    report.hops.iter().map(drawn).collect()
}

fn hop_name(hop: &Hop) -> String {
    format!("hop {}", hop.hop)
}

fn hops(report: &Report) -> Markup {
    let names: Vec<String> = report.hops.iter().map(hop_name).collect();
    let runs = names.iter().zip(&report.hops);
    let runs: Vec<Named<'_>> =
        runs.map(|(name, hop)| Named { name, report: &hop.report }).collect();
    html! {
        section aria-labelledby="hops" {
            h2 #hops { "Hops" }
            p.lead { "There and back: the source of each hop is the destination of the one before. In the charts, time begins with each hop's own migrate command." }
            (overlay::runs(&runs, &[]).markup())
        }
    }
}

fn head(report: &Report, answer: &str) -> Markup {
    let ending = ending(report);
    html! {
        div class={ "head " (ending.class) } {
            (ending.badge())
            @if let Some(name) = labels::name(report) { p.name { (name) } }
            h1 { (answer) }
            @if let Some(reason) = &report.summary.verdict_reason { p.reason { (reason) } }
            @if let Some(line) = thresholds::line(report) {
                p class={ "thresholds " (if report.misses_a_threshold() { "missed" } else { "kept" }) } { (line) }
            }
            p.lead { (subtitle(report)) }
        }
    }
}

fn subtitle(report: &Report) -> String {
    let setting = |table: &str, key: &str| crate::text::setting(report, table, key);
    let mut words: Vec<String> = Vec::new();
    words.extend(setting("guest", "vcpus").map(|it| format!("{it} vCPUs")));
    words.extend(setting("guest", "memory").map(|it| format!("{it} of memory")));
    words.extend(setting("workload", "rate").map(|it| format!("writing at {it}")));
    words.extend(setting("migration", "max-bandwidth").map(|it| format!("at most {it}")));
    words.extend(setting("link", "bandwidth").map(|it| format!("link of {it}")));
    words.push(format!("engine {}", report.engine.name));
    words.push(report.started_at.get(..16).unwrap_or_default().replace('T', " "));
    words.retain(|it| !it.is_empty());
    words.join(" · ")
}

/// Buttons by which all charts over time show the same stretch.
fn windows(report: &Report) -> Markup {
    let switchover = chart::switchover(report);
    html! {
        div.windows role="group" aria-label="Time shown in the charts" data-windows hidden {
            button type="button" data-window="all" aria-pressed="true" { "Whole run" }
            @if let Some((from, to)) = switchover {
                @let margin = (4.0 * (to - from)).max(0.25);
                button type="button" aria-pressed="false" data-window="switchover" data-from=(from - margin) data-to=(to + margin) { "Switchover" }
            }
        }
    }
}

fn left_out(rows: usize) -> Markup {
    html! { @if let Some(words) = facts::left_out(rows) { p.aside { (words) } } }
}
