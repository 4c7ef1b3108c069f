//! How long a run takes beyond what the scenario and the guest's boot take.

use std::time::Instant;

use super::Bench;
use super::detail;
use super::harness::Run;
use super::techniques::number;

/// From command to report a default run has this much beside warm-up, migration and cool-down, boot included, on a quiet machine.
const MOST_SECONDS: f64 = 6.0;

/// The boot is the guest's kernel on an emulated processor, and as slow as the machine is busy; what is left is ours, and a fraction of the bound where nothing else runs.
#[test]
fn a_default_run_has_little_beside_its_phases() {
    let Some(bench) = Bench::new() else { return };
    let source = bench.program.to_str().unwrap();
    let began = Instant::now();
    let outcome = Run::new(&["--engine", "qemu", "--qemu-source", source]).outcome();
    let wall = began.elapsed().as_secs_f64();
    outcome.assert_ended(0, "completed", "verified");
    let boot = number(detail(&outcome, "/boot_seconds"));
    let migration = number(outcome.summary("total_time_seconds"));
    let ours = wall - boot - migration - 2.0 - 2.0;
    assert!(boot > 0.1, "{boot} s of boot");
    assert!(
        ours < MOST_SECONDS,
        "{ours:.1} s beside {boot:.1} s of boot and {migration:.1} s of migration, {wall:.1} s in all"
    );
}
