//! Which program is meant by the name of a QEMU: one answer for those who look and those who start.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::is_executable;

/// What `--engine qemu` runs when nothing else is said: the guest's machine is a PC, whatever this machine is.
pub const DEFAULT_PROGRAM: &str = "qemu-system-x86_64";

/// What Red Hat and its relatives call it.
pub(crate) const RED_HAT_NAME: &str = "qemu-kvm";

/// Where they keep it, which is on nobody's PATH.
pub(crate) const RED_HAT_FOLDER: &str = "/usr/libexec";

/// The file that a run starts as `program`, with the folders of `path`; `None` when there is none.
///
/// A name with a slash is a file.
/// Another is searched for, and the default one also under the name of Red Hat.
/// Relative folders are left out: a program should not be run because of where one happens to stand.
pub fn find(program: &Path, path: Option<&OsStr>) -> Option<PathBuf> {
    if program.components().count() > 1 || program.is_absolute() {
        return Some(program.to_owned()).filter(|it| is_executable(it));
    }
    let folders: Vec<PathBuf> =
        path.map(|it| std::env::split_paths(it).collect()).unwrap_or_default();
    let search = |name: &Path| {
        let absolute = folders.iter().filter(|it| it.is_absolute());
        absolute.map(|it| it.join(name)).find(|it| is_executable(it))
    };
    let found = search(program);
    if found.is_some() || program != Path::new(DEFAULT_PROGRAM) {
        return found;
    }
    let theirs = Path::new(RED_HAT_FOLDER).join(RED_HAT_NAME);
    search(Path::new(RED_HAT_NAME)).or_else(|| Some(theirs).filter(|it| is_executable(it)))
}

/// What to give to the system to have `program` started here.
///
/// The system searches for names, too, so only one that stands for another is replaced, and a report tells the others as they were given.
pub(crate) fn to_start(program: &Path) -> PathBuf {
    match find(program, std::env::var_os("PATH").as_deref()) {
        Some(found) if found.file_name() != program.file_name() => found,
        _ => program.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_name_means_the_first_program_and_the_default_one_has_another_name() {
        let root = tempfile::tempdir().unwrap();
        let make = |folder: &str, name: &str, mode: u32| {
            let folder = root.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), "").unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
            folder
        };
        let kvm = make("kvm", "qemu-kvm", 0o755);
        make("kvm", "qemu-system-arm", 0o755);
        let plain = make("plain", DEFAULT_PROGRAM, 0o755);
        let dead = make("dead", DEFAULT_PROGRAM, 0o644);
        #[track_caller]
        fn check(program: &Path, folders: &[&Path], expected: Option<PathBuf>) {
            let path = std::env::join_paths(folders).unwrap();
            assert_eq!(find(program, Some(&path)), expected);
        }
        let default = Path::new(DEFAULT_PROGRAM);
        check(default, &[&kvm, &dead, &plain], Some(plain.join(DEFAULT_PROGRAM)));
        check(default, &[&dead, &kvm], Some(kvm.join("qemu-kvm")));
        // A QEMU of another architecture is none that a run would start.
        check(Path::new("qemu-system-arm"), &[&plain, &kvm], Some(kvm.join("qemu-system-arm")));
        check(Path::new("qemu-system-arm"), &[&plain], None);
        check(&dead.join(DEFAULT_PROGRAM), &[&plain], None);
        check(&plain.join(DEFAULT_PROGRAM), &[], Some(plain.join(DEFAULT_PROGRAM)));
    }
}
