//! One drain of a node with many guests, against a real API server and simulated controllers.
//!
//! It is the test of the same name in its long form; what the test asks for must be here.

use std::process::ExitCode;

use anyhow::Result;

use crate::kube_apiserver;
use crate::process::{cargo, exit_code, shown};

/// Tells the test how many guests leave the node.
const GUESTS: &str = "STERNA_SOAK_GUESTS";
const TEST: &str =
    "soak::many_guests_in_one_drain_are_all_recorded_within_the_limits_of_memory_and_calls";

/// Drains `guests` guests.
pub fn run(guests: u32) -> Result<ExitCode> {
    kube_apiserver::run(&kube_apiserver::Options::default())?;
    let mut test = cargo(&["test", "--package", "sterna-cli", "--test", "kubevirt", "--"]);
    test.args(["--exact", TEST, "--nocapture"]).env(GUESTS, guests.to_string());
    println!("{GUESTS}={guests} {}", shown(&test));
    Ok(exit_code(test.status()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::root;

    #[test]
    fn the_test_that_is_asked_for_is_there() {
        let file = root().join("crates/cli/tests/kubevirt/soak.rs");
        let text = std::fs::read_to_string(file).unwrap();
        let (_, name) = TEST.split_once("::").unwrap();
        assert!(text.contains(&format!("fn {name}()")) && text.contains(GUESTS));
    }
}
