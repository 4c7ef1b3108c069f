//! `sterna kubevirt` against real API servers.
//!
//! The servers are built by `cargo xtask kube-apiserver` into a cache; etcd is Debian's. KubeVirt's kinds are read from
//! the folder that `STERNA_KUBEVIRT_CRDS` names. What is missing is told, and the test skips.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]
#![allow(clippy::print_stderr, reason = "a skipped test says why, also in its helpers")]

mod boots;
mod container;
mod drains;
mod fixed;
mod ground;
mod guests;
mod kubectl;
mod life;
mod manifests;
mod policies;
mod prometheus;
mod proxy;
mod roles;
mod soak;
mod strict;
mod trouble;
