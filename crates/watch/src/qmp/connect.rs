//! A connection to a monitor's socket, with patience.

use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use sterna_qemu::qmp::{Client, QmpError, Stamps};

use crate::WatchError;

/// Time between two attempts while the queue of a socket is full.
const RETRY: Duration = Duration::from_millis(20);

/// A monitor, past its greeting.
pub(super) struct Connection {
    pub client: Client,
    /// Whether its QEMU runs on this machine, so that its stamps are of this machine's clock.
    pub is_here: bool,
}

/// Connects within `patience`, and is greeted within as much again; `answers` bounds each answer, where it is not QEMU's usual.
pub(super) fn open(
    path: &Path,
    patience: Duration,
    is_brief: bool,
) -> Result<Connection, WatchError> {
    let socket = dial(path, patience)?;
    let is_here = is_here(&socket);
    let stamps = if is_here { Stamps::Ours } else { Stamps::on_arrival() };
    let client = match is_brief {
        true => Client::connect_briefly(socket, patience, stamps),
        false => Client::connect_with(socket, patience, stamps),
    };
    match client {
        Ok(client) => Ok(Connection { client, is_here }),
        Err(QmpError::Silent { .. }) => Err(WatchError::Held { path: path.to_owned(), patience }),
        Err(QmpError::Garbled(words)) => {
            Err(WatchError::NotQmp { path: path.to_owned(), words: format!("it says `{words}`") })
        }
        Err(QmpError::Closed) => {
            let words = "it closes the connection at once".to_owned();
            Err(WatchError::NotQmp { path: path.to_owned(), words })
        }
        Err(error) => {
            Err(WatchError::Unanswered { what: path.display().to_string(), reason: error.text() })
        }
    }
}

/// A blocking connect to a socket whose queue is full would wait for as long as another client stays.
fn dial(path: &Path, patience: Duration) -> Result<UnixStream, WatchError> {
    let fail = |source: std::io::Error| error(path, source);
    let kind = std::fs::metadata(path).map_err(fail)?.file_type();
    if !kind.is_socket() {
        return Err(WatchError::NotASocket(path.to_owned()));
    }
    let address = SocketAddrUnix::new(path).map_err(|it| fail(it.into()))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let deadline = Instant::now() + patience;
    loop {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|it| fail(it.into()))?;
        match connect(&socket, &address) {
            Ok(()) => {
                let socket = UnixStream::from(socket);
                socket.set_nonblocking(false).map_err(fail)?;
                return Ok(socket);
            }
            Err(Errno::AGAIN) if Instant::now() < deadline => std::thread::sleep(RETRY),
            Err(Errno::AGAIN) => {
                return Err(WatchError::Held { path: path.to_owned(), patience });
            }
            Err(errno) => return Err(fail(errno.into())),
        }
    }
}

fn error(path: &Path, source: std::io::Error) -> WatchError {
    let path = path.to_owned();
    match source.kind() {
        std::io::ErrorKind::NotFound => WatchError::Missing(path),
        std::io::ErrorKind::PermissionDenied => WatchError::Denied(path),
        std::io::ErrorKind::ConnectionRefused => WatchError::Refused(path),
        _ => WatchError::Socket { path, source },
    }
}

/// A socket that ssh forwards belongs to a process of ssh; whatever else listens is taken for a QEMU of this machine.
fn is_here(socket: &UnixStream) -> bool {
    let Ok(peer) = rustix::net::sockopt::socket_peercred(socket) else { return false };
    let comm = format!("/proc/{}/comm", peer.pid.as_raw_nonzero());
    std::fs::read_to_string(comm).is_ok_and(|it| !it.starts_with("ssh") && !it.starts_with("socat"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn refusal(path: &Path) -> String {
        let patience = Duration::from_millis(100);
        open(path, patience, true).err().expect("it cannot be watched").to_string()
    }

    #[test]
    fn each_reason_has_words_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        assert!(refusal(&path("missing")).contains("There is no socket"));
        std::fs::write(path("file"), "").unwrap();
        assert!(refusal(&path("file")).contains("is no socket"));
        drop(UnixListener::bind(path("left")).unwrap());
        assert!(refusal(&path("left")).contains("Nothing listens"));
        let _silent = UnixListener::bind(path("silent")).unwrap();
        assert!(refusal(&path("silent")).contains("serves one client at a time"));
    }

    #[test]
    fn a_queue_that_is_full_is_not_waited_for_longer_than_the_patience() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("full");
        let listener =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .unwrap();
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let mut others = Vec::new();
        while let Ok(other) = dial(&path, Duration::ZERO) {
            others.push(other);
        }
        let began = Instant::now();
        assert!(refusal(&path).contains("serves one client at a time"));
        assert!(began.elapsed() < Duration::from_secs(2));
    }
}
