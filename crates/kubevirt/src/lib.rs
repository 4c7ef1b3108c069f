//! Hard migrations on a real KubeVirt cluster: the workload, the migrations, the records.
//!
//! - `stress`: the workload as plain objects; pure.
//! - `policy`, `explain`: MigrationPolicies, which one wins and what follows from it; pure.
//! - `rbac`, `preflight`: what each command may do, and whether it may.
//! - `cluster`: calls with retries, watches that go on whatever happens.
//! - `follow`, `record`, `launcher`: from watch events and log lines to a record and its report.
//! - `guest`, `probe_pod`, `prometheus`: what others saw of it: the agent in the guest, the probe beside it, the cluster's
//!   monitoring.
//! - `apply`, `migrate`, `drain`, `cleanup`: what changes the cluster.
//! - `simulate`: controllers that act as KubeVirt's do, without guests; for tests and a demonstration.
//!
//! This is the one crate with an async runtime, and it stays inside: [`Session`] is what others call.
#![forbid(unsafe_code)]

mod apply;
mod cleanup;
mod cluster;
pub mod dashboard;
mod drain;
mod encode;
mod error;
pub mod explain;
mod follow;
mod guest;
pub mod labels;
pub mod launcher;
mod live;
mod migrate;
mod multifd;
pub mod policy;
mod preflight;
mod probe_pod;
mod prometheus;
pub mod rbac;
mod record;
mod session;
pub mod simulate;
pub mod stress;
pub mod views;
pub mod yaml;

pub use apply::ApplyEvent;
pub use cleanup::Ours;
pub use cluster::{Cluster, ConnectOptions, FIELD_MANAGER};
pub use drain::{DrainEvent, DrainOptions, Drained};
pub use error::KubevirtError;
pub use follow::{Follower, Step};
pub use guest::{Check, GuestSeen, Reading};
pub use kube::api::DynamicObject as AnyObject;
pub use kube::core::ApiResource;
pub use live::{Row, WatchOptions, open_metrics, table};
pub use migrate::{GuestsTell, MigrateEvent, MigrateOptions, migration_object};
pub use preflight::{Finding, Level, Preflight};
pub use prometheus::Prometheus;
pub use record::{Cancel, ClusterEvent, ClusterFacts, MigrationRecord, Origin, PhaseSeen};
pub use session::Session;

/// An API of objects of any kind.
pub type AnyApi = kube::api::Api<AnyObject>;
