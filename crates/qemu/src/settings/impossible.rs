//! What no QEMU can do.

use sterna_pilot::Unsupported;
use sterna_scenario::{
    Fault, FaultAction, FaultChannel, LimitAction, Scenario, SwitchoverDecision, TlsMode,
    Transport, Verify,
};

/// What no QEMU can do; nothing has been started yet.
pub(crate) fn impossible(scenario: &Scenario) -> Vec<Unsupported> {
    let migration = &scenario.migration;
    let tls = migration.tls.as_ref().filter(|it| it.mode == TlsMode::X509);
    let has_own_certificates = tls.is_some_and(|it| it.credentials.is_some());
    let tells_host = tls.is_some_and(|it| it.hostname.is_some());
    let table = [
        (
            scenario.guest.paused && migration.hold.is_some(),
            "guest.paused",
            "a migration is held until a page was written again, and a paused guest writes none; drop one of them",
        ),
        (
            migration.hops > 1 && matches!(migration.transport, Transport::File | Transport::Exec),
            "migration.hops",
            "a stream by way of a file or a command is for one hop; use transport tcp, unix or fd",
        ),
        (
            scenario.link.is_some(),
            "link",
            "a wire is emulated by the engine emulator alone; shape a real one with `tc`, or drop [link]",
        ),
        (
            scenario.faults.as_ref().is_some_and(|it| !it.0.iter().all(can_strike)),
            "faults",
            "with QEMU the whole link can drop and a side can be killed, but no single channel be struck, and nothing be stalled, corrupted or delayed; use drop and kill without a channel, or the emulator",
        ),
        (
            migration.postcopy.as_ref().is_some_and(|it| it.recover)
                && !matches!(migration.transport, Transport::Tcp | Transport::Unix),
            "migration.postcopy.recover",
            "a link can be connected again with transport tcp and unix alone; use one of these",
        ),
        (
            scenario.verify == Verify::AllMemory
                && (migration.postcopy.is_some() || scenario.limits.then == LimitAction::Postcopy),
            "verify",
            "in post-copy the guest must run before its memory is whole, so there is no moment in which both sides stand still; use \"workload\", or drop the post-copy",
        ),
        (
            migration.limit_in_switchover,
            "migration.limit-in-switchover",
            "QEMU lifts its bandwidth limit while the guest is frozen; drop the field",
        ),
        (
            migration.switchover_decision == Some(SwitchoverDecision::Effective),
            "migration.switchover-decision",
            "QEMU compares raw pages with what it can send, and has no setting for that; use \"qemu\" or drop the field",
        ),
        (
            has_own_certificates && !tells_host && migration.transport != Transport::Tcp,
            "migration.tls.hostname",
            "the name in the destination's certificate follows from its address with transport tcp alone; give the name",
        ),
    ];
    let asked = table.into_iter().filter(|(is_asked_for, ..)| *is_asked_for);
    asked
        .map(|(_, field, reason)| Unsupported {
            field: field.to_owned(),
            reason: reason.to_owned(),
        })
        .collect()
}

fn can_strike(fault: &Fault) -> bool {
    fault.channel == FaultChannel::Main
        && matches!(fault.action, FaultAction::Drop | FaultAction::Kill)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(toml: &str) -> Scenario {
        Scenario::from_toml(toml, "test.toml").unwrap()
    }

    #[test]
    fn what_no_qemu_can_do_is_named_by_its_field() {
        let found = impossible(&scenario("[link]\nlatency = \"1ms\""));
        assert_eq!(found[0].field, "link");
        assert!(impossible(&scenario("")).is_empty());
        let found = impossible(&scenario("[migration]\nswitchover-decision = \"effective\""));
        assert_eq!(found[0].field, "migration.switchover-decision");
        assert!(impossible(&scenario("[migration]\nswitchover-decision = \"qemu\"")).is_empty());
    }

    #[test]
    fn all_memory_is_compared_where_both_sides_can_stand_still() {
        assert!(impossible(&scenario("verify = \"all-memory\"")).is_empty());
        for postcopy in [
            "[migration.postcopy]\nafter-passes = 1",
            "[migration.postcopy]\n[limits]\nthen = \"postcopy\"",
        ] {
            let found = impossible(&scenario(&format!("verify = \"all-memory\"\n{postcopy}")));
            assert_eq!(found[0].field, "verify");
        }
    }

    #[test]
    fn faults_are_what_can_happen_to_a_process_and_a_link() {
        let stalls = "faults = \"at=1s,action=drop;at=2s,action=stall\"";
        assert_eq!(impossible(&scenario(stalls))[0].field, "faults");
        assert!(impossible(&scenario("faults = \"at=1s,action=kill\"")).is_empty());
        let one = "migration.multifd = {}\nfaults = \"at=1s,channel=multifd-0,action=drop\"";
        assert_eq!(impossible(&scenario(one))[0].field, "faults");
    }

    #[test]
    fn certificates_need_a_name_to_be_checked_against() {
        let theirs = "mode = \"x509\"\ncredentials = \"/certs\"";
        let over_unix = format!("[migration]\ntransport = \"unix\"\n[migration.tls]\n{theirs}");
        assert_eq!(impossible(&scenario(&over_unix))[0].field, "migration.tls.hostname");
        assert!(impossible(&scenario(&format!("[migration.tls]\n{theirs}"))).is_empty());
    }
}
