//! How much of its memory a guest writes, where a share was asked for that its own system leaves no room for.

use sterna_report::Warning;
use sterna_scenario::Scenario;
use sterna_units::{Bytes, Size};
use sterna_workload::Spec;

use crate::warnings::warning;

/// What a kernel of a distribution and its initramfs take of any guest, with some to spare.
const SYSTEM_BYTES: u64 = 72 << 20;

/// What a kernel takes of each guest's memory to keep account of it is a little more than one in 64; this is the share, inverted.
const ACCOUNTS: u64 = 32;

const PAGE_BYTES: u64 = 4096;

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
