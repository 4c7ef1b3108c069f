//! The keeper itself, on the other machine.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sterna_remote::{Mux, Served};
use sterna_report::Side;
use sterna_sys::clock::monotonic_ns;
use sterna_sys::crc32c;
use sterna_sys::socket::listen_private;
use sterna_wire::keeper::{KeeperCost, KeeperHello, KeeperReply, KeeperRequest};

use crate::accelerator::kvm_obstacle;
use crate::costs::CostSampler;
use crate::place::{connect_in_time, tail};
use crate::process::{LocalProcess, Order, StartError};

/// There is a question each second; whoever is silent for so long has lost us, or the network has.
const SILENCE: Duration = Duration::from_secs(20);

/// How long the bytes of a file may take after they were asked about.
const FILE_TIMEOUT: Duration = Duration::from_secs(15);

/// Most bytes of a file in one answer.
const LONGEST_READ: u64 = 64 << 10;

/// Looks after one QEMU until the other end is gone; then nothing of it is left.
///
/// # Errors
/// The session cannot be taken over.
pub fn serve(served: Served) -> io::Result<()> {
    let mux = Arc::new(Mux::start(&served.socket)?);
    let mut keeper = Serving {
        mux: Arc::clone(&mux),
        directory: served.directory.clone(),
        qemu: None,
        costs: None,
        incoming: None,
    };
    while let Ok(message) = mux.receive(SILENCE) {
        let reply = match serde_json::from_slice(&message) {
            Ok(request) => keeper.answer(request),
            Err(error) => refused(format!("The question cannot be understood: {error}")),
        };
        let sent =
            serde_json::to_vec(&reply).map_err(io::Error::other).and_then(|it| mux.send(&it));
        if sent.is_err() {
            break;
        }
    }
    drop(keeper);
    served.finish();
    Ok(())
}

struct Serving {
    mux: Arc<Mux>,
    directory: PathBuf,
    qemu: Option<LocalProcess>,
    costs: Option<CostSampler>,
    incoming: Option<JoinHandle<io::Result<(u64, u32)>>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.costs = None;
        if let Some(qemu) = &mut self.qemu {
            qemu.kill();
        }
    }
}

impl Serving {
    fn answer(&mut self, request: KeeperRequest) -> KeeperReply {
        let outcome = match request {
            KeeperRequest::Hello => Ok(KeeperReply::Hello(self.hello())),
            KeeperRequest::Clock => Ok(clock()),
            KeeperRequest::Receive { name, channel, length } => {
                self.receive(&name, channel, length)
            }
            KeeperRequest::Received => self.received(),
            KeeperRequest::Launch { program, arguments, cpus, small_pages, monitor } => {
                let arguments: Vec<_> = arguments.into_iter().map(OsString::from).collect();
                let cpus: Vec<usize> = cpus.iter().map(|it| *it as usize).collect();
                let order = Order {
                    program: Path::new(&program),
                    arguments: &arguments,
                    cpus: &cpus,
                    small_pages,
                    inherited: &[],
                };
                return self.launch(&order, monitor);
            }
            KeeperRequest::Connect { name, channel } => self.connect(&name, channel),
            KeeperRequest::Listen { name, channel } => self.listen(&name, channel),
            KeeperRequest::Read { name, limit } => self.read(&name, limit),
            KeeperRequest::Remove { name } => {
                self.path(&name).and_then(std::fs::remove_file).map(|()| KeeperReply::Done)
            }
            KeeperRequest::Costs => Ok(self.costs()),
            KeeperRequest::State => Ok(self.state()),
            KeeperRequest::Kill { pid } => {
                if let Some(qemu) = self.qemu.as_mut().filter(|it| it.pid() == pid) {
                    qemu.kill();
                }
                Ok(self.state())
            }
        };
        outcome.unwrap_or_else(|error| refused(error.to_string()))
    }

    fn hello(&self) -> KeeperHello {
        let system = rustix::system::uname();
        let words = std::env::var("SSH_CONNECTION").unwrap_or_default();
        let mut words = words.split(' ').map(str::to_owned);
        let client_address = words.next().filter(|it| !it.is_empty());
        KeeperHello {
            directory: self.directory.to_string_lossy().into_owned(),
            host: system.nodename().to_string_lossy().into_owned(),
            kernel: system.release().to_string_lossy().into_owned(),
            cpus: std::thread::available_parallelism().map_or(0, |it| it.get() as u64),
            kvm_obstacle: kvm_obstacle(),
            client_address,
            server_address: words.nth(1),
        }
    }

    fn receive(&mut self, name: &str, channel: u16, length: u64) -> io::Result<KeeperReply> {
        let path = self.path(name)?;
        if let Some(folder) = path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let (mut ours, inner) = UnixStream::pair()?;
        ours.set_read_timeout(Some(FILE_TIMEOUT))?;
        self.mux.open(channel, inner)?;
        let copy = move || copy(&mut ours, &mut file, length);
        let thread = std::thread::Builder::new().name("file".to_owned());
        self.incoming = Some(thread.spawn(copy)?);
        Ok(KeeperReply::Done)
    }

    fn received(&mut self) -> io::Result<KeeperReply> {
        let incoming = self.incoming.take().ok_or(io::ErrorKind::NotFound)?;
        let outcome = incoming.join().map_err(|_| io::Error::other("The copying broke off"))?;
        outcome.map(|(length, checksum)| KeeperReply::Received { length, checksum })
    }

    fn launch(&mut self, order: &Order, monitor: u16) -> KeeperReply {
        self.costs = None;
        self.qemu = None;
        let (qemu, socket) = match LocalProcess::start(order) {
            Ok(started) => started,
            Err(error) => {
                let is_unsupported = matches!(error, StartError::Program { .. });
                return KeeperReply::Refused { error: error.to_string(), is_unsupported };
            }
        };
        let pid = qemu.pid();
        self.costs = CostSampler::start(vec![(Side::Destination, pid)]).ok();
        self.qemu = Some(qemu);
        match self.mux.open(monitor, socket) {
            Ok(()) => KeeperReply::Launched { pid },
            Err(error) => refused(error.to_string()),
        }
    }

    fn connect(&mut self, name: &str, channel: u16) -> io::Result<KeeperReply> {
        let socket = connect_in_time(&self.path(name)?)?;
        self.mux.open(channel, socket).map(|()| KeeperReply::Done)
    }

    /// What connects is taken once: a QEMU that is started again gets a socket of its own.
    fn listen(&mut self, name: &str, channel: u16) -> io::Result<KeeperReply> {
        let path = self.path(name)?;
        let _ = std::fs::remove_file(&path);
        let listener = listen_private(&path)?;
        let mux = Arc::downgrade(&self.mux);
        let thread = std::thread::Builder::new().name("listener".to_owned());
        thread.spawn(move || {
            let (socket, _) = listener.accept()?;
            mux.upgrade().map_or(Ok(()), |mux| mux.open(channel, socket))
        })?;
        Ok(KeeperReply::Done)
    }

    fn read(&mut self, name: &str, limit: u64) -> io::Result<KeeperReply> {
        tail(&self.path(name)?, limit.min(LONGEST_READ)).map(|bytes| KeeperReply::Bytes { bytes })
    }

    fn costs(&mut self) -> KeeperReply {
        let points = self.costs.as_ref().map(CostSampler::take).unwrap_or_default();
        let cost = |it: sterna_pilot::CpuPoint| KeeperCost {
            at_ns: it.at_ns,
            classes: it.classes,
            resident_bytes: it.resident_bytes,
        };
        KeeperReply::Costs { points: points.into_iter().map(cost).collect() }
    }

    fn state(&mut self) -> KeeperReply {
        match &mut self.qemu {
            None => KeeperReply::State {
                end: Some("QEMU was not started".to_owned()),
                stderr: Vec::new(),
            },
            Some(qemu) => KeeperReply::State { end: qemu.is_gone(), stderr: qemu.complaints() },
        }
    }

    /// Names stay below the directory.
    fn path(&self, name: &str) -> io::Result<PathBuf> {
        let is_plain = |it: Component| matches!(it, Component::Normal(_));
        if name.is_empty() || !Path::new(name).components().all(is_plain) {
            let text = format!("`{name}` is no name of a file in the run's directory");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(self.directory.join(name))
    }
}

fn refused(error: String) -> KeeperReply {
    KeeperReply::Refused { error, is_unsupported: false }
}

fn clock() -> KeeperReply {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    KeeperReply::Clock { monotonic_ns: monotonic_ns(), realtime_ns: now.as_nanos() as u64 }
}

fn copy(from: &mut impl Read, to: &mut impl Write, length: u64) -> io::Result<(u64, u32)> {
    let mut buffer = vec![0; 256 << 10];
    let (mut done, mut checksum) = (0, 0);
    while done < length {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(&buffer[..read])?;
        checksum = crc32c(checksum, &buffer[..read]);
        done += read as u64;
    }
    Ok((done, checksum))
}
