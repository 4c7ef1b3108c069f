//! The table in `docs/faults.md` of what each defect must end as, held cell by cell.
//!
//! Each cell is run with one of the nine methods here, another one from cell to cell.
//! `cargo xtask soak truth` runs each with all of them: it sets `STERNA_TRUTH_METHODS` to `all`.

use std::path::Path;

use sterna_workload::Method;

use crate::harness::{Outcome, Run};

/// Columns of the table, and what makes a run use the technique.
const TECHNIQUES: [(&str, &[&str]); 4] = [
    ("pre-copy", &["--max-bandwidth=400Mbit/s"]),
    ("multifd", &["--max-bandwidth=400Mbit/s", "--multifd-channels=3"]),
    ("xbzrle", &["--max-bandwidth=400Mbit/s", "--xbzrle", "--xbzrle-cache=50%"]),
    (
        "post-copy",
        &[
            "--max-bandwidth=400Mbit/s",
            "--postcopy-after-passes=1",
            "--downtime-limit=1ms",
            "--max-time=40s",
        ],
    ),
];

/// Each page is written many times a second, so that what arrives wrong is soon written over.
const REWRITES: [&str; 3] = ["--workload-memory=8MiB", "--ballast=8MiB", "--rate=128MiB/s"];

/// Each page is written once at most: a page of zeros that is zero already loses nothing by a lost write.
const WRITES_ONCE: [&str; 4] =
    ["--workload-memory=20MiB", "--ballast=4MiB", "--rate=3MiB/s", "--pattern=sequential"];

/// What some defects need beside the technique.
const MORE: [(&str, &[&str]); 6] = [
    ("destination:claim-page", &CUT),
    ("destination:hang=pass1", &["--max-time=1s"]),
    ("destination:late-packet=600ms", &PACKETS),
    ("destination:late-packet=600ms,source:skip-channel-sync", &PACKETS),
    ("source:lose-difference", &SMALL_CHANGES),
    ("source:keep-throttle", &["--auto-converge", "--max-time=900ms", "--downtime-limit=1ms"]),
];

/// A link that is lost in the middle of a post-copy, and replaced.
const CUT: [&str; 5] = [
    "--ballast=20MiB",
    "--postcopy-after-passes=0",
    "--postcopy-max-bandwidth=12MB/s",
    "--postcopy-recover",
    "--faults=at-postcopy=200ms,action=drop",
];

/// Slow enough for several passes, of which all but the first send differences.
const SMALL_CHANGES: [&str; 3] =
    ["--max-bandwidth=20MB/s", "--rate=64MiB/s", "--downtime-limit=50ms"];

/// Packets whose next copies travel on another connection, while one packet fits the buffers of a connection on which
/// nothing is read.
const PACKETS: [&str; 5] = [
    "--multifd-channels=16",
    "--workload-memory=4MiB",
    "--max-bandwidth=200MB/s",
    "--rate=128MiB/s",
    "--downtime-limit=20ms",
];

/// A row of the table: the defect, and its cells by technique.
struct Row {
    defect: String,
    cells: Vec<String>,
}

fn rows() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/faults.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().skip_while(|line| !line.starts_with("| `--x-break` |"));
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let heading = cells(lines.next().expect("docs/faults.md has a table of defects"));
    let names: Vec<&str> = TECHNIQUES.iter().map(|it| it.0).collect();
    assert_eq!(heading[1..], names, "the columns are those of the test");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|')).map(|line| {
        let mut cells = cells(line);
        let defect = cells.remove(0).trim_matches('`').to_owned();
        assert_eq!(cells.len(), names.len(), "{defect}");
        Row { defect, cells }
    });
    rows.collect()
}

/// Whether a defect can strike with a method at all.
fn applies(defect: &str, method: Method) -> bool {
    match defect {
        // Only they change so little of a page that its difference is sent.
        "source:lose-difference" => matches!(method, Method::Touch | Method::Counter),
        // A page of zeros in place of a page of zeros is right.
        "destination:claim-page" | "destination:late-packet=600ms,source:skip-channel-sync" => {
            method != Method::Zero
        }
        // Written once, memory is soon sent, whatever is held back.
        "source:keep-throttle" => method != Method::Zero,
        _ => true,
    }
}

fn run(defect: &str, technique: &[&str], method: Method) -> Outcome {
    let more = MORE.iter().find(|it| it.0 == defect).map_or(&[][..], |it| it.1);
    let rewrites = if method == Method::Zero { &WRITES_ONCE[..] } else { &REWRITES[..] };
    let named = [format!("--method={method}"), format!("--x-break={defect}")];
    let named = named.each_ref().map(String::as_str);
    // What a defect needs takes the place of what is usual.
    let flag = |argument: &str| argument.split('=').next().map(str::to_owned);
    let is_usual = |argument: &&str| more.iter().all(|it| flag(it) != flag(argument));
    let usual = [technique, rewrites].concat().into_iter().filter(is_usual);
    let arguments: Vec<&str> = usual.chain(named).chain(more.iter().copied()).collect();
    Run::small(&arguments).outcome()
}

/// Whether a run ended as a cell says.
fn check(cell: &str, outcome: &Outcome) -> Result<(), String> {
    let word = |field: &str| outcome.summary(field).as_str().unwrap_or_default().to_owned();
    let found = (outcome.code, word("verdict"), word("integrity"));
    let expected = match cell {
        "corrupt" => (4, "completed", "corrupt"),
        "failed" => (3, "failed", "verified"),
        "lost" => (3, "lost", "unchecked"),
        "cancelled" => (3, "cancelled", "verified"),
        "completed" | "completed, late" => (0, "completed", "verified"),
        other => return Err(format!("the table has a cell that no test knows: {other}")),
    };
    if found != (Some(expected.0), expected.1.to_owned(), expected.2.to_owned()) {
        let reason = outcome.summary("verdict_reason");
        return Err(format!("{found:?} in place of {expected:?}: {reason}"));
    }
    if cell == "completed, late" {
        for number in ["downtime_seconds", "blackout_seconds"] {
            let seconds = outcome.summary(number).as_f64();
            if seconds.is_none_or(|it| it < 0.4) {
                return Err(format!("{number} is {seconds:?}"));
            }
        }
    }
    Ok(())
}

#[track_caller]
fn hold(column: usize) {
    let (name, technique) = TECHNIQUES[column];
    let takes_all = std::env::var("STERNA_TRUTH_METHODS").is_ok_and(|it| it == "all");
    let mut wrong = Vec::new();
    let mut cells = 0;
    for (number, Row { defect, cells: row }) in rows().iter().enumerate() {
        let cell = &row[column];
        if cell == "–" {
            continue;
        }
        let methods: Vec<Method> =
            Method::ALL.iter().copied().filter(|it| applies(defect, *it)).collect();
        let first = (number + 2 * column) % methods.len();
        let chosen = if takes_all { &methods[..] } else { &methods[first..=first] };
        for method in chosen {
            cells += 1;
            let result = check(cell, &run(defect, technique, *method));
            eprintln!("{name}, {defect}, {method}: {cell}, {result:?}");
            wrong.extend(result.err().map(|it| format!("{defect} with {method}: {it}")));
        }
    }
    assert!(cells > 5, "the table is too short");
    assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
}

#[test]
fn precopy_ends_as_the_table_says() {
    hold(0);
}

#[test]
fn parallel_connections_end_as_the_table_says() {
    hold(1);
}

#[test]
fn differences_end_as_the_table_says() {
    hold(2);
}

#[test]
fn postcopy_ends_as_the_table_says() {
    hold(3);
}

#[test]
fn without_checks_before_first_writes_a_wrong_page_goes_unseen() {
    // In order, so that each page is written again within a fraction of the cool-down.
    let in_order = [TECHNIQUES[3].1, &["--pattern=sequential"]].concat();
    let wrong = "source:wrong-page";
    let outcome = run(wrong, &in_order, Method::FillRandom);
    assert_eq!(check("corrupt", &outcome), Ok(()));
    let found = &outcome.summary("integrity_detail")["first_writes"];
    assert_eq!(found["corrupt_pages"], 1, "{found}");
    let both = format!("{wrong},destination:skip-first-checks");
    assert_eq!(check("completed", &run(&both, &in_order, Method::FillRandom)), Ok(()));
}

#[test]
fn every_defect_that_is_known_has_a_row() {
    let path = "../emulator/src/migration/breakage.rs";
    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let parsed = source.split("let defect = match").nth(1).unwrap().split("_ => return").next();
    let names = parsed.unwrap().lines().filter_map(|line| line.trim().strip_prefix("(\""));
    let known: Vec<&str> = names.filter_map(|line| line.split('"').next()).collect();
    assert!(known.len() >= 22, "{known:?}");
    let rows = rows();
    for name in known {
        let has = rows.iter().any(|row| row.defect.contains(&format!(":{name}")));
        assert!(has, "docs/faults.md has no row for {name}");
    }
}
