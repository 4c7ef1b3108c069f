//! What this machine offers to the emulator.
//!
//! Everything is tried with the call that a run would make, on memory and sockets made for it, and given back at once.
//! Texts of the kernel are read only for amounts, by pure functions over the text.

mod cgroup;
mod memory;
mod network;
mod processors;
mod tracking;

pub use memory::available_bytes;
use sterna_pilot::{Availability, Finding};
use sterna_scenario::Scenario;
pub(crate) use tracking::remedy;

/// Resident memory of a host beside its guest, at most.
const OVERHEAD_BYTES: u64 = 64 << 20;

/// The name of the finding that sums up whether the default scenario can run here.
///
/// It is `ok` with the kernel's dirty tracking, `limited` with the cooperative tracker, and `missing` when something else that is required is not there.
pub const DEFAULT_RUN: &str = "default_run";

/// Looks for everything that a run can use; the finding [`DEFAULT_RUN`] comes first.
///
/// Takes some milliseconds. Starts nothing and leaves nothing behind.
pub fn probe_host() -> Vec<Finding> {
    let scenario = Scenario::default();
    let guest_bytes = scenario.guest.memory.0;
    let mut findings = tracking::findings();
    findings.extend(memory::findings(guest_bytes));
    findings.extend(processors::findings(scenario.guest.vcpus));
    findings.extend(network::findings());
    findings.insert(0, default_run(&findings));
    findings
}

fn default_run(findings: &[Finding]) -> Finding {
    let lacking: Vec<&Finding> =
        findings.iter().filter(|it| it.is_required && it.availability.is_missing()).collect();
    let untracked = findings
        .iter()
        .filter(|it| tracking::WP_ASYNC_NEEDS.contains(&it.name.as_str()))
        .find_map(|it| it.availability.shortfall());
    let tracker = if untracked.is_none() { "wp-async" } else { "cooperative" };
    let (value, availability) = if !lacking.is_empty() {
        let names =
            |it: &[&Finding]| it.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(", ");
        let remedies = lacking.iter().filter_map(|it| it.availability.shortfall());
        let remedies: Vec<&str> = remedies.map(|it| it.remedy.as_str()).collect();
        (
            format!("does not work: missing {}", names(&lacking)),
            Availability::missing("The default scenario cannot be migrated", remedies.join("; ")),
        )
    } else if let Some(shortfall) = untracked {
        (
            "works, with the cooperative tracker".to_owned(),
            Availability::limited(
                "Migrations are real, but the guest pays nothing for dirty tracking",
                shortfall.remedy.clone(),
            ),
        )
    } else {
        ("works, with dirty tracking by the kernel".to_owned(), Availability::Ok)
    };
    let tracker = Some(tracker).filter(|_| !availability.is_missing());
    Finding::new("run", DEFAULT_RUN, value, availability).required().fact("tracker", tracker)
}

/// A sentence of an error with its causes, as consequences and remedies carry it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(name: &str, availability: Availability) -> Finding {
        Finding::new("group", name, "", availability)
    }

    #[test]
    fn the_default_run_needs_what_is_required_and_prefers_kernel_tracking() {
        let check = |findings: &[Finding], word: &str, value: &str, tracker: Option<&str>| {
            let found = default_run(findings);
            assert_eq!(found.availability.as_str(), word);
            assert_eq!(found.value.as_deref(), Some(value));
            assert_eq!(found.facts["tracker"].as_str(), tracker);
        };
        let ok = |name| finding(name, Availability::Ok);
        let missing = |name| finding(name, Availability::missing("bad", "mend it"));
        let limited = |name| finding(name, Availability::limited("slow", "speed it up"));
        let kernel = "works, with dirty tracking by the kernel";
        let cooperative = "works, with the cooperative tracker";
        let (tcp, scan) = ("tcp_loopback", "pagemap_scan");
        check(&[ok(scan), ok(tcp).required()], "ok", kernel, Some("wp-async"));
        check(&[missing(scan), ok(tcp).required()], "limited", cooperative, Some("cooperative"));
        check(&[ok(scan), missing("huge_pages_2mib")], "ok", kernel, Some("wp-async"));
        check(&[ok(scan), limited(tcp).required()], "ok", kernel, Some("wp-async"));
        check(
            &[ok(scan), missing(tcp).required()],
            "missing",
            "does not work: missing tcp_loopback",
            None,
        );
        let both = [missing(tcp).required(), missing("guest_memory").required(), missing(scan)];
        check(&both, "missing", "does not work: missing tcp_loopback, guest_memory", None);
        let remedy = default_run(&both).availability.shortfall().unwrap().remedy.clone();
        assert_eq!(remedy, "mend it; mend it");
    }

    #[test]
    fn this_machine_can_be_probed_again_and_again() {
        let findings = probe_host();
        assert_eq!(findings[0].name, DEFAULT_RUN);
        let mut names: Vec<&str> = findings.iter().map(|it| it.name.as_str()).collect();
        assert!(names.iter().all(|it| it.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), findings.len(), "names are unique");
        // What tracking there is does not change; amounts of memory may.
        let tracking = |findings: Vec<Finding>| {
            findings.into_iter().filter(|it| it.group == "tracking").collect::<Vec<_>>()
        };
        assert_eq!(tracking(findings), tracking(probe_host()));
    }
}
