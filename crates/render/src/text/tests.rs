use sterna_report::{
    CorruptPage, DiskDefect, DiskIntegrity, Engine, Fleet, FleetGuest, Host, Integrity, Report,
    Side, Summary, Tool, Tracker, Verdict, Word,
};

use super::*;

const PLAIN: Style = Style { colour: false, width: 120 };

fn completed() -> Report {
    Report::read(include_str!("../../../report/tests/data/completed-1.0.json")).unwrap()
}

fn nothing_seen(verdict: Verdict) -> Report {
    let engine = Engine { name: "emulator".to_owned(), ..Engine::default() };
    let tool = Tool { name: "sterna".to_owned(), version: "0.1.0".to_owned(), features: vec![] };
    let started = "2026-03-01T12:00:00Z".to_owned();
    let mut report = Report::new(tool, Host::default(), engine, started, Default::default());
    report.summary.verdict = verdict;
    report
}

#[test]
fn a_fleet_is_told_as_a_whole_and_guest_by_guest() {
    let one = completed();
    let guest = |number: u64, verdict| FleetGuest {
        guest: number,
        started_seconds: Some(number as f64),
        engine: one.engine.clone(),
        summary: Summary { verdict, ..one.summary.clone() },
        passes: vec![],
        timeline: vec![],
        samples: vec![],
        cpu: vec![],
        events: vec![],
        clocks: vec![],
        probes: vec![],
        warnings: vec![],
    };
    let fleet = Fleet::new(1, vec![guest(0, Verdict::Completed), guest(1, Verdict::Failed)]);
    let mut report = nothing_seen(Verdict::Failed);
    report.summary = fleet.summary();
    report.fleet = Some(fleet);
    insta::assert_snapshot!(text(&report, PLAIN), @r"
    Fleet of 2 guests, 1 completed, 1 failed: memory verified, total time of all 1.73 s, worst downtime 54.0 ms

    Run
      scenario          unknown
      engine            emulator
      tracker           unknown
      host              unknown
      started           2026-03-01T12:00:00Z by sterna 0.1.0

    Fleet
      guests            2 guests, one after the other
      total of all      1.73 s
      bandwidth         828 Mbit/s
      total             median 735 ms, worst 735 ms
      downtime          median 54.0 ms, worst 54.0 ms
      blackout          median 55.1 ms, worst 55.1 ms
      lost work         median 60.3 ms, worst 60.3 ms

    Guests
      guest  verdict    memory     start   total  downtime  blackout  lost work  passes
      0      completed  verified     0 s  735 ms   54.0 ms   55.1 ms    60.3 ms       2
      1      failed     verified  1.00 s  735 ms   54.0 ms   55.1 ms    60.3 ms       2
    ");
}

#[test]
fn a_completed_run_is_told_in_full() {
    insta::assert_snapshot!(text(&completed(), PLAIN), @r"
    Completed: memory verified, total time 735 ms, downtime 54.0 ms

    Run
      scenario          two passes over 1 Gbit/s, 2 vCPUs, 256MiB of memory
      engine            emulator over tcp (source 0.1.0, destination 0.1.0)
      tracker           wp-async, page size 4 KiB (The kernel supports it)
      host              lab1, kernel 6.12.0, Example CPU, 8 CPUs, 32.0 GiB
      started           2026-03-01T12:00:00Z by sterna 0.1.0

    Time
      total             735 ms
      setup             12.0 ms
      downtime          54.0 ms ± 40.0 µs (claimed 54.0 ms, limit 300ms)
        final sync      2.20 ms
        final transfer  51.3 ms
        resume          500 µs
      convergence       in pass 2, 552 ms after the start

    Memory and network
      integrity         verified: 65536 pages checked on the destination, 0 corrupt
      on the wire       85.6 MiB, 0.33 × guest memory
      bandwidth         993 Mbit/s mean (945 Mbit/s to 1.02 Gbit/s in windows of 100 ms, limit 1Gbit/s)
      pages             21774 sent, 49152 zero, 3930 sent again while the guest ran
      dirty rate        31.4 MiB/s, distinct pages, over 2 passes
      touch rate        31.7 MiB/s, repeats included

    Passes, in pages of 4 KiB
       pass  start s  length s  sync ms  dirty   sent   zero  resent  wire MiB  Mbit/s  dirty MiB/s  touch MiB/s  dip %
          1    0.012     0.540     2.00  65536  16384  49152       0      64.5    1002         28.4         31.7    1.5
          2    0.552     0.130     4.00   3930   3930      0    3930      15.4     993         43.9         31.1    6.2
      final    0.682     0.052     1.20   1460   1460      0    1460       5.7     922            –            –      –

    Guest
      baseline          8192 pages/s, 32.0 MiB/s
      during            8116 pages/s, 31.7 MiB/s (0.9 % below the baseline)
      blackout          55.1 ms (gaps from 1.00 ms on are seen)
      lost work         60.3 ms of guest time
      back after        265 ms until the first sample, 0 s until 95 % of the baseline
      write latency    p50      p99    p99.9      max
        baseline     30 ns    95 ns   410 ns  22.0 µs
        during       35 ns  1.35 µs  9.10 µs  61.0 µs

    Hosts
      CPU by threads  source s  cores  destination s  cores
        control          0.003   0.00          0.002   0.00
        migration        0.170   0.23          0.120   0.16
        workload         0.008   0.01              –      –
      resident peak     source 271 MiB, destination 269 MiB

    Warnings
      ! The warm-up had only 4 samples [short-warm-up]
        Set timing.warmup to 2s or more
    ");
}

#[test]
fn what_was_not_seen_is_unknown_and_never_zero() {
    insta::assert_snapshot!(text(&nothing_seen(Verdict::Interrupted), PLAIN), @r"
    Interrupted: memory unchecked, total time unknown, downtime unknown

    Run
      scenario          unknown
      engine            emulator
      tracker           unknown
      host              unknown
      started           2026-03-01T12:00:00Z by sterna 0.1.0

    Time
      total             unknown
      setup             unknown
      downtime          unknown
        final sync      unknown
        final transfer  unknown
        resume          unknown
      convergence       none seen

    Memory and network
      integrity         unchecked
      on the wire       unknown
      bandwidth         unknown
      pages             unknown
      dirty rate        unknown
      touch rate        unknown

    Guest
      baseline          unknown
      during            unknown
      blackout          unknown
      lost work         unknown
      back after        unknown
      write latency     unknown

    Hosts
      CPU               unknown
      resident peak     source –, destination –
    ");
}

#[test]
fn an_unsupported_scenario_shows_the_reason_and_no_empty_sections() {
    let mut report = nothing_seen(Verdict::Unsupported);
    report.summary.verdict_reason = Some("The emulator has no post-copy".to_owned());
    insta::assert_snapshot!(text(&report, PLAIN), @r"
    Unsupported, nothing was started
      The emulator has no post-copy

    Run
      scenario          unknown
      engine            emulator
      tracker           unknown
      host              unknown
      started           2026-03-01T12:00:00Z by sterna 0.1.0
    ");
}

#[test]
fn a_disk_that_lost_a_record_is_told_apart_from_memory_that_is_well() {
    let mut report = completed();
    let sound = DiskIntegrity {
        side: Side::Destination,
        record_bytes: 512,
        records_checked: 900,
        missing_records: 0,
        torn_records: 0,
        misplaced_records: 0,
        first: Vec::new(),
    };
    report.summary.disk_integrity = Some(sound.clone());
    assert!(one_line(&report).contains("memory verified, disk sound,"), "{}", one_line(&report));
    let what = "its checksum is wrong".to_owned();
    let first = vec![DiskDefect { record: 7, offset_bytes: 3584, what }];
    report.summary.disk_integrity = Some(DiskIntegrity { torn_records: 1, first, ..sound });
    report.summary.integrity = Integrity::Corrupt;
    let text = text(&report, PLAIN);
    assert!(text.starts_with("Completed: memory verified, DISK CORRUPT, total time"), "{text}");
    for line in [
        "verified: 65536 pages checked on the destination, 0 corrupt\n",
        "corrupt: 900 records checked on the destination, 0 missing, 1 torn, 0 in the place of others\n",
        "record 7 at byte 3584: its checksum is wrong\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    report.summary.integrity_detail = None;
    assert!(one_line(&report).contains("memory unchecked, DISK CORRUPT"), "{}", one_line(&report));
}

#[test]
fn a_corrupt_page_is_shown_where_it_is() {
    let mut report = completed();
    report.summary.integrity = Integrity::Corrupt;
    let detail = report.summary.integrity_detail.as_mut().unwrap();
    detail.corrupt_pages = 1;
    detail.first =
        vec![CorruptPage { page: 77, offset_bytes: 8, expected: Word(0x2a), found: Word(0x29) }];
    let text = text(&report, PLAIN);
    assert!(
        text.starts_with("Completed: MEMORY CORRUPT, total time 735 ms, downtime 54.0 ms\n"),
        "{text}"
    );
    assert!(
        text.contains("corrupt: 65536 pages checked on the destination, 1 corrupt\n"),
        "{text}"
    );
    assert!(
        text.contains("page 77 at byte 8: 0x0000000000000029 in place of 0x000000000000002a\n"),
        "{text}"
    );
}

#[test]
fn a_cooperative_tracker_is_named_on_the_verdict_line() {
    let mut report = completed();
    report.engine.tracker = Some(Tracker::Cooperative);
    report.engine.tracker_reason = None;
    let text = text(&report, PLAIN);
    let first = text.lines().next().unwrap();
    assert!(first.ends_with("cooperative tracker: the cost of tracking is not real"), "{first}");
    assert!(text.contains("cooperative, page size 4 KiB; the guest did not pay"), "{text}");
    assert!(one_line(&report).contains("not real"));
}

#[test]
fn each_verdict_has_its_line() {
    let lines: Vec<String> = [
        Verdict::Completed,
        Verdict::CompletedForced,
        Verdict::Cancelled,
        Verdict::Failed,
        Verdict::Lost,
        Verdict::Unsupported,
        Verdict::Interrupted,
    ]
    .map(|verdict| one_line(&nothing_seen(verdict)))
    .into();
    insta::assert_snapshot!(lines.join("\n"), @r"
    Completed: memory unchecked, total time unknown, downtime unknown
    Completed, but forced: memory unchecked, total time unknown, downtime unknown
    Cancelled, the guest runs on at the source: memory unchecked, total time unknown, no switchover
    Failed before a migration began
    Lost, no side can run the guest: memory unchecked, total time unknown, downtime unknown
    Unsupported, nothing was started
    Interrupted: memory unchecked, total time unknown, downtime unknown
    ");
}

#[test]
fn the_lag_of_the_guests_clock_is_shown_where_it_is_known() {
    let mut report = completed();
    assert!(!text(&report, PLAIN).contains("guest clock"));
    let mut add = |name: &str, value: f64| {
        report.engine.details.insert(name.to_owned(), value.into());
    };
    add("guest_clock_standstill_seconds", 0.0412);
    add("guest_clock_standstill_uncertainty_seconds", 0.0011);
    let shown = text(&report, PLAIN);
    assert!(shown.contains("41.2 ms ± 1.10 ms behind since the switchover"), "{shown}");
}

#[test]
fn lost_work_that_may_be_more_says_at_least() {
    let mut report = completed();
    report.summary.lost_work_seconds = Some(3.0);
    report.summary.lost_work_lower_bound = Some(true);
    assert!(text(&report, PLAIN).contains("at least 3.00 s of guest time"));
}

#[test]
fn no_line_is_wider_than_an_ordinary_terminal() {
    for width in [80, 100, 120] {
        let text = text(&completed(), Style { colour: false, width });
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= width, "{width}: {text}");
    }
}

#[test]
fn hundreds_of_passes_are_cut_in_the_middle() {
    let mut report = completed();
    let pass = report.passes[0].clone();
    report.passes =
        (1..=300).map(|number| sterna_report::Pass { number, ..pass.clone() }).collect();
    let text = text(&report, PLAIN);
    assert!(text.contains("276 rows after row 8 are left out"), "{text}");
    let rows = |n: u64| text.lines().any(|line| line.trim_start().starts_with(&format!("{n}  ")));
    assert!(rows(8) && rows(285) && rows(300), "{text}");
    assert!(!rows(9) && !rows(284), "{text}");
}

#[test]
fn colours_change_nothing_but_the_colours() {
    let coloured = text(&completed(), Style { colour: true, ..PLAIN });
    assert!(coloured.contains("\u{1b}[32m"), "the good verdict is green");
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    assert_eq!(plain + rest, text(&completed(), PLAIN));
}

#[test]
fn a_side_that_was_not_seen_has_a_dash() {
    let mut report = completed();
    report.summary.resident_peak_bytes.destination = None;
    report.summary.integrity_detail.as_mut().unwrap().side = Side::Source;
    let text = text(&report, PLAIN);
    assert!(text.contains("source 271 MiB, destination –"), "{text}");
    assert!(text.contains("checked on the source"), "{text}");
}
