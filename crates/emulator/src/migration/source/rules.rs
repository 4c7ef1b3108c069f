//! Between the rules of the algorithm and what is said of them on the control connection.

use sterna_converge::{Decision, Judgement};
use sterna_scenario::SwitchoverDecision;
use sterna_wire::control::{RuleVerdict, Switchover, SwitchoverRule};

/// The rule that the configuration names.
pub(super) fn rule(configured: SwitchoverRule) -> SwitchoverDecision {
    match configured {
        SwitchoverRule::Effective => SwitchoverDecision::Effective,
        SwitchoverRule::Qemu => SwitchoverDecision::Qemu,
    }
}

/// For the status, with `pending_bytes` pending.
pub(super) fn to_status(decision: &Decision, pending_bytes: u64) -> Switchover {
    Switchover {
        rule: match decision.rule() {
            SwitchoverDecision::Effective => SwitchoverRule::Effective,
            SwitchoverDecision::Qemu => SwitchoverRule::Qemu,
        },
        wire_share: decision.wire_share(),
        expected_downtime_ns: decision.expected_downtime_ns(pending_bytes),
        qemu: decision.judged_by(SwitchoverDecision::Qemu).map(verdict),
        effective: decision.judged_by(SwitchoverDecision::Effective).map(verdict),
    }
}

fn verdict(it: Judgement) -> RuleVerdict {
    let Judgement { after_passes, at_ns, pending_bytes, expected_downtime_ns } = it;
    RuleVerdict { after_passes, at_ns, pending_bytes, expected_downtime_ns }
}
