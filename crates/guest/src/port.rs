//! Finding and opening the port on which the engine listens.
//!
//! A virtio-serial port is no pipe: while nobody is connected on the host's side, a read says that the file has ended
//! and a write waits; both go on when somebody comes. That is just what a guest needs that arrives on another host,
//! where a new socket is connected to the same port. What one write hands over is one buffer, and a buffer that was not
//! taken before the migration is taken after it, so no line is lost on the way if the host reads both sockets to their
//! end. The port appears in the background after its module was loaded, so it is waited for.
//!
//! A serial port needs no module, but each byte is an exit to the hypervisor, what is written before the host listens
//! is lost, and it may be the kernel's console too.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use sterna_wire::guest_config::GuestConfig;

use crate::error::AgentError;

/// Both directions of the line.
pub struct Port {
    pub reader: File,
    pub writer: File,
}

/// A `port-name` that means standard input and output, for an agent that is started over ssh.
const STANDARD: &str = "-";

/// Where the kernel lists virtio-serial ports.
const PORTS: &str = "/sys/class/virtio-ports";

/// How often to look again for a port that is not there yet: its device is found in the background.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Opens the virtio-serial port of the configured name, or the serial port if that does not come.
pub fn open(config: &GuestConfig) -> Result<Port, AgentError> {
    if config.port_name == STANDARD {
        return standard();
    }
    let deadline = Instant::now() + Duration::from_nanos(config.port_wait_ns);
    loop {
        if let Some(path) = virtio_port(&config.port_name) {
            return open_at(&path);
        }
        if Instant::now() >= deadline {
            break;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    match &config.serial {
        Some(path) => open_at(Path::new(path)),
        None => Err(AgentError::NoPort { name: config.port_name.clone(), seen: seen() }),
    }
}

fn standard() -> Result<Port, AgentError> {
    let port = |fd: io::Result<_>| {
        fd.map(File::from).map_err(|source| AgentError::Port { path: STANDARD.into(), source })
    };
    Ok(Port {
        reader: port(io::stdin().as_fd().try_clone_to_owned())?,
        writer: port(io::stdout().as_fd().try_clone_to_owned())?,
    })
}

fn virtio_port(name: &str) -> Option<PathBuf> {
    let (directory, _) = ports().find(|(_, it)| it == name)?;
    let device = Path::new("/dev").join(directory);
    device.exists().then_some(device)
}

/// The device and the name of each port.
fn ports() -> impl Iterator<Item = (std::ffi::OsString, String)> {
    fs::read_dir(PORTS).into_iter().flatten().flatten().filter_map(|it| {
        let name = fs::read_to_string(it.path().join("name")).ok()?;
        Some((it.file_name(), name.trim().to_owned()))
    })
}

fn seen() -> String {
    let names: Vec<String> = ports().map(|it| it.1).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn open_at(path: &Path) -> Result<Port, AgentError> {
    let failed = |source| AgentError::Port { path: path.to_owned(), source };
    let writer = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
    // Only a terminal has a mode; a virtio port has none and says so.
    if let Ok(mut mode) = tcgetattr(&writer) {
        mode.make_raw();
        tcsetattr(&writer, OptionalActions::Now, &mode).map_err(|it| failed(it.into()))?;
    }
    let reader = writer.try_clone().map_err(failed)?;
    Ok(Port { reader, writer })
}
