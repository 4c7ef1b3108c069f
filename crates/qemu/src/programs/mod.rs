//! Programs of others: finding them, and asking for their version without trusting them to answer.

mod ask;
mod find;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sterna_pilot::{Availability, Finding};

pub use ask::{Answer, ask_versions};
pub use find::{DEFAULT_PROGRAM, find};
pub(crate) use find::{RED_HAT_FOLDER, RED_HAT_NAME, to_start};

/// For all programs together; a QEMU on a busy machine with a cold disk takes a second.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How a program is judged.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    /// The finding's group.
    pub group: &'static str,
    /// The finding's name.
    pub name: &'a str,
    /// The version is what follows this in the first line.
    pub marker: &'a str,
    /// What cannot be done without it.
    pub consequence: &'a str,
}

/// The first executable of each wanted name, as a shell would find it, in the order of their names.
///
/// Relative folders are left out: a program should not be run because of where one happens to stand.
pub fn executables(folders: &[PathBuf], is_wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = BTreeMap::new();
    for folder in folders.iter().filter(|it| it.is_absolute()) {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if is_wanted(&name) && !found.contains_key(&name) && is_executable(&entry.path()) {
                found.insert(name, entry.path());
            }
        }
    }
    found.into_values().collect()
}

pub(crate) fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

impl Judge<'_> {
    /// Judges a program by what it said of itself.
    pub fn finding(&self, path: &Path, answer: &Answer) -> Finding {
        let Judge { group, name, marker, consequence } = *self;
        let version = match answer {
            Answer::Text(text) => version(text, marker),
            Answer::Failed(_) | Answer::Silent => None,
        };
        let shown = path.display();
        let (value, availability) = match (version, answer) {
            (Some(version), _) => (format!("{version} ({shown})"), Availability::Ok),
            (None, answer) => {
                let how = match answer {
                    Answer::Text(_) => "`--version` tells no version".to_owned(),
                    Answer::Failed(how) => how.clone(),
                    Answer::Silent => {
                        format!("`--version` does not end within {} s", PATIENCE.as_secs())
                    }
                };
                let remedy = format!("Run `{shown} --version` to see why, and install it again");
                (format!("{shown}: {how}"), Availability::limited(consequence, remedy))
            }
        };
        Finding::new(group, name, value, availability)
            .fact("path", path.to_string_lossy())
            .fact("version", version)
    }
}

/// The word that follows `marker` in the first line, if it looks like a version.
fn version<'a>(text: &'a str, marker: &str) -> Option<&'a str> {
    let (_, rest) = text.lines().next()?.split_once(marker)?;
    let version = rest.split_whitespace().next()?;
    version.starts_with(|it: char| it.is_ascii_digit()).then_some(version)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn versions_are_read_as_programs_write_them() {
        #[track_caller]
        fn check(text: &str, marker: &str, expected: Option<&str>) {
            assert_eq!(version(text, marker), expected);
        }
        let debian = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright (c)\n";
        check(debian, "version ", Some("7.2.22"));
        check("QEMU emulator version 10.0.0", "version ", Some("10.0.0"));
        check("QEMU emulator version 9.0.50 (v9.0.0-1-gabc)\n", "version ", Some("9.0.50"));
        check("iperf 3.12 (cJSON 1.7.15)\nLinux\n", "iperf ", Some("3.12"));
        check("QEMU emulator version unknown\n", "version ", None);
        check("QEMU emulator version \n", "version ", None);
        check("\nversion 7.2\n", "version ", None);
        check("", "version ", None);
    }

    #[test]
    fn the_first_executable_of_each_name_counts() {
        let root = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|it| root.path().join(it));
        for (folder, name, mode) in [
            (&first, "qemu-system-arm", 0o755),
            (&first, "qemu-system-ppc", 0o644),
            (&first, "qemu-img", 0o755),
            (&second, "qemu-system-arm", 0o755),
            (&second, "qemu-system-ppc", 0o755),
        ] {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join(name), "").unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        symlink("qemu-system-arm", second.join("qemu-kvm")).unwrap();
        symlink("nowhere", second.join("qemu-system-s390x")).unwrap();
        fs::create_dir(second.join("qemu-system-folder")).unwrap();

        let folders = [root.path().join("none"), first, second, PathBuf::from("relative")];
        let found =
            executables(&folders, |name| name.starts_with("qemu-system-") || name == "qemu-kvm");
        let found: Vec<_> = found
            .iter()
            .map(|it| it.strip_prefix(root.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(found, ["second/qemu-kvm", "first/qemu-system-arm", "second/qemu-system-ppc"]);
    }
}
