//! Whom a probe looks at: a name or an address, and where that leads.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Where a responder listens unless told otherwise; mig_mon's number.
pub const DEFAULT_PORT: u16 = 12_323;

/// How often a name is asked for again.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

/// Host and port of what is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A name, or an address (of IPv6 without brackets).
    pub host: String,
    /// 0 where there are no ports.
    pub port: u16,
}

/// Why a target leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Not written as one.
    #[error("`{0}` is no host; write it as in 10.0.0.2:12323, guest.example:7 or [fd00::2]:12323")]
    Malformed(String),
    /// No such name.
    #[error(
        "The name `{host}` does not resolve; give an address, or look at /etc/hosts and the name server"
    )]
    Unknown {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
}

impl Target {
    /// Reads `HOST[:PORT]`.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str, default_port: u16) -> Result<Target, TargetError> {
        let (host, port) =
            split(text, default_port).ok_or_else(|| TargetError::Malformed(text.to_owned()))?;
        Ok(Target { host, port })
    }

    /// Where it leads now.
    ///
    /// # Errors
    /// The name is unknown.
    pub fn resolve(&self) -> Result<SocketAddr, TargetError> {
        let unknown = |source| TargetError::Unknown { host: self.host.clone(), source };
        let mut found = (self.host.as_str(), self.port).to_socket_addrs().map_err(unknown)?;
        found.next().ok_or_else(|| unknown(io::ErrorKind::NotFound.into()))
    }

    /// Resolves it again and again on a thread of its own, which ends with the receiver, and tells each change.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn follow(&self, mut current: SocketAddr) -> io::Result<Receiver<SocketAddr>> {
        let (sender, receiver) = channel();
        let target = self.clone();
        std::thread::Builder::new().name("resolver".to_owned()).spawn(move || {
            loop {
                std::thread::sleep(FOLLOW_EVERY);
                // A name that cannot be had just now says nothing about where its owner is.
                let Ok(now) = target.resolve() else { continue };
                if now != current {
                    current = now;
                    if sender.send(now).is_err() {
                        return;
                    }
                }
            }
        })?;
        Ok(receiver)
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            0 => f.write_str(&self.host),
            port => f.write_str(&join(&self.host, port)),
        }
    }
}

/// Host and port as one text.
pub(crate) fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Host and port of `HOST[:PORT]`.
pub(crate) fn split(text: &str, default_port: u16) -> Option<(String, u16)> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Some((text.to_owned(), default_port));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
            (host, port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_host = !host.is_empty() && host.chars().all(|it| it.is_ascii_graphic() && it != '/');
    let port = match port {
        Some(port) => port.parse().ok().filter(|it| *it > 0)?,
        None => default_port,
    };
    is_host.then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_written_in_one_form() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Target::parse(text, 7).unwrap().to_string(), expected);
        };
        check("guest", "guest:7");
        check("10.0.0.2:99", "10.0.0.2:99");
        check("fd00::2", "[fd00::2]:7");
        check("[fd00::2]:99", "[fd00::2]:99");
        for text in ["", ":7", "a:b", "a:0", "a:99999", "[fd00::2", "[x]:7", "a b", "http://x"] {
            assert!(Target::parse(text, 7).is_err(), "{text}");
        }
    }

    #[test]
    fn names_lead_somewhere_or_it_is_said_that_they_do_not() {
        let address = |text: &str| Target::parse(text, 7).unwrap().resolve();
        assert_eq!(address("127.0.0.1").unwrap(), "127.0.0.1:7".parse().unwrap());
        let error = address("no-such-host.invalid").unwrap_err().to_string();
        assert!(error.contains("`no-such-host.invalid` does not resolve"), "{error}");
    }
}
