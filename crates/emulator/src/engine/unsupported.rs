//! What the emulator cannot do.

use sterna_pilot::Unsupported;
use sterna_scenario::{HugePages, Scenario, TlsMode, ZeroPage};

/// What the emulator cannot do, field by field.
pub fn unsupported(scenario: &Scenario) -> Vec<Unsupported> {
    let migration = &scenario.migration;
    let later = "this technique is not available on the emulator in this version; remove it";
    let table = [
        (
            migration.postcopy.is_some()
                && matches!(scenario.guest.huge_pages, HugePages::Size2Mib | HugePages::Size1Gib),
            "guest.huge-pages",
            "reserved huge pages cannot be fetched page by page in post-copy here; use \"none\" or \"thp\", or remove [migration.postcopy]",
        ),
        (migration.auto_converge.is_some(), "migration.auto-converge", later),
        (migration.dirty_limit.is_some(), "migration.dirty-limit", later),
        (migration.multifd.is_some(), "migration.multifd", later),
        (migration.xbzrle.is_some(), "migration.xbzrle", later),
        (migration.hold.is_some(), "migration.hold", later),
        (migration.zero_copy, "migration.zero-copy", later),
        (migration.tls_mode() != TlsMode::Off, "migration.tls.mode", later),
        (
            migration.zero_page == ZeroPage::Multifd,
            "migration.zero-page",
            "zero pages are found by the main thread here; use \"main\" or \"off\"",
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
