//! A program of ours on another machine, as long as we hold it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use sterna_sys::process;

use crate::bootstrap::{self, UP, WORD};
use crate::{RemoteError, Target};

/// How long another machine may take for each step; ssh itself gives up after the first 15 s.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a wait looks whether it is still wanted.
const GLANCE: Duration = Duration::from_millis(100);

/// How long ssh may take to end in good order, in which time the other side puts everything away.
const GOODBYE: Duration = Duration::from_secs(3);

/// Lines of stderr that are kept.
const STDERR_LINES: usize = 60;

/// The longest line before ours; a greeting is shorter.
const LONGEST_LINE: usize = 4096;

/// How ssh is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssh {
    /// The client; a name without a slash is searched for.
    pub program: PathBuf,
    /// In place of the user's configuration, as `ssh -F`.
    pub config: Option<PathBuf>,
    /// Options as for `ssh -o`; they win over the configuration and over ours.
    pub options: Vec<String>,
}

impl Default for Ssh {
    fn default() -> Ssh {
        Ssh { program: "ssh".into(), config: None, options: Vec::new() }
    }
}

/// What to run there.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Our copy of it; where the other machine has the very same as `sterna` in its PATH, that one is taken.
    /// It has to call [`served`](crate::served) before anything else is said.
    pub file: &'a Path,
    /// Its arguments. Others on that machine can see them: no secrets.
    pub arguments: &'a [&'a str],
}

/// A program that runs on another machine.
///
/// It is bound to us in both directions: when this value is dropped or our process dies, ssh ends, the program sees the end of its standard input, ends too, and its directory is removed.
pub struct Session {
    child: Child,
    socket: UnixStream,
    target: String,
    stderr: Arc<Mutex<VecDeque<String>>>,
}

impl Ssh {
    /// Starts a program there; `is_cancelled` is asked several times a second.
    ///
    /// Call it from a thread that outlives the session, for the client is bound to the thread.
    ///
    /// # Errors
    /// See [`RemoteError`]; nothing is left there or here then.
    pub fn start(
        &self,
        target: &Target,
        program: &Program,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Session, RemoteError> {
        let name = target.to_string();
        let unreadable = |source| RemoteError::Program {
            path: program.file.to_owned(),
            target: name.clone(),
            source,
        };
        let (checksum, length) = checksum(program.file).map_err(unreadable)?;
        let command = bootstrap::command(&checksum, length, program.arguments);
        let mut session = self.connect(target, &command)?;
        let needs_copy = session.introduction(is_cancelled)?;
        if needs_copy {
            let mut file = File::open(program.file).map_err(unreadable)?;
            session.copy(&mut file, length, is_cancelled)?;
        }
        session.until_up(needs_copy, is_cancelled)?;
        Ok(session)
    }

    fn connect(&self, target: &Target, command: &str) -> Result<Session, RemoteError> {
        let name = target.to_string();
        let failed = |source| RemoteError::Io { target: name.clone(), source };
        let (socket, theirs) = UnixStream::pair().map_err(failed)?;
        socket.set_read_timeout(Some(GLANCE)).map_err(failed)?;
        socket.set_write_timeout(Some(STEP_TIMEOUT)).map_err(failed)?;
        let output = theirs.try_clone().map_err(failed)?;
        let mut ssh = self.command(target, command);
        ssh.stdin(Stdio::from(OwnedFd::from(theirs)));
        ssh.stdout(Stdio::from(OwnedFd::from(output))).stderr(Stdio::piped());
        // A Ctrl-C at the terminal is for us alone, who then end the session in good order.
        ssh.process_group(0);
        process::die_with_parent(&mut ssh);
        let mut child = ssh
            .spawn()
            .map_err(|source| RemoteError::NoSsh { program: self.program.clone(), source })?;
        // The command holds the client's end of the socket pair.
        drop(ssh);
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let pipe = child.stderr.take();
        let session = Session { child, socket, target: name.clone(), stderr: Arc::clone(&stderr) };
        // A master connection in the background may hold the pipe open, so nobody waits for this thread.
        std::thread::Builder::new()
            .name("ssh stderr".to_owned())
            .spawn(move || pipe.map(|it| keep_last_lines(it, &stderr)))
            .map_err(failed)?;
        Ok(session)
    }

    fn command(&self, target: &Target, command: &str) -> Command {
        let mut ssh = Command::new(&self.program);
        if let Some(config) = &self.config {
            ssh.arg("-F").arg(config);
        }
        // The first value of an option wins, so the user's come before ours.
        let ours = [
            "BatchMode=yes",
            "RequestTTY=no",
            "ConnectTimeout=15",
            "ServerAliveInterval=5",
            "ServerAliveCountMax=3",
            "ClearAllForwardings=yes",
        ];
        for option in self.options.iter().map(String::as_str).chain(ours) {
            ssh.arg("-o").arg(option);
        }
        if let Some(user) = &target.user {
            ssh.arg("-l").arg(user);
        }
        if let Some(port) = target.port {
            ssh.arg("-p").arg(port.to_string());
        }
        ssh.arg("--").arg(&target.host).arg(command);
        ssh
    }
}

impl Session {
    /// Both directions at once. Its end of file means that the other end is gone; [`Self::obituary`] knows more.
    ///
    /// Its timeouts are those of the start: a read that waits in vain for 100 ms fails. Set others to your liking.
    pub fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// The machine, as ssh was told.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// What ssh, and the program through it, said on stderr last.
    pub fn words(&self) -> Vec<String> {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// How the session ended, if it has, with the last words.
    pub fn obituary(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        let end = match status.code() {
            Some(255) => "the connection broke".to_owned(),
            Some(code) => format!("the Sterna there ended with exit code {code}"),
            None => "ssh was killed".to_owned(),
        };
        Some(format!("{end}{}", self.last_words()))
    }

    /// Whether the other side wants a copy of the program.
    fn introduction(&mut self, is_cancelled: &dyn Fn() -> bool) -> Result<bool, RemoteError> {
        loop {
            let line = self.line(is_cancelled)?;
            let mut words = line.splitn(2, ' ');
            match (words.next().unwrap_or_default(), words.next().unwrap_or_default()) {
                ("machine", theirs) => self.check_machine(theirs)?,
                ("need", _) => return Ok(true),
                ("have", _) => return Ok(false),
                ("no-directory", _) => {
                    return Err(RemoteError::NoDirectory { target: self.target.clone() });
                }
                _ => {}
            }
        }
    }

    fn check_machine(&self, theirs: &str) -> Result<(), RemoteError> {
        let system = rustix::system::uname();
        let words =
            [system.sysname(), system.machine()].map(|it| it.to_string_lossy().into_owned());
        let (ours, theirs, target) = (words.join(" "), theirs.to_owned(), self.target.clone());
        if ours == theirs { Ok(()) } else { Err(RemoteError::Machine { target, theirs, ours }) }
    }

    fn copy(
        &mut self,
        file: &mut File,
        length: u64,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<(), RemoteError> {
        let mut buffer = vec![0; 256 << 10];
        let mut left = length;
        while left > 0 {
            if is_cancelled() {
                return Err(RemoteError::Interrupted);
            }
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let outcome = file.read(&mut buffer[..most]).and_then(|read| match read {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.socket.write_all(&buffer[..read]).map(|()| read),
            });
            match outcome {
                Ok(read) => left -= read as u64,
                // What became of the other side tells more than that it is not there.
                Err(_) => return Err(self.ended()),
            }
        }
        Ok(())
    }

    fn until_up(
        &mut self,
        was_copied: bool,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<(), RemoteError> {
        let mut is_there = !was_copied;
        let up = UP.strip_prefix(WORD).unwrap_or(UP);
        loop {
            match self.line(is_cancelled) {
                Ok(line) if line == up => return Ok(()),
                Ok(line) if line == "damaged" => {
                    let (target, words) = (self.target.clone(), self.last_words());
                    return Err(RemoteError::Damaged { target, words });
                }
                Ok(line) => is_there |= line.starts_with("have "),
                Err(RemoteError::Refused { target, .. }) if is_there => {
                    return Err(RemoteError::DoesNotRun { target, words: self.last_words() });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The next line of ours, without the word that it begins with. Nothing after its end is read.
    fn line(&mut self, is_cancelled: &dyn Fn() -> bool) -> Result<String, RemoteError> {
        let deadline = Instant::now() + STEP_TIMEOUT;
        let mut line = Vec::new();
        let mut byte = [0];
        loop {
            if is_cancelled() {
                return Err(RemoteError::Interrupted);
            }
            if Instant::now() >= deadline {
                let (seconds, words) = (STEP_TIMEOUT.as_secs(), self.last_words());
                return Err(RemoteError::Silent { target: self.target.clone(), seconds, words });
            }
            match (&self.socket).read(&mut byte) {
                Ok(0) => return Err(self.ended()),
                Ok(_) if byte == *b"\n" => {
                    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                    line.clear();
                    if let Some(rest) = text.strip_prefix(WORD) {
                        return Ok(rest.to_owned());
                    }
                }
                Ok(_) if line.len() < LONGEST_LINE => line.extend(byte),
                Ok(_) => {}
                Err(error) if is_passing(&error) => {}
                Err(_) => return Err(self.ended()),
            }
        }
    }

    /// The other side hung up; ssh may take a moment until it has said why.
    fn ended(&mut self) -> RemoteError {
        let deadline = Instant::now() + GOODBYE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(5));
        let words = self.words().join(" | ");
        let words = if words.is_empty() { "it gives no reason".to_owned() } else { words };
        RemoteError::Refused { target: self.target.clone(), words }
    }

    /// What was said on stderr last, as the rest of a sentence.
    fn last_words(&self) -> String {
        let lines = self.words();
        let last = &lines[lines.len().saturating_sub(5)..];
        if last.is_empty() { String::new() } else { format!(": {}", last.join(" | ")) }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
        let _ = self.socket.set_read_timeout(Some(GLANCE));
        let deadline = Instant::now() + GOODBYE;
        let mut rest = [0; 4096];
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            // What is still said must not keep ssh from ending.
            if matches!((&self.socket).read(&mut rest), Ok(0)) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

fn checksum(path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut length = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        length += read as u64;
    }
    Ok((hasher.finalize().iter().map(|it| format!("{it:02x}")).collect(), length))
}

fn keep_last_lines(pipe: impl Read, lines: &Mutex<VecDeque<String>>) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(LONGEST_LINE as u64).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == STDERR_LINES {
            lines.pop_front();
        }
        lines.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
    }
}
