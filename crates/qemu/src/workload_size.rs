//! How much of its memory a guest writes, where a share was asked for that its own system leaves no room for.

use sterna_pilot::Unsupported;
use sterna_report::Warning;
use sterna_scenario::Scenario;
use sterna_units::{Bytes, Size, human_bytes};
use sterna_workload::Spec;

use crate::warnings::warning;

/// What a kernel of a distribution and its initramfs take of any guest, with some to spare.
const SYSTEM_BYTES: u64 = 72 << 20;

/// What a kernel takes of each guest's memory to keep account of it, and to have some free, is a little more than one in 64; this is the share, inverted.
const ACCOUNTS: u64 = 32;

const PAGE_BYTES: u64 = 4096;

/// The least that a kernel of a distribution, its initramfs and the agent need: with less a guest does not boot, or dies of it when it has to send its memory.
const LEAST_SYSTEM_BYTES: u64 = 62 << 20;

/// With less a kernel does not get as far as its initramfs.
const LEAST_MEMORY_BYTES: u64 = 72 << 20;

/// A guest that cannot hold its kernel, the agent and the workload.
pub(crate) fn too_small(scenario: &Scenario) -> Option<Unsupported> {
    let memory = scenario.guest.memory.0;
    let system = LEAST_SYSTEM_BYTES + memory / ACCOUNTS;
    let written = workload(scenario).memory.0.saturating_add(scenario.ballast_bytes().0);
    if memory >= LEAST_MEMORY_BYTES && written.saturating_add(system) <= memory {
        return None;
    }
    let needed = human_bytes(system as f64);
    let left = memory.checked_sub(system).filter(|_| memory >= LEAST_MEMORY_BYTES);
    let reason = match left.filter(|it| *it >= 1 << 20) {
        None => format!(
            "{} cannot hold a kernel and the agent, which take {needed}; use 128MiB or more",
            scenario.guest.memory
        ),
        Some(left) => format!(
            "{} cannot hold a kernel and the agent, which take {needed}, and {} of workload and ballast; use more, or let workload.memory and guest.ballast be {}MiB together",
            scenario.guest.memory,
            human_bytes(written as f64),
            left >> 20
        ),
    };
    Some(Unsupported { field: "guest.memory".to_owned(), reason })
}

/// The workload as the agent is told it.
///
/// A share such as 100 % is meant as much as possible, and in a guest with a system of its own that is less than all of its memory.
/// A size in bytes is meant as it stands, so one that does not fit is an error, which the agent tells.
pub(crate) fn workload(scenario: &Scenario) -> Spec {
    let mut spec = scenario.workload_spec();
    if let Some(most) = most(scenario) {
        spec.memory = most;
    }
    spec
}

/// That it is less than was asked for, if it is.
pub(crate) fn less_than_asked(scenario: &Scenario) -> Option<Warning> {
    let most = most(scenario)?;
    Some(warning(
        "workload-beside-system",
        format!(
            "workload.memory is {}, and the guest's own system takes a part of its {}: {most} are written",
            scenario.workload.memory, scenario.guest.memory
        ),
        Some(
            "Give workload.memory in bytes for exactly so much, and the guest as much more as it needs",
        ),
    ))
}

/// What there is for the workload, if a larger share was asked for.
fn most(scenario: &Scenario) -> Option<Bytes> {
    let Size::Percent(_) = scenario.workload.memory else { return None };
    let guest = scenario.guest.memory.0;
    let most = guest.checked_sub(taken(scenario))? / PAGE_BYTES * PAGE_BYTES;
    let is_enough = most >= u64::from(scenario.workload.workers) * PAGE_BYTES;
    (is_enough && most < scenario.workload_bytes().0).then_some(Bytes(most))
}

/// What is not there for the workload.
fn taken(scenario: &Scenario) -> u64 {
    SYSTEM_BYTES + scenario.guest.memory.0 / ACCOUNTS + scenario.ballast_bytes().0
}

#[cfg(test)]
mod tests {
    use sterna_scenario::Suite;

    use super::*;

    #[test]
    fn every_run_of_the_standard_suites_fits_into_a_guest_with_a_system_of_its_own() {
        for name in Suite::names() {
            let suite = Suite::from_toml(name, Suite::text_of(name).unwrap()).unwrap();
            for run in suite.runs {
                let scenario = &run.scenario;
                let needed = workload(scenario).memory.0 + taken(scenario);
                assert!(needed <= scenario.guest.memory.0, "{name}: {}", run.name);
            }
        }
    }

    #[track_caller]
    fn check(toml: &str, expected: &str, is_less: bool) {
        let scenario = Scenario::from_toml(toml, "test.toml").unwrap();
        assert_eq!(workload(&scenario).memory.to_string(), expected);
        assert_eq!(less_than_asked(&scenario).is_some(), is_less);
    }

    #[test]
    fn a_guest_without_room_for_its_kernel_and_its_workload_is_refused() {
        let check = |memory: &str, workload: &str, expected: Option<&str>| {
            let toml = format!("guest.memory = \"{memory}\"\nworkload.memory = \"{workload}\"");
            let found = too_small(&Scenario::from_toml(&toml, "test.toml").unwrap());
            let text = found.as_ref().map(|it| it.reason.as_str()).unwrap_or_default();
            assert_eq!(found.is_some(), expected.is_some(), "{memory} {workload}: {text}");
            assert!(text.contains(expected.unwrap_or_default()), "{text}");
        };
        check("128MiB", "64MiB", Some("guest.ballast be 62MiB together"));
        check("128MiB", "60MiB", None);
        check("128MiB", "50%", None);
        check("64MiB", "50%", Some("use 128MiB or more"));
        check("32MiB", "1MiB", Some("use 128MiB or more"));
        check("68MiB", "1MiB", Some("use 128MiB or more"));
        check("72MiB", "1MiB", None);
        check("256MiB", "256MiB", Some("guest.ballast be 186MiB together"));
        check("256MiB", "100%", None);
        check("64GiB", "100%", None);
    }

    #[test]
    fn a_share_leaves_the_guests_system_its_part() {
        check("guest.memory = \"512MiB\"\nworkload.memory = \"100%\"", "424MiB", true);
        check("guest.memory = \"512MiB\"\nworkload.memory = \"75%\"", "384MiB", false);
        check("guest.memory = \"128MiB\"\nworkload.memory = \"50%\"", "52MiB", true);
        let ballast = "workload.memory = \"75%\"\nguest.ballast = \"64MiB\"";
        check(&format!("guest.memory = \"256MiB\"\n{ballast}"), "112MiB", true);
    }

    #[test]
    fn a_size_is_meant_as_it_stands_and_so_is_what_fits_in_no_way() {
        check("guest.memory = \"256MiB\"\nworkload.memory = \"256MiB\"", "256MiB", false);
        check("guest.memory = \"64MiB\"\nworkload.memory = \"50%\"", "32MiB", false);
    }
}
