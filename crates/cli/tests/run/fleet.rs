//! Several guests over one link.

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Outcome, Run, marked};

/// Three guests of 16 MiB, of which half holds data: each takes about half a second of the link for itself.
const FLEET: [&str; 18] = [
    "--memory",
    "16MiB",
    "--workload-memory",
    "25%",
    "--ballast",
    "25%",
    "--rate",
    "1MiB/s",
    "--vcpus",
    "1",
    "--max-bandwidth",
    "unlimited",
    "--link-bandwidth",
    "128Mbit/s",
    "--warmup",
    "300ms",
    "--cooldown",
    "300ms",
];

const LINK: f64 = 16e6;

fn fleet(guests: &str, parallel: &str, more: &[&str]) -> Run {
    let fleet = ["--fleet-guests", guests, "--fleet-parallel", parallel];
    Run::new(&[&FLEET[..], &fleet, more].concat())
}

#[track_caller]
fn guests(outcome: &Outcome) -> &Vec<Value> {
    outcome.report()["fleet"]["guests"].as_array().unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// When each migration began and ended.
fn times(outcome: &Outcome) -> Vec<(f64, f64)> {
    let time = |it: &Value| {
        let start = number(&it["started_seconds"]);
        (start, start + number(&it["summary"]["total_time_seconds"]))
    };
    guests(outcome).iter().map(time).collect()
}

/// The most that all of them sent in half a second, by the polls of all.
fn busiest_half_second(outcome: &Outcome) -> f64 {
    let mut sent: Vec<(f64, f64)> = Vec::new();
    for guest in guests(outcome) {
        let start = number(&guest["started_seconds"]);
        let mut before = 0.0;
        for poll in guest["timeline"].as_array().unwrap() {
            let Some(bytes) = poll["transferred_bytes"].as_f64() else { continue };
            sent.push((start + number(&poll["t_seconds"]), bytes - before));
            before = bytes;
        }
    }
    sent.sort_by(|a, b| a.0.total_cmp(&b.0));
    let within = |from: f64| sent.iter().filter(move |it| it.0 > from && it.0 <= from + 0.5);
    sent.iter().map(|it| within(it.0).map(|it| it.1).sum::<f64>() * 2.0).fold(0.0, f64::max)
}

#[test]
fn guests_that_migrate_at_once_share_the_link() {
    let outcome = fleet("3", "3", &[]).outcome();
    outcome.assert_ended(0, "completed", "verified");
    assert_eq!(guests(&outcome).len(), 3);
    for guest in guests(&outcome) {
        assert_eq!(guest["summary"]["verdict"], "completed");
        assert_eq!(guest["summary"]["integrity"], "verified");
        assert!(number(&guest["summary"]["baseline_pages_per_second"]) > 0.0);
        assert!(!guest["passes"].as_array().unwrap().is_empty());
    }
    // All of them are under way before the first has ended.
    let times = times(&outcome);
    let first_end = times.iter().map(|it| it.1).fold(f64::MAX, f64::min);
    assert!(times.iter().all(|it| it.0 < first_end), "{times:?}");
    // Polls are late on a busy machine, so a short time may seem to hold more than it did; nothing makes up for a link that is not shared, which would carry three times as much.
    let busiest = busiest_half_second(&outcome);
    assert!(busiest < 1.3 * LINK, "{busiest}");
    let mean = number(&outcome.report()["fleet"]["bandwidth_mean_bytes_per_second"]);
    assert!(mean < 1.03 * LINK, "{mean}");
    let wire: f64 = guests(&outcome).iter().map(|it| number(&it["summary"]["wire_bytes"])).sum();
    assert_eq!(number(outcome.summary("wire_bytes")), wire);
    assert!(outcome.stdout.contains("all at the same time"), "{}", outcome.stdout);
}

#[test]
fn one_after_the_other_waits_for_its_turn_and_has_the_link_for_itself() {
    let outcome = fleet("3", "1", &[]).outcome();
    outcome.assert_ended(0, "completed", "verified");
    let times = times(&outcome);
    assert_eq!(times[0].0, 0.0);
    for pair in times.windows(2) {
        assert!(pair[1].0 >= pair[0].1 - 0.001, "{times:?}");
    }
    let whole = number(outcome.summary("total_time_seconds"));
    assert!((whole - times[2].1).abs() < 1e-6);
    let fleet = &outcome.report()["fleet"];
    assert_eq!(fleet["downtime_seconds"]["known"], 3);
    assert_eq!(
        number(&fleet["downtime_seconds"]["worst"]),
        number(outcome.summary("downtime_seconds"))
    );
    // Their pages differ: a copy of one guest is none of another.
    let corrupt = &guests(&outcome)[1]["summary"]["integrity_detail"]["side"];
    assert_eq!(corrupt, "destination");
}

#[test]
fn an_interrupt_ends_all_of_them_in_good_order() {
    let slow = ["--link-bandwidth", "8Mbit/s", "--progress", "plain"];
    let mut run = fleet("3", "2", &slow).start();
    run.wait_for("guest 1: migrate");
    run.signal(Signal::INT);
    let outcome = run.outcome();
    assert_eq!(outcome.code, Some(130));
    let verdicts: Vec<&Value> =
        guests(&outcome).iter().map(|it| &it["summary"]["verdict"]).collect();
    assert_eq!(verdicts, ["interrupted"; 3]);
    let sides = |it: &Value| it["summary"]["integrity_detail"]["side"].clone();
    assert_eq!(sides(&guests(&outcome)[0]), "source");
}

#[test]
fn a_guest_that_is_lost_does_not_take_the_others_along() {
    let slow = ["--link-bandwidth", "40Mbit/s", "--progress", "plain"];
    let mut run = fleet("2", "2", &slow).start();
    run.wait_for("guest 1: migrate");
    // The phase is printed before the command is accepted, and a side that dies before that fails another way (exit 1).
    std::thread::sleep(std::time::Duration::from_millis(300));
    let hosts = marked(&run.mark());
    // The source of whichever guest; it is known by its command line and by its state.
    let source = hosts.into_iter().filter(|pid| *pid != run.pid().as_raw_nonzero().get() as u32);
    let victim = source.max().unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(victim as i32).unwrap(),
        Signal::KILL,
    )
    .unwrap();
    let outcome = run.outcome();
    let mut verdicts: Vec<&str> =
        guests(&outcome).iter().map(|it| it["summary"]["verdict"].as_str().unwrap()).collect();
    verdicts.sort_unstable();
    // A destination that dies is a failure, a source a loss.
    assert_eq!(verdicts[0], "completed", "{verdicts:?}");
    assert!(["failed", "lost"].contains(&verdicts[1]), "{verdicts:?}");
    assert_eq!(outcome.code, Some(3));
    assert!(outcome.summary("verdict_reason").as_str().unwrap().starts_with("Guest "));
}

#[test]
fn a_fleet_that_cannot_be_is_refused_by_its_field() {
    let outcome = Run::small(&["--fleet-guests", "1"]).outcome();
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("fleet.guests"), "{}", outcome.stderr);
    let outcome = Run::small(&["--fleet-guests", "4", "--fleet-parallel", "5"]).outcome();
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("fleet.parallel"), "{}", outcome.stderr);
    let outcome = Run::small(&["--fleet", "--engine", "qemu"]).outcome();
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("fleet: ");
    let far = ["--fleet", "--destination", "sterna://127.0.0.1:1"];
    let outcome = Run::small(&far).outcome();
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("fleet: all guests share a link");
    let outcome = Run::small(&["--fleet-guests", "64", "--memory", "1TiB"]).outcome();
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("both sides of 64 guests");
}
