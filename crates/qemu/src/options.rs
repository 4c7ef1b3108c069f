//! How to run QEMU, apart from what the scenario says.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

/// Programs, files and choices of this machine.
#[derive(Clone, Debug)]
pub struct QemuOptions {
    /// The QEMU that runs the guest first; a name without a slash is searched for.
    pub source: PathBuf,
    /// The QEMU that the guest goes to.
    pub destination: PathBuf,
    /// The guest's kernel; `None` takes one of this machine.
    pub kernel: Option<PathBuf>,
    /// A program to run in the guest in place of the built-in agent.
    pub guest_agent: Option<PathBuf>,
    /// How the guest's processors run.
    pub accelerator: Accelerator,
    /// The machine type, such as `pc-i440fx-7.2`; `None` takes the newest that both QEMUs have.
    pub machine: Option<String>,
    /// The processor model; `None` takes one that suits the accelerator.
    pub cpu: Option<String>,
    /// Further arguments for both QEMUs.
    pub extra_arguments: Vec<OsString>,
    /// Where the transport `file` writes; `None` takes the run's private directory.
    pub stream_directory: Option<PathBuf>,
    /// The address of this machine's RDMA device, for the transport `rdma`.
    pub rdma_address: Option<IpAddr>,
    /// Entries of KVM's dirty ring, a power of two; `None` keeps a bitmap, unless a technique needs the ring.
    pub dirty_ring_entries: Option<u32>,
    /// How the guest is reached for probes.
    pub network: Network,
    /// A defect to commit on purpose, to see that the report tells.
    pub breakage: Option<String>,
}

/// How the guest's processors run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accelerator {
    /// KVM where it works, else TCG.
    #[default]
    Auto,
    /// The processor's own virtualization.
    Kvm,
    /// QEMU's translation to host instructions: slow, and everywhere.
    Tcg,
}

/// How the guest is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// By Sterna's own Ethernet switch, without privileges.
    #[default]
    Switch,
    /// Not at all.
    None,
}

/// What `--engine qemu` runs when nothing else is said.
pub const DEFAULT_PROGRAM: &str = "qemu-system-x86_64";

impl Default for QemuOptions {
    fn default() -> QemuOptions {
        QemuOptions {
            source: DEFAULT_PROGRAM.into(),
            destination: DEFAULT_PROGRAM.into(),
            kernel: None,
            guest_agent: None,
            accelerator: Accelerator::Auto,
            machine: None,
            cpu: None,
            extra_arguments: Vec::new(),
            stream_directory: None,
            rdma_address: None,
            dirty_ring_entries: None,
            network: Network::Switch,
            breakage: None,
        }
    }
}
