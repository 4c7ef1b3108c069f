//! A key that both sides are given.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// The name under which the key is known to both sides; QEMU's own default.
const USER: &str = "qemu";

/// Writes a fresh key, where QEMU looks for it: `keys.psk` in a folder of its own.
pub(super) fn write_key(folder: &Path) -> std::io::Result<()> {
    let mut key = [0; 32];
    rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())?;
    let hex: String = key.iter().map(|it| format!("{it:02x}")).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).clone();
    options.open(folder.join("keys.psk"))?.write_all(format!("{USER}:{hex}\n").as_bytes())
}
