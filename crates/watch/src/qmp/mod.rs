//! QEMU's own monitor, in two ways.
//!
//! A monitor serves one client at a time; the next one connects, and hears nothing until the first has left.
//! [`Held`] keeps the connection, so that it hears every event.
//! [`Shared`] connects, asks and leaves, and gives way to every other client; it hears no events.

mod connect;
mod held;
mod shared;

use std::path::PathBuf;

use serde_json::Value;
use sterna_qemu::qmp::{Client, Greeting, QmpError};

use crate::{Destination, Settings, WatchError};

pub use held::Held;
pub use shared::Shared;

/// Which monitors to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitors {
    /// The source's socket.
    pub source: PathBuf,
    /// The destination's, where it can be looked at.
    pub destination: Option<PathBuf>,
    /// Whether the capability `events` may be set before a migration.
    pub may_change: bool,
}

/// What can be asked without changing anything.
fn ask(client: &mut Client, command: &str) -> Result<Value, QmpError> {
    client.execute(command, Value::Null)
}

/// A question whose answer is needed before anything can be watched.
fn must_ask(client: &mut Client, command: &str) -> Result<Value, WatchError> {
    ask(client, command)
        .map_err(|error| WatchError::Unanswered { what: command.to_owned(), reason: error.text() })
}

/// Parameters and capabilities; `None` where QEMU does not say.
fn settings(client: &mut Client) -> Option<Settings> {
    let parameters = ask(client, "query-migrate-parameters").ok()?;
    let capabilities = ask(client, "query-migrate-capabilities").ok()?;
    let memory = ask(client, "query-memory-size-summary").unwrap_or_default();
    Some(Settings::new(parameters, &capabilities, &memory))
}

/// What a destination's `query-status` says of the guest.
fn arrival(answer: Result<Value, QmpError>) -> Destination {
    match answer {
        Err(QmpError::Closed) => Destination::Gone("its QEMU closed the monitor".to_owned()),
        Err(_) => Destination::Unknown,
        Ok(value) => match value["status"].as_str().unwrap_or_default() {
            "inmigrate" | "finish-migrate" | "" => Destination::Incoming,
            _ => Destination::Arrived,
        },
    }
}

fn version(greeting: &Greeting) -> String {
    let package = Some(&greeting.package).filter(|it| !it.is_empty());
    let package = package.map(|it| format!(" ({it})")).unwrap_or_default();
    format!("{}{package}", greeting.version)
}

/// The guest's own name, or else that of its socket.
fn guest_name(client: &mut Client, path: &std::path::Path) -> String {
    let named = ask(client, "query-name").ok();
    let named = named.and_then(|it| Some(it["name"].as_str()?.to_owned()));
    named.filter(|it| !it.is_empty()).unwrap_or_else(|| {
        path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
    })
}
