//! The engine of custom resources of a current Kubernetes, from Debian's unstable suite.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::pinned::PACKAGES;
use super::{quietly, with_go};
use crate::apt::{Apt, Mirror};

pub const PROGRAM: &str = "apiextensions-apiserver";

const GO: &str = "1.27";
const MAIN: &str = "k8s.io/apiextensions-apiserver";

/// Fetches the packages, pinned or what has taken their place, and compiles the main package.
pub fn build(work: &Path, result: &Path) -> Result<()> {
    let sources = Mirror::of_this_machine()?.line("deb", "sid");
    let apt = Apt::new(&work.join("apt"), &sources, false)?;
    if apt.download(PACKAGES.iter().copied()).is_err() {
        eprintln!("Not all of the pinned versions are offered any more; taking today's");
        apt.download(PACKAGES.iter().map(|it| name(it)))?;
    }
    let root = work.join("root");
    apt.unpack(&root)?;
    // `nice` because it is a chore beside other work.
    let mut command = Command::new("nice");
    command.args(["go", "build", "-ldflags=-s -w", "-o"]).arg(result).arg(MAIN);
    with_go(&mut command, &root, GO, work)?;
    command.env("GO111MODULE", "off").env("GOPATH", root.join("usr/share/gocode"));
    quietly(&mut command, &work.join("log"))
}

fn name(pinned: &str) -> &str {
    pinned.split_once('=').map_or(pinned, |it| it.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_pinned_once() {
        let mut names: Vec<&str> = PACKAGES.iter().map(|it| name(it)).collect();
        assert!(PACKAGES.iter().all(|it| it.contains('=')), "each has a version");
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        for needed in
            ["golang-1.27-go", "golang-1.27-src", "golang-k8s-apiextensions-apiserver-dev"]
        {
            assert!(names.contains(&needed), "{needed}");
        }
    }
}
