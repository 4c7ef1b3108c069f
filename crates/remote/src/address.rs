//! The names of other machines.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where one side of a migration runs, when it is not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `ssh://[user@]host[:port]`: started there by ssh.
    Ssh(Target),
    /// `sterna://host:port`: a `sterna host` that listens there.
    Listening {
        /// A name or a number; IPv6 without its brackets.
        host: String,
        /// The TCP port.
        port: u16,
    },
    /// `sterna:///path`: a `sterna host` that listens on a Unix socket of this machine.
    Socket(PathBuf),
}

/// A machine as ssh knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The user there; `None` leaves it to ssh.
    pub user: Option<String>,
    /// A name of the network or of ssh's configuration, or a number; IPv6 without its brackets.
    pub host: String,
    /// The port; `None` leaves it to ssh.
    pub port: Option<u16>,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Two ways lead to a machine, and none is taken by guessing.
    #[error(
        "`{0}` does not say how to get there: write ssh://{0} to have it started there by ssh, or sterna://{0} (with a port) for a `sterna host --listen` that runs there"
    )]
    Bare(String),
    /// Neither ssh nor sterna.
    #[error(
        "`{0}://` is no way to another machine; there are ssh://user@host and sterna://host:port"
    )]
    Scheme(String),
    /// No host, or one that ssh would take for an option.
    #[error("`{0}` has no host that can be used")]
    Host(String),
    /// The port is none.
    #[error("`{0}` has no port from 1 to 65535")]
    Port(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(AddressError::Bare(text.to_owned()));
        };
        match scheme {
            "ssh" => target(text, rest).map(Address::Ssh),
            "sterna" if rest.starts_with('/') && rest.len() > 1 => Ok(Address::Socket(rest.into())),
            "sterna" => {
                let (host, port) = host_and_port(text, rest)?;
                let port = port.ok_or_else(|| AddressError::Port(text.to_owned()))?;
                Ok(Address::Listening { host, port })
            }
            other => Err(AddressError::Scheme(other.to_owned())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ssh(target) => write!(f, "ssh://{target}"),
            Address::Socket(path) => write!(f, "sterna://{}", path.display()),
            Address::Listening { host, port } => write!(f, "sterna://{}:{port}", bracketed(host)),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        write!(f, "{}", bracketed(&self.host))?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn target(text: &str, rest: &str) -> Result<Target, AddressError> {
    let (user, place) = match rest.rsplit_once('@') {
        Some((user, place)) => (Some(user.to_owned()), place),
        None => (None, rest),
    };
    if user.as_deref().is_some_and(|it| !is_word(it)) {
        return Err(AddressError::Host(text.to_owned()));
    }
    let (host, port) = host_and_port(text, place)?;
    Ok(Target { user, host, port })
}

fn host_and_port(text: &str, place: &str) -> Result<(String, Option<u16>), AddressError> {
    let place = place.strip_suffix('/').unwrap_or(place);
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let found = rest.split_once(']');
            let (host, after) = found.ok_or_else(|| AddressError::Host(text.to_owned()))?;
            (host, Some(after).filter(|it| !it.is_empty()))
        }
        None => match place.find(':') {
            Some(at) => (&place[..at], Some(&place[at..])),
            None => (place, None),
        },
    };
    if !is_word(host) {
        return Err(AddressError::Host(text.to_owned()));
    }
    let port =
        port.map(|it| it.strip_prefix(':').and_then(|it| it.parse().ok()).filter(|it| *it > 0));
    match port {
        Some(None) => Err(AddressError::Port(text.to_owned())),
        other => Ok((host.to_owned(), other.flatten())),
    }
}

/// Nothing that ssh could take for an option, or a shell for more than a word.
fn is_word(text: &str) -> bool {
    let is_fine = |it: char| it.is_alphanumeric() || "._-:%+\\".contains(it);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(is_fine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = match text.parse::<Address>() {
            Ok(address) => format!("{address:?}"),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected), "{text}: {found}");
        if let Ok(address) = text.parse::<Address>() {
            assert_eq!(address.to_string().parse(), Ok(address), "{text}");
        }
    }

    #[test]
    fn an_address_says_how_to_get_there() {
        check("ssh://host", "user: None, host: \"host\", port: None");
        check(
            "ssh://me@host.example:2222",
            "user: Some(\"me\"), host: \"host.example\", port: Some(2222)",
        );
        check("ssh://me@[fe80::1%eth0]:22", "host: \"fe80::1%eth0\", port: Some(22)");
        check("ssh://[::1]", "host: \"::1\", port: None");
        check("ssh://host/", "host: \"host\", port: None");
        check("sterna://10.0.0.1:7000", "host: \"10.0.0.1\", port: 7000");
        check("sterna:///run/a b.sock", "Socket(\"/run/a b.sock\")");
        check("sterna:///", "has no host");
        check("sterna://[::1]:7000", "host: \"::1\", port: 7000");
    }

    #[test]
    fn what_is_unclear_is_refused_with_both_ways() {
        check("host", "ssh://host to have it");
        check("host", "sterna://host (with a port)");
        check("me@host", "ssh://me@host");
        check("http://host", "`http://` is no way");
        check("sterna://host", "has no port from 1 to 65535");
        check("ssh://host:0", "has no port from 1 to 65535");
        check("ssh://host:x", "has no port from 1 to 65535");
        check("ssh://", "has no host");
        check("ssh://-oProxyCommand=x", "has no host");
        check("ssh://me@-oProxyCommand", "has no host");
        check("ssh://-l@host", "has no host");
        check("ssh://a b", "has no host");
        check("ssh://[::1", "has no host");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }
    }
}
