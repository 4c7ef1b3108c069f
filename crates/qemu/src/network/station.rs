//! The station: sends the probes' messages on their schedules and hears what comes back.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use sterna_pilot::ProbeSeen;
use sterna_probe::playout::{ASK_EVERY, Viewer};
use sterna_probe::{Kind, Log, Message, Probe, Schedule};
use sterna_report::Side;
use sterna_sys::clock::monotonic_ns;

use super::packet::{self, Frame};
use super::switch::Switch;
use super::tap::{Bridge, BridgeError};
use super::tcp::Client;
use super::{Arrival, GUEST_MAC, Wire};
use crate::Network;

/// How long the station sleeps when no probe is due for longer.
const LONGEST_NAP_NS: u64 = 100_000_000;

/// The guest's network and the probes on it.
pub(crate) struct Prober {
    net: Net,
    watches: Arc<Mutex<Vec<Watch>>>,
    ear: Arc<Mutex<Ear>>,
    shall_end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What connects both QEMUs and the station.
enum Net {
    Switch(Switch),
    Bridge(Bridge),
}

/// What a QEMU's network card is plugged into.
#[derive(Debug)]
pub(crate) enum Plug {
    /// The socket by which a QEMU on another machine reaches our switch.
    Path(PathBuf),
    /// A cable to our switch.
    Socket(OwnedFd),
    /// A port of a bridge, by its descriptor.
    Tap(OwnedFd),
}

impl Plug {
    /// What a QEMU has to inherit.
    pub fn descriptor(&self) -> Option<&OwnedFd> {
        match self {
            Plug::Path(_) => None,
            Plug::Socket(descriptor) | Plug::Tap(descriptor) => Some(descriptor),
        }
    }
}

/// Why there is no network for the guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    /// No socket or no thread.
    #[error("There is no switch for the guest's network")]
    Switch(#[from] std::io::Error),
    /// See there.
    #[error(transparent)]
    Bridge(#[from] BridgeError),
}

/// Silences of the guest, whatever it sends, that are remembered.
const MOST_SILENCES: usize = 10_000;

/// Shorter silences are not worth it.
const SILENCE_NS: u64 = 5_000_000;

/// When the guest was heard, answers or not: its first frame after a move is what tells a switch where it is.
#[derive(Debug, Default)]
struct Ear {
    last_ns: Option<u64>,
    /// From the last frame before to the first after.
    silences: Vec<(u64, u64)>,
}

impl Ear {
    fn hear(&mut self, at_ns: u64) {
        let last_ns = self.last_ns.replace(at_ns).unwrap_or(at_ns);
        if at_ns.saturating_sub(last_ns) > SILENCE_NS && self.silences.len() < MOST_SILENCES {
            self.silences.push((last_ns, at_ns));
        }
    }

    /// The end of the silence in which this moment fell; the moment itself if the guest was heard then.
    fn first_since(&self, moment_ns: u64) -> Option<u64> {
        self.last_ns.filter(|it| *it >= moment_ns)?;
        let silence = self.silences.iter().find(|it| it.0 < moment_ns && it.1 >= moment_ns);
        Some(silence.map_or(moment_ns, |it| it.1))
    }
}

/// One probe and what it has seen.
struct Watch {
    probe: Probe,
    log: Log,
    schedule: Schedule,
    /// Of a probe that watches pictures instead of sending messages.
    viewer: Option<Viewer>,
}

impl Prober {
    /// Makes the guest's network and begins to probe; `None` when there shall be no network. A directory is needed
    /// where a side runs on another machine.
    pub fn start(
        network: &Network,
        directory: Option<&Path>,
        nonce: u64,
        probes: &[Probe],
    ) -> Result<Option<Prober>, NetworkError> {
        let (sender, arrivals) = channel();
        let (net, wire): (Net, Arc<dyn Wire>) = match network {
            Network::None => return Ok(None),
            Network::Switch => {
                let switch = Switch::open(directory, &sender)?;
                let wire = switch.shared();
                (Net::Switch(switch), wire)
            }
            Network::Tap { bridge } => {
                let bridge = Bridge::join(bridge, &sender)?;
                let wire = bridge.wire();
                (Net::Bridge(bridge), wire)
            }
        };
        drop(sender);
        let now_ns = monotonic_ns();
        let ask_every_ns = ASK_EVERY.as_nanos() as u64;
        let watch = |(index, probe): (usize, &Probe)| {
            let viewer = (probe.kind == Kind::Playout)
                .then(|| Viewer::new(probe.interval_ns(), nonce.wrapping_add(index as u64)));
            let interval_ns = if viewer.is_some() { ask_every_ns } else { probe.interval_ns() };
            Watch {
                probe: *probe,
                log: Log::new(probe.interval_ns()),
                schedule: Schedule::new(interval_ns, now_ns),
                viewer,
            }
        };
        let watches: Vec<Watch> = probes.iter().enumerate().map(watch).collect();
        let watches = Arc::new(Mutex::new(watches));
        let ear = Arc::new(Mutex::new(Ear::default()));
        let shall_end = Arc::new(AtomicBool::new(false));
        let station = Station {
            nonce,
            clients: clients(probes, now_ns),
            wire,
            watches: Arc::clone(&watches),
            ear: Arc::clone(&ear),
            shall_end: Arc::clone(&shall_end),
        };
        let thread = std::thread::Builder::new().name("probe".to_owned());
        let thread = thread.spawn(move || station.run(&arrivals))?;
        Ok(Some(Prober { net, watches, ear, shall_end, thread: Some(thread) }))
    }

    /// Where the QEMU of a side plugs in.
    pub fn plug(&self, side: Side, is_here: bool) -> std::io::Result<Plug> {
        match &self.net {
            Net::Switch(switch) if is_here => switch.cable(side).map(Plug::Socket),
            Net::Switch(switch) => switch.path(side).map(Plug::Path),
            Net::Bridge(bridge) => bridge.port(side).map(Plug::Tap),
        }
    }

    /// From now on the guest is expected to answer.
    pub fn count_from(&self, at_ns: u64) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        for watch in watches.iter_mut() {
            match &mut watch.viewer {
                Some(viewer) => viewer.count_from(at_ns),
                None => watch.log.count_from(at_ns),
            }
        }
    }

    /// What each probe saw since the baseline began; `None` before, for one that was not answered.
    pub fn seen(&self) -> Vec<Option<ProbeSeen>> {
        let now_ns = monotonic_ns();
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.iter().map(|it| it.seen(now_ns)).collect()
    }

    /// When the guest was first heard since this moment; `None` while it was not.
    pub fn heard_since(&self, moment_ns: u64) -> Option<u64> {
        self.ear.lock().unwrap_or_else(PoisonError::into_inner).first_since(moment_ns)
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.shall_end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Watch {
    fn seen(&self, now_ns: u64) -> Option<ProbeSeen> {
        Some(ProbeSeen {
            kind: self.probe.kind.as_str().to_owned(),
            interval_ns: self.probe.interval_ns(),
            latest_ns: self.schedule.latest_ns(),
            seen: match &self.viewer {
                Some(viewer) => viewer.seen(now_ns)?,
                None => self.log.seen(now_ns)?,
            },
        })
    }
}

/// A probe of TCP has a client, the others need none.
fn clients(probes: &[Probe], now_ns: u64) -> Vec<Option<Client>> {
    let client = |(index, probe): (usize, &Probe)| {
        (probe.kind == Kind::Tcp).then(|| Client::new(index as u16, now_ns))
    };
    probes.iter().enumerate().map(client).collect()
}

/// What the thread has.
struct Station {
    nonce: u64,
    clients: Vec<Option<Client>>,
    wire: Arc<dyn Wire>,
    watches: Arc<Mutex<Vec<Watch>>>,
    ear: Arc<Mutex<Ear>>,
    shall_end: Arc<AtomicBool>,
}

impl Station {
    fn run(mut self, arrivals: &Receiver<Arrival>) {
        // A probe measures the network, not its own place in the queue; the kernel allows this to root.
        let _ = rustix::process::setpriority_process(None, -20);
        while !self.shall_end.load(Ordering::Relaxed) {
            let due_ns = self.ask().min(self.poll_clients());
            let left = Duration::from_nanos(due_ns.saturating_sub(monotonic_ns()));
            match arrivals.recv_timeout(left) {
                Ok((at_ns, frame)) => self.hear(at_ns, &frame),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Sends what is due; the moment at which something is due again.
    fn ask(&mut self) -> u64 {
        let now_ns = monotonic_ns();
        let mut due_ns = now_ns + LONGEST_NAP_NS;
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, watch) in watches.iter_mut().enumerate() {
            while watch.schedule.take(now_ns) {
                if let Some(viewer) = &watch.viewer {
                    self.wire.send(&packet::datagram(index as u16, &viewer.request()));
                    continue;
                }
                let probe = self.nonce.wrapping_add(index as u64);
                let message = Message::new(probe, watch.log.sent(now_ns));
                match &mut self.clients[index] {
                    Some(client) => client.say(message),
                    None => self.wire.send(&frame(watch.probe.kind, index as u16, message)),
                }
            }
            due_ns = due_ns.min(watch.schedule.due_ns());
        }
        due_ns
    }

    fn hear(&mut self, at_ns: u64, frame: &[u8]) {
        if packet::sender(frame) == Some(GUEST_MAC) {
            self.ear.lock().unwrap_or_else(PoisonError::into_inner).hear(at_ns);
        }
        match packet::read(frame) {
            Frame::AskedForUs(answer) => self.wire.send(&answer),
            Frame::Echo(payload) => self.hear_answer(at_ns, payload),
            Frame::Tcp(packet) => {
                self.clients.iter_mut().flatten().for_each(|it| it.hear(packet));
            }
            Frame::Other => {}
        }
    }

    fn hear_answer(&self, at_ns: u64, payload: &[u8]) {
        self.note(at_ns, Message::from_bytes(payload));
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        for viewer in watches.iter_mut().filter_map(|it| it.viewer.as_mut()) {
            // It asks soon enough anyway.
            let _ = viewer.hear(payload, at_ns);
        }
    }

    /// The moment at which a client has something to do.
    fn poll_clients(&mut self) -> u64 {
        let now_ns = monotonic_ns();
        let mut due_ns = now_ns + LONGEST_NAP_NS;
        let mut heard = Vec::new();
        for client in self.clients.iter_mut().flatten() {
            let (messages, packets) = client.poll(now_ns);
            packets.iter().for_each(|it| self.wire.send(&packet::to_guest(it)));
            heard.extend(messages);
            due_ns = due_ns.min(client.poll_at_ns(now_ns));
        }
        heard.into_iter().for_each(|it| self.note(now_ns, Some(it)));
        due_ns
    }

    /// Only messages of this run count.
    fn note(&self, at_ns: u64, message: Option<Message>) {
        let Some(message) = message else { return };
        let index = usize::try_from(message.probe.wrapping_sub(self.nonce)).unwrap_or(usize::MAX);
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watch) = watches.get_mut(index) {
            let count = Some(message.heard).filter(|it| *it > 0);
            watch.log.received(message.number, at_ns, count);
        }
    }
}

fn frame(kind: Kind, index: u16, message: Message) -> Vec<u8> {
    let payload = message.to_bytes();
    match kind {
        Kind::Icmp => packet::ping(index, message.number, &payload),
        Kind::Udp | Kind::Tcp | Kind::Playout => packet::datagram(index, &payload),
    }
}
