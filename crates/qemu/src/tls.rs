//! Keys for an encrypted stream, made for one run and gone with it.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::json;
use sterna_pilot::EngineError;
use sterna_report::Side;

use crate::place::Place;
use crate::process::QemuProcess;
use crate::settings::TLS_OBJECT;

/// The directory of the keys, below that of the run.
const FOLDER: &str = "tls";

/// The name under which the key is known to both sides; QEMU's own default.
const USER: &str = "qemu";

/// Writes a fresh key, where QEMU looks for it: `keys.psk` in a directory of its own.
pub(crate) fn write_key(directory: &Path) -> std::io::Result<()> {
    let mut key = [0; 32];
    rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())?;
    let hex: String = key.iter().map(|it| format!("{it:02x}")).collect();
    let folder = folder(directory);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).clone();
    options.open(folder.join("keys.psk"))?.write_all(format!("{USER}:{hex}\n").as_bytes())
}

/// Gives the key to one side. A QEMU built without TLS says so here.
pub(crate) fn add_key(
    qemu: &mut QemuProcess,
    side: Side,
    directory: &Path,
    place: &Place,
) -> Result<(), EngineError> {
    let folder = place.bring_directory(&folder(directory), FOLDER)?;
    let endpoint = match side {
        Side::Source => "client",
        Side::Destination => "server",
    };
    let object = json!({
        "qom-type": "tls-creds-psk",
        "id": TLS_OBJECT,
        "endpoint": endpoint,
        "dir": folder.to_string_lossy(),
    });
    match qemu.execute("object-add", object) {
        Ok(_) => Ok(()),
        Err(EngineError::Failed(reason)) => {
            Err(EngineError::Unsupported(format!("migration.tls.mode: {reason}")))
        }
        Err(error) => Err(error),
    }
}

fn folder(directory: &Path) -> PathBuf {
    directory.join(FOLDER)
}
