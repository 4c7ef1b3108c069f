//! Migration without a hypervisor: real memory, real dirty tracking by the kernel, real sockets.
//!
//! Two `host` processes stand for two hypervisors.
//! The source's owns a region of memory and runs the workload in threads that stand for vCPUs; migrating moves memory, workload state and a blob that stands for device state to the destination's, where the same threads go on.
//!
//! - [`Emulator`] is the pilot's side: it starts the hosts and speaks to them.
//! - [`host`] is the other end of the control connection.
//! - [`migration`] is what source and destination do to each other.
//! - [`stream`] tries what a link carries of it, without a guest.
#![forbid(unsafe_code)]

mod door;
mod engine;
pub mod host;
mod host_process;
mod link;
pub mod migration;
mod probe;
mod shared_link;
pub mod stream;
mod tracker;
mod transport;

pub use engine::places::{Place, Places};
pub use engine::{Emulator, EmulatorOptions};
pub use probe::{DEFAULT_RUN, available_bytes, probe_host};
pub use shared_link::SharedLink;
