//! Observers of the guest's network: they send where the guest was last, and follow it when it says that it has moved.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sterna_pilot::{EngineError, ProbeSeen};
use sterna_probe::playout::{ASK_EVERY, Viewer};
use sterna_probe::{Kind, Log, Message, Probe, Schedule};
use sterna_scenario::Scenario;
use sterna_sys::clock::monotonic_ns;
use sterna_sys::datagram;
use sterna_wire::control::Prepared;

use crate::host::{ANNOUNCEMENT, KNOCK};

const LONGEST_NAP_NS: u64 = 50_000_000;

/// How often those who wait where the guest will be say that they do.
const KNOCK_EVERY_NS: u64 = 100_000_000;

/// All observers of a run; each has a thread.
pub(super) struct Observers {
    watches: Vec<Arc<Mutex<Watch>>>,
    shall_end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

struct Watch {
    probe: Probe,
    log: Log,
    schedule: Schedule,
    /// Of a probe that watches pictures instead of sending messages.
    viewer: Option<Viewer>,
}

impl Observers {
    /// Those that the scenario asks for; `None` when it asks for none.
    pub fn of(
        scenario: &Scenario,
        sides: [&Prepared; 2],
    ) -> Result<Option<Observers>, EngineError> {
        let address = |it: &Prepared| it.probe_address.as_ref()?.parse().ok();
        let (Some(source), Some(destination)) = (address(sides[0]), address(sides[1])) else {
            return Ok(None);
        };
        let observers = Observers::start(&scenario.probes.or(&[]), [source, destination]);
        let failed = |error| EngineError::Failed(format!("The guest cannot be observed: {error}"));
        observers.map(Some).map_err(failed)
    }

    /// Begins to look at a guest that is at the first of these addresses, and may be at the second later.
    fn start(probes: &[Probe], places: [SocketAddr; 2]) -> std::io::Result<Observers> {
        let shall_end = Arc::new(AtomicBool::new(false));
        let mut observers = Observers {
            watches: Vec::new(),
            shall_end: Arc::clone(&shall_end),
            threads: Vec::new(),
        };
        for (index, probe) in probes.iter().enumerate() {
            let sockets = [connect(places[0])?, connect(places[1])?];
            let nonce = monotonic_ns().wrapping_mul(31).wrapping_add(index as u64);
            let watch = Arc::new(Mutex::new(Watch::of(probe, nonce)));
            let mut eye = Eye { sockets, here: 0, nonce, knock_ns: 0 };
            let (ours, end) = (Arc::clone(&watch), Arc::clone(&shall_end));
            let thread = std::thread::Builder::new().name("observer".to_owned());
            observers.threads.push(thread.spawn(move || {
                sterna_sys::cpu::raise_priority();
                eye.run(&ours, &end);
            })?);
            observers.watches.push(watch);
        }
        Ok(observers)
    }

    /// From now on the guest is expected to answer.
    pub fn count_from(&self, at_ns: u64) {
        for watch in &self.watches {
            watch.lock().unwrap_or_else(PoisonError::into_inner).count_from(at_ns);
        }
    }

    /// What each saw since the baseline began.
    pub fn seen(&self) -> Vec<ProbeSeen> {
        let now_ns = monotonic_ns();
        let seen = self.watches.iter().filter_map(|watch| {
            let watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
            watch.seen(now_ns)
        });
        seen.collect()
    }
}

impl Watch {
    fn of(probe: &Probe, nonce: u64) -> Watch {
        let interval_ns = probe.interval_ns();
        let viewer = (probe.kind == Kind::Playout).then(|| Viewer::new(interval_ns, nonce));
        let ask_every_ns = if viewer.is_some() { ASK_EVERY.as_nanos() as u64 } else { interval_ns };
        Watch {
            probe: *probe,
            log: Log::new(interval_ns),
            schedule: Schedule::new(ask_every_ns, monotonic_ns()),
            viewer,
        }
    }

    /// What is due: messages, or a request for pictures.
    fn due(&mut self, now_ns: u64, nonce: u64) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        while self.schedule.take(now_ns) {
            datagrams.push(match &self.viewer {
                Some(viewer) => viewer.request(),
                None => Message::new(nonce, self.log.sent(now_ns)).to_bytes().to_vec(),
            });
        }
        datagrams
    }

    fn count_from(&mut self, at_ns: u64) {
        match &mut self.viewer {
            Some(viewer) => viewer.count_from(at_ns),
            None => self.log.count_from(at_ns),
        }
    }

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

impl Drop for Observers {
    fn drop(&mut self) {
        self.shall_end.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|it| drop(it.join()));
    }
}

fn connect(place: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    datagram::stamp_arrivals(&socket)?;
    socket.connect(place)?;
    Ok(socket)
}

struct Eye {
    sockets: [UdpSocket; 2],
    /// Where the guest is, as far as is known.
    here: usize,
    nonce: u64,
    knock_ns: u64,
}

impl Eye {
    fn run(&mut self, watch: &Mutex<Watch>, shall_end: &AtomicBool) {
        while !shall_end.load(Ordering::Relaxed) {
            let now_ns = monotonic_ns();
            let mut due_ns = now_ns + LONGEST_NAP_NS;
            let datagrams = {
                let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
                let datagrams = watch.due(now_ns, self.nonce);
                due_ns = due_ns.min(watch.schedule.due_ns());
                datagrams
            };
            for datagram in datagrams {
                // What cannot be sent is lost.
                let _ = self.sockets[self.here].send(&datagram);
            }
            if now_ns >= self.knock_ns {
                self.knock_ns = now_ns + KNOCK_EVERY_NS;
                let _ = self.sockets[1 - self.here].send(&KNOCK);
            }
            self.wait(due_ns);
            for place in [0, 1] {
                self.hear(place, watch);
            }
        }
    }

    fn wait(&self, due_ns: u64) {
        let left_ns = due_ns.saturating_sub(monotonic_ns());
        let timeout = Timespec { tv_sec: 0, tv_nsec: left_ns.min(999_999_999).cast_signed() };
        let [a, b] = &self.sockets;
        let _ = poll(
            &mut [PollFd::new(a, PollFlags::IN), PollFd::new(b, PollFlags::IN)],
            Some(&timeout),
        );
    }

    fn hear(&mut self, place: usize, watch: &Mutex<Watch>) {
        let mut buffer = [0; 2048];
        loop {
            let arrival = match datagram::receive(&self.sockets[place], &mut buffer) {
                Ok(arrival) => arrival,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // Nothing more, or nobody there any more.
                Err(_) => return,
            };
            let bytes = &buffer[..arrival.length];
            let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
            if bytes == ANNOUNCEMENT {
                let has_moved = std::mem::replace(&mut self.here, place) != place;
                if let Some(viewer) = watch.viewer.as_mut().filter(|_| has_moved) {
                    viewer.has_moved();
                    let _ = self.sockets[place].send(&viewer.request());
                }
            }
            if let Some(viewer) = &mut watch.viewer {
                if place == self.here && viewer.hear(bytes, arrival.at_ns) {
                    let _ = self.sockets[place].send(&viewer.request());
                }
                continue;
            }
            let Some(message) = Message::from_bytes(bytes).filter(|it| it.probe == self.nonce)
            else {
                continue;
            };
            let count = Some(message.heard).filter(|it| *it > 0);
            watch.log.received(message.number, arrival.at_ns, count);
        }
    }
}
