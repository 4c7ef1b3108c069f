//! What the emulator cannot do.

use sterna_pilot::Unsupported;
use sterna_scenario::{LimitAction, Scenario, TlsMode, ZeroPage};
use sterna_workload::Method;

/// What the emulator cannot do, field by field.
pub fn unsupported(scenario: &Scenario) -> Vec<Unsupported> {
    let migration = &scenario.migration;
    let later = "this technique is not available on the emulator in this version; remove it";
    let table = [
        (migration.postcopy.is_some(), "migration.postcopy", later),
        (migration.multifd.is_some(), "migration.multifd", later),
        (migration.zero_copy, "migration.zero-copy", later),
        (migration.tls_mode() != TlsMode::Off, "migration.tls.mode", later),
        (
            migration.zero_page == ZeroPage::Multifd,
            "migration.zero-page",
            "zero pages are found by the main thread here; use \"main\" or \"off\"",
        ),
        (
            scenario.limits.then == LimitAction::Postcopy,
            "limits.then",
            "there is no post-copy on the emulator in this version; use \"cancel\" or \"pause\"",
        ),
        (
            migration.hold.is_some() && scenario.workload.method == Method::Zero,
            "migration.hold",
            "the proof counts the writes of a page by what it holds, and workload.method = \"zero\" leaves no trace; use another method",
        ),
        (
            scenario.workload.workers != scenario.guest.vcpus,
            "workload.workers",
            "each worker stands for a vCPU here; give guest.vcpus the same number",
        ),
    ];
    table
        .into_iter()
        .filter(|(is_asked_for, ..)| *is_asked_for)
        .map(|(_, field, reason)| Unsupported {
            field: field.to_owned(),
            reason: reason.to_owned(),
        })
        .collect()
}
