//! A kernel's modules: which it has, which need which, and in what order to load them.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use thiserror::Error;

use crate::kernel::Kernel;
use crate::unpack::unpack;

/// The modules of one kernel.
#[derive(Debug)]
pub(crate) struct Modules {
    directory: PathBuf,
    /// From a name to the file and the files it needs, all relative to the directory.
    known: HashMap<String, (String, Vec<String>)>,
    built_in: HashSet<String>,
}

/// A module to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Module {
    /// With underscores, as the kernel calls it.
    pub(crate) name: String,
    path: PathBuf,
}

/// Why modules cannot be had.
#[derive(Debug, Error)]
pub enum ModuleError {
    /// There are none of this kernel.
    #[error("its modules are in none of {}", searched(.0))]
    NoDirectory(Vec<PathBuf>),
    /// A module that exists by its list, but cannot be had.
    #[error("Kernel module {path} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's or the decompressor's reason.
        source: io::Error,
    },
    /// The list names a file that it does not describe.
    #[error("Kernel module {0} is needed by another but not listed in modules.dep; run depmod")]
    Unlisted(String),
}

impl Modules {
    /// Reads the lists of the kernel's modules, from beside the kernel or from where the system keeps them.
    pub(crate) fn of(kernel: &Kernel) -> Result<Modules, ModuleError> {
        let places = places(kernel);
        for directory in &places {
            if let Ok(list) = fs::read_to_string(directory.join("modules.dep")) {
                let built_in = fs::read_to_string(directory.join("modules.builtin"));
                return Ok(Modules {
                    directory: directory.clone(),
                    known: dependencies(&list),
                    built_in: built_in.unwrap_or_default().lines().map(name_of).collect(),
                });
            }
        }
        Err(ModuleError::NoDirectory(places))
    }

    /// What to load for `drivers`, each after those it needs, and which of them do not exist at all.
    pub(crate) fn resolve(
        &self,
        drivers: &[&'static str],
    ) -> Result<(Vec<Module>, Vec<&'static str>), ModuleError> {
        let (mut order, mut missing) = (Vec::new(), Vec::new());
        for driver in drivers {
            if self.known.contains_key(*driver) {
                self.add(driver, &mut order)?;
            } else if !self.built_in.contains(*driver) {
                missing.push(*driver);
            }
        }
        Ok((order, missing))
    }

    /// Depth first; depmod refuses circles, and a broken list of one ends here, since it needs a module added already.
    fn add(&self, name: &str, order: &mut Vec<Module>) -> Result<(), ModuleError> {
        let mut waiting = vec![(name.to_owned(), false)];
        let mut begun = HashSet::new();
        while let Some((name, is_ready)) = waiting.pop() {
            if order.iter().any(|it| it.name == name) {
                continue;
            }
            let (file, needs) =
                self.known.get(&name).ok_or_else(|| ModuleError::Unlisted(name.clone()))?;
            if is_ready {
                order.push(Module { path: self.directory.join(file), name });
            } else if begun.insert(name.clone()) {
                waiting.push((name, true));
                waiting.extend(needs.iter().map(|it| (name_of(it), false)));
            }
        }
        Ok(())
    }
}

impl Module {
    /// The module as the kernel takes it: not every kernel unpacks by itself.
    pub(crate) fn read(&self) -> Result<Vec<u8>, ModuleError> {
        fs::read(&self.path)
            .and_then(unpack)
            .map_err(|source| ModuleError::Unreadable { path: self.path.clone(), source })
    }
}

/// A kernel from an unpacked package has its modules beside it, not in the system.
fn places(kernel: &Kernel) -> Vec<PathBuf> {
    let release = Path::new(&kernel.release);
    let mut places = Vec::new();
    if kernel.path.file_name().is_some_and(|it| it == "vmlinuz") {
        places.extend(kernel.path.parent().map(Path::to_owned));
    }
    if kernel.release.is_empty() {
        return places;
    }
    let roots = kernel.path.parent().and_then(Path::parent).into_iter().chain([Path::new("/")]);
    for root in roots {
        for below in ["lib/modules", "usr/lib/modules"] {
            let place = root.join(below).join(release);
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    places
}

/// Lines of `file: needed needed`.
fn dependencies(list: &str) -> HashMap<String, (String, Vec<String>)> {
    list.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, needs)| {
            let needs = needs.split_whitespace().map(str::to_owned).collect();
            (name_of(file), (file.to_owned(), needs))
        })
        .collect()
}

/// `kernel/drivers/net/virtio-net.ko.xz` is `virtio_net`.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let name = file.split_once(".ko").map_or(file, |it| it.0);
    name.replace('-', "_")
}

fn searched(places: &[PathBuf]) -> String {
    if places.is_empty() {
        return "the usual places, since its release is unknown".to_owned();
    }
    places.iter().map(|it| it.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "kernel/drivers/virtio/virtio.ko.xz:\n\
        kernel/drivers/virtio/virtio_ring.ko.xz: kernel/drivers/virtio/virtio.ko.xz\n\
        kernel/drivers/net/virtio-net.ko.xz: kernel/net/failover.ko.xz kernel/drivers/virtio/virtio_ring.ko.xz\n\
        kernel/net/failover.ko.xz:\n\
        kernel/broken.ko: kernel/gone.ko\n\
        kernel/a.ko: kernel/b.ko\n\
        kernel/b.ko: kernel/a.ko\n";

    fn modules() -> Modules {
        Modules {
            directory: "/m".into(),
            known: dependencies(LIST),
            built_in: ["kernel/drivers/char/virtio_console.ko"].map(name_of).into(),
        }
    }

    #[test]
    fn what_is_needed_is_loaded_first_and_once() {
        let (order, missing) = modules().resolve(&["virtio_net", "virtio_ring"]).unwrap();
        let names: Vec<&str> = order.iter().map(|it| it.name.as_str()).collect();
        let place = |name: &str| names.iter().position(|it| *it == name).unwrap();
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(
            place("virtio") < place("virtio_ring") && place("virtio_ring") < place("virtio_net")
        );
        assert!(place("failover") < place("virtio_net"));
        assert_eq!(order[place("virtio")].path, Path::new("/m/kernel/drivers/virtio/virtio.ko.xz"));
        assert!(missing.is_empty());
    }

    #[test]
    fn built_in_is_not_missing() {
        let (order, missing) = modules().resolve(&["virtio_console", "virtio_pci"]).unwrap();
        assert_eq!((order, missing), (vec![], vec!["virtio_pci"]));
    }

    #[test]
    fn broken_lists_are_told_and_end() {
        let error = modules().resolve(&["broken"]).unwrap_err().to_string();
        assert!(error.contains("gone"), "{error}");
        assert_eq!(modules().resolve(&["a"]).unwrap().0.len(), 2);
    }

    #[test]
    fn modules_are_sought_beside_the_kernel_too() {
        let kernel = Kernel { path: "/x/boot/vmlinuz-6.1".into(), release: "6.1".to_owned() };
        let expected = [
            "/x/lib/modules/6.1",
            "/x/usr/lib/modules/6.1",
            "/lib/modules/6.1",
            "/usr/lib/modules/6.1",
        ];
        assert_eq!(places(&kernel), expected.map(PathBuf::from));
        let kernel = Kernel { path: "/m/6.1/vmlinuz".into(), release: String::new() };
        assert_eq!(places(&kernel), [PathBuf::from("/m/6.1")]);
    }
}
