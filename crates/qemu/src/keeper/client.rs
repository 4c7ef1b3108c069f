//! Our end: questions, and channels that are ordinary sockets here.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use sterna_pilot::{CpuPoint, EngineError, Interrupt};
use sterna_remote::{Mux, NoMessage, Program, RemoteError, Session, Ssh, Target};
use sterna_report::Side;
use sterna_sys::clock::monotonic_ns;
use sterna_sys::crc32c;
use sterna_wire::clock::Offset;
use sterna_wire::keeper::{KeeperHello, KeeperReply, KeeperRequest};

use super::SUBCOMMAND;
use super::clock::Clocks;
use crate::place::TAIL_BYTES;
use crate::process::{Order, side_name};

/// How long a keeper may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Exchanges before the first stamp is mapped.
const FIRST_EXCHANGES: usize = 8;

/// Time between two exchanges, which also tell the keeper that we live.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// A keeper on another machine; gone with this value.
pub(crate) struct Keeper {
    side: Side,
    target: String,
    session: Mutex<Option<Session>>,
    mux: Mux,
    hello: KeeperHello,
    directory: PathBuf,
    clocks: Mutex<Clocks>,
    /// Held from a question to its answer.
    asking: Mutex<Conversation>,
    next_channel: AtomicU16,
}

#[derive(Default)]
struct Conversation {
    end: Option<String>,
}

/// What is known of a QEMU there.
pub(crate) struct KeptState {
    pub end: Option<String>,
    pub stderr: Vec<String>,
}

/// Why a keeper did not do what it was asked to.
#[derive(Debug)]
enum Trouble {
    Refused { error: String, is_unsupported: bool },
    Gone(String),
}

impl Keeper {
    /// Starts a keeper there.
    pub fn start(
        side: Side,
        ssh: &Ssh,
        target: &Target,
        program: &Path,
        interrupt: &Interrupt,
    ) -> Result<Arc<Keeper>, EngineError> {
        let program = Program { file: program, arguments: &[SUBCOMMAND] };
        let session =
            ssh.start(target, &program, &|| interrupt.requested()).map_err(
                |error| match error {
                    RemoteError::Interrupted => EngineError::Interrupted,
                    error => EngineError::Unsupported(format!("{}: {error}", side_name(side))),
                },
            )?;
        let gone = |reason: String| EngineError::SideGone { side: side_name(side), reason };
        let mux = Mux::start(session.socket()).map_err(|error| gone(error.to_string()))?;
        let mut keeper = Keeper {
            side,
            target: target.to_string(),
            session: Mutex::new(Some(session)),
            mux,
            hello: KeeperHello::default(),
            directory: PathBuf::new(),
            clocks: Mutex::default(),
            asking: Mutex::default(),
            next_channel: AtomicU16::new(1),
        };
        match keeper.ask(&KeeperRequest::Hello) {
            Ok(KeeperReply::Hello(hello)) => keeper.hello = hello,
            other => return Err(keeper.unexpected(other)),
        }
        keeper.directory = PathBuf::from(&keeper.hello.directory);
        for _ in 0..FIRST_EXCHANGES {
            keeper.exchange().map_err(|trouble| keeper.error(trouble))?;
        }
        let keeper = Arc::new(keeper);
        let weak = Arc::downgrade(&keeper);
        std::thread::Builder::new()
            .name("keeper's clock".to_owned())
            .spawn(move || beat(&weak))
            .map_err(|error| gone(error.to_string()))?;
        Ok(keeper)
    }

    /// The directory of the run there.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Who and where it is.
    pub fn hello(&self) -> &KeeperHello {
        &self.hello
    }

    /// The machine, as ssh was told.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The monotonic clock there against ours.
    pub fn clock(&self) -> Option<Offset> {
        lock(&self.clocks).monotonic()
    }

    /// A stamp of the wall clock there, on our monotonic clock.
    pub fn realtime_to_ours(&self, realtime_ns: u64) -> u64 {
        lock(&self.clocks).realtime().map_or(realtime_ns, |it| it.to_ours(realtime_ns))
    }

    /// Starts a QEMU there; the socket is its monitor.
    pub fn launch(&self, order: &Order) -> Result<(u32, UnixStream), EngineError> {
        let text = |it: &std::ffi::OsStr| {
            it.to_str().map(str::to_owned).ok_or_else(|| {
                let shown = it.to_string_lossy();
                EngineError::Failed(format!(
                    "`{shown}` is no text, and cannot go to another machine"
                ))
            })
        };
        let (monitor, socket) = self.channel().map_err(|error| self.broken(&error))?;
        let request = KeeperRequest::Launch {
            program: text(order.program.as_os_str())?,
            arguments: order.arguments.iter().map(|it| text(it)).collect::<Result<_, _>>()?,
            small_pages: order.small_pages,
            cpus: order.cpus.iter().map(|it| *it as u64).collect(),
            monitor,
        };
        match self.ask(&request) {
            Ok(KeeperReply::Launched { pid }) => Ok((pid, socket)),
            other => Err(self.unexpected(other)),
        }
    }

    /// Connects to a socket in the directory there.
    pub fn connect(&self, path: &Path) -> io::Result<UnixStream> {
        let (channel, socket) = self.channel()?;
        let request = KeeperRequest::Connect { name: self.name(path), channel };
        match self.ask(&request) {
            Ok(KeeperReply::Done) => Ok(socket),
            other => Err(io::Error::other(self.unexpected(other).to_string())),
        }
    }

    /// Has QEMU there reach a socket of ours.
    pub fn reach(&self, socket: &Path, name: &str) -> Result<PathBuf, EngineError> {
        let broken = |error| self.broken(&error);
        let channel = self.next_channel.fetch_add(1, Ordering::Relaxed);
        self.mux.open(channel, UnixStream::connect(socket).map_err(broken)?).map_err(broken)?;
        match self.ask(&KeeperRequest::Listen { name: name.to_owned(), channel }) {
            Ok(KeeperReply::Done) => Ok(self.directory.join(name)),
            other => Err(self.unexpected(other)),
        }
    }

    /// Copies a file to the directory there.
    pub fn bring(&self, path: &Path, name: &str) -> Result<PathBuf, EngineError> {
        let failed =
            |error| EngineError::Failed(format!("{} cannot be read: {error}", path.display()));
        let bytes = std::fs::read(path).map_err(failed)?;
        let (channel, mut socket) = self.channel().map_err(|error| self.broken(&error))?;
        let length = bytes.len() as u64;
        let request = KeeperRequest::Receive { name: name.to_owned(), channel, length };
        self.ask(&request).map_err(|trouble| self.error(trouble))?;
        socket.write_all(&bytes).map_err(|error| self.broken(&error))?;
        match self.ask(&KeeperRequest::Received) {
            Ok(KeeperReply::Received { length: theirs, checksum })
                if theirs == length && checksum == crc32c(0, &bytes) =>
            {
                Ok(self.directory.join(name))
            }
            Ok(_) => {
                let (path, target) = (path.display(), &self.target);
                Err(EngineError::Failed(format!("The copy of {path} on {target} is damaged")))
            }
            Err(trouble) => Err(self.error(trouble)),
        }
    }

    /// The end of a file there; empty when there is none.
    pub fn tail(&self, path: &Path) -> Vec<u8> {
        let request = KeeperRequest::Read { name: self.name(path), limit: TAIL_BYTES };
        match self.ask(&request) {
            Ok(KeeperReply::Bytes { bytes }) => bytes,
            _ => Vec::new(),
        }
    }

    /// Removes a file there.
    pub fn remove(&self, path: &Path) {
        let _ = self.ask(&KeeperRequest::Remove { name: self.name(path) });
    }

    /// What QEMU has cost since the last time, on our clock.
    pub fn costs(&self) -> Vec<CpuPoint> {
        let Some(offset) = self.clock() else { return Vec::new() };
        let Ok(KeeperReply::Costs { points }) = self.ask(&KeeperRequest::Costs) else {
            return Vec::new();
        };
        let point = |it: sterna_wire::keeper::KeeperCost| CpuPoint {
            side: self.side,
            at_ns: offset.to_ours(it.at_ns),
            classes: it.classes,
            resident_bytes: it.resident_bytes,
        };
        points.into_iter().map(point).collect()
    }

    /// Whether QEMU runs there; it does not when nobody can say so.
    pub fn state(&self) -> KeptState {
        match self.ask(&KeeperRequest::State) {
            Ok(KeeperReply::State { end, stderr }) => KeptState { end, stderr },
            Ok(_) => KeptState { end: None, stderr: Vec::new() },
            Err(Trouble::Refused { error, .. }) => {
                KeptState { end: Some(error), stderr: Vec::new() }
            }
            Err(Trouble::Gone(end)) => KeptState { end: Some(end), stderr: Vec::new() },
        }
    }

    /// Why nobody answers over there any more, as far as that is known by now; nothing is asked for it.
    pub fn is_lost(&self) -> Option<String> {
        lock(&self.asking).end.clone()
    }

    /// Gives QEMU time to end by itself; whether it did.
    pub fn wait(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.state().end.is_none() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    /// Kills the QEMU of this number, if it is the one there.
    pub fn kill(&self, pid: u32) {
        let _ = self.ask(&KeeperRequest::Kill { pid });
    }

    /// Ends the keeper and everything there, and waits for that.
    pub fn end(&self) {
        let session = lock(&self.session).take();
        drop(session);
    }

    /// A new channel with our end of it.
    fn channel(&self) -> io::Result<(u16, UnixStream)> {
        let channel = self.next_channel.fetch_add(1, Ordering::Relaxed);
        let (ours, inner) = UnixStream::pair()?;
        self.mux.open(channel, inner)?;
        Ok((channel, ours))
    }

    fn exchange(&self) -> Result<(), Trouble> {
        let mut conversation = lock(&self.asking);
        let asked_ns = monotonic_ns();
        let reply = self.converse(&mut conversation, &KeeperRequest::Clock)?;
        let received_ns = monotonic_ns();
        if let KeeperReply::Clock { monotonic_ns, realtime_ns } = reply {
            lock(&self.clocks).add(asked_ns, received_ns, monotonic_ns, realtime_ns);
        }
        Ok(())
    }

    fn ask(&self, request: &KeeperRequest) -> Result<KeeperReply, Trouble> {
        self.converse(&mut lock(&self.asking), request)
    }

    fn converse(
        &self,
        conversation: &mut Conversation,
        request: &KeeperRequest,
    ) -> Result<KeeperReply, Trouble> {
        if let Some(end) = &conversation.end {
            return Err(Trouble::Gone(end.clone()));
        }
        let outcome = serde_json::to_vec(request)
            .map_err(|error| error.to_string())
            .and_then(|it| self.mux.send(&it).map_err(|_| self.obituary(&NoMessage::Ended)))
            .and_then(|()| self.mux.receive(ANSWER_TIMEOUT).map_err(|it| self.obituary(&it)))
            .and_then(|it| serde_json::from_slice(&it).map_err(|error| error.to_string()));
        match outcome {
            Ok(KeeperReply::Refused { error, is_unsupported }) => {
                Err(Trouble::Refused { error, is_unsupported })
            }
            Ok(reply) => Ok(reply),
            // An answer that comes later would be taken for the next one.
            Err(end) => Err(Trouble::Gone(conversation.end.insert(end).clone())),
        }
    }

    /// Why there is no answer.
    fn obituary(&self, error: &NoMessage) -> String {
        let target = &self.target;
        if matches!(error, NoMessage::Garbled(_)) {
            return format!("{target}: {error}");
        }
        if *error == NoMessage::Silent {
            let seconds = ANSWER_TIMEOUT.as_secs();
            return format!("{target} does not answer within {seconds} s");
        }
        let deadline = Instant::now() + Duration::from_secs(1);
        while Instant::now() < deadline {
            let end = lock(&self.session).as_mut().map_or(Some(String::new()), Session::obituary);
            match end {
                Some(end) if end.is_empty() => break,
                Some(end) => return format!("{target}: {end}"),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        format!("{target}: the session has ended")
    }

    fn unexpected(&self, outcome: Result<KeeperReply, Trouble>) -> EngineError {
        match outcome {
            Ok(reply) => EngineError::Failed(format!("{}: unexpected {reply:?}", self.target)),
            Err(trouble) => self.error(trouble),
        }
    }

    fn error(&self, trouble: Trouble) -> EngineError {
        match trouble {
            Trouble::Refused { error, is_unsupported: true } => {
                EngineError::Unsupported(format!("{}: {error}", self.target))
            }
            Trouble::Refused { error, .. } => {
                EngineError::Failed(format!("{}: {error}", self.target))
            }
            Trouble::Gone(reason) => EngineError::SideGone { side: side_name(self.side), reason },
        }
    }

    fn broken(&self, error: &io::Error) -> EngineError {
        let reason = format!("{}: {error}", self.target);
        EngineError::SideGone { side: side_name(self.side), reason }
    }

    fn name(&self, path: &Path) -> String {
        let name = path.strip_prefix(&self.directory).unwrap_or(path);
        name.to_string_lossy().into_owned()
    }
}

/// Asks for the clock now and then, as long as somebody holds the keeper.
fn beat(keeper: &Weak<Keeper>) {
    loop {
        std::thread::sleep(HEARTBEAT);
        let Some(keeper) = keeper.upgrade() else { return };
        if keeper.exchange().is_err() {
            return;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
