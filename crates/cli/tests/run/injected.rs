//! What a scenario lets go wrong: each fault strikes when it should, and the run ends as it would if nobody had meant it.

use crate::harness::{Outcome, Run};

/// Slow enough for a second pass.
const SLOW: [&str; 6] =
    ["--max-bandwidth", "200Mbit/s", "--rate", "8MiB/s", "--downtime-limit", "20ms"];

fn with(faults: &str, more: &[&str]) -> Outcome {
    Run::small(&[&SLOW[..], &["--faults", faults], more].concat()).outcome()
}

/// The texts of the events that tell of faults, with their moments.
fn struck(outcome: &Outcome) -> Vec<(f64, String)> {
    let report = outcome.report();
    let events = report["events"].as_array().unwrap().iter();
    let faults = events.filter(|event| event["kind"] == "fault");
    faults
        .map(|it| (it["t_seconds"].as_f64().unwrap(), it["text"].as_str().unwrap().to_owned()))
        .collect()
}

/// The faults that never struck, by their events; a warning names each of them.
fn never_struck(outcome: &Outcome) -> Vec<String> {
    let report = outcome.report();
    let of = |list: &str, name: &str| -> Vec<String> {
        let all = report[list].as_array().unwrap().iter();
        let found = all.filter(|it| it[name] == "fault-never-struck");
        found.map(|it| it["text"].as_str().unwrap().to_owned()).collect()
    };
    let faults: Vec<String> =
        of("events", "kind").iter().map(|it| it.rsplit(' ').next().unwrap().to_owned()).collect();
    let warned = of("warnings", "code");
    assert_eq!(warned.len(), usize::from(!faults.is_empty()), "{warned:?}");
    assert!(faults.iter().all(|fault| warned[0].contains(fault)), "{warned:?}");
    faults
}

#[test]
fn what_ends_a_migration_leaves_the_source_unharmed() {
    #[track_caller]
    fn check(fault: &str, reason: &str) {
        let outcome = with(fault, &[]);
        outcome.assert_ended(3, "failed", "verified");
        outcome.assert_reason_has(reason);
        assert_eq!(outcome.summary("integrity_detail")["side"], "source");
    }
    check("at-pass=2,action=drop", "onnection");
    check("at-bytes=4MiB,side=destination,action=drop", "onnection");
    check("at-pass=1,action=corrupt", "hecksum");
    check("at-pass=2,action=corrupt", "hecksum");
    check("at-pass=1,side=destination,action=corrupt", "damaged");
    check("at=100ms,side=destination,action=kill", "onnection");
}

#[test]
fn a_source_that_is_killed_takes_the_guest_with_it() {
    let outcome = with("at-pass=1,action=kill", &[]);
    outcome.assert_ended(3, "lost", "unchecked");
    assert_eq!(never_struck(&outcome), [""; 0]);
}

#[test]
fn a_stall_is_waited_out_and_told() {
    let calm = with("at-pass=90,action=drop", &[]);
    assert!(struck(&calm).is_empty(), "a fault whose moment never came");
    calm.assert_ended(0, "completed", "verified");
    assert_eq!(never_struck(&calm), ["at-pass=90,side=source,action=drop"]);
    for side in ["source", "destination"] {
        let fault = format!("at-bytes=2MiB,side={side},action=stall,for=2s");
        let outcome = with(&fault, &[]);
        outcome.assert_ended(0, "completed", "verified");
        let took = |it: &Outcome| it.summary("total_time_seconds").as_f64().unwrap();
        assert!(took(&outcome) > 2.0, "{}", took(&outcome));
        assert_eq!(never_struck(&outcome), [""; 0]);
        let [(_, text)] = &struck(&outcome)[..] else { panic!("{:?}", struck(&outcome)) };
        assert!(text.contains(&fault), "{text}");
    }
}

#[test]
fn of_two_faults_the_one_that_never_struck_is_named() {
    let later = "at-bytes=1GiB,side=destination,action=kill";
    let outcome = with(&format!("at-pass=1,action=delay,for=1ms;{later}"), &[]);
    outcome.assert_ended(0, "completed", "verified");
    assert_eq!(struck(&outcome).len(), 1);
    assert_eq!(never_struck(&outcome), [later]);
}

#[test]
fn a_stall_without_end_is_left_by_a_limit() {
    for side in ["source", "destination"] {
        let outcome = with(
            &format!("at-pass=1,side={side},action=stall"),
            &["--max-time", "1s", "--memory", "64MiB", "--ballast", "40MiB"],
        );
        outcome.assert_ended(3, "cancelled", "verified");
        outcome.assert_reason_has("limits.max-time");
    }
}

/// The guest is stopped at 500 ms with four seconds of memory to send, and then the destination hangs for ever.
#[track_caller]
fn hangs_while_the_guest_stands_still(more: &[&str]) {
    let paused = [
        "--memory",
        "64MiB",
        "--ballast",
        "40MiB",
        "--max-bandwidth",
        "80Mbit/s",
        "--limit-in-switchover=true",
        "--pause-after",
        "500ms",
        "--faults",
        "at=1s,side=destination,action=stall",
    ];
    let outcome = Run::small(&[&paused[..], more].concat()).outcome();
    outcome.assert_ended(3, "failed", "verified");
    outcome.assert_reason_has("taken nothing for 5.0 s while the guest stood still");
    assert_eq!(outcome.summary("integrity_detail")["side"], "source");
    let blackout = outcome.summary("blackout_seconds").as_f64().unwrap();
    assert!((5.0..25.0).contains(&blackout), "{blackout}");
}

#[test]
fn a_destination_that_hangs_does_not_keep_the_guest() {
    hangs_while_the_guest_stands_still(&[]);
}

#[test]
fn a_source_that_hangs_does_not_keep_a_limit_from_ending_the_run() {
    let limit = ["--max-time", "500ms", "--limits-then", "pause"];
    let hangs = ["--faults", "at-pass=2,action=stall", "--rate", "unlimited"];
    let outcome = Run::small(&[&SLOW[..2], &limit, &hangs].concat()).outcome();
    outcome.assert_ended(3, "failed", "verified");
    outcome.assert_reason_has("although the guest was to be stopped");
}

#[test]
fn nor_does_one_with_parallel_connections() {
    hangs_while_the_guest_stands_still(&["--multifd-channels", "2"]);
}

#[test]
fn a_delay_slows_each_frame() {
    let took = |outcome: Outcome| {
        outcome.assert_ended(0, "completed", "verified");
        let seconds = outcome.summary("total_time_seconds").as_f64().unwrap();
        (seconds, struck(&outcome))
    };
    // Some 30 quanta of 10 ms make pass 1, each of them a frame.
    let (seconds, faults) = took(
        Run::small(&[
            "--max-bandwidth",
            "200Mbit/s",
            "--rate",
            "1MiB/s",
            "--faults",
            "at=0s,action=delay,for=30ms",
        ])
        .outcome(),
    );
    assert!(seconds > 0.9, "{seconds}");
    assert_eq!(faults.len(), 1);
}

#[test]
fn a_table_in_a_file_is_the_same_as_the_flag() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("fault.toml");
    std::fs::write(&file, "[[fault]]\nat-pass = 1\naction = \"drop\"\n").unwrap();
    let outcome = Run::small(&[file.to_str().unwrap()]).outcome();
    outcome.assert_ended(3, "failed", "verified");
    assert_eq!(outcome.report()["scenario"]["faults"], "at-pass=1,side=source,action=drop");
}

#[test]
fn a_moment_that_cannot_come_is_refused() {
    let outcome = with("at-postcopy=1s,action=drop", &[]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("there is no post-copy"), "{}", outcome.stderr);
    let outcome = with("at-pass=1,action=dorp", &[]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("did you mean `drop`?"), "{}", outcome.stderr);
}
