//! Baselines: reports that later ones are compared with, under names, in a directory.
//!
//! A baseline is a directory of reports as they are, so that any program can read it. It is
//! replaced in one step: whatever happens, the old one or the new one is there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use sterna_report::Report;

use crate::usage;

/// A directory of baselines.
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// The store in this directory, which need not exist yet.
    pub fn new(directory: &Path) -> Store {
        Store { directory: directory.to_owned() }
    }

    /// A name that can be that of a directory and nothing else.
    pub fn checked<'a>(&self, name: &'a str) -> Result<&'a str> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let is_name = !name.is_empty() && name.len() <= 100 && name.chars().all(fits);
        match is_name && !name.starts_with('.') {
            true => Ok(name),
            false => Err(usage(anyhow!(
                "`{name}` cannot be the name of a baseline; letters, digits, `-`, `_` and `.` can, a dot not at the start"
            ))),
        }
    }

    /// Whether there is a baseline of this name.
    pub fn has(&self, name: &str) -> bool {
        self.path(name).is_dir()
    }

    /// Where it is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The error for a name that is not there.
    pub fn unknown(&self, name: &str) -> anyhow::Error {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let mut known: Vec<String> = entries
            .filter(|it| it.path().is_dir())
            .filter_map(|it| it.file_name().into_string().ok())
            .filter(|it| !it.starts_with('.'))
            .collect();
        known.sort();
        let known = match known.is_empty() {
            true => "there is none; make one with --save-as".to_owned(),
            false => format!("there are {}", known.join(", ")),
        };
        usage(anyhow!("There is no baseline `{name}` in {}: {known}", self.directory.display()))
    }

    /// Keeps these reports under a name, in place of those that were kept before.
    pub fn save(&self, name: &str, reports: &[Report]) -> Result<()> {
        let path = self.path(name);
        let context = || format!("Cannot keep baseline {}", path.display());
        fs::create_dir_all(&self.directory).with_context(context)?;
        let new = tempfile::Builder::new()
            .prefix(".new-")
            .tempdir_in(&self.directory)
            .with_context(context)?;
        for (index, report) in reports.iter().enumerate() {
            report.write_atomically(&new.path().join(format!("{:04}.json", index + 1)))?;
        }
        if path.exists() {
            // The older one is then where the new one was made, and is removed with that.
            renameat_with(CWD, new.path(), CWD, &path, RenameFlags::EXCHANGE)
                .with_context(context)?;
        } else {
            fs::rename(new.path(), &path).with_context(context)?;
            let _ = new.keep();
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).with_context(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path() {
        let store = Store::new(Path::new("x"));
        for name in ["main", "v1.2-rc_3"] {
            assert_eq!(store.checked(name).unwrap(), name);
        }
        for name in ["", ".", "..", "../x", "a/b", ".hidden", "a b", &"x".repeat(101)] {
            assert!(store.checked(name).is_err(), "{name}");
        }
    }
}
