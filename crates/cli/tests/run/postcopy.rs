//! Post-copy: the guest runs before its memory is there, and nothing leads back.

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Outcome, Run, unprivileged};

/// Dirties faster than the limit lets pass, so that it never completes by itself.
const HARD: [&str; 8] = [
    "--rate",
    "unlimited",
    "--max-bandwidth",
    "40MB/s",
    "--downtime-limit",
    "1ms",
    "--max-time",
    "30s",
];

/// Memory that nobody touches comes by the background stream alone, so post-copy takes its time.
const SLOW: [&str; 6] =
    ["--ballast", "20MiB", "--postcopy-after-passes", "0", "--postcopy-max-bandwidth", "6MB/s"];

fn switched(arguments: &[&str]) -> Outcome {
    Run::small(&[&HARD[..], arguments].concat()).outcome()
}

/// A switch after one pass.
fn broken(defects: &str, arguments: &[&str]) -> Outcome {
    switched(&[&["--x-break", defects, "--postcopy-after-passes", "1"], arguments].concat())
}

#[track_caller]
fn detail(outcome: &Outcome, path: &str) -> f64 {
    let value = outcome.report()["engine"]["details"].pointer(path).and_then(Value::as_f64);
    value.unwrap_or_else(|| panic!("no detail {path}"))
}

#[track_caller]
fn assert_served(outcome: &Outcome) {
    let discarded = detail(outcome, "/destination_counters/postcopy_discarded_pages");
    let by_request = detail(outcome, "/source_counters/postcopy_pages_by_request");
    let by_background = detail(outcome, "/source_counters/postcopy_pages_by_background");
    let again = detail(outcome, "/source_counters/postcopy_pages_sent_again");
    assert_eq!(by_request + by_background, discarded + again);
    assert!(discarded > 0.0);
    assert_eq!(detail(outcome, "/destination_counters/postcopy_missing_pages"), 0.0);
    assert!(detail(outcome, "/source_counters/postcopy_bytes") > 0.0);
}

#[test]
fn a_guest_that_asks_for_more_than_the_link_carries_does_not_starve_the_background() {
    let outcome = switched(&[
        "--link-bandwidth",
        "40Mbit/s",
        "--workload-memory",
        "100%",
        "--postcopy-after-passes",
        "0",
    ]);
    outcome.assert_ended(0, "completed", "verified");
    // Each tenth of a second of the six seconds and more, it has a turn of 32 pages.
    let by_background = detail(&outcome, "/source_counters/postcopy_pages_by_background");
    assert!(by_background > 300.0, "{by_background}");
}

#[test]
fn a_guest_that_does_not_converge_completes_by_post_copy() {
    let outcome = switched(&["--postcopy-after-passes", "2", "--postcopy-max-bandwidth", "20MB/s"]);
    outcome.assert_ended(0, "completed", "verified");
    assert!(outcome.summary("passes").as_u64().unwrap() >= 2);
    assert_served(&outcome);
    // Both workers went on at once, and waited for pages.
    assert!(detail(&outcome, "/destination_counters/postcopy_faults") >= 2.0);
    assert!(detail(&outcome, "/source_counters/postcopy_requests") >= 2.0);
    let latency =
        |name| detail(&outcome, &format!("/destination_counters/postcopy_latency_ns/{name}"));
    assert!(latency("p50") > 0.0 && latency("p50") <= latency("max"));
    let counters = &outcome.report()["engine"]["details"]["destination_counters"];
    let buckets = counters["postcopy_latency_dist"].as_array().unwrap().iter();
    let counted: u64 = buckets.map(|it| it.as_u64().unwrap()).sum();
    assert!(
        counted >= 2 && counted as f64 <= detail(&outcome, "/destination_counters/postcopy_faults")
    );
    let blocked = &outcome.report()["engine"]["details"]["destination_counters"];
    let workers = blocked["postcopy_vcpu_blocktime"].as_array().unwrap();
    assert_eq!(workers.len(), 2);
    assert!(workers.iter().all(|it| it.as_f64().unwrap() > 0.0));
    // Downtime is over before memory has arrived.
    let total = outcome.summary("total_time_seconds").as_f64().unwrap();
    assert!(outcome.summary("downtime_seconds").as_f64().unwrap() < total);
}

#[test]
fn a_switch_at_once_or_after_a_time_completes() {
    for trigger in [["--postcopy-after-passes", "0"], ["--postcopy-after", "700ms"]] {
        for more in [["--transport", "unix"], ["--tracker", "cooperative"]] {
            let outcome = switched(&[trigger, more].concat());
            outcome.assert_ended(0, "completed", "verified");
            assert_served(&outcome);
        }
    }
}

#[test]
fn transparent_huge_and_locked_pages_are_fetched_one_by_one() {
    for more in [["--huge-pages=thp"], ["--prealloc=false"], ["--locked=true"]] {
        let outcome = switched(&[&["--postcopy-after-passes", "1"][..], &more].concat());
        if outcome.code == Some(5) {
            eprintln!("skipped: {}", outcome.summary("verdict_reason"));
            continue;
        }
        outcome.assert_ended(0, "completed", "verified");
        assert_served(&outcome);
    }
}

/// Huge pages that are reserved for as long as a test runs, if that can be had.
struct Reserved {
    before: String,
}

const RESERVED: &str = "/proc/sys/vm/nr_hugepages";

impl Reserved {
    fn pages(pages: u64) -> Option<Reserved> {
        let read = || std::fs::read_to_string(RESERVED).unwrap_or_default().trim().to_owned();
        let before = read();
        let wanted = before.parse::<u64>().unwrap_or(0) + pages;
        let reserved = std::fs::write(RESERVED, wanted.to_string())
            .map(|()| Reserved { before })
            .inspect_err(|error| eprintln!("skipped: no huge pages can be reserved: {error}"))
            .ok()?;
        if read() != wanted.to_string() {
            eprintln!("skipped: the system has no {pages} huge pages to spare");
            return None;
        }
        Some(reserved)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let _ = std::fs::write(RESERVED, &self.before);
    }
}

#[test]
fn reserved_huge_pages_are_fetched_as_a_whole() {
    // Both sides have one guest each.
    let Some(_reserved) = Reserved::pages(2 * 16) else { return };
    let fault = ["--postcopy-recover", "--faults", "at-postcopy=100ms,action=drop"];
    for more in [&["--postcopy-preempt=false"][..], &["--multifd-channels", "2"], &fault] {
        let arguments = ["--huge-pages", "2MiB", "--postcopy-after-passes", "1"];
        let rate = ["--postcopy-max-bandwidth", "20MB/s"];
        let outcome = switched(&[&arguments[..], &rate, more].concat());
        outcome.assert_ended(0, "completed", "verified");
        assert_served(&outcome);
        let discarded = detail(&outcome, "/destination_counters/postcopy_discarded_pages");
        assert_eq!(discarded % 512.0, 0.0, "{discarded}");
    }
}

#[test]
fn a_page_of_a_gibibyte_is_refused() {
    let outcome =
        Run::new(&["--memory=1GiB", "--huge-pages=1GiB", "--postcopy-after-passes=1"]).outcome();
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("guest.huge-pages");
}

#[test]
fn parallel_connections_and_differences_carry_what_comes_before_the_switch() {
    for technique in [
        &["--multifd-channels", "3"][..],
        &["--multifd-channels", "2", "--multifd-compression", "zstd", "--postcopy-preempt=false"],
        &["--xbzrle-cache", "50%"],
    ] {
        for passes in ["0", "1"] {
            let outcome = switched(&[&["--postcopy-after-passes", passes], technique].concat());
            outcome.assert_ended(0, "completed", "verified");
            assert_served(&outcome);
        }
    }
    let outcome = broken("source:lose-page", &["--multifd-channels", "2"]);
    outcome.assert_ended(4, "completed", "corrupt");
}

#[test]
fn an_unprivileged_user_can_use_it() {
    let arguments = ["--memory", "32MiB", "--postcopy-after-passes", "1", "--cooldown", "100ms"];
    let Some(outcome) = unprivileged(&[&HARD[..], &arguments].concat()) else { return };
    outcome.assert_ended(0, "completed", "verified");
    assert_served(&outcome);
}

#[test]
fn a_guest_that_converges_first_needs_no_post_copy() {
    let outcome = Run::small(&["--postcopy-after", "20s"]).outcome();
    outcome.assert_ended(0, "completed", "verified");
    assert!(outcome.report()["engine"]["details"]["source_counters"].is_null());
}

#[test]
fn a_limit_may_switch_to_post_copy() {
    let outcome = Run::small(
        &[
            &HARD[..6],
            &["--max-time", "1s", "--limits-then", "postcopy", "--postcopy-preempt=false"],
        ]
        .concat(),
    )
    .outcome();
    outcome.assert_ended(0, "completed-forced", "verified");
    outcome.assert_reason_has("limits.max-time");
    assert_served(&outcome);
}

#[test]
fn the_background_keeps_to_its_own_limit() {
    let outcome = switched(&["--postcopy-after-passes", "0", "--postcopy-max-bandwidth", "8MB/s"]);
    outcome.assert_ended(0, "completed", "verified");
    let events = outcome.report()["events"].as_array().unwrap();
    let resumed = events.iter().find(|it| it["kind"] == "resumed").unwrap()["t_seconds"].as_f64();
    let seconds = outcome.summary("total_time_seconds").as_f64().unwrap() - resumed.unwrap();
    let bytes = detail(&outcome, "/source_counters/postcopy_bytes");
    let urgent = detail(&outcome, "/source_counters/postcopy_pages_by_request") * 4200.0;
    // The bucket may be ahead by a burst.
    assert!(bytes - urgent <= 8e6 * seconds + 400e3, "{bytes} in {seconds} s, {urgent} urgent");
}

#[test]
fn a_lost_page_is_corruption_and_so_is_a_wrong_one() {
    for defect in ["source:lose-page", "source:wrong-page"] {
        let outcome = broken(defect, &[]);
        outcome.assert_ended(4, "completed", "corrupt");
        assert_eq!(outcome.summary("integrity_detail")["corrupt_pages"], 1, "{defect}");
    }
}

#[test]
fn a_page_that_never_comes_is_a_lost_guest() {
    let outcome = broken("source:withhold-page", &[]);
    outcome.assert_ended(3, "lost", "unchecked");
    outcome.assert_reason_has("1 pages never came");
}

#[test]
fn whatever_breaks_in_post_copy_the_guest_is_lost_and_never_runs_at_the_source() {
    for defect in [
        "source:disconnect=postcopy",
        "destination:disconnect=postcopy",
        "source:die=postcopy",
        "destination:die=postcopy",
        "source:hang=postcopy",
    ] {
        // Slow enough for the break to come in the middle, and with pages that nobody asks for.
        let outcome = switched(&[&["--x-break", defect], &SLOW[..]].concat());
        outcome.assert_ended(3, "lost", "unchecked");
        outcome.assert_reason_has("no side can run the guest");
        let report = outcome.report();
        let restored =
            report["events"].as_array().unwrap().iter().any(|it| it["kind"] == "restored");
        assert!(!restored, "{defect}: the source ran the guest again");
    }
}

#[test]
fn a_guest_that_lacks_nothing_is_not_lost_with_its_source() {
    // Workers ask for every page that was dirty while the background hangs; all that the source owes then is its last word.
    let outcome = broken("source:hang=postcopy,destination:impatient=1s", &[]);
    outcome.assert_ended(0, "completed", "verified");
    assert_eq!(detail(&outcome, "/destination_counters/postcopy_missing_pages"), 0.0);
    let events = outcome.report()["events"].as_array().unwrap();
    let told = events.iter().find(|it| it["kind"] == "link-lost").unwrap();
    assert!(told["text"].as_str().unwrap().contains("behind the last page"), "{told}");
}

#[test]
fn faults_may_strike_in_post_copy() {
    for (fault, reason) in [
        ("at-postcopy=100ms,action=drop", "onnection"),
        ("at-postcopy=100ms,action=corrupt", "Checksum mismatch"),
        ("at-postcopy=100ms,side=destination,action=kill", "killed by signal"),
    ] {
        let outcome = switched(&[&SLOW[..], &["--faults", fault]].concat());
        outcome.assert_ended(3, "lost", "unchecked");
        outcome.assert_reason_has(reason);
    }
}

#[test]
fn encrypted_connections_carry_it() {
    let outcome = switched(&["--postcopy-after-passes", "1", "--tls-mode=x509"]);
    outcome.assert_ended(0, "completed", "verified");
    assert_served(&outcome);
}

#[test]
fn an_interrupt_waits_for_the_end() {
    let mut run = Run::small(&[&HARD[..], &SLOW, &["--progress", "plain"]].concat()).start();
    run.wait_for("s  postcopy");
    run.signal(Signal::INT);
    let outcome = run.outcome();
    outcome.assert_ended(130, "interrupted", "verified");
    assert_eq!(outcome.summary("integrity_detail")["side"], "destination");
    outcome.assert_reason_has("completed");
}

#[test]
fn two_interrupts_in_post_copy_leave_nothing_behind() {
    let mut run = Run::small(&[&HARD[..], &SLOW, &["--progress", "plain"]].concat()).start();
    run.wait_for("s  postcopy");
    run.signal(Signal::INT);
    run.signal(Signal::INT);
    let outcome = run.outcome();
    assert_eq!(outcome.code, Some(130));
}

#[test]
fn the_background_goes_on_beside_workers_that_ask_without_end() {
    for preempt in ["true", "false"] {
        // Two workers ask as fast as the wire can answer, for as long as the rest is not there.
        let outcome = Run::small(&[
            "--rate=unlimited",
            "--workload-memory=24MiB",
            "--link-bandwidth=40Mbit/s",
            "--max-bandwidth=unlimited",
            "--max-time=60s",
            "--postcopy-after-passes=0",
            &format!("--postcopy-preempt={preempt}"),
        ])
        .outcome();
        outcome.assert_ended(0, "completed", "verified");
        assert_served(&outcome);
        let all = detail(&outcome, "/destination_counters/postcopy_discarded_pages");
        let background = detail(&outcome, "/source_counters/postcopy_pages_by_background");
        assert!(background > all / 8.0, "{background} of {all} pages by the background");
        // And the wire carries no more than it can: 40 Mbit/s are 5 MB/s.
        let number = |name| outcome.summary(name).as_f64().unwrap();
        let seconds = number("total_time_seconds");
        assert!(number("wire_bytes") / seconds < 5.3e6, "{} in {seconds}", number("wire_bytes"));
        assert!(number("downtime_claimed_seconds") < seconds / 2.0);
    }
}

#[test]
fn a_silent_connection_is_no_silent_source() {
    // A page each second in the background, and many between them that are asked for.
    let outcome = switched(&[
        "--x-break",
        "destination:impatient=400ms",
        "--postcopy-after-passes=0",
        "--link-bandwidth=20Mbit/s",
        "--postcopy-max-bandwidth=4kB/s",
        "--workload-memory=2MiB",
        "--ballast=20MiB",
        "--rate=1MiB/s",
        "--pattern=sequential",
    ]);
    // Workers have asked for pages for some 2 s by then, and for none behind.
    outcome.assert_ended(3, "lost", "unchecked");
    let faults = detail(&outcome, "/destination_counters/postcopy_faults");
    assert!(faults > 300.0, "{faults}");
    outcome.assert_reason_has("has sent nothing for");
}

/// 20 MiB that only the background sends, at a rate that takes over a minute.
const TOO_SLOW: [&str; 6] =
    ["--ballast", "20MiB", "--postcopy-after-passes", "0", "--postcopy-max-bandwidth", "300kB/s"];

#[test]
fn a_limit_in_post_copy_warns_lifts_the_bandwidth_limit_and_keeps_the_guest() {
    let limit = ["--max-time", "2s", "--progress", "plain"];
    let outcome = Run::small(&[&TOO_SLOW[..], &limit].concat()).outcome();
    outcome.assert_ended(0, "completed", "verified");
    let warnings = outcome.report()["warnings"].to_string();
    assert!(warnings.contains("postcopy-over-limit"), "{warnings}");
    let seconds = outcome.summary("total_time_seconds").as_f64().unwrap();
    assert!((2.0..30.0).contains(&seconds), "{seconds} s");
    assert!(outcome.stderr.contains(" pages)  transferred"), "{}", outcome.stderr);
    // What is sent under the limit of post-copy, and not the estimate of pre-copy before it.
    let slow = outcome.stderr.lines().rfind(|it| it.contains("postcopy  pass")).unwrap();
    let sending = slow.split("sending ").nth(1).unwrap();
    let (number, unit) = sending.split_once(' ').unwrap();
    let megabits = match unit {
        _ if unit.starts_with("kbit/s") => number.parse::<f64>().unwrap() / 1e3,
        _ if unit.starts_with("Mbit/s") => number.parse::<f64>().unwrap(),
        _ => panic!("{slow}"),
    };
    assert!(megabits < 30.0, "{slow}");
}

#[test]
fn one_interrupt_in_post_copy_lifts_the_bandwidth_limit_and_keeps_the_guest() {
    let mut run = Run::small(&[&TOO_SLOW[..], &["--progress", "plain"]].concat()).start();
    run.wait_for("s  postcopy");
    run.signal(Signal::INT);
    let outcome = run.outcome();
    outcome.assert_ended(130, "interrupted", "verified");
    let seconds = outcome.summary("total_time_seconds").as_f64().unwrap();
    assert!(seconds < 30.0, "{seconds} s");
}

#[test]
fn a_guest_is_given_up_in_post_copy_where_the_scenario_says_so() {
    let limits = ["--max-time", "none", "--abandon-postcopy-after", "1s"];
    let outcome = Run::small(&[&TOO_SLOW[..], &limits].concat()).outcome();
    outcome.assert_ended(3, "lost", "unchecked");
    outcome.assert_reason_has("limits.abandon-postcopy-after");
}
