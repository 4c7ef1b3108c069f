//! Many runs at once.

use std::collections::BTreeSet;

use super::{Bench, detail};

#[test]
fn eight_runs_at_once_do_not_disturb_each_other() {
    let Some(bench) = Bench::new() else { return };
    let small = ["--vcpus", "1", "--memory", "128MiB", "--workload-memory", "16MiB"];
    let patient = ["--warmup", "1s", "--cooldown", "500ms"];
    let start = |_| bench.run(&[&small[..], &patient].concat()).start();
    let running: Vec<_> = (0..8).map(start).collect();
    let outcomes: Vec<_> = running.into_iter().map(|it| it.outcome()).collect();
    let mut ports = BTreeSet::new();
    for outcome in &outcomes {
        outcome.assert_ended(0, "completed", "verified");
        ports.insert(detail(outcome, "/stream_uri").as_str().unwrap().to_owned());
    }
    assert_eq!(ports.len(), 8, "{ports:?}");
}
