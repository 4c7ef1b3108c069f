//! What this machine offers to the engine QEMU.
//!
//! Nothing is booted: that KVM works is taken from the processor and the device, and a run that finds otherwise falls back by itself.

mod guest;
mod kernels;
mod kvm;
mod network;
mod programs;

pub(crate) use kvm::postcopy_advice;
use std::path::Path;

use sterna_pilot::{Availability, Finding};

/// Findings of this engine stand together.
const GROUP: &str = "hypervisor";

/// The name of the finding that sums up whether `sterna run --engine qemu` works here.
///
/// It is `ok` with KVM, `limited` with emulated processors, and `missing` when something that is needed is not there.
pub const QEMU_RUN: &str = "qemu_run";

/// Looks for everything that a run with QEMU as `source` and `destination` can use; the finding [`QEMU_RUN`] comes first.
///
/// Asks these and the QEMUs of the PATH for their versions, which takes a second at most unless one hangs, and leaves nothing behind.
pub fn probe_host(source: &Path, destination: &Path) -> Vec<Finding> {
    let mut findings = vec![kvm::device(), kvm::kernel_faults()];
    findings.push(kernels::guest_kernels(Path::new("/")));
    findings.push(guest::image());
    findings.push(guest::agent());
    findings.extend(network::findings());
    let path = std::env::var_os("PATH");
    findings.extend(programs::findings(path.as_deref(), [source, destination]));
    findings.insert(0, summed_up(&findings));
    findings
}

/// What a run cannot do without.
const NEEDS: [&str; 3] = ["qemu", "guest_image", "guest_agent"];

fn summed_up(findings: &[Finding]) -> Finding {
    let named = |name: &str| findings.iter().find(|it| it.name == name);
    let lacking: Vec<&Finding> = NEEDS
        .iter()
        .filter_map(|name| named(name))
        .filter(|it| it.availability.is_missing())
        .collect();
    let slow = named("kvm").and_then(|it| it.availability.shortfall());
    let accelerator = if slow.is_none() { "kvm" } else { "tcg" };
    let (value, availability) = match (lacking.is_empty(), slow) {
        (false, _) => {
            let names: Vec<&str> = lacking.iter().map(|it| it.name.as_str()).collect();
            let remedies = lacking.iter().filter_map(|it| it.availability.shortfall());
            let remedies: Vec<&str> = remedies.map(|it| it.remedy.as_str()).collect();
            (
                format!("does not work: missing {}", names.join(", ")),
                Availability::missing("`sterna run --engine qemu` is refused", remedies.join("; ")),
            )
        }
        (true, None) => ("works, with KVM".to_owned(), Availability::Ok),
        (true, Some(shortfall)) => (
            "works, with emulated processors (TCG)".to_owned(),
            Availability::limited(shortfall.consequence.clone(), shortfall.remedy.clone()),
        ),
    };
    let accelerator = lacking.is_empty().then_some(accelerator);
    Finding::new(GROUP, QEMU_RUN, value, availability).fact("accelerator", accelerator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(missing: &[&str], word: &str, value: &str) {
        let names = ["kvm", "qemu", "guest_image", "guest_agent", "tap_devices"];
        let findings: Vec<Finding> = names
            .into_iter()
            .map(|name| {
                let availability = match missing.contains(&name) {
                    true => Availability::missing("It hurts", format!("Get {name}")),
                    false => Availability::Ok,
                };
                Finding::new(GROUP, name, "", availability)
            })
            .collect();
        let sum = summed_up(&findings);
        assert_eq!((sum.availability.as_str(), sum.value.as_deref()), (word, Some(value)));
    }

    #[test]
    fn a_run_needs_a_qemu_a_guest_and_its_agent_but_neither_kvm_nor_a_bridge() {
        check(&[], "ok", "works, with KVM");
        check(&["tap_devices"], "ok", "works, with KVM");
        check(&["kvm"], "limited", "works, with emulated processors (TCG)");
        check(&["guest_image"], "missing", "does not work: missing guest_image");
        check(
            &["kvm", "qemu", "guest_agent"],
            "missing",
            "does not work: missing qemu, guest_agent",
        );
    }

    #[test]
    fn probing_this_machine_names_everything_once() {
        let program = Path::new(crate::DEFAULT_PROGRAM);
        let findings = probe_host(program, program);
        let mut names: Vec<&str> = findings.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names[0], QEMU_RUN);
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "{findings:?}");
    }
}
