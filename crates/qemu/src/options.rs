//! How to run QEMU, apart from what the scenario says.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use sterna_pilot::Unsupported;
use sterna_remote::{Ssh, Target};
use sterna_report::Side;
use sterna_scenario::{Scenario, Transport};

use crate::programs::DEFAULT_PROGRAM;

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
    /// Other machines that take part.
    pub remotes: Remotes,
    /// A defect to commit on purpose, to see that the report tells.
    pub breakage: Option<String>,
}

/// Other machines that take part, and how they are reached.
#[derive(Clone, Debug, Default)]
pub struct Remotes {
    /// Where the guest runs first; `None` is this machine.
    pub source: Option<Target>,
    /// Where it goes; `None` is this machine.
    pub destination: Option<Target>,
    /// How ssh is called.
    pub ssh: Ssh,
    /// Our own program file, a copy of which keeps QEMU there.
    pub program: PathBuf,
    /// Where the destination listens for the guest's memory, an address of its machine; `None` takes the one by which ssh came in.
    pub address: Option<String>,
}

impl Remotes {
    /// The machine of a side; `None` is this one.
    pub fn of(&self, side: Side) -> Option<&Target> {
        match side {
            Side::Source => self.source.as_ref(),
            Side::Destination => self.destination.as_ref(),
        }
    }

    /// What two machines cannot do.
    pub(crate) fn impossible(&self, scenario: &Scenario) -> Option<Unsupported> {
        let is_apart = self.source.is_some() || self.destination.is_some();
        if is_apart && scenario.migration.hops > 1 {
            return Some(Unsupported {
                field: "migration.hops".to_owned(),
                reason: "between machines a run of QEMU has one hop; make a second run with --source and --destination exchanged".to_owned(),
            });
        }
        (is_apart && scenario.migration.transport != Transport::Tcp).then(|| Unsupported {
            field: "migration.transport".to_owned(),
            reason: "between two machines there is \"tcp\" only; use that".to_owned(),
        })
    }
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// By Sterna's own Ethernet switch, without privileges.
    #[default]
    Switch,
    /// By a bridge of this machine, which takes the right to make tap devices.
    Tap {
        /// The bridge's name.
        bridge: String,
    },
    /// Not at all.
    None,
}

impl std::str::FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        match text.split_once('=') {
            None if text == "switch" || text == "user" => Ok(Network::Switch),
            None if text == "none" => Ok(Network::None),
            Some(("tap", bridge)) if is_interface_name(bridge) => {
                Ok(Network::Tap { bridge: bridge.to_owned() })
            }
            Some(("tap", bridge)) => Err(format!("`{bridge}` cannot be the name of a bridge")),
            _ if text == "tap" => Err("A bridge is needed, as in tap=br0".to_owned()),
            _ => Err(format!("Unknown network `{text}`; known are switch, tap=BRIDGE and none")),
        }
    }
}

/// The kernel takes names of up to 15 bytes without slashes, colons and blanks.
fn is_interface_name(name: &str) -> bool {
    let is_odd = |it: char| it == '/' || it == ':' || it.is_whitespace() || it.is_control();
    !name.is_empty() && name.len() <= 15 && name != "." && name != ".." && !name.contains(is_odd)
}

impl QemuOptions {
    /// The QEMU of a side.
    pub(crate) fn program(&self, side: Side) -> &Path {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }
}

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
            remotes: Remotes::default(),
            breakage: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_named() {
        let check = |text: &str, expected: Result<Network, &str>| {
            assert_eq!(text.parse(), expected.map_err(str::to_owned), "{text}");
        };
        check("switch", Ok(Network::Switch));
        check("user", Ok(Network::Switch));
        check("none", Ok(Network::None));
        check("tap=br0", Ok(Network::Tap { bridge: "br0".to_owned() }));
        check("tap", Err("A bridge is needed, as in tap=br0"));
        check("tap=", Err("`` cannot be the name of a bridge"));
        check("tap=../x", Err("`../x` cannot be the name of a bridge"));
        check("tap=a-name-of-16-by.", Err("`a-name-of-16-by.` cannot be the name of a bridge"));
        check("bridge", Err("Unknown network `bridge`; known are switch, tap=BRIDGE and none"));
    }
}
