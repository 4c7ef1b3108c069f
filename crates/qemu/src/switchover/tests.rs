use sterna_pilot::ProbeSeen;
use sterna_probe::{Direction, Outage, Seen};
use sterna_report::Side;

use super::*;

const MS: u64 = 1_000_000;

/// A stop of 40 ms that everybody saw as such.
fn agreed() -> Switchover {
    Switchover {
        stopped_ns: 1000 * MS,
        resumed_ns: 1040 * MS,
        standstill: Some(Freeze { length_ns: 39 * MS, uncertainty_ns: MS }),
        blackout: Some(Stretch { start_ns: 998 * MS, end_ns: 1044 * MS }),
        networks: vec![view("udp", Some((995, 1091)))],
        heard_again_ns: Some(1090 * MS),
        ..Switchover::default()
    }
}

fn view(kind: &str, silence_ms: Option<(u64, u64)>) -> NetworkView {
    let silence = silence_ms.map(|(start, end)| Stretch { start_ns: start * MS, end_ns: end * MS });
    NetworkView { kind: kind.to_owned(), resolution_ns: 30 * MS, silence }
}

/// What is said of a switchover that differs from the agreed one in this.
#[track_caller]
fn check(change: impl FnOnce(&mut Switchover), expected: &[(&str, &str)]) {
    let mut switchover = agreed();
    change(&mut switchover);
    let found = switchover.differences();
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (warning, (code, text)) in found.iter().zip(expected) {
        assert_eq!((warning.code.as_str(), warning.text.as_str()), (*code, *text));
    }
    assert_eq!(switchover.to_details()["do_agree"], expected.is_empty());
}

#[test]
fn within_50_ms_all_agree() {
    check(|_| {}, &[]);
    check(|it| it.standstill = None, &[]);
    check(|it| it.blackout = Some(Stretch { start_ns: 990 * MS, end_ns: 1080 * MS }), &[]);
    check(|it| it.networks = vec![view("udp", Some((990, 1110)))], &[]);
    check(|it| it.networks = vec![view("icmp", None)], &[]);
}

#[test]
fn a_guest_clock_that_differs_is_told_with_what_it_did() {
    let freeze = |length_ms| Some(Freeze { length_ns: length_ms * MS, uncertainty_ns: 5 * MS });
    check(
        |it| {
            it.resumed_ns = 1340 * MS;
            it.standstill = freeze(2);
            it.networks.clear();
        },
        &[(
            "downtime-disagreement",
            "From QEMU's events the guest was stopped for 340 ms, by the guest's own clock for 2 ms (known to 5 ms): its clock went on while it was stopped",
        )],
    );
    check(
        |it| it.standstill = freeze(140),
        &[(
            "downtime-disagreement",
            "From QEMU's events the guest was stopped for 40 ms, by the guest's own clock for 140 ms (known to 5 ms): its clock stood still for longer than its processors, or runs slower on the destination",
        )],
    );
    // Half of the difference may be error.
    check(|it| it.standstill = Some(Freeze { length_ns: 140 * MS, uncertainty_ns: 51 * MS }), &[]);
}

type Change = fn(&mut Switchover);

#[test]
fn a_longer_blackout_is_split_at_the_stop_and_has_causes() {
    let long = Some(Stretch { start_ns: 940 * MS, end_ns: 1540 * MS });
    let parts = "The guest got nothing done for 600 ms, of which QEMU's events explain 40 ms: 60 ms passed before the stop and 500 ms after the resumption";
    let table: [(Change, &str); 4] = [
        (|_| {}, "the machine was busy with other things"),
        (
            |it| it.throttle_percent = Some(99.0),
            "auto-converge at 99 % lets a processor sleep for 990 ms at a time until the migration ends",
        ),
        (
            |it| it.is_postcopy = true,
            "post-copy had still to fetch memory that the guest asked for",
        ),
        (
            |it| it.is_emulated = true,
            "the destination's emulator had to translate the guest's code again",
        ),
    ];
    for (change, cause) in table {
        check(
            |it| {
                it.blackout = long;
                change(it);
            },
            &[("blackout-longer", &format!("{parts}; {cause}"))],
        );
    }
}

#[test]
fn a_longer_silence_of_the_network_is_split_at_the_first_frame() {
    check(
        |it| {
            it.networks = vec![view("udp", Some((995, 1300)))];
            it.heard_again_ns = Some(1240 * MS);
        },
        &[(
            "network-outage",
            "The udp probe heard nothing for 305 ms around the switchover, and the guest was stopped for 40 ms: 5 ms passed before the stop, 200 ms passed after the resumption until the switch heard the guest in its new place, and 60 ms from there to the first answer",
        )],
    );
    check(
        |it| {
            it.networks = vec![view("icmp", Some((995, 1300))), view("udp", Some((995, 1100)))];
            it.heard_again_ns = None;
        },
        &[(
            "network-outage",
            "The icmp probe heard nothing for 305 ms around the switchover, and the guest was stopped for 40 ms: 5 ms passed before the stop, 260 ms passed after the resumption",
        )],
    );
}

#[test]
fn a_network_that_waits_for_the_guest_names_what_the_guest_waits_for() {
    check(
        |it| {
            it.networks = vec![view("udp", Some((995, 1300)))];
            it.heard_again_ns = Some(1041 * MS);
            it.is_emulated = true;
        },
        &[(
            "network-outage",
            "The udp probe heard nothing for 305 ms around the switchover, and the guest was stopped for 40 ms: 5 ms passed before the stop, 1 ms passed after the resumption until the switch heard the guest in its new place, and 259 ms from there to the first answer; the destination's emulator had to translate the guest's code again",
        )],
    );
}

#[test]
fn a_probe_that_noticed_nothing_of_a_long_stop_is_suspicious() {
    check(
        |it| {
            it.resumed_ns = 1500 * MS;
            it.standstill = None;
            it.networks = vec![view("udp", None)];
        },
        &[("network-unaware", "The udp probe noticed nothing of a stop of 500 ms")],
    );
}

#[test]
fn what_happened_elsewhere_is_not_about_the_switchover() {
    let moments =
        Moments { stopped_ns: Some(1000 * MS), resumed_ns: Some(1040 * MS), ..Moments::default() };
    let outage = |start_ms, end_ms| Outage {
        start_ns: start_ms * MS,
        end_ns: end_ms * MS,
        has_ended: true,
        lost: 1,
        direction: Direction::Unknown,
    };
    let outages = vec![outage(100, 900), outage(990, 1090), outage(1010, 1050), outage(1200, 9000)];
    let seen = Seen { sent: 1, received: 1, outages, ..Seen::default() };
    let probe = ProbeSeen { kind: "udp".to_owned(), interval_ns: 10 * MS, latest_ns: 0, seen };
    let view = NetworkView::of(&probe, &moments).unwrap();
    assert_eq!(view.silence, Some(Stretch { start_ns: 990 * MS, end_ns: 1090 * MS }));

    let gap = |worker, start_ms, end_ms| GapSpan {
        side: Side::Destination,
        worker,
        start_ns: start_ms * MS,
        end_ns: end_ms * MS,
    };
    // A worker notes the stall after the resumption, and the standstill itself is told for both.
    let gaps = [
        gap(0, 1000, 1040),
        gap(1, 1000, 1040),
        gap(0, 1039, 1070),
        gap(1, 1040, 1060),
        gap(0, 100, 900),
        gap(1, 100, 900),
    ];
    let found = blackout(&gaps, &moments).unwrap();
    assert_eq!((found.start_ns / MS, found.end_ns.div_ceil(MS)), (1000, 1060));
    assert_eq!(blackout(&[], &moments), None);
}
