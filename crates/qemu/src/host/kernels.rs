//! Kernels that a QEMU guest could boot.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::json;
use sterna_pilot::{Availability, Finding};

/// One kernel image.
#[derive(Debug, PartialEq, Eq)]
struct Kernel {
    path: PathBuf,
    is_readable: bool,
}

/// Looks where distributions put them, below `root`.
pub fn guest_kernels(root: &Path) -> Finding {
    judge(&kernels(root))
}

fn kernels(root: &Path) -> Vec<Kernel> {
    let boot = entries(&root.join("boot")).into_iter().filter(|it| {
        it.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
    });
    let modules = entries(&root.join("lib/modules")).into_iter().map(|it| it.join("vmlinuz"));
    let mut seen = BTreeSet::new();
    boot.chain(modules)
        // Links are other names of an image that has been told already, or lead nowhere.
        .filter(|it| it.canonicalize().is_ok_and(|it| it.is_file() && seen.insert(it)))
        .map(|path| Kernel { is_readable: File::open(&path).is_ok(), path })
        .collect()
}

/// In the order of their names, images before the links `vmlinuz` and `vmlinuz.old` of some distributions.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|it| it.path()).collect();
    paths.sort_by_key(|it| (it.is_symlink(), it.clone()));
    paths
}

fn judge(kernels: &[Kernel]) -> Finding {
    let readable = kernels.iter().filter(|it| it.is_readable).count();
    let told = kernels.iter().map(|Kernel { path, is_readable }| {
        let note = if *is_readable { "" } else { " (not readable)" };
        format!("{}{note}", path.display())
    });
    let value = told.collect::<Vec<_>>().join(", ");
    let (value, availability) = match kernels {
        [] => (
            "none in /boot or /lib/modules".to_owned(),
            Availability::missing(
                "There is no kernel of this machine that a QEMU guest could boot",
                "Install a kernel package (Debian: linux-image-cloud-amd64, Fedora: kernel-core)",
            ),
        ),
        [first, ..] if readable == 0 => (
            value,
            Availability::limited(
                "A QEMU guest started by this user cannot boot any of them",
                format!("sudo chmod a+r {}", first.path.display()),
            ),
        ),
        _ => (value, Availability::Ok),
    };
    let facts = kernels
        .iter()
        .map(|it| json!({ "path": it.path.to_string_lossy(), "is_readable": it.is_readable }));
    Finding::new("hypervisor", "guest_kernels", value, availability)
        .fact("kernels", facts.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn each_image_is_found_once() {
        let root = tempfile::tempdir().unwrap();
        let boot = root.path().join("boot");
        let modules = root.path().join("lib/modules");
        fs::create_dir(&boot).unwrap();
        fs::create_dir_all(modules.join("6.2-b")).unwrap();
        fs::create_dir_all(modules.join("6.3-empty")).unwrap();
        for name in ["vmlinuz-6.1-a", "initrd.img-6.1-a", "System.map"] {
            fs::write(boot.join(name), "").unwrap();
        }
        fs::write(modules.join("6.2-b/vmlinuz"), "").unwrap();
        symlink("vmlinuz-6.1-a", boot.join("vmlinuz")).unwrap();
        symlink("nowhere", boot.join("vmlinuz-broken")).unwrap();

        let found = kernels(root.path());
        let found: Vec<_> =
            found.iter().map(|it| it.path.strip_prefix(root.path()).unwrap()).collect();
        let expected = ["boot/vmlinuz-6.1-a", "lib/modules/6.2-b/vmlinuz"].map(Path::new);
        assert_eq!(found, expected);
        assert_eq!(kernels(&root.path().join("none")), []);
    }

    #[test]
    fn kernels_are_judged_by_whether_one_can_be_read() {
        #[track_caller]
        fn check(readable: &[bool], word: &str, value: &str) {
            let kernels: Vec<Kernel> = readable
                .iter()
                .zip(1..)
                .map(|(it, n)| Kernel { path: format!("/boot/{n}").into(), is_readable: *it })
                .collect();
            let finding = judge(&kernels);
            assert_eq!(finding.availability.as_str(), word);
            assert_eq!(finding.value.as_deref(), Some(value));
            assert_eq!(finding.facts["kernels"].as_array().unwrap().len(), readable.len());
        }
        check(&[], "missing", "none in /boot or /lib/modules");
        check(&[false], "limited", "/boot/1 (not readable)");
        check(&[false, true], "ok", "/boot/1 (not readable), /boot/2");
    }
}
