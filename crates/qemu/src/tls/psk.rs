//! A key that both sides are given.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use sterna_sys::nameless::NamelessFile;

/// The name under which the key is known to both sides; QEMU's own default.
const USER: &str = "qemu";

/// Makes a fresh key where QEMU looks for it: `keys.psk` in a folder of its own, which is a link to a file without a name.
pub(super) fn make_key(folder: &Path) -> std::io::Result<NamelessFile> {
    let mut key = [0; 32];
    rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())?;
    let hex: String = key.iter().map(|it| format!("{it:02x}")).collect();
    DirBuilder::new().mode(0o700).create(folder)?;
    NamelessFile::linked_at(&folder.join("keys.psk"), format!("{USER}:{hex}\n").as_bytes())
}
