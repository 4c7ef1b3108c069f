//! Whether two processes of this machine can talk.

use std::io::{self, Read, Write};
use std::time::Duration;

use sterna_pilot::{Availability, Finding};
use sterna_sys::run_directory::RunDirectory;
use sterna_sys::socket::set_zero_copy;
use sterna_wire::control::Endpoint;

use super::chain;
use crate::transport::{Listener, Socket, Target, TransportError};

const GROUP: &str = "network";

/// Loopback answers within microseconds or not at all.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) fn findings() -> Vec<Finding> {
    let tcp = exchange(&Endpoint::Tcp("127.0.0.1:0".to_owned()));
    vec![tcp_loopback(&tcp), unix_sockets(), zero_copy_send(tcp)]
}

fn tcp_loopback(trial: &Result<Socket, String>) -> Finding {
    let (value, availability) = match trial {
        Ok(_) => ("a byte arrived on 127.0.0.1", Availability::Ok),
        Err(reason) => (
            reason.as_str(),
            Availability::missing(
                "Source and destination cannot be connected by TCP, which is the default transport",
                "Bring the loopback interface up (`ip link set lo up`), or use migration.transport = \"unix\"",
            ),
        ),
    };
    Finding::new(GROUP, "tcp_loopback", value, availability).required()
}

fn unix_sockets() -> Finding {
    let trial = RunDirectory::new()
        .map_err(|error| format!("No temporary directory: {error}"))
        .and_then(|folder| {
            let path = folder.path().join("probe").to_string_lossy().into_owned();
            exchange(&Endpoint::Unix(path))
        });
    let (value, availability) = match trial {
        Ok(_) => ("a byte arrived".to_owned(), Availability::Ok),
        Err(reason) => (
            reason,
            Availability::missing(
                "migration.transport = \"unix\" cannot be used",
                "Set TMPDIR to a short path that can be written to",
            ),
        ),
    };
    Finding::new(GROUP, "unix_sockets", value, availability)
}

fn zero_copy_send(tcp: Result<Socket, String>) -> Finding {
    let trial = tcp.and_then(|socket| set_zero_copy(&socket, true).map_err(|it| chain(&it)));
    let (value, availability) = match trial {
        Ok(()) => ("SO_ZEROCOPY can be set".to_owned(), Availability::Ok),
        Err(reason) => (
            reason,
            Availability::missing(
                "migration.zero-copy cannot be used",
                "Use Linux 4.14 or later, outside of sandboxes with a network stack of their own",
            ),
        ),
    };
    Finding::new(GROUP, "zero_copy_send", value, availability)
}

/// Connects as a migration does, and sends one byte.
fn exchange(endpoint: &Endpoint) -> Result<Socket, String> {
    // Their texts carry the system's reason already.
    let told = |error: TransportError| error.to_string();
    let (listener, endpoint) = Listener::bind(endpoint).map_err(told)?;
    let mut source = Target::clear(endpoint).connect(PATIENCE).map_err(told)?;
    let mut destination = listener.accept(PATIENCE).map_err(told)?;
    let arrived = || -> io::Result<bool> {
        destination.set_read_timeout(Some(PATIENCE))?;
        source.write_all(&[7])?;
        let mut byte = [0];
        destination.read_exact(&mut byte)?;
        Ok(byte == [7])
    }();
    match arrived {
        Ok(true) => Ok(source),
        Ok(false) => Err("Another byte arrived than was sent".to_owned()),
        Err(error) => Err(chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_fails_takes_zero_copy_with_it() {
        let refused = || Err("Connection refused".to_owned());
        let finding = tcp_loopback(&refused());
        assert!(finding.is_required && finding.availability.is_missing());
        assert_eq!(finding.value.as_deref(), Some("Connection refused"));
        assert!(zero_copy_send(refused()).availability.is_missing());
    }

    #[test]
    fn nothing_is_left_of_a_trial() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        exchange(&Endpoint::Unix(path.to_string_lossy().into_owned())).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_listened_on_is_told() {
        let reason = exchange(&Endpoint::Unix("/nowhere/at/all".to_owned())).unwrap_err();
        assert!(reason.starts_with("Cannot listen on /nowhere/at/all"), "{reason}");
    }
}
