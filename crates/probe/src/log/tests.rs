use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

/// A probe of 10 ms whose messages `numbers` come back after 1 ms.
fn log_of(sent: u64, numbers: impl IntoIterator<Item = u64>) -> Log {
    let mut log = Log::new(10 * MS);
    for number in 0..sent {
        assert_eq!(log.sent(number * 10 * MS), number);
    }
    for number in numbers {
        log.received(number, number * 10 * MS + MS, None);
    }
    log
}

#[test]
fn a_gap_in_the_answers_is_an_outage() {
    assert_eq!(log_of(3, []).seen(500 * MS), None);
    // The first two came before the guest listened, five are lost, and one comes twice.
    let mut log = log_of(30, (2..10).chain(15..30));
    log.received(20, 900 * MS, None);
    log.received(99, 900 * MS, None);
    let seen = log.seen(292 * MS).unwrap();
    assert_eq!((seen.sent, seen.received, seen.duplicates), (28, 23, 1));
    let expected = Outage {
        start_ns: 91 * MS,
        end_ns: 151 * MS,
        has_ended: true,
        lost: 5,
        direction: Direction::Unknown,
    };
    assert_eq!(seen.outages, [expected]);
    let round_trip = seen.round_trip.unwrap();
    assert!((MS..MS + MS / 100).contains(&round_trip.p50_ns), "{round_trip:?}");
}

#[test]
fn what_may_still_come_is_not_lost_yet_and_a_silence_that_lasts_is_told() {
    let log = log_of(10, 0..7);
    let seen = log.seen(91 * MS).unwrap();
    assert_eq!((seen.sent, seen.received, seen.outages.len()), (7, 7, 0));
    let seen = log.seen(500 * MS).unwrap();
    assert_eq!((seen.sent, seen.received), (10, 7));
    let outage = seen.outages[0];
    assert_eq!((outage.start_ns, outage.end_ns, outage.lost), (61 * MS, 500 * MS, 3));
    assert!(!outage.has_ended);
}

#[test]
fn a_message_that_comes_late_is_not_lost_but_was_silent() {
    let mut log = log_of(30, (0..10).chain([20]));
    assert_eq!(log.seen(201 * MS).unwrap().outages[0].lost, 10);
    for number in 12..20 {
        log.received(number, 202 * MS, None);
    }
    let seen = log.seen(202 * MS).unwrap();
    assert_eq!((seen.outages.len(), seen.outages[0].lost), (1, 2));
    // The stragglers begin no silence of their own.
    log.received(21, 211 * MS, None);
    assert_eq!(log.seen(212 * MS).unwrap().outages.len(), 1);
}

#[test]
fn a_short_interval_does_not_make_every_hiccup_an_outage() {
    let mut log = Log::new(MS);
    for number in 0..100 {
        log.sent(number * MS);
    }
    for number in (0..40).chain(48..60).chain(75..100) {
        log.received(number, number * MS + MS / 10, None);
    }
    let seen = log.seen(100 * MS).unwrap();
    assert_eq!(seen.outages.len(), 1, "{:?}", seen.outages);
    assert_eq!((seen.sent - seen.received, seen.outages[0].lost), (23, 15));
}

/// Messages 5 to 9 are missing; the responder had heard `before` when 4 reached it, and `after` when 10 did.
#[track_caller]
fn check_direction(before: u64, after: u64, late: Option<u64>, expected: Direction) {
    let mut log = log_of(11, 0..4);
    log.received(4, 41 * MS, Some(before));
    log.received(10, 101 * MS, Some(after));
    if let Some(number) = late {
        log.received(number, 102 * MS, Some(after));
    }
    assert_eq!(log.seen(103 * MS).unwrap().outages[0].direction, expected);
}

#[test]
fn what_the_responder_counted_tells_the_way_that_failed() {
    check_direction(5, 6, None, Direction::ToResponder);
    check_direction(5, 11, None, Direction::FromResponder);
    check_direction(5, 8, None, Direction::Both);
    // One reached it and came late.
    check_direction(5, 7, Some(9), Direction::ToResponder);
    // A responder that began anew.
    check_direction(5, 1, None, Direction::ToResponder);
}

#[test]
fn what_waited_for_a_machine_that_boots_does_not_count() {
    let mut log = log_of(300, []);
    // The card was switched on after 2.5 s, and the first message waited in it.
    log.received(0, 2_500 * MS, None);
    log.received(250, 2_501 * MS, None);
    log.received(1, 2_502 * MS, None);
    log.received(251, 2_511 * MS, None);
    let seen = log.seen(2_512 * MS).unwrap();
    assert_eq!((seen.received, seen.outages.len()), (2, 0));
    assert!(seen.round_trip.unwrap().max_ns < 3 * MS);
}

#[test]
fn old_messages_are_forgotten_and_numbers_go_on() {
    let mut log = Log::new(1000 * MS);
    for number in 0..200 {
        assert_eq!(log.sent(number * 1000 * MS), number);
    }
    assert!(log.waiting.len() < 70);
    log.received(0, 200_000 * MS, None);
    assert_eq!(log.seen(200_000 * MS), None);
    log.received(199, 200_000 * MS, None);
    assert_eq!(log.seen(200_000 * MS).unwrap().sent, 1);
}

#[test]
fn what_one_silence_has_counted_the_next_does_not() {
    let mut log = log_of(50, [0]);
    // All 50 had been sent when the second answer came, and nothing came after it.
    log.received(1, 2000 * MS, None);
    let seen = log.seen(3000 * MS).unwrap();
    let lost: Vec<u64> = seen.outages.iter().map(|it| it.lost).collect();
    assert_eq!(lost, [48, 0]);
}

proptest! {
    /// Whatever comes in whatever order, the sums hold: what is missing is what did not come.
    #[test]
    fn sums_hold(arrivals in proptest::collection::vec((0_u64..60, 0_u64..3000, proptest::option::of(0_u64..99)), 0..120)) {
        let mut log = Log::new(10 * MS);
        for number in 0..50 {
            log.sent(number * 10 * MS);
        }
        let mut arrivals = arrivals;
        arrivals.sort_by_key(|it| it.1);
        for (number, at_ms, count) in arrivals {
            log.received(number, at_ms * MS, count);
        }
        if let Some(seen) = log.seen(3000 * MS) {
            prop_assert!(seen.received <= 50);
            let lost: u64 = seen.outages.iter().map(|it| it.lost).sum();
            prop_assert!(lost <= 50);
            prop_assert!(seen.outages.iter().all(|it| it.end_ns >= it.start_ns));
        }
    }
}

#[test]
fn a_probe_that_was_held_up_itself_calls_that_no_outage() {
    // Nothing was sent from 100 to 500 ms; then five messages at once, all answered.
    let mut log = log_of(10, 0..10);
    for number in 10..15 {
        assert_eq!(log.sent(500 * MS), number);
        log.received(number, 501 * MS, None);
    }
    assert_eq!(log.seen(501 * MS).unwrap().outages, []);
    // The same with a real outage in the middle: only what was asked for can be missed.
    let mut log = log_of(10, 0..10);
    for at_ms in (400..800).step_by(10) {
        log.sent(at_ms * MS);
    }
    log.sent(900 * MS);
    log.received(50, 901 * MS, None);
    let outage = log.seen(901 * MS).unwrap().outages[0];
    assert_eq!((outage.start_ns, outage.end_ns, outage.lost), (390 * MS, 801 * MS, 40));
}

#[test]
fn losses_are_told_by_way_and_over_a_restart_of_the_responder() {
    let mut log = Log::new(10 * MS);
    let mut heard = 0;
    for number in 0..10_000 {
        log.sent(number * 10 * MS);
        // Each tenth is lost on the way there, and of the others each hundredth on the way back.
        if number % 10 == 5 {
            continue;
        }
        heard += 1;
        if number % 100 != 7 {
            log.received(number, number * 10 * MS + MS, Some(heard));
        }
    }
    let losses = |log: &Log| log.seen(100_000 * MS).unwrap().losses.unwrap();
    assert_eq!(losses(&log), Losses { to_responder: 1000, from_responder: 100 });
    for number in 10_000..10_010 {
        log.sent(number * 10 * MS);
        if number != 10_004 {
            log.received(number, number * 10 * MS + MS, Some(number - 9_999));
        }
    }
    let seen = log.seen(100_100 * MS).unwrap();
    assert_eq!(
        (seen.restarts, seen.losses),
        (Some(1), Some(Losses { to_responder: 1000, from_responder: 101 }))
    );
    assert_eq!((log.awaited(100_040 * MS), log.awaited(0) > 600, seen.reordered), (1, true, 0));
}

#[test]
fn what_did_not_fit_into_a_stopped_responder_is_lost_in_its_outage() {
    // Stopped from 100 to 500 ms: ten messages waited for it, and thirty did not fit.
    let mut log = Log::new(10 * MS);
    for number in 0..60 {
        log.sent(number * 10 * MS);
        if number < 10 {
            log.received(number, number * 10 * MS + MS, Some(number + 1));
        }
        if number == 50 {
            (10..20).for_each(|it| log.received(it, 501 * MS, Some(it + 1)));
        }
        if number >= 50 {
            log.received(number, number * 10 * MS + MS, Some(number - 29));
        }
    }
    let outages = log.seen(600 * MS).unwrap().outages;
    let expected = Outage {
        start_ns: 91 * MS,
        end_ns: 501 * MS,
        has_ended: true,
        lost: 30,
        direction: Direction::ToResponder,
    };
    assert_eq!(outages, [expected]);
}

/// A probe of 10 ms from which an answer is expected from the beginning.
fn expected_log(sent: u64) -> Log {
    let mut log = Log::new(10 * MS);
    log.count_from(0);
    (0..sent).for_each(|number| assert_eq!(log.sent(number * 10 * MS), number));
    log
}

#[test]
fn a_target_that_is_dark_at_the_beginning_is_an_outage() {
    let mut log = expected_log(300);
    for number in 150..300 {
        log.received(number, number * 10 * MS + MS, Some(number - 149));
    }
    let seen = log.seen(2_992 * MS).unwrap();
    let expected = Outage {
        start_ns: MS,
        end_ns: 1_501 * MS,
        has_ended: true,
        lost: 150,
        direction: Direction::ToResponder,
    };
    assert_eq!(seen.outages.len(), 1);
    // A round trip has three digits.
    assert!(seen.outages[0].start_ns.abs_diff(MS) < MS / 100, "{seen:?}");
    assert_eq!(Outage { start_ns: MS, ..seen.outages[0] }, expected);
    assert_eq!((seen.sent, seen.received), (300, 150));
    assert_eq!(seen.losses, Some(Losses { to_responder: 150, from_responder: 0 }));
    assert_eq!((seen.resolution_ns, log.ended_outages()), (30 * MS, 1));
}

#[test]
fn a_target_that_was_stopped_at_the_beginning_is_an_outage_without_losses() {
    let mut log = expected_log(100);
    (0..50).for_each(|number| log.received(number, 500 * MS, None));
    (50..100).for_each(|number| log.received(number, number * 10 * MS + MS, None));
    let seen = log.seen(992 * MS).unwrap();
    assert_eq!((seen.outages.len(), seen.outages[0].lost), (1, 0));
    assert_eq!(seen.outages[0].end_ns, 500 * MS);
}

#[test]
fn a_way_of_two_hundred_milliseconds_is_no_outage_at_the_beginning() {
    let mut log = expected_log(100);
    (0..100).for_each(|number| log.received(number, number * 10 * MS + 200 * MS, None));
    assert_eq!(log.seen(1_191 * MS).unwrap().outages, []);
    // Nor is the time to connect, in which the first messages waited.
    let mut log = expected_log(100);
    (0..20).for_each(|number| log.received(number, 400 * MS, None));
    (20..100).for_each(|number| log.received(number, number * 10 * MS + 200 * MS, None));
    assert_eq!(log.seen(1_191 * MS).unwrap().outages, []);
}

#[test]
fn a_target_that_never_answers_is_one_outage_that_lasts() {
    let seen = expected_log(100).seen(1_000 * MS).unwrap();
    assert_eq!((seen.received, seen.round_trip, seen.losses, seen.restarts), (0, None, None, None));
    let outage = seen.outages[0];
    assert_eq!((outage.start_ns, outage.end_ns, outage.has_ended), (0, 1_000 * MS, false));
    assert_eq!(outage.lost, seen.sent);
}

#[test]
fn what_was_before_the_moment_from_which_answers_count_is_forgotten() {
    let mut log = log_of(300, (0..10).chain(200..300));
    assert_eq!(log.seen(2_992 * MS).unwrap().outages.len(), 1);
    log.count_from(2_995 * MS);
    for number in 300..310 {
        assert_eq!(log.sent(number * 10 * MS), number);
        log.received(number, number * 10 * MS + MS, None);
    }
    // An answer to an earlier message is none of those that count.
    log.received(100, 3_092 * MS, None);
    let seen = log.seen(3_092 * MS).unwrap();
    assert_eq!((seen.sent, seen.received, seen.outages.len()), (10, 10, 0));
}

#[test]
fn losses_in_a_silence_that_lasts_have_no_known_way() {
    let mut log = expected_log(100);
    (0..20).for_each(|number| log.received(number, number * 10 * MS + MS, Some(number + 1)));
    let seen = log.seen(1_100 * MS).unwrap();
    assert_eq!((seen.sent - seen.received, seen.losses), (80, None));
    // While all that was lost lies between two answers that were counted, it is known.
    let seen = log.seen(191 * MS).unwrap();
    assert_eq!((seen.sent - seen.received, seen.losses), (0, Some(Losses::default())));
}

#[test]
fn an_echo_that_does_not_count_gives_no_losses_by_way() {
    let mut log = expected_log(30);
    (10..30).for_each(|number| log.received(number, number * 10 * MS + MS, None));
    let seen = log.seen(292 * MS).unwrap();
    assert_eq!((seen.outages.len(), seen.losses, seen.restarts), (1, None, None));
}
