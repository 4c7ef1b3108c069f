//! A guest of QEMU that is stopped and continued over its monitor.

use std::process::Command;

use anyhow::Result;

/// What the test of guests takes for the number of stops of each length.
const STOPS: &str = "STERNA_SOAK_STOPS";

const TEST: &str = "stops::a_guest_that_is_stopped_over_the_monitor_is_away_for_as_long";

/// Whether all lengths were told well enough; the test says how well, or why guests cannot be had here.
pub fn run(count: u32) -> Result<bool> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.args(["test", "--release", "--quiet", "--package", "sterna-qemu", "--test", "guest"]);
    command.args(["--", "--exact", TEST, "--nocapture"]).env(STOPS, count.to_string());
    Ok(command.status()?.success())
}
