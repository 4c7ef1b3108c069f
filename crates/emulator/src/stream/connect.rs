//! Making connections to a server.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Type};
use sterna_wire::control::Endpoint;
use sterna_wire::tls::TlsError;
use sterna_wire::trial::ask::Test;

use crate::transport::{Protection, Socket};

use super::lanes::{OptionError, before_connecting};

/// How long a connection may take to be made.
const PATIENCE: Duration = Duration::from_secs(10);

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address, or none of that family.
    #[error("{name} has no address{family}: {reason}")]
    Resolve {
        /// The name.
        name: String,
        /// Which family was asked for, as an end of a sentence.
        family: &'static str,
        /// The system's reason.
        reason: String,
    },
    /// Nobody answers there.
    #[error("Cannot connect to {at}: {cause}{hint}")]
    Connect {
        /// Where.
        at: String,
        /// The system's reason.
        cause: io::Error,
        /// What may help.
        hint: &'static str,
    },
    /// Our own address cannot be used.
    #[error("Cannot connect from {address}: {cause}")]
    Bind {
        /// Our address.
        address: IpAddr,
        /// The system's reason.
        cause: io::Error,
    },
    /// An option.
    #[error(transparent)]
    Options(#[from] OptionError),
    /// The two ends do not believe each other.
    #[error("The connection to {at} cannot be encrypted: {cause}")]
    Tls {
        /// Where to.
        at: String,
        /// Why not.
        cause: TlsError,
    },
}

/// A server that was found; all connections go to the address that answered the first.
#[derive(Clone, Debug)]
pub struct Found {
    at: At,
    bind: Option<IpAddr>,
    /// How connections are protected.
    pub protection: Protection,
}

#[derive(Clone, Debug)]
enum At {
    Tcp(SocketAddr),
    Unix(String),
}

impl Found {
    /// Finds the first address that answers, and gives the first connection to it, not protected yet.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn find(
        endpoint: &Endpoint,
        family: Option<Family>,
        bind: Option<IpAddr>,
        protection: Protection,
    ) -> Result<(Found, Socket), ConnectError> {
        let candidates = match endpoint {
            Endpoint::Unix(path) => vec![At::Unix(path.clone())],
            Endpoint::Tcp(name) => {
                addresses(name, family, bind)?.into_iter().map(At::Tcp).collect()
            }
        };
        let mut last = None;
        for at in candidates {
            let found = Found { at, bind, protection: protection.clone() };
            match found.clear(&Test::default()) {
                Ok(socket) => return Ok((found, socket)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| nothing(show(endpoint), family, "nothing was found")))
    }

    /// One more connection, as the test wants it and not protected.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn clear(&self, test: &Test) -> Result<Socket, ConnectError> {
        let socket = match &self.at {
            At::Tcp(address) => Socket::Tcp(self.tcp(*address, test)?),
            At::Unix(path) => {
                Socket::Unix(UnixStream::connect(path).map_err(|it| self.failed(it))?)
            }
        };
        socket.set_up().map_err(|it| self.failed(it))?;
        Ok(socket)
    }

    /// Protects a connection.
    ///
    /// # Errors
    /// The two ends do not believe each other.
    pub fn protect(&self, socket: Socket) -> Result<Socket, ConnectError> {
        let socket = socket.protected(&self.protection, true);
        socket.map_err(|cause| ConnectError::Tls { at: self.address(), cause })
    }

    /// Where it is.
    pub fn address(&self) -> String {
        match &self.at {
            At::Tcp(address) => address.to_string(),
            At::Unix(path) => path.clone(),
        }
    }

    fn tcp(&self, address: SocketAddr, test: &Test) -> Result<std::net::TcpStream, ConnectError> {
        let made = |it: io::Result<socket2::Socket>| it.map_err(|it| self.failed(it));
        let domain = Domain::for_address(address);
        let socket = made(socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP)))?;
        if let Some(bind) = self.bind {
            let bound = socket.bind(&SockAddr::from(SocketAddr::new(bind, 0)));
            bound.map_err(|cause| ConnectError::Bind { address: bind, cause })?;
        }
        before_connecting(&socket, test)?;
        socket.connect_timeout(&SockAddr::from(address), PATIENCE).map_err(|it| self.failed(it))?;
        Ok(socket.into())
    }

    fn failed(&self, cause: io::Error) -> ConnectError {
        let hint = match cause.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                "; is `sterna stream serve` running there?"
            }
            io::ErrorKind::TimedOut => "; a firewall may drop what comes to that port",
            _ => "",
        };
        ConnectError::Connect { at: self.address(), cause, hint }
    }
}

/// The addresses of a name, of the family that was asked for or that our own address has.
fn addresses(
    name: &str,
    family: Option<Family>,
    bind: Option<IpAddr>,
) -> Result<Vec<SocketAddr>, ConnectError> {
    let wants_v4 = match (family, bind) {
        (Some(family), _) => Some(family == Family::V4),
        (None, bind) => bind.map(|it| it.is_ipv4()),
    };
    let family = wants_v4.map(|it| if it { Family::V4 } else { Family::V6 });
    let all = name.to_socket_addrs().map_err(|it| nothing(name, None, &it.to_string()))?;
    let fitting: Vec<_> =
        all.filter(|it| wants_v4.is_none_or(|wants| it.is_ipv4() == wants)).collect();
    match fitting.is_empty() {
        true => Err(nothing(name, family, "it has others only")),
        false => Ok(fitting),
    }
}

fn nothing(name: &str, family: Option<Family>, reason: &str) -> ConnectError {
    let family = match family {
        None => "",
        Some(Family::V4) => " of IPv4",
        Some(Family::V6) => " of IPv6",
    };
    ConnectError::Resolve { name: name.to_owned(), family, reason: reason.to_owned() }
}

fn show(endpoint: &Endpoint) -> &str {
    match endpoint {
        Endpoint::Unix(text) | Endpoint::Tcp(text) => text,
    }
}
