//! The table of what each defect must end as, with every method of writing.

use std::process::ExitCode;

use anyhow::Result;

use crate::process::{cargo, succeed};

/// Runs the test that holds the table in `docs/faults.md`; `short` takes one method for each cell, as the test does by
/// itself.
pub fn run(short: bool) -> Result<ExitCode> {
    let mut test =
        cargo(&["test", "-p", "sterna-cli", "--test", "run", "truth", "--", "--nocapture"]);
    test.arg("--test-threads=2");
    if !short {
        test.env("STERNA_TRUTH_METHODS", "all");
    }
    succeed(&mut test)?;
    println!("each defect ended as docs/faults.md says");
    Ok(ExitCode::SUCCESS)
}
