//! The findings for people.

use sterna_emulator::DEFAULT_RUN;
use sterna_pilot::{Availability, Finding};
use sterna_render::{Judgement, Page, Style, Tone};
use sterna_report::Host;
use sterna_units::human_bytes;

use super::default_run;

/// Long enough for `limited` and `missing`.
const WORD_WIDTH: usize = 7;

/// The headings of the known groups; another one is shown by its name.
const HEADINGS: [(&str, &str); 6] = [
    ("tracking", "Dirty tracking and page faults"),
    ("memory", "Memory"),
    ("processors", "Processors"),
    ("network", "Network"),
    ("hypervisor", "QEMU and KVM (the emulator needs neither)"),
    ("tools", "Tools"),
];

/// The sum first, then every group, each finding with its consequence and its remedy.
pub fn page(findings: &[Finding], host: &Host, style: Style) -> String {
    let mut page = Page::new(style);
    if let Some(finding) = default_run(findings) {
        headline(finding, &mut page);
    }
    page.heading("Machine");
    page.note(&machine(host));
    let rest: Vec<&Finding> = findings.iter().filter(|it| it.name != DEFAULT_RUN).collect();
    let label_width = rest.iter().map(|it| it.name.chars().count()).max().unwrap_or(0);
    for group in rest.chunk_by(|a, b| a.group == b.group) {
        page.heading(heading(group[0].group));
        for finding in group {
            row(finding, label_width, &mut page);
        }
    }
    page.finish()
}

fn headline(finding: &Finding, page: &mut Page) {
    let value = finding.value.as_deref().unwrap_or("unknown");
    page.paragraph(&format!("A bare `sterna run` {value}"), Some(tone(&finding.availability)));
    if let Some(shortfall) = finding.availability.shortfall() {
        page.note(&shortfall.consequence);
        page.note(&remedy(&shortfall.remedy));
    }
}

fn row(finding: &Finding, label_width: usize, page: &mut Page) {
    let shortfall = finding.availability.shortfall();
    let consequence = shortfall.map(|it| it.consequence.as_str()).unwrap_or_default();
    let remedy = shortfall.map(|it| remedy(&it.remedy)).unwrap_or_default();
    let judgement = Judgement {
        label: &finding.name,
        word: finding.availability.as_str(),
        tone: tone(&finding.availability),
        text: finding.value.as_deref().unwrap_or("unknown"),
        below: &[consequence, &remedy],
    };
    page.judgement(&judgement, label_width, WORD_WIDTH);
}

fn remedy(text: &str) -> String {
    format!("→ {text}")
}

fn machine(host: &Host) -> String {
    let kernel = host.kernel.as_ref().map(|it| format!("Linux {it}"));
    let memory = host.memory_bytes.map(|it| human_bytes(it as f64));
    let parts = [host.hostname.clone(), host.os.clone(), kernel, host.cpu_model.clone(), memory];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "unknown".to_owned() } else { parts.join(", ") }
}

fn heading(group: &'static str) -> &'static str {
    HEADINGS.iter().find(|it| it.0 == group).map_or(group, |it| it.1)
}

fn tone(availability: &Availability) -> Tone {
    match availability {
        Availability::Ok => Tone::Good,
        Availability::Limited(_) => Tone::Doubtful,
        Availability::Missing(_) => Tone::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_comes_first_and_what_is_missing_says_how_to_get_it() {
        let findings = [
            Finding::new(
                "run",
                DEFAULT_RUN,
                "works, somehow",
                Availability::limited("Slow", "Buy"),
            ),
            Finding::new("memory", "memory_available", "8 GiB", Availability::Ok),
            Finding::new("memory", "pool", "", Availability::missing("No pool", "Dig one")),
            Finding::new("tools", "spade", "blunt", Availability::limited("Tiring", "Whet it")),
        ];
        let host = Host { kernel: Some("6.12".to_owned()), ..Host::default() };
        let text = page(&findings, &host, Style { colour: false, width: 80 });
        let expected = "\
A bare `sterna run` works, somehow
  Slow
  → Buy

Machine
  Linux 6.12

Memory
  memory_available  ok       8 GiB
  pool              missing  unknown
                             No pool
                             → Dig one

Tools
  spade             limited  blunt
                             Tiring
                             → Whet it
";
        assert_eq!(text, expected);
    }
}
