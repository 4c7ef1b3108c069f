//! A guest of QEMU that is stopped and continued over its monitor.

use std::process::Command;

use anyhow::Result;

use crate::process::{cargo, works};

/// What the test of guests takes for the number of stops of each length.
const STOPS: &str = "STERNA_SOAK_STOPS";

const TEST: &str = "stops::a_guest_that_is_stopped_over_the_monitor_is_away_for_as_long";

/// A network namespace of its own, also for who is not root.
const APART: &str = "unshare --user --map-root-user --net";

/// Whether all lengths were told well enough; the test says how well, or why guests cannot be had here.
pub fn run(count: u32) -> Result<bool> {
    let mut words = APART.split(' ');
    let mut trial = Command::new(words.next().unwrap_or_default());
    if !works(trial.args(words).arg("true")) {
        println!("skipped: no network namespaces can be had here");
        return Ok(true);
    }
    // A build may need the network, so only what was built goes where there is none.
    let runner = format!("target.'cfg(unix)'.runner = '{APART}'");
    let mut command = cargo(&["--config", &runner, "test", "--release", "--quiet"]);
    command.args(["--package", "sterna-qemu", "--test", "guest", "--", "--exact", TEST]);
    command.arg("--nocapture").env(STOPS, count.to_string());
    Ok(command.status()?.success())
}
