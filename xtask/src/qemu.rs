//! A second QEMU, newer than the distribution's, in a cache beside it.
//!
//! Sterna promises to work from QEMU 7.2 on; on Debian 12 the newer one comes from backports. Its packages are
//! fetched with lists of our own and unpacked, not installed: the machine's sources and packages stay as they are, and
//! no privilege is needed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::apt::{Apt, Mirror, cache};
use crate::process::succeed;

const PACKAGE: &str = "qemu-system-x86";

/// A script in place of the program, since a program that was not installed finds neither its libraries nor its
/// firmware by itself. `exec` keeps the process's number, which Sterna watches.
const WRAPPER: &str = r#"#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/root
lib=$(echo "$root"/usr/lib/*-linux-gnu)
LD_LIBRARY_PATH="$lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
QEMU_MODULE_DIR="$lib/qemu"
export LD_LIBRARY_PATH QEMU_MODULE_DIR
exec "$root/usr/bin/qemu-system-x86_64" -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" -L /usr/share/qemu -L /usr/lib/ipxe/qemu "$@"
"#;

/// Fetches and unpacks, unless it was done before; prints the program.
pub fn run() -> Result<()> {
    let program = program()?;
    let cache = cache("qemu")?;
    if !program.exists() {
        fs::create_dir_all(&cache)?;
        fetch(&cache.join("apt"))?.unpack(&cache.join("root"))?;
        // Last, so that an attempt that was cut short is made again.
        fs::write(&program, WRAPPER)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    }
    let version = Command::new(&program).arg("--version").output()?;
    if !version.status.success() {
        let words = String::from_utf8_lossy(&version.stderr);
        bail!("{} does not run: {}", program.display(), words.trim());
    }
    eprint!("{}", String::from_utf8_lossy(&version.stdout));
    println!("{}", program.display());
    Ok(())
}

/// The program, whether it has been fetched or not.
pub fn program() -> Result<PathBuf> {
    Ok(cache("qemu")?.join("qemu-system-x86_64"))
}

/// The program, if it was fetched before.
pub fn fetched() -> Option<PathBuf> {
    let program = program().ok()?;
    program.exists().then_some(program)
}

/// The package and what it needs that is not installed.
fn fetch(directory: &Path) -> Result<Apt> {
    let mirror = Mirror::of_this_machine()?;
    let suite = format!("{}-backports", mirror.release);
    let sources = mirror.line("deb", &mirror.release) + &mirror.line("deb", &suite);
    let apt = Apt::new(directory, &sources, true)?;
    let install = ["install", "--yes", "--download-only", "--no-install-recommends", "-t"];
    succeed(apt.get().args(install).args([suite.as_str(), PACKAGE]))?;
    let name =
        |it: &PathBuf| it.file_name().is_some_and(|it| it.to_string_lossy().starts_with(PACKAGE));
    if !apt.packages()?.iter().any(name) {
        bail!("{suite} has no {PACKAGE} newer than the one that is installed");
    }
    Ok(apt)
}
