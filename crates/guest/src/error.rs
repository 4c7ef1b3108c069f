//! Why the agent cannot go on.

use std::io;
use std::path::PathBuf;

use sterna_sys::region::RegionError;
use sterna_wire::guest_config::GuestConfigError;
use sterna_workload::{CrewError, SpecError};
use thiserror::Error;

#[derive(Debug, Error)]
pub enum AgentError {
    #[error("{path} cannot be read")]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Config(#[from] GuestConfigError),
    #[error("The workload cannot be read")]
    Spec(#[from] SpecError),
    #[error("{target} cannot be mounted")]
    Mount { target: &'static str, source: io::Error },
    #[error("Module {module} cannot be loaded")]
    Module { module: PathBuf, source: io::Error },
    #[error(
        "There is no virtio-serial port named {name} and no serial port to fall back on; ports seen: {seen}; give the machine `virtserialport,name={name}` or the configuration a `serial`"
    )]
    NoPort { name: String, seen: String },
    #[error("Port {path} cannot be opened")]
    Port { path: PathBuf, source: io::Error },
    #[error("There is no network interface but the loopback; give the machine a virtio-net device")]
    NoInterface,
    #[error("Interface {interface} cannot be configured")]
    Interface { interface: String, source: io::Error },
    #[error("Metrics cannot be served on port {port}")]
    Metrics { port: u16, source: io::Error },
    #[error("Port {port} cannot be echoed")]
    Echo { port: u16, source: io::Error },
    #[error(
        "Workload and ballast of {wanted} bytes do not fit: {available} bytes of guest memory are available; give the guest more memory or the workload less"
    )]
    TooLarge { wanted: u64, available: u64 },
    #[error("Memory for the workload cannot be had")]
    Memory(#[from] RegionError),
    #[error("The workload cannot start")]
    Crew(#[from] CrewError),
    #[error("The line to the engine broke")]
    Line(#[source] io::Error),
    #[error("A thread cannot be started")]
    Thread(#[source] io::Error),
}

/// The message and those of all its causes.
pub fn chain(error: &AgentError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
