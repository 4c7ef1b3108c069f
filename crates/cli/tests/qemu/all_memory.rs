//! All memory of both sides is compared while the guest runs on neither.

use super::{Bench, Outcome, detail};

fn run(bench: &Bench, more: &[&str]) -> Outcome {
    bench.outcome(&[&["--verify", "all-memory"], more].concat())
}

fn pages(outcome: &Outcome) -> u64 {
    detail(outcome, "/memory_bytes").as_u64().unwrap() / 4096
}

#[test]
fn all_memory_is_found_equal_and_times_are_unknown() {
    let Some(bench) = Bench::new() else { return };
    let outcome = run(&bench, &[]);
    outcome.assert_ended(0, "completed", "verified");
    assert_eq!(detail(&outcome, "/memory_compared/pages"), pages(&outcome));
    assert_eq!(detail(&outcome, "/memory_compared/differing_pages"), 0);
    let report = outcome.report();
    assert_eq!(report["summary"]["integrity_detail"]["pages_checked"], pages(&outcome));
    for field in ["total_time", "downtime", "blackout", "lost_work"] {
        let field = format!("{field}_seconds");
        assert!(outcome.summary(&field).is_null(), "{field}: {}", outcome.summary(&field));
    }
    assert!(report["warnings"].to_string().contains("times-not-measured"));
    assert!(report["passes"].as_array().is_some_and(|it| !it.is_empty()));
}

/// In memory that the workload never writes, so that no stamp of a page can show it.
#[test]
fn a_single_bit_that_differs_is_corrupt_memory() {
    let Some(bench) = Bench::new() else { return };
    let outcome = run(&bench, &["--x-break", "flip-bit"]);
    outcome.assert_ended(4, "completed", "corrupt");
    let found = &outcome.report()["summary"]["integrity_detail"];
    assert_eq!((&found["corrupt_pages"], &found["side"]), (&1.into(), &"destination".into()));
    assert_eq!(found["first"][0]["page"], pages(&outcome) / 2);
}

#[test]
fn a_migration_without_a_moment_of_rest_is_refused() {
    let Some(bench) = Bench::new() else { return };
    let outcome = run(&bench, &["--postcopy-after-passes", "1"]);
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("verify: in post-copy");
}
