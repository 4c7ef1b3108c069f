//! Whatever an engine does, the flight ends, everything is shut down once, the report is sound, and the verdict is true.

use proptest::prelude::*;
use sterna_pilot::{Action, Phase};
use sterna_report::Side;

use crate::flown::fly_and_press;
use crate::scripted::{Call, Cancel, Commit, Script};

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        Just(Call::Boot),
        Just(Call::Migrate),
        Just(Call::Status),
        Just(Call::Act(Action::Pause)),
        Just(Call::Settle),
        Just(Call::Samples),
        Just(Call::Verify(Side::Source)),
    ]
}

fn commit() -> impl Strategy<Value = Commit> {
    prop_oneof![
        3 => Just(Commit::Answered),
        1 => Just(Commit::BrokenButRuns),
        1 => Just(Commit::BrokenAndLost),
        1 => Just(Commit::Silent),
    ]
}

fn cancel() -> impl Strategy<Value = Cancel> {
    prop_oneof![4 => (0..500u64).prop_map(Cancel::After), 1 => Just(Cancel::Ignored)]
}

/// A moment of the migration, often near the switchover of a script that stops there.
fn moment() -> impl Strategy<Value = u64> {
    prop_oneof![0..4000u64, 990..1070u64]
}

fn rarely<T: Clone + std::fmt::Debug>(
    some: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(0.2, some)
}

prop_compose! {
    fn script()(
        pass in 20..600u64,
        stop in prop::option::weighted(0.7, prop_oneof![Just(1000u64), 0..4000u64]),
        failure in rarely(moment()),
        commit in commit(),
        cancel in cancel(),
        source_dies in rarely(moment()),
        destination_dies in rarely(moment()),
        fault in rarely((call(), 0..40u32)),
        status_takes in prop_oneof![4 => Just(0u64), 1 => 0..200u64],
        corrupt_pages in prop_oneof![4 => Just(0u64), 1 => Just(7u64)],
    ) -> Script {
        Script {
            unsupported: false, pass, stop, failure, commit, cancel, source_dies,
            source_dies_of_guest: false, destination_dies, fault, status_takes, corrupt_pages,
            silent: None, lost_link: None,
        }
    }
}

fn presses() -> impl Strategy<Value = Vec<(Phase, u64)>> {
    let phase = prop_oneof![
        1 => Just(Phase::Boot),
        1 => Just(Phase::WarmUp),
        4 => Just(Phase::Migrate),
        1 => Just(Phase::CoolDown),
        1 => Just(Phase::Verify),
    ];
    prop_oneof![
        3 => Just(Vec::new()),
        2 => prop::collection::vec((phase, moment()), 1..4),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn every_flight_ends_and_tells_the_truth(
        script in script(),
        presses in presses(),
        then in prop_oneof![Just("cancel"), Just("pause")],
    ) {
        let toml = format!("[limits]\nmax-time = \"3s\"\nthen = \"{then}\"");
        let flown = fly_and_press(&toml, &script, &presses);
        // An engine that fails to settle leaves nobody who could know.
        let is_knowable = !matches!(script.fault, Some((Call::Settle, _)));
        if is_knowable {
            flown.assert_verdict_is_true();
        }
        if let Some(detail) = &flown.summary().integrity_detail {
            prop_assert_eq!(Some(detail.side), flown.guest);
        }
    }
}
