//! The other end of a session.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::JoinHandle;

use crate::bootstrap::UP;

/// The variable that names the session's directory to the program there.
pub const DIRECTORY_VARIABLE: &str = "STERNA_REMOTE_DIRECTORY";

/// What a program has that was started by a [`Session`](crate::Session).
#[derive(Debug)]
pub struct Served {
    /// Both directions of the session in one socket. Its end of file is the end of the other end, and of the network in between: nothing of ours may outlive it.
    pub socket: UnixStream,
    /// A private directory; it is removed when the program ends, however it ends.
    pub directory: PathBuf,
    out: JoinHandle<()>,
}

impl Served {
    /// Waits until the last word has left; call it before the program ends.
    pub fn finish(self) {
        let _ = self.socket.shutdown(Shutdown::Both);
        let _ = self.out.join();
    }
}

/// Takes the session over from standard input and output.
///
/// # Errors
/// The process was not started by a session, or no threads can be had.
pub fn served() -> io::Result<Served> {
    let directory = std::env::var_os(DIRECTORY_VARIABLE).map(PathBuf::from);
    let directory = directory.ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("{DIRECTORY_VARIABLE} is not set"))
    })?;
    let mut stdout = io::stdout();
    writeln!(stdout, "{UP}")?;
    stdout.flush()?;
    let (ours, theirs) = UnixStream::pair()?;
    let reading = theirs.try_clone()?;
    std::thread::Builder::new().name("session in".to_owned()).spawn(move || {
        let _ = pump(&mut io::stdin(), &mut &theirs);
        // An end in one direction only would leave the program waiting for somebody who cannot speak.
        let _ = theirs.shutdown(Shutdown::Both);
    })?;
    let out = std::thread::Builder::new().name("session out".to_owned()).spawn(move || {
        let _ = pump(&mut &reading, &mut io::stdout());
        let _ = reading.shutdown(Shutdown::Both);
    })?;
    Ok(Served { socket: ours, directory, out })
}

/// Passes on what comes as soon as it comes.
fn pump(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                to.write_all(&buffer[..length])?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
