//! The sockets a migration runs over.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sterna_sys::socket::listen_private;
use sterna_sys::{interface, socket};
use sterna_wire::control::Endpoint;
use sterna_wire::tls::{Credentials, TlsError, TlsStream};

/// The congestion control of connections within this machine.
///
/// Loopback cannot be congested, and the wire of a scenario is emulated elsewhere.
/// A system's default may act as if it could: bbr paces by what it believes the path to carry, and lets the flow dry up for 200 ms every 10 s to measure it anew.
/// Such gaps would be taken for the migration's own, so loopback uses the control that every system has and that only reacts to losses, of which there are none.
const LOOPBACK_CONTROL: &str = "reno";

/// What a connection to another machine may hold unsent: 40 ms at 100 Mbit/s, and enough to keep a link of 10 Gbit/s busy.
///
/// The kernel's buffer grows to megabytes, which a slow link needs most of a second for: the rest that is sent while the guest is stopped would wait behind them, beyond the downtime limit.
const UNSENT_BYTES: usize = 512 << 10;

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
    /// The two ends do not believe each other.
    #[error("The connection to {endpoint} cannot be encrypted: {source}")]
    Tls {
        /// Where to.
        endpoint: String,
        /// Why not.
        source: TlsError,
    },
    /// Nobody came.
    #[error("No peer connected within {0:?}")]
    NobodyCame(Duration),
    /// Waiting for a source failed or was given up.
    #[error("Waiting for the source failed: {0}")]
    Accept(io::Error),
}

/// How long a handshake may take; who is waited for meanwhile has more patience than who waits.
const GREETING: Duration = Duration::from_secs(10);
const GREETED: Duration = Duration::from_secs(5);

/// In such steps a silent peer is looked after.
const STEP: Duration = Duration::from_millis(250);

/// How connections are protected.
#[derive(Clone, Debug, Default)]
pub enum Protection {
    /// Not at all.
    #[default]
    Clear,
    /// By TLS, and both ends show a certificate.
    Tls {
        /// Ours, and whom we believe.
        credentials: Arc<Credentials>,
        /// The name that the one who listens is known by.
        name: String,
    },
}

/// Where and how to connect; as often as a migration needs connections.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where the destination listens.
    pub endpoint: Endpoint,
    /// How its connections are protected.
    pub protection: Protection,
}

/// A connected socket; a handle on it may be cloned, so that one thread reads while another writes.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// Unix stream.
    Unix(UnixStream),
    /// Either of them, encrypted. The descriptor is good for options only.
    Tls(Arc<TlsStream<Clear>>),
}

/// What an encrypted connection runs over.
#[derive(Debug)]
pub enum Clear {
    /// TCP.
    Tcp(TcpStream),
    /// Unix stream.
    Unix(UnixStream),
}

/// A listening socket of either family; a Unix path is removed with it.
#[derive(Debug)]
pub struct Listener {
    listening: Listening,
    protection: Protection,
}

#[derive(Debug)]
enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener, UnixPath),
}

/// The file of a Unix socket, and what tells it from a later one of the same name.
#[derive(Debug)]
struct UnixPath {
    path: PathBuf,
    device_and_inode: Option<(u64, u64)>,
}

impl UnixPath {
    fn new(path: &str) -> UnixPath {
        let path = PathBuf::from(path);
        UnixPath { device_and_inode: identity(&path), path }
    }

    /// Removes the file, unless another one has taken its place.
    fn remove(&self) {
        if self.device_and_inode.is_some() && identity(&self.path) == self.device_and_inode {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|it| (it.dev(), it.ino()))
}

impl Listener {
    /// Listens, and says where: port 0 and an empty path are filled in.
    pub fn bind(endpoint: &Endpoint) -> Result<(Listener, Endpoint), TransportError> {
        let endpoint = &without_interface(endpoint);
        let fail = |at: &str, error: io::Error| {
            TransportError::Listen {
            endpoint: at.to_owned(),
            reason: match error.kind() {
                io::ErrorKind::AddrInUse if matches!(endpoint, Endpoint::Unix(_)) => {
                    "a file of that name exists; remove it if nothing listens there, or choose another".to_owned()
                }
                io::ErrorKind::AddrNotAvailable => {
                    "this machine has no such address; --migration-address chooses another".to_owned()
                }
                io::ErrorKind::AddrInUse => {
                    "the address is in use; choose another port, or port 0 for any".to_owned()
                }
                _ => error.to_string(),
            },
        }
        };
        let (listening, bound) = match endpoint {
            Endpoint::Tcp(address) => {
                let listener = TcpListener::bind(address).map_err(|it| fail(address, it))?;
                let bound = listener.local_addr().map_err(|it| fail(address, it))?;
                (Listening::Tcp(listener), Endpoint::Tcp(bound.to_string()))
            }
            Endpoint::Unix(path) => {
                let listener = listen_private(Path::new(path)).map_err(|it| fail(path, it))?;
                (Listening::Unix(listener, UnixPath::new(path)), endpoint.clone())
            }
        };
        Ok((Listener { listening, protection: Protection::Clear }, bound))
    }

    /// The same, and those who take its connections are to protect them.
    pub fn protected_by(mut self, protection: Protection) -> Listener {
        self.protection = protection;
        self
    }

    /// Waits at most `limit` for a connection, and takes it as it comes: without a handshake.
    pub fn accept(&self, limit: Duration) -> Result<Socket, TransportError> {
        let deadline = Instant::now() + limit;
        loop {
            match self.try_next().map_err(TransportError::Accept)? {
                Some(socket) => return Ok(socket),
                None if Instant::now() >= deadline => {
                    return Err(TransportError::NobodyCame(limit));
                }
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// How its connections are to be protected.
    pub fn protection(&self) -> &Protection {
        &self.protection
    }

    /// The next connection, if one is there, as it comes: without a handshake.
    pub fn try_next(&self) -> io::Result<Option<Socket>> {
        self.set_nonblocking()?;
        match self.try_accept() {
            Ok(socket) => Ok(Some(socket)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        match &self.listening {
            Listening::Tcp(it) => it.set_nonblocking(true),
            Listening::Unix(it, _) => it.set_nonblocking(true),
        }
    }

    fn try_accept(&self) -> io::Result<Socket> {
        let socket = match &self.listening {
            Listening::Tcp(it) => Socket::Tcp(it.accept()?.0),
            Listening::Unix(it, _) => Socket::Unix(it.accept()?.0),
        };
        socket.set_up()?;
        Ok(socket)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.listening {
            Listening::Tcp(it) => it.as_fd(),
            Listening::Unix(it, _) => it.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listening::Unix(_, path) = &self.listening {
            path.remove();
        }
    }
}

impl Target {
    /// A destination whose connections are not protected.
    pub fn clear(endpoint: Endpoint) -> Target {
        Target { endpoint, protection: Protection::Clear }
    }

    /// Makes one connection, within about `limit`.
    pub fn connect(&self, limit: Duration) -> Result<Socket, TransportError> {
        let (at, found) = match &self.endpoint {
            Endpoint::Tcp(address) => (address, connect_tcp(address, limit).map(Socket::Tcp)),
            Endpoint::Unix(path) => (path, UnixStream::connect(path).map(Socket::Unix)),
        };
        let socket = found
            .and_then(|socket| socket.set_up().map(|()| socket))
            .map_err(|source| TransportError::Connect { endpoint: at.clone(), source })?;
        socket
            .protected(&self.protection, true)
            .map_err(|source| TransportError::Tls { endpoint: at.clone(), source })
    }
}

impl Socket {
    /// What encryption added to the bytes that were sent; 0 in the clear.
    pub fn encryption_bytes(&self) -> u64 {
        match self {
            Socket::Tls(it) => it.encryption_bytes(),
            Socket::Tcp(_) | Socket::Unix(_) => 0,
        }
    }

    /// The same connection, protected: by greeting the peer, or by being greeted.
    pub fn protected(self, protection: &Protection, greets: bool) -> Result<Socket, TlsError> {
        let Protection::Tls { credentials, name } = protection else { return Ok(self) };
        let limit = if greets { GREETING } else { GREETED };
        self.set_read_timeout(Some(STEP)).map_err(TlsError::Io)?;
        self.set_write_timeout(Some(limit)).map_err(TlsError::Io)?;
        let clear = match self {
            Socket::Tcp(it) => Clear::Tcp(it),
            Socket::Unix(it) => Clear::Unix(it),
            Socket::Tls(_) => return Ok(self),
        };
        let deadline = Instant::now() + limit;
        let stream = match greets {
            true => TlsStream::connect(clear, credentials, name, deadline)?,
            false => TlsStream::accept(clear, credentials, deadline)?,
        };
        let socket = Socket::Tls(Arc::new(stream));
        socket.set_read_timeout(None).map_err(TlsError::Io)?;
        socket.set_write_timeout(None).map_err(TlsError::Io)?;
        Ok(socket)
    }

    /// Whether bytes have been received that the descriptor no longer tells of.
    fn has_received(&self) -> bool {
        matches!(self, Socket::Tls(it) if it.has_received())
    }

    /// Whether something can be read, or the connection has ended; waits at most `limit` for it. A signal ends the wait.
    pub fn is_readable(&self, limit: Duration) -> io::Result<bool> {
        if self.has_received() {
            return Ok(true);
        }
        let limit = Timespec { tv_sec: limit.as_secs() as _, tv_nsec: limit.subsec_nanos() as _ };
        match poll(&mut [PollFd::new(self, PollFlags::IN)], Some(&limit)) {
            Ok(found) => Ok(found > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether either side has ended the connection, as far as the kernel knows without reading it.
    pub fn has_ended(&self) -> bool {
        let ends = PollFlags::HUP | PollFlags::ERR | PollFlags::RDHUP;
        let mut found = [PollFd::new(self, PollFlags::RDHUP)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut found, Some(&at_once)).is_ok_and(|_| found[0].revents().intersects(ends))
    }

    /// The address of the peer; `None` for Unix sockets.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.tcp()?.peer_addr().ok()
    }

    /// Our own address on this connection; `None` for Unix sockets.
    pub fn local(&self) -> Option<SocketAddr> {
        self.tcp()?.local_addr().ok()
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Socket::Tcp(it) => Some(it),
            Socket::Tls(it) => match it.socket() {
                Clear::Tcp(it) => Some(it),
                Clear::Unix(_) => None,
            },
            Socket::Unix(_) => None,
        }
    }

    /// Either the one or the other, for what both can do.
    fn family<R>(
        &self,
        tcp: impl FnOnce(&TcpStream) -> R,
        unix: impl FnOnce(&UnixStream) -> R,
    ) -> R {
        match self {
            Socket::Tcp(it) => tcp(it),
            Socket::Unix(it) => unix(it),
            Socket::Tls(it) => match it.socket() {
                Clear::Tcp(it) => tcp(it),
                Clear::Unix(it) => unix(it),
            },
        }
    }

    /// A second handle on the same connection.
    pub fn try_clone(&self) -> io::Result<Socket> {
        Ok(match self {
            Socket::Tcp(it) => Socket::Tcp(it.try_clone()?),
            Socket::Unix(it) => Socket::Unix(it.try_clone()?),
            Socket::Tls(it) => Socket::Tls(Arc::clone(it)),
        })
    }

    /// Ends the connection in both directions; whoever reads or writes returns at once.
    pub fn shut_down(&self) {
        let _ = self.family(|it| it.shutdown(Shutdown::Both), |it| it.shutdown(Shutdown::Both));
    }

    /// Longest time a read may take without a byte; `None` for ever.
    pub fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.family(|it| it.set_read_timeout(limit), |it| it.set_read_timeout(limit))
    }

    /// Longest time a write may take without a byte; `None` for ever.
    pub fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.family(|it| it.set_write_timeout(limit), |it| it.set_write_timeout(limit))
    }

    /// Sets what every connection of a migration has.
    pub fn set_up(&self) -> io::Result<()> {
        self.family(set_up_tcp, |it| it.set_nonblocking(false))
    }
}

fn set_up_tcp(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    if stream.peer_addr().is_ok_and(|peer| peer.ip().is_loopback()) {
        // A system without it has other peculiarities, and the migration works the same.
        let _ = socket::set_congestion_control(stream, LOOPBACK_CONTROL);
    } else {
        // An older kernel counts as sent what is still queued.
        let _ = socket::set_unsent_bytes(stream, UNSENT_BYTES);
    }
    // GO and READY are a few bytes that must not wait for more.
    stream.set_nodelay(true)
}

/// An interface in place of an address becomes its address; everything else stays as it is.
fn without_interface(endpoint: &Endpoint) -> Endpoint {
    let found = match endpoint {
        Endpoint::Tcp(text) => text.rsplit_once(':').filter(|it| !it.0.contains([':', '.', '['])),
        Endpoint::Unix(_) => None,
    };
    match found.and_then(|(name, port)| Some((interface::address(name).ok()?, port.parse().ok()?)))
    {
        Some((address, port)) => Endpoint::Tcp(SocketAddr::new(address, port).to_string()),
        None => endpoint.clone(),
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
            Socket::Tls(it) => match it.socket() {
                Clear::Tcp(it) => it.as_fd(),
                Clear::Unix(it) => it.as_fd(),
            },
        }
    }
}

impl Read for Socket {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(it) => it.read(to),
            Socket::Unix(it) => it.read(to),
            Socket::Tls(it) => it.receive(to),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(it) => it.write(from),
            Socket::Unix(it) => it.write(from),
            Socket::Tls(it) => it.send(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for &Clear {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match *self {
            Clear::Tcp(it) => (&*it).read(to),
            Clear::Unix(it) => (&*it).read(to),
        }
    }
}

impl Write for &Clear {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match *self {
            Clear::Tcp(it) => (&*it).write(from),
            Clear::Unix(it) => (&*it).write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
