//! Where one side runs: on this machine, or on another where a keeper looks after it.

use std::io::{self, Read, Seek, SeekFrom};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sterna_pilot::EngineError;
use sterna_wire::tls::CA_KEY;

use crate::keeper::Keeper;

/// How much of a file's end is read.
pub(crate) const TAIL_BYTES: u64 = 64 << 10;

/// Where one side runs.
#[derive(Clone)]
pub(crate) enum Place {
    /// This machine, with the run's private directory.
    Here(PathBuf),
    /// Another machine.
    There(Arc<Keeper>),
}

impl Place {
    /// The private directory of the run, as it is called there.
    pub fn directory(&self) -> &Path {
        match self {
            Place::Here(directory) => directory,
            Place::There(keeper) => keeper.directory(),
        }
    }

    /// Who looks after QEMU, on another machine.
    pub fn keeper(&self) -> Option<&Arc<Keeper>> {
        match self {
            Place::Here(_) => None,
            Place::There(keeper) => Some(keeper),
        }
    }

    /// Connects to a socket in the directory. QEMU makes its sockets before it greets, so this succeeds at once unless QEMU is gone.
    pub fn connect(&self, path: &Path) -> io::Result<UnixStream> {
        match self {
            Place::Here(_) => connect_in_time(path),
            Place::There(keeper) => keeper.connect(path),
        }
    }

    /// The end of a file in the directory; empty when there is none.
    pub fn tail(&self, path: &Path) -> Vec<u8> {
        match self {
            Place::Here(_) => tail(path, TAIL_BYTES).unwrap_or_default(),
            Place::There(keeper) => keeper.tail(path),
        }
    }

    /// Removes a file from the directory.
    pub fn remove(&self, path: &Path) {
        match self {
            Place::Here(_) => {
                let _ = std::fs::remove_file(path);
            }
            Place::There(keeper) => keeper.remove(path),
        }
    }

    /// What a file of this machine is called there, once it is there.
    pub fn bring(&self, path: &Path, name: &str) -> Result<PathBuf, EngineError> {
        match self {
            Place::Here(_) => Ok(path.to_owned()),
            Place::There(keeper) => keeper.bring(path, name),
        }
    }

    /// Brings a directory with all files in it, but for an authority's key, and nothing below.
    pub fn bring_directory(&self, path: &Path, name: &str) -> Result<PathBuf, EngineError> {
        let here = path.to_owned();
        let Place::There(_) = self else { return Ok(here) };
        let failed =
            |error| EngineError::Failed(format!("{} cannot be read: {error}", path.display()));
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // Links are followed: certificates often are links. The authority's key is nobody's business over there.
            if entry.path().is_file() && entry.file_name() != CA_KEY {
                let name = format!("{name}/{}", entry.file_name().to_string_lossy());
                self.bring(&entry.path(), &name)?;
            }
        }
        Ok(self.directory().join(name))
    }

    /// Lets a QEMU there reach a socket of this machine; gives the path by which it does.
    pub fn reach(&self, socket: &Path, name: &str) -> Result<PathBuf, EngineError> {
        match self {
            Place::Here(_) => Ok(socket.to_owned()),
            Place::There(keeper) => keeper.reach(socket, name),
        }
    }
}

/// The destination's address as the source sees it: that by which ssh came in, or went out.
pub(crate) fn stream_address(
    asked: Option<&str>,
    places: &[Place; 2],
) -> Result<String, EngineError> {
    let known = match places {
        [_, Place::There(keeper)] => keeper.hello().server_address.clone(),
        [Place::There(keeper), Place::Here(_)] => keeper.hello().client_address.clone(),
        _ => Some("127.0.0.1".to_owned()),
    };
    let address = asked.map(str::to_owned).or(known).ok_or_else(|| {
        EngineError::Failed(
            "ssh does not tell by which address it came in; say by --migration-address where the destination shall listen".to_owned(),
        )
    })?;
    let is_ipv6 = address
        .split('%')
        .next()
        .is_some_and(|it| it.parse::<IpAddr>().is_ok_and(|it| it.is_ipv6()));
    Ok(if is_ipv6 { format!("[{address}]") } else { address })
}

/// Connects to a socket that may not be there yet.
pub(crate) fn connect_in_time(path: &Path) -> io::Result<UnixStream> {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        match UnixStream::connect(path) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            outcome => return outcome,
        }
    }
}

/// The last bytes of a file.
pub(crate) fn tail(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(limit)))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}
