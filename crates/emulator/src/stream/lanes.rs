//! The options of connections that carry pages.

use std::io;
use std::os::fd::AsFd;

use sterna_sys::socket;
use sterna_wire::trial::Part;
use sterna_wire::trial::ask::Test;

use crate::transport::Socket;

use super::STALL;

/// Requested pages go before bulk in the queues of their machine, too: what a queue holds may take longer than all the rest of their way.
const URGENT_PRIORITY: u8 = 6;

/// Where the kernel lists what it has.
const CONTROLS: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";

/// Why a connection cannot be as it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum OptionError {
    /// No such congestion control.
    #[error("Congestion control {name} cannot be used here: {source}; this system has: {known}")]
    Congestion {
        /// What was asked for.
        name: String,
        /// The kernel's reason.
        source: io::Error,
        /// What there is.
        known: String,
    },
    /// Another option.
    #[error("The connection's {option} cannot be set: {source}")]
    Other {
        /// Which.
        option: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// Sets what has to be set before a connection is made, or is best set then.
///
/// # Errors
/// See [`OptionError`].
pub fn before_connecting(socket: impl AsFd, test: &Test) -> Result<(), OptionError> {
    let socket = &socket;
    if let Some(name) = &test.congestion {
        socket::set_congestion_control(socket, name).map_err(|source| OptionError::Congestion {
            name: name.clone(),
            source,
            known: std::fs::read_to_string(CONTROLS)
                .map_or_else(|_| "unknown".to_owned(), |it| it.trim().replace(' ', ", ")),
        })?;
    }
    if let Some(dscp) = test.dscp {
        let done = socket::set_dscp(socket, dscp);
        done.map_err(|source| OptionError::Other { option: "class of service", source })?;
    }
    buffers(socket, test)?;
    Ok(())
}

/// The same for a connection that is there, and the times for which it may be silent. What came of buffers is told as warnings.
///
/// # Errors
/// See [`OptionError`].
pub fn connected(lane: &Socket, part: Part, test: &Test) -> Result<Vec<String>, OptionError> {
    let other = |source| OptionError::Other { option: "time limit", source };
    lane.set_read_timeout(Some(STALL)).map_err(other)?;
    lane.set_write_timeout(Some(STALL)).map_err(other)?;
    if lane.peer().is_some() {
        // A write that has moved some bytes waits again from the beginning, so its own limit may pass twice.
        socket::set_user_timeout(lane, Some(STALL)).map_err(other)?;
        before_connecting(lane, test)?;
    }
    if part == Part::Urgent {
        // After the class of service, which sets a priority as well.
        let done = socket::set_priority(lane, URGENT_PRIORITY);
        done.map_err(|source| OptionError::Other { option: "priority", source })?;
    }
    buffers(&lane, test)
}

/// A machine without this control has no use for any connection.
///
/// # Errors
/// See [`OptionError`].
pub fn check_congestion(test: &Test) -> Result<(), OptionError> {
    if test.congestion.is_none() {
        return Ok(());
    }
    let other = |source: rustix::io::Errno| OptionError::Other {
        option: "congestion control",
        source: source.into(),
    };
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    );
    before_connecting(socket.map_err(other)?, test)
}

fn buffers(socket: &impl AsFd, test: &Test) -> Result<Vec<String>, OptionError> {
    let mut warnings = Vec::new();
    let other = |option| move |source| OptionError::Other { option, source };
    let mut told = |option: &str, asked: u64, granted: usize| {
        if (granted as u64) < asked {
            let name = if option == "send" { "wmem_max" } else { "rmem_max" };
            warnings.push(format!(
                "The kernel grants a {option} buffer of {granted} bytes where {asked} were asked for (net.core.{name})"
            ));
        }
    };
    if let Some(bytes) = test.send_buffer_bytes {
        let granted = socket::set_send_buffer_bytes(socket, bytes as usize);
        told("send", bytes, granted.map_err(other("send buffer"))?);
    }
    if let Some(bytes) = test.receive_buffer_bytes {
        let granted = socket::set_receive_buffer_bytes(socket, bytes as usize);
        told("receive", bytes, granted.map_err(other("receive buffer"))?);
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_peer_that_takes_nothing_is_given_up_by_the_kernel_in_time() {
        let test = serde_json::json!({"version": 1, "bulk": true, "up": true, "channels": 1,
            "block-bytes": 4096, "interval-ns": 1_000_000_000u64, "vcpus": 1, "compression": "none"});
        let test: Test = serde_json::from_value(test).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let lane = Socket::Tcp(stream);
        connected(&lane, Part::Main, &test).unwrap();
        let millis = rustix::net::sockopt::tcp_user_timeout(&lane).unwrap();
        assert_eq!(u128::from(millis), STALL.as_millis());
    }
}
