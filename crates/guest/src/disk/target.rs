//! Where the records go.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sterna_probe::disk::Records;

/// Each record has as many bytes; an hour of them is 184 MB.
pub const RECORD_BYTES: usize = 512;

/// Always the same, so that a file that a dead agent left is found and not added to.
const NAME: &str = "sterna-migration.records";

/// A directory on the disk.
#[derive(Clone, Debug)]
pub struct Target {
    directory: PathBuf,
    /// Whether the disk has to be mounted there; below an empty mount point lies some other disk.
    is_mount: bool,
}

impl Target {
    pub fn new(directory: &str, is_mount: bool) -> Target {
        Target { directory: directory.into(), is_mount }
    }

    pub fn directory(&self) -> String {
        self.directory.display().to_string()
    }

    pub fn file(&self) -> PathBuf {
        self.directory.join(NAME)
    }

    /// A new file; one that is left over is removed.
    pub fn create(&self, run: u64) -> Result<Records, String> {
        let directory = self.directory();
        let failed = |what: &str, error: std::io::Error| format!("{what}: {error}");
        if self.is_mount && !is_mount(&self.directory) {
            return Err(format!(
                "No disk is mounted at {directory}; see `findmnt --verify` and what cloud-init's log says of disk_setup and mounts"
            ));
        }
        match fs::remove_file(self.file()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(failed("What was left over cannot be removed", error));
            }
            _ => {}
        }
        Records::create(&self.file(), run, RECORD_BYTES)
            .map_err(|error| failed(&format!("No records can be written in {directory}"), error))
    }
}

/// A file system begins where the device changes.
fn is_mount(directory: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|it| it.dev()).ok();
    let (here, above) = (device(directory), device(&directory.join("..")));
    here.is_some() && here != above
}
