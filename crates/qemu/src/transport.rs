//! How the stream gets from one QEMU to the other.
//!
//! | transport | the destination | the source |
//! |---|---|---|
//! | tcp | listens on a port that the kernel chooses | dials it |
//! | unix | listens in the run's directory | dials it |
//! | fd | is handed one end of a pair of sockets | is handed the other |
//! | exec | runs `cat` on two named pipes | does so too, crosswise |
//! | rdma | listens on an address of an RDMA device | dials it |
//! | file | reads when the source has written all | writes |
//!
//! All but exec and file are made ready before the guest's first instruction, so that what a QEMU cannot do is refused without having moved anything.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::Errno;
use serde_json::{Value, json};
use sterna_pilot::EngineError;
use sterna_report::Side;
use sterna_scenario::Transport;
use sterna_sys::clock::monotonic_ns;

use crate::process::QemuProcess;
use crate::qmp::{QmpError, Schema};
use crate::settings;

/// The scenario's field that all of this is about.
const FIELD: &str = "migration.transport";

/// The name under which a QEMU knows the socket that it was handed.
const DESCRIPTOR: &str = "sterna-stream";

/// The way that is ready for the stream.
#[derive(Debug)]
pub(crate) enum Way {
    /// The destination listens there.
    Address(String),
    /// The destination holds the other end.
    Socket(OwnedFd),
    /// Two named pipes, `forth` and `back`.
    Pipes { forth: PathBuf, back: PathBuf },
    /// A file that does not exist yet.
    File(PathBuf),
}

/// Where things can be put.
pub(crate) struct Places<'a> {
    /// The run's private directory.
    pub directory: &'a Path,
    /// Where a stream goes that is a file.
    pub files: &'a Path,
    /// The address of an RDMA device.
    pub rdma: Option<IpAddr>,
    /// The destination's address for TCP, as the source sees it; IPv6 in brackets.
    pub address: String,
}

/// Makes the destination ready for the stream, as far as it can be before the source dials.
///
/// # Errors
/// [`EngineError::Unsupported`] with the binary's own reason.
pub(crate) fn prepare(
    transport: Transport,
    destination: &mut QemuProcess,
    schema: &Schema,
    places: &Places,
) -> Result<Way, EngineError> {
    match transport {
        Transport::Tcp => {
            let address = &places.address;
            listen(destination, &format!("tcp:{address}:0"))?;
            port(destination).map(|port| Way::Address(format!("tcp:{address}:{port}")))
        }
        Transport::Unix => {
            let uri = format!("unix:{}", places.directory.join("migration").display());
            listen(destination, &uri)?;
            Ok(Way::Address(uri))
        }
        Transport::Fd => {
            let (ours, theirs) = UnixStream::pair().map_err(failed)?;
            destination.give_descriptor(DESCRIPTOR, theirs.as_fd())?;
            listen(destination, &format!("fd:{DESCRIPTOR}"))?;
            Ok(Way::Socket(ours.into()))
        }
        Transport::Exec => pipes(places.directory),
        Transport::Rdma => {
            let uri = rdma_address(places.rdma).map_err(failed)?;
            listen(destination, &uri)?;
            Ok(Way::Address(uri))
        }
        Transport::File => {
            let path = places.files.join("stream");
            if !schema.has_address("file") {
                // Its own words are had by asking.
                listen(destination, &format!("file:{}", path.display()))?;
            }
            Ok(Way::File(path))
        }
    }
}

/// A migrate command that was accepted.
pub(crate) struct Begun {
    /// Where the source was sent to.
    pub uri: String,
    /// The command was sent at this moment, and accepted at this one or later.
    pub asked_ns: u64,
    /// Its answer was read.
    pub answered_ns: u64,
}

/// Gives the source the migrate command.
pub(crate) fn begin(
    way: &Way,
    source: &mut QemuProcess,
    destination: &mut QemuProcess,
) -> Result<Begun, EngineError> {
    let uri = match way {
        Way::Address(uri) => uri.clone(),
        Way::Socket(end) => {
            source.give_descriptor(DESCRIPTOR, end.as_fd())?;
            format!("fd:{DESCRIPTOR}")
        }
        Way::Pipes { forth, back } => {
            let theirs = json!({ "uri": crosswise(forth, back) });
            destination.execute("migrate-incoming", theirs)?;
            crosswise(back, forth)
        }
        Way::File(path) => format!("file:{}", path.display()),
    };
    let asked_ns = monotonic_ns();
    let begun = source.execute("migrate", json!({ "uri": uri }));
    if let (Err(_), Way::Pipes { forth, back }) = (&begun, way) {
        // The destination's shells wait for the source's to open the pipes, and would do so for ever.
        for pipe in [forth, back] {
            let _ = std::fs::File::options().read(true).write(true).open(pipe);
        }
    }
    begun.map(|_| Begun { uri, asked_ns, answered_ns: monotonic_ns() })
}

/// Lets the destination read a file that is complete.
pub(crate) fn load(path: &Path, destination: &mut QemuProcess) -> Result<(), EngineError> {
    let uri = format!("file:{}", path.display());
    destination.execute("migrate-incoming", json!({ "uri": uri })).map(|_| ())
}

fn listen(destination: &mut QemuProcess, uri: &str) -> Result<(), EngineError> {
    match destination.try_execute("migrate-incoming", json!({ "uri": uri })) {
        Ok(_) => Ok(()),
        Err(error @ QmpError::Refused { .. }) => {
            Err(settings::refused(destination, Side::Destination, FIELD, &error.text()))
        }
        Err(error) => Err(destination.explain(error)),
    }
}

fn port(destination: &mut QemuProcess) -> Result<String, EngineError> {
    let answer = destination.execute("query-migrate", Value::Null)?;
    let port = answer["socket-address"][0]["port"].as_str().map(str::to_owned);
    port.ok_or_else(|| {
        EngineError::Failed("The destination does not say on which port it listens".to_owned())
    })
}

fn pipes(directory: &Path) -> Result<Way, EngineError> {
    let (forth, back) = (directory.join("forth"), directory.join("back"));
    for path in [&forth, &back] {
        let mode = Mode::RUSR | Mode::WUSR;
        match mknodat(CWD, path, FileType::Fifo, mode, 0) {
            // An attempt with another accelerator has made them.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(error.into())),
        }
    }
    Ok(Way::Pipes { forth, back })
}

/// What a shell must run to bring one pipe to QEMU, and what QEMU says to the other.
///
/// The shell stays: QEMU ends it when it is done, and what the last `cat` has not yet passed on would end with that.
fn crosswise(from: &Path, to: &Path) -> String {
    let (from, to) = (quoted(from), quoted(to));
    format!("exec:cat <{from} & cat >{to}; wait")
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// RDMA has no port 0 whose number can be asked for afterwards, so a port that is free for TCP is taken.
fn rdma_address(address: Option<IpAddr>) -> std::io::Result<String> {
    let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let port = TcpListener::bind((address, 0))?.local_addr()?.port();
    Ok(match address {
        IpAddr::V4(address) => format!("rdma:{address}:{port}"),
        IpAddr::V6(address) => format!("rdma:[{address}]:{port}"),
    })
}

fn failed(error: std::io::Error) -> EngineError {
    EngineError::Failed(format!("{FIELD}: no way for the stream can be made: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_cross_the_pipes_and_survive_odd_names() {
        let uri = crosswise(Path::new("/r un/a"), Path::new("/it's/b"));
        assert_eq!(uri, r"exec:cat <'/r un/a' & cat >'/it'\''s/b'; wait");
    }

    #[test]
    fn rdma_is_told_an_address_with_a_port() {
        let uri = rdma_address(None).unwrap();
        let port = uri.strip_prefix("rdma:127.0.0.1:").unwrap();
        assert!(port.parse::<u16>().unwrap() > 0);
        let uri = rdma_address(Some("::1".parse().unwrap()));
        assert!(uri.is_err() || uri.unwrap().starts_with("rdma:[::1]:"));
    }
}
