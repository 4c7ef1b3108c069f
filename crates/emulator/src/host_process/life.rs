//! Where a host lives, and how it is begun, met and ended there.

use std::ffi::OsString;
use std::fmt;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sterna_remote::Session;
use sterna_sys::{process, socket};
use sterna_wire::control::Endpoint;
use sterna_wire::tls::Credentials;

use crate::host::server::is_local;
use crate::transport::{Protection, Socket, Target};

/// How long a connection to another machine may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a host may take to end by itself.
const GOODBYE: Duration = Duration::from_secs(1);

/// The same for a host elsewhere, which first ends the process that served us.
const FAR_GOODBYE: Duration = Duration::from_secs(4);

/// What keeps a host alive.
pub enum Life {
    /// A child of ours.
    Child(Child),
    /// A process of a `sterna host` elsewhere; it ends with the control connection.
    Listening(String),
    /// A process that ssh has started elsewhere.
    Session(Box<Session>),
}

/// A `sterna host --listen` as it is to be met.
#[derive(Clone, Debug)]
pub struct Meeting {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The name that its certificate is for.
    pub name: String,
    /// Certificates; needed for everything but this machine.
    pub credentials: Option<Arc<Credentials>>,
}

impl Life {
    /// Starts a host here; it dies with the calling thread.
    pub fn begin(
        command: &[OsString],
        token: &str,
        tls_directory: Option<&Path>,
    ) -> Result<(Life, Socket), String> {
        let [program, arguments @ ..] = command else {
            return Err("No host program is known".to_owned());
        };
        let (child, line) = spawn(program, arguments, token, tls_directory)?;
        Ok((Life::Child(child), Socket::Unix(line)))
    }

    /// Connects to a host that listens.
    pub fn meet(meeting: &Meeting) -> Result<(Life, Socket), String> {
        let Meeting { endpoint, name, credentials } = meeting;
        let protection = match credentials {
            Some(it) => Protection::Tls { credentials: Arc::clone(it), name: name.clone() },
            None if is_local(endpoint) => Protection::Clear,
            None => {
                return Err(format!(
                    "{name} is another machine, and the way there is always encrypted: give --tls-dir DIR, which `sterna certs DIR --host {name}` makes for both"
                ));
            }
        };
        let target = Target { endpoint: endpoint.clone(), protection };
        let connection = target.connect(CONNECT_TIMEOUT).map_err(|error| error.to_string())?;
        // Unix sockets need none.
        let (idle, interval) = (Duration::from_secs(5), Duration::from_secs(3));
        let _ = socket::set_keepalive(&connection, idle, interval, 4);
        Ok((Life::Listening(name.clone()), connection))
    }

    /// The socket of a session.
    pub fn session(session: Session) -> Result<(Life, Socket), String> {
        let line = session.socket().try_clone();
        let line = line.map_err(|error| format!("No descriptors are left: {error}"))?;
        let no_timeout = line.set_read_timeout(None).and_then(|()| line.set_write_timeout(None));
        no_timeout.map_err(|error| error.to_string())?;
        Ok((Life::Session(Box::new(session)), Socket::Unix(line)))
    }

    /// Waits until the host has ended after it was asked to; false when it takes too long.
    pub fn wait(&mut self, control: &mut Socket) -> bool {
        match self {
            Life::Child(child) => {
                let deadline = Instant::now() + GOODBYE;
                while Instant::now() < deadline {
                    if let Ok(Some(_)) = child.try_wait() {
                        return true;
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
                false
            }
            // Its end is the last thing that the listening process tells.
            Life::Listening(_) | Life::Session(_) => has_ended(control),
        }
    }

    /// Makes sure that the host does nothing more, as far as it can be reached.
    pub fn kill(&mut self, control: &Socket) {
        match self {
            Life::Child(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Life::Listening(_) => control.shut_down(),
            Life::Session(session) => {
                let _ = session.socket().shutdown(Shutdown::Both);
            }
        }
    }

    /// How the host ended, as far as it can be known; it may take a moment until the kernel tells.
    pub fn obituary(&mut self) -> String {
        for _ in 0..50 {
            match self {
                Life::Child(child) => match child.try_wait() {
                    Ok(Some(status)) => return describe(status),
                    Ok(None) => {}
                    Err(_) => break,
                },
                Life::Session(session) => {
                    if let Some(words) = session.obituary() {
                        return words;
                    }
                }
                Life::Listening(name) => return format!("The connection to {name} was closed"),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        "The control connection was closed".to_owned()
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if let Life::Child(child) = self
            && let Ok(None) = child.try_wait()
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Life::Child(child) => f.debug_tuple("Child").field(&child.id()).finish(),
            Life::Listening(name) => f.debug_tuple("Listening").field(name).finish(),
            Life::Session(session) => f.debug_tuple("Session").field(&session.target()).finish(),
        }
    }
}

/// Starts a process that serves a control connection on standard input, with the token in its environment, where other users cannot read it.
///
/// It is bound to the calling thread: when that ends, it is killed.
pub fn spawn(
    program: &OsString,
    arguments: &[OsString],
    token: &str,
    tls_directory: Option<&Path>,
) -> Result<(Child, UnixStream), String> {
    let mut command = Command::new(program);
    command.args(arguments).env("STERNA_HOST_TOKEN", token).stdout(Stdio::null());
    match tls_directory {
        Some(directory) => command.env("STERNA_TLS_DIR", directory),
        None => command.env_remove("STERNA_TLS_DIR"),
    };
    // A Ctrl-C at the terminal is for us alone, who then end our hosts in good order.
    command.process_group(0);
    process::die_with_parent(&mut command);
    let line = process::socket_as_stdin(&mut command)
        .map_err(|error| format!("No socket pair can be had: {error}"))?;
    let child = command
        .spawn()
        .map_err(|error| format!("{} cannot be started: {error}", program.display()))?;
    // `command` holds the child's end of the socket pair, and is dropped here.
    Ok((child, line))
}

/// A secret for one process.
pub fn token() -> Result<String, String> {
    let mut bytes = [0u8; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| format!("No randomness: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// How a process ended.
pub fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("The process was killed by signal {signal}"),
        (None, Some(code)) => format!("The process ended with exit code {code}"),
        (None, None) => "The process ended".to_owned(),
    }
}

fn has_ended(control: &mut Socket) -> bool {
    let deadline = Instant::now() + FAR_GOODBYE;
    let _ = control.set_read_timeout(Some(FAR_GOODBYE));
    let mut waste = [0; 256];
    while Instant::now() < deadline {
        match std::io::Read::read(control, &mut waste) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return !matches!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
    false
}
