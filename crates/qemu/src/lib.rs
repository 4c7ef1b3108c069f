//! Real QEMU, flown by the same pilot as every engine.
//!
//! Two QEMU processes run the same small guest, one after the other: a kernel of the host, and as its only program Sterna's agent, which runs the workload and tells what it sees.
//!
//! - [`Qemu`] is the engine; [`QemuOptions`] what it needs beyond a scenario.
//! - [`qmp`] is the language in which QEMU is told what to do.
//! - [`probe_host`] tells what this machine offers; [`programs`] asks programs for their versions.
//! - [`keeper`] looks after a QEMU on another machine.
//! - [`Trace`] is a migration as two monitors tell it, also one that others have begun.
//! - [`guest_image`] is the guest: kernel and initramfs.
#![forbid(unsafe_code)]

mod accelerator;
mod command_line;
mod costs;
mod engine;
mod evidence;
mod footprint;
mod guest;
mod guest_clock;
pub mod guest_image;
mod guest_link;
mod guest_memory;
mod hold;
mod host;
mod initramfs;
pub mod keeper;
mod kernel;
mod launch;
mod memory_size;
mod modules;
mod network;
mod options;
mod place;
mod process;
pub mod programs;
pub mod qmp;
mod raw_polls;
mod resources;
mod settings;
mod switchover;
mod tls;
mod trace;
mod transport;
mod unpack;
mod warnings;
mod workload_size;

pub use engine::{Qemu, recorded_event};
pub use host::{QEMU_RUN, probe_host};
pub use options::{Accelerator, Network, QemuOptions, Remotes};
pub use programs::DEFAULT_PROGRAM;
pub use raw_polls::RawPolls;
pub use settings::{QmpSetting, qmp_settings};
pub use trace::Trace;
