//! The workload `migration-stress` as plain Kubernetes objects; nothing here touches a cluster.
//!
//! [`Parameters`] → [`manifests`] → objects and warnings, the same on every call, so that what is printed is what is
//! applied.

mod cloud_init;
mod objects;
mod parameters;
mod units;

pub use cloud_init::{BUDGET_BYTES, DATA_DIRECTORY, user_data};
pub use objects::{cloud_init_secret_name, manifests};
pub use parameters::{DataDisk, Parameters, ParametersError, STRESS_NG_METHODS, Tool};

/// The port on which the guest echoes for probes, and which tells that the agent answers.
pub const ECHO_PORT: u16 = 7007;

/// The port on which the agent tells its counters.
pub const METRICS_PORT: u16 = 9107;

/// The serial number of the data disk, by which the guest finds it.
pub const DATA_DISK_SERIAL: &str = "sterna-data";
