//! What a guest boots: a kernel of this machine, and an initramfs written here with the agent as its only program.
//!
//! Nothing is installed, mounted or run for it, and no privilege is needed but to read the kernel, which some
//! distributions keep from ordinary users.
//!
//! The archive is not compressed: it has some 2 MB, which QEMU copies in no time, while a guest under TCG would unpack
//! them with a translated processor. A distribution's cloud kernel with 2 vCPUs was at the agent's greeting 2 to 3 s
//! after QEMU was started under TCG, nearly all of it the kernel's own.
//! Modules are unpacked here, because a kernel can be built without that, and keep the signature at their end.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use sterna_wire::guest_config::{GuestConfig, GuestConfigError};
use thiserror::Error;

use crate::initramfs::Initramfs;
use crate::kernel::{self, Kernel, KernelError};
use crate::modules::{Module, ModuleError, Modules};

/// What to boot.
#[derive(Clone, Debug)]
pub struct GuestImage {
    /// For `-kernel`.
    pub kernel: PathBuf,
    /// For `-initrd`; the file that was given.
    pub initramfs: PathBuf,
    /// As `uname -r` shows it in the guest.
    pub kernel_release: String,
    /// Wanted drivers that the kernel neither contains nor has modules of; never those of a kernel that was chosen here.
    ///
    /// Without `virtio_console` the agent speaks on the serial port of its configuration, without `virtio_net` there
    /// is no network.
    pub missing: Vec<&'static str>,
}

/// What the image is made of.
#[derive(Clone, Copy, Debug)]
pub struct ImageOptions<'a> {
    /// The kernel to boot; None takes one of this machine.
    pub kernel: Option<&'a Path>,
    /// A program to put in place of the agent that is built in.
    pub agent: Option<&'a Path>,
    /// The agent's configuration; see [`GuestConfig`].
    pub config: &'a str,
    /// The file that the initramfs is written to; only this user should be able to write to it.
    pub initramfs: &'a Path,
}

/// Why there is nothing to boot.
#[derive(Debug, Error)]
pub enum ImageError {
    /// No kernel, or not the one that was asked for.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Modules that cannot be read.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// Sterna was built without an agent.
    #[error(
        "This build of Sterna contains no guest agent, since there was no static libc to build it with; give one with --guest-agent, or build Sterna where a static libc is installed"
    )]
    NoAgent,
    /// The agent that was asked for.
    #[error("The guest agent {path} cannot be read")]
    Agent {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The agent would refuse it, in a guest that is hard to look into.
    #[error(transparent)]
    Config(#[from] GuestConfigError),
    /// The initramfs.
    #[error("{path} cannot be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Drivers of the devices that an engine gives its guests.
const DRIVERS: &[&str] = &["virtio_pci", "virtio_console", "virtio_net"];

/// Finds the kernel and its modules, and writes the initramfs.
///
/// # Errors
/// See [`ImageError`]; when no kernel suits, it lists all that were looked at.
pub fn build(options: &ImageOptions<'_>) -> Result<GuestImage, ImageError> {
    options.config.parse::<GuestConfig>()?;
    let agent = agent(options.agent)?;
    let Chosen { kernel, modules, missing } = choose(options.kernel)?;
    let mut archive = Initramfs::default();
    ["dev", "proc", "sys", "etc", "modules"].iter().for_each(|name| archive.directory(name));
    archive.console();
    archive.file("init", 0o755, &agent);
    archive.file("etc/sterna-guest", 0o644, options.config.as_bytes());
    for (number, module) in modules.iter().enumerate() {
        let name = format!("modules/{number:02}-{}.ko", module.name);
        archive.file(&name, 0o644, &module.read()?);
    }
    let initramfs = options.initramfs.to_owned();
    write(&initramfs, &archive.finish())
        .map_err(|source| ImageError::Write { path: initramfs.clone(), source })?;
    Ok(GuestImage { kernel: kernel.path, initramfs, kernel_release: kernel.release, missing })
}

/// What would be booted without `--kernel`.
pub(crate) struct Found {
    /// The image.
    pub kernel: PathBuf,
    /// As `uname -r` shows it in the guest.
    pub release: String,
    /// The modules that it needs, in the order of loading.
    pub modules: Vec<String>,
}

/// Finds kernel and modules as [`build`] would, and writes nothing.
pub(crate) fn look() -> Result<Found, ImageError> {
    let Chosen { kernel, modules, .. } = choose(None)?;
    let modules = modules.into_iter().map(|it| it.name).collect();
    Ok(Found { kernel: kernel.path, release: kernel.release, modules })
}

struct Chosen {
    kernel: Kernel,
    modules: Vec<Module>,
    missing: Vec<&'static str>,
}

/// A kernel that was asked for is taken as it is, since its drivers may be built in; one that we choose must have them.
fn choose(asked: Option<&Path>) -> Result<Chosen, ImageError> {
    if let Some(path) = asked {
        let kernel = Kernel::open(path)?;
        let (modules, missing) = match Modules::of(&kernel) {
            Ok(available) => available.resolve(DRIVERS)?,
            Err(_) => (Vec::new(), DRIVERS.to_vec()),
        };
        return Ok(Chosen { kernel, modules, missing });
    }
    let mut tried = Vec::new();
    for path in kernel::candidates() {
        match suitable(&path) {
            Ok(chosen) => return Ok(chosen),
            Err(reason) => tried.push((path, reason)),
        }
    }
    Err(KernelError::None { tried }.into())
}

fn suitable(path: &Path) -> Result<Chosen, String> {
    let kernel = Kernel::open(path).map_err(|error| error.reason())?;
    let available = Modules::of(&kernel).map_err(|error| error.to_string())?;
    let (modules, missing) = available.resolve(DRIVERS).map_err(|error| error.to_string())?;
    match missing.is_empty() {
        true => Ok(Chosen { kernel, modules, missing }),
        false => Err(format!("it has no {}", missing.join(", "))),
    }
}

fn agent(path: Option<&Path>) -> Result<Vec<u8>, ImageError> {
    match path {
        Some(path) => {
            fs::read(path).map_err(|source| ImageError::Agent { path: path.to_owned(), source })
        }
        None => sterna_agent::program().map(<[u8]>::to_vec).ok_or(ImageError::NoAgent),
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}
