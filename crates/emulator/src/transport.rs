//! The sockets a migration runs over.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sterna_sys::socket;
use sterna_wire::control::Endpoint;

/// The congestion control of connections within this machine.
///
/// Loopback cannot be congested, and the wire of a scenario is emulated elsewhere.
/// A system's default may act as if it could: bbr paces by what it believes the path to carry, and lets the flow dry up for 200 ms every 10 s to measure it anew.
/// Such gaps would be taken for the migration's own, so loopback uses the control that every system has and that only reacts to losses, of which there are none.
const LOOPBACK_CONTROL: &str = "reno";

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The destination cannot listen there.
    #[error("Cannot listen on {endpoint}: {reason}")]
    Listen {
        /// Where.
        endpoint: String,
        /// The system's reason, with a way out where there is one.
        reason: String,
    },
    /// The source cannot connect.
    #[error("Cannot connect to {endpoint}: {source}")]
    Connect {
        /// Where to.
        endpoint: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The system does not let the connection be used as it must.
    #[error("The connection cannot be set up: {0}")]
    SetUp(io::Error),
    /// Nobody came.
    #[error("No source connected within {0:?}")]
    NobodyCame(Duration),
    /// Waiting for a source failed or was given up.
    #[error("Waiting for the source failed: {0}")]
    Accept(io::Error),
}

/// A connected socket of either family.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// Unix stream.
    Unix(UnixStream),
}

/// A listening socket of either family; a Unix path is removed with it.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// Unix stream, and its path.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Listens, and says where: port 0 and an empty path are filled in.
    pub fn bind(endpoint: &Endpoint) -> Result<(Listener, Endpoint), TransportError> {
        let fail = |at: &str, error: io::Error| TransportError::Listen {
            endpoint: at.to_owned(),
            reason: match error.kind() {
                io::ErrorKind::AddrInUse => {
                    "the address is in use; choose another port, or port 0 for any".to_owned()
                }
                _ => error.to_string(),
            },
        };
        match endpoint {
            Endpoint::Tcp(address) => {
                let listener = TcpListener::bind(address).map_err(|it| fail(address, it))?;
                let bound = listener.local_addr().map_err(|it| fail(address, it))?;
                Ok((Listener::Tcp(listener), Endpoint::Tcp(bound.to_string())))
            }
            Endpoint::Unix(path) => {
                let listener = UnixListener::bind(path).map_err(|it| fail(path, it))?;
                Ok((Listener::Unix(listener, path.into()), endpoint.clone()))
            }
        }
    }

    /// Waits for the source, as long as `keep_waiting` says so and at most `limit`.
    pub fn accept(
        &self,
        limit: Duration,
        keep_waiting: &dyn Fn() -> bool,
    ) -> Result<Socket, TransportError> {
        let deadline = Instant::now() + limit;
        self.set_nonblocking().map_err(TransportError::Accept)?;
        loop {
            match self.try_accept() {
                Ok(socket) => return Ok(socket),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Err(TransportError::Accept(error));
                }
                Err(_) if Instant::now() >= deadline => {
                    return Err(TransportError::NobodyCame(limit));
                }
                Err(_) if !keep_waiting() => {
                    return Err(TransportError::Accept(io::ErrorKind::Interrupted.into()));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Listener::Tcp(it) => it.set_nonblocking(true),
            Listener::Unix(it, _) => it.set_nonblocking(true),
        }
    }

    fn try_accept(&self) -> io::Result<Socket> {
        let socket = match self {
            Listener::Tcp(it) => Socket::Tcp(it.accept()?.0),
            Listener::Unix(it, _) => Socket::Unix(it.accept()?.0),
        };
        socket.set_up()?;
        Ok(socket)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Socket {
    /// Connects to a destination.
    pub fn connect(endpoint: &Endpoint, limit: Duration) -> Result<Socket, TransportError> {
        let (at, found) = match endpoint {
            Endpoint::Tcp(address) => (address, connect_tcp(address, limit).map(Socket::Tcp)),
            Endpoint::Unix(path) => (path, UnixStream::connect(path).map(Socket::Unix)),
        };
        found
            .and_then(|socket| socket.set_up().map(|()| socket))
            .map_err(|source| TransportError::Connect { endpoint: at.clone(), source })
    }

    /// A second handle on the same connection.
    pub fn try_clone(&self) -> io::Result<Socket> {
        Ok(match self {
            Socket::Tcp(it) => Socket::Tcp(it.try_clone()?),
            Socket::Unix(it) => Socket::Unix(it.try_clone()?),
        })
    }

    /// Ends the connection in both directions; whoever reads or writes returns at once.
    pub fn shut_down(&self) {
        let _ = match self {
            Socket::Tcp(it) => it.shutdown(Shutdown::Both),
            Socket::Unix(it) => it.shutdown(Shutdown::Both),
        };
    }

    /// Longest time a read may take without a byte; `None` for ever.
    pub fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        match self {
            Socket::Tcp(it) => it.set_read_timeout(limit),
            Socket::Unix(it) => it.set_read_timeout(limit),
        }
    }

    /// Longest time a write may take without a byte; `None` for ever.
    pub fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        match self {
            Socket::Tcp(it) => it.set_write_timeout(limit),
            Socket::Unix(it) => it.set_write_timeout(limit),
        }
    }

    fn set_up(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(it) => {
                it.set_nonblocking(false)?;
                if it.peer_addr().is_ok_and(|peer| peer.ip().is_loopback()) {
                    // A system without it has other peculiarities, and the migration works the same.
                    let _ = socket::set_congestion_control(it, LOOPBACK_CONTROL);
                }
                // GO and READY are a few bytes that must not wait for more.
                it.set_nodelay(true)
            }
            Socket::Unix(it) => it.set_nonblocking(false),
        }
    }
}

fn connect_tcp(address: &str, limit: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "The name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(it) => it.as_fd(),
            Socket::Unix(it) => it.as_fd(),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(it) => it.read(to),
            Socket::Unix(it) => it.read(to),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(it) => it.write(from),
            Socket::Unix(it) => it.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
