//! Programs that Sterna compares itself with.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use sterna_pilot::{Availability, Finding};
use sterna_qemu::programs::{Answer, Judge, PATIENCE, ask_versions, executables};

/// Looks for iperf3 in the folders of `path`, and asks it for its version.
pub fn findings(path: Option<&OsStr>) -> Vec<Finding> {
    let folders: Vec<PathBuf> =
        path.map(|it| std::env::split_paths(it).collect()).unwrap_or_default();
    let found = executables(&folders, |name| name == "iperf3");
    let all: Vec<&Path> = found.iter().map(PathBuf::as_path).collect();
    let answers = ask_versions(&all, PATIENCE);
    vec![iperf3(found.first().zip(answers.first()))]
}

fn iperf3(found: Option<(&PathBuf, &Answer)>) -> Finding {
    const CONSEQUENCE: &str = "Benchmarks cannot show its figure beside Sterna's";
    match found {
        Some((path, answer)) => {
            let judge = Judge {
                group: "tools",
                name: "iperf3",
                marker: "iperf ",
                consequence: CONSEQUENCE,
            };
            judge.finding(path, answer)
        }
        None => {
            let availability = Availability::missing(CONSEQUENCE, "Install the package iperf3");
            Finding::new("tools", "iperf3", "not on PATH", availability)
                .fact("path", None::<String>)
                .fact("version", None::<String>)
        }
    }
}
