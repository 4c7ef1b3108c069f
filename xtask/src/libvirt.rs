//! libvirt's daemon and virsh in a cache, for tests of `sterna watch libvirt`.
//!
//! Debian's packages are fetched and unpacked, not installed. The tests run two daemons from there, each in namespaces
//! of its own, which takes root and an installed QEMU.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::apt::{Apt, Mirror, cache};
use crate::process::succeed;

const PACKAGES: [&str; 3] = ["libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-clients"];

/// A script in place of virsh, which was not installed and does not find its libraries by itself.
const WRAPPER: &str = r#"#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/root
LD_LIBRARY_PATH="$(echo "$root"/usr/lib/*-linux-gnu)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export LD_LIBRARY_PATH
exec "$root/usr/bin/virsh" "$@"
"#;

/// Fetches and unpacks, unless it was done before; prints virsh.
pub fn run() -> Result<()> {
    let cache = cache("libvirt")?;
    let virsh = cache.join("virsh");
    if !virsh.exists() {
        let mirror = Mirror::of_this_machine()?;
        let sources = mirror.line("deb", &mirror.release);
        let apt = Apt::new(&cache.join("apt"), &sources, true)?;
        let install = ["install", "--yes", "--download-only", "--no-install-recommends"];
        succeed(apt.get().args(install).args(PACKAGES))?;
        let root = cache.join("root");
        apt.unpack(&root)?;
        fold(&root)?;
        // Last, so that an attempt that was cut short is made again.
        fs::write(&virsh, WRAPPER)?;
        fs::set_permissions(&virsh, fs::Permissions::from_mode(0o755))?;
    }
    println!("{}", virsh.display());
    Ok(())
}

/// Moves `lib` into `usr/lib`, and so on: laid over a machine, a directory would hide the link of that name, and with it the loader.
fn fold(root: &Path) -> Result<()> {
    for name in ["lib", "lib64", "bin", "sbin"] {
        let from = root.join(name);
        if from.is_dir() {
            let to = root.join("usr").join(name);
            fs::create_dir_all(&to)?;
            succeed(Command::new("cp").arg("-a").arg(from.join(".")).arg(&to))?;
            fs::remove_dir_all(&from)?;
        }
    }
    Ok(())
}
