//! Observers of the guest's network: they send where the guest was last, and follow it when it says that it has moved.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sterna_pilot::{EngineError, ProbeSeen};
use sterna_probe::{Log, Message, Probe, Schedule};
use sterna_scenario::Scenario;
use sterna_sys::clock::monotonic_ns;
use sterna_sys::datagram;
use sterna_wire::control::Prepared;

use crate::host::ANNOUNCEMENT;

const LONGEST_NAP_NS: u64 = 50_000_000;

/// How often those who wait where the guest will be say that they do.
const KNOCK_EVERY_NS: u64 = 100_000_000;

/// Nobody's; those who only wait send it.
const KNOCK: [u8; 4] = *b"who?";

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
            let watch = Arc::new(Mutex::new(Watch {
                probe: *probe,
                log: Log::new(probe.interval_ns()),
                schedule: Schedule::new(probe.interval_ns(), monotonic_ns()),
            }));
            let sockets = [connect(places[0])?, connect(places[1])?];
            let nonce = monotonic_ns().wrapping_mul(31).wrapping_add(index as u64);
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

    /// What each saw since the guest first answered it.
    pub fn seen(&self) -> Vec<ProbeSeen> {
        let now_ns = monotonic_ns();
        let seen = self.watches.iter().filter_map(|watch| {
            let watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
            Some(ProbeSeen {
                kind: watch.probe.kind.as_str().to_owned(),
                interval_ns: watch.probe.interval_ns(),
                latest_ns: watch.schedule.latest_ns(),
                seen: watch.log.seen(now_ns)?,
            })
        });
        seen.collect()
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
            let mut numbers = Vec::new();
            {
                let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
                while watch.schedule.take(now_ns) {
                    numbers.push(watch.log.sent(now_ns));
                }
                due_ns = due_ns.min(watch.schedule.due_ns());
            }
            for number in numbers {
                // What cannot be sent is lost.
                let _ = self.sockets[self.here].send(&Message::new(self.nonce, number).to_bytes());
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
        let mut buffer = [0; 256];
        loop {
            let arrival = match datagram::receive(&self.sockets[place], &mut buffer) {
                Ok(arrival) => arrival,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // Nothing more, or nobody there any more.
                Err(_) => return,
            };
            let bytes = &buffer[..arrival.length];
            if bytes == ANNOUNCEMENT {
                self.here = place;
            }
            let Some(message) = Message::from_bytes(bytes).filter(|it| it.probe == self.nonce)
            else {
                continue;
            };
            let count = Some(message.heard).filter(|it| *it > 0);
            let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
            watch.log.received(message.number, arrival.at_ns, count);
        }
    }
}
