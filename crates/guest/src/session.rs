//! What the engine asks, and what is done about it.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use sterna_sys::clock::monotonic_ns;
use sterna_wire::guest_config::GuestConfig;
use sterna_wire::guest_line::{Decoder, GuestCommand, GuestMessage, VERSION};

use crate::disk::Disk;
use crate::error::AgentError;
use crate::marker::MarkerPage;
use crate::memory::Memory;
use crate::metrics;
use crate::sampler;
use crate::speaker::Speaker;

/// How soon to look again when nobody is at the other end.
const LISTEN_AGAIN: Duration = Duration::from_millis(5);

/// Orders that wait for the one before; a reader that finds them all waiting waits too.
const WAITING_ORDERS: usize = 16;

/// Runs the workload as the engine says, until it says stop.
pub fn run(
    config: &GuestConfig,
    is_first: bool,
    reader: File,
    speaker: &Arc<Speaker>,
) -> Result<(), AgentError> {
    let memory = Arc::new(Memory::prepare(config)?);
    if let Some(port) = config.metrics_port {
        let disk = Disk::of(config);
        metrics::serve(port, &memory, disk)
            .map_err(|source| AgentError::Metrics { port, source })?;
    }
    let marker = MarkerPage::begin(config.nonce)?;
    let greeter = Greeter { memory: Arc::clone(&memory), marker, is_first };
    let (to_worker, orders) = sync_channel(WAITING_ORDERS);
    say(speaker, &greeter.hello())?;
    if config.start_at_once {
        say(speaker, &memory.start())?;
    }
    sampler::begin(&memory, speaker, config.sample_interval_ns)?;
    let listener = Listener { reader, speaker: Arc::clone(speaker), greeter, to_worker };
    let thread = std::thread::Builder::new().name("listener".to_owned());
    thread.spawn(move || listener.run()).map_err(AgentError::Thread)?;
    obey(&orders, &memory, speaker)
}

/// Orders that take their time, one after the other.
fn obey(
    orders: &Receiver<Result<GuestCommand, io::Error>>,
    memory: &Memory,
    speaker: &Speaker,
) -> Result<(), AgentError> {
    while let Ok(order) = orders.recv() {
        match order.map_err(AgentError::Line)? {
            GuestCommand::Start => say(speaker, &memory.start())?,
            GuestCommand::Pause => say(speaker, &memory.pause())?,
            GuestCommand::Verify => say(speaker, &memory.verify())?,
            GuestCommand::Stop => break,
            // Answered by the listener.
            GuestCommand::Hello | GuestCommand::Ping { .. } | GuestCommand::Resumed { .. } => {}
        }
    }
    say(speaker, &GuestMessage::Bye)
}

fn say(speaker: &Speaker, message: &GuestMessage) -> Result<(), AgentError> {
    speaker.say(message).map_err(AgentError::Line)
}

/// Knows how to introduce the agent.
struct Greeter {
    memory: Arc<Memory>,
    marker: MarkerPage,
    is_first: bool,
}

impl Greeter {
    fn hello(&self) -> GuestMessage {
        GuestMessage::Hello {
            version: VERSION,
            workers: self.memory.spec.workers,
            memory_bytes: self.memory.bytes(),
            marker_gpa: self.marker.physical_address(),
            pid1: self.is_first,
        }
    }
}

/// Reads commands, and answers at once those that are about time.
struct Listener {
    reader: File,
    speaker: Arc<Speaker>,
    greeter: Greeter,
    to_worker: SyncSender<Result<GuestCommand, io::Error>>,
}

impl Listener {
    fn run(mut self) {
        // An answer that waits behind the workload makes a clock uncertain; the kernel allows this to root.
        let _ = rustix::process::setpriority_process(None, -20);
        let result = self.listen();
        let end = result.map(|()| GuestCommand::Stop);
        let _ = self.to_worker.send(end);
    }

    /// Until the other end is closed for good.
    fn listen(&mut self) -> io::Result<()> {
        // A port without a listener reads as ended, and goes on when somebody comes, on whichever host.
        let ends = !is_character_device(&self.reader)?;
        let mut decoder = Decoder::<GuestCommand>::default();
        let mut buffer = [0; 1024];
        loop {
            match self.reader.read(&mut buffer) {
                Ok(0) if ends => return Ok(()),
                Ok(0) => std::thread::sleep(LISTEN_AGAIN),
                Ok(length) => {
                    let heard_ns = monotonic_ns();
                    for command in decoder.push(&buffer[..length]) {
                        self.answer(command, heard_ns)?;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn answer(&self, command: GuestCommand, heard_ns: u64) -> io::Result<()> {
        match command {
            GuestCommand::Ping { ns } => {
                self.speaker.say(&GuestMessage::Pong { asked_ns: ns, now_ns: heard_ns })
            }
            GuestCommand::Hello => self.speaker.say(&self.greeter.hello()),
            // Each page that is written before it is obeyed cannot be checked any more.
            GuestCommand::Resumed { number } => {
                self.greeter.memory.resumed(number);
                Ok(())
            }
            // Nobody takes orders any more when the agent is about to end.
            order => {
                let _ = self.to_worker.send(Ok(order));
                Ok(())
            }
        }
    }
}

fn is_character_device(file: &File) -> io::Result<bool> {
    let mode = rustix::fs::fstat(file.as_fd())?.st_mode;
    Ok(rustix::fs::FileType::from_raw_mode(mode) == rustix::fs::FileType::CharacterDevice)
}
