//! The guest as its agent tells of it, on the pilot's clock.

use std::time::{Duration, Instant};

use std::os::unix::net::UnixStream;
use sterna_pilot::{EngineError, GapSpan, GuestPoint, Interrupt, LatencyPair, Samples, WriteTimes};

use sterna_report::{CorruptPage, FirstWriteCheck, IntegrityDetail, Latency, Side, Word};
use sterna_sys::clock::monotonic_ns;
use sterna_wire::clock::Exchange;
use sterna_wire::guest_line::{self, GuestCommand, GuestMessage, LatencyParts};
use sterna_workload::{Histogram, HistogramParts};

use crate::guest_clock::GuestClock;
use crate::guest_link::{GuestLink, Heard};

/// Standstills of a worker shorter than this are not told.
pub(crate) const GAP_RESOLUTION_NS: u64 = 2_000_000;

/// How many exchanges a clock needs before its relation to ours counts.
const EXCHANGES_TO_TRUST: usize = 4;

/// A standstill that is not known better than this is not told.
const FREEZE_UNCERTAINTY_NS: u64 = 20_000_000;

/// Everything known of the guest.
pub(crate) struct Guest {
    link: GuestLink,
    home: Side,
    source_clock: GuestClock,
    destination_clock: GuestClock,
    pings: Vec<(u64, Side)>,
    /// Messages whose stamps cannot be mapped yet.
    waiting: Vec<Heard>,
    switchover: Option<Switchover>,
    freeze: Option<Freeze>,
    is_freeze_told: bool,
    hello: Option<Hello>,
    fatal: Option<String>,
    verified: Option<IntegrityDetail>,
    latency: LatencySplit,
    gaps_lost: u64,
    /// The number of the hop, from 1.
    hop: u64,
}

/// What the agent said of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hello {
    pub workers: u32,
    pub marker_gpa: Option<u64>,
}

/// How long the guest stood still, by its own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Freeze {
    pub length_ns: u64,
    pub uncertainty_ns: u64,
}

#[derive(Clone, Copy)]
struct Switchover {
    stopped_ns: u64,
    resumed_ns: u64,
    /// The same moment on the guest's clock.
    guest_ns: u64,
}

#[derive(Default)]
struct LatencySplit {
    accepted_ns: Option<u64>,
    before: Times,
    since: Times,
}

#[derive(Default)]
struct Times {
    service: Histogram,
    since_due: Histogram,
}

impl Guest {
    /// A guest at the other end of a line.
    pub fn new(link: GuestLink) -> Guest {
        Guest {
            link,
            home: Side::Source,
            source_clock: GuestClock::default(),
            destination_clock: GuestClock::default(),
            pings: Vec::new(),
            waiting: Vec::new(),
            switchover: None,
            freeze: None,
            is_freeze_told: false,
            hello: None,
            fatal: None,
            verified: None,
            latency: LatencySplit::default(),
            gaps_lost: 0,
            hop: 1,
        }
    }

    /// The line, to plug in the destination.
    pub fn link(&mut self) -> &mut GuestLink {
        &mut self.link
    }

    /// What the agent said of itself, when it has.
    pub fn hello(&mut self) -> Option<Hello> {
        self.listen();
        self.hello
    }

    /// Why the agent gave up, if it did.
    pub fn fatal(&self) -> Option<&str> {
        self.fatal.as_deref()
    }

    /// How long the guest stood still in the switchover, once that is known.
    pub fn freeze(&self) -> Option<Freeze> {
        self.freeze
    }

    /// How well the guest's clock is known where the guest is.
    pub fn clock_uncertainty_ns(&self) -> Option<u64> {
        let newest = self.clock(self.home).newest()?;
        Some(newest.uncertainty_ns)
    }

    /// Standstills that the agent could not note.
    pub fn gaps_lost(&self) -> u64 {
        self.gaps_lost
    }

    /// Lines of the agent that never came.
    pub fn lines_lost(&self) -> u64 {
        self.link.lines_lost()
    }

    /// The guest is where the next hop begins; `destination` is the line to where that goes. The check of the hop before
    /// has stopped the workload, which goes on.
    pub fn turn(&mut self, destination: UnixStream) -> std::io::Result<()> {
        self.link.turn(destination)?;
        self.home = Side::Source;
        self.source_clock = std::mem::take(&mut self.destination_clock);
        self.pings.clear();
        self.waiting.clear();
        self.switchover = None;
        self.freeze = None;
        self.is_freeze_told = false;
        self.verified = None;
        self.latency = LatencySplit::default();
        self.hop += 1;
        self.start();
        Ok(())
    }

    /// Starts the workload.
    pub fn start(&mut self) {
        self.link.say(self.home, &GuestCommand::Start);
    }

    /// Asks the guest for its clock.
    pub fn ping(&mut self) {
        let ns = monotonic_ns();
        self.pings.push((ns, self.home));
        self.link.say(self.home, &GuestCommand::Ping { ns });
    }

    /// Asks often and waits, until the clock is known.
    pub fn align(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while self.clock(self.home).len() < EXCHANGES_TO_TRUST && Instant::now() < deadline {
            self.ping();
            std::thread::sleep(Duration::from_millis(10));
            self.listen();
        }
    }

    /// The migrate command was accepted: latencies count anew.
    pub fn migration_began(&mut self, accepted_ns: u64) {
        self.latency.accepted_ns = Some(accepted_ns);
        self.announce_resume();
    }

    /// The guest stopped at the source and runs on the destination.
    pub fn moved(&mut self, stopped_ns: u64, resumed_ns: u64) {
        if self.home == Side::Destination {
            return;
        }
        self.listen();
        self.home = Side::Destination;
        // Once more, for a port that could not keep it until the guest came.
        self.announce_resume();
        let guest_ns = self.source_clock.to_guest(stopped_ns);
        self.switchover = guest_ns.map(|guest_ns| Switchover { stopped_ns, resumed_ns, guest_ns });
    }

    /// The guest does not notice that it was stopped, so it is said where it will run, before it is there: what waits in
    /// the port is read as soon as the guest runs.
    fn announce_resume(&mut self) {
        self.link.say_ahead(&GuestCommand::Resumed { number: self.hop });
    }

    /// The guest was stopped and runs on where it was.
    pub fn restored(&mut self) {
        self.source_clock.clear();
        self.pings.clear();
    }

    /// Everything told since the last time whose moment is known by now.
    pub fn samples(&mut self) -> Samples {
        self.ping();
        self.listen();
        let mut samples =
            Samples { gap_resolution_ns: Some(GAP_RESOLUTION_NS), ..Samples::default() };
        self.tell_freeze(&mut samples);
        for heard in std::mem::take(&mut self.waiting) {
            if self.tell(&heard, &mut samples).is_none() {
                self.waiting.push(heard);
            }
        }
        let pair = LatencyPair {
            before: self.latency.before.summary(),
            since: self.latency.since.summary(),
        };
        samples.latency.push((Side::Source, pair));
        samples
    }

    /// Has the agent compare all of its memory.
    pub fn verify(
        &mut self,
        side: Side,
        limit: Duration,
        interrupt: Option<&Interrupt>,
        is_gone: &mut dyn FnMut() -> Option<EngineError>,
    ) -> Result<IntegrityDetail, EngineError> {
        self.verified = None;
        self.link.say(self.home, &GuestCommand::Verify);
        let deadline = Instant::now() + limit;
        loop {
            self.listen();
            if let Some(detail) = self.verified.take() {
                return Ok(IntegrityDetail { side, ..detail });
            }
            if let Some(reason) = &self.fatal {
                return Err(EngineError::Failed(format!(
                    "The agent in the guest gave up: {reason}"
                )));
            }
            if let Some(error) = is_gone() {
                return Err(error);
            }
            if interrupt.is_some_and(Interrupt::requested) {
                return Err(EngineError::Interrupted);
            }
            if Instant::now() >= deadline {
                let seconds = limit.as_secs();
                return Err(EngineError::Failed(format!(
                    "The agent in the guest did not finish the comparison of its memory within {seconds} s"
                )));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The agent begins to check only when it has read that the guest was resumed; before that, pages are written as ever.
    fn first_writes(&self, found: Option<guest_line::FirstWrites>) -> Option<FirstWriteCheck> {
        let found = found?;
        let began_ns = Some(found.began_ns).filter(|it| *it > 0)?;
        let resumed_ns = self.switchover?.guest_ns;
        Some(FirstWriteCheck {
            pages_checked: found.pages_checked,
            corrupt_pages: found.corrupt_pages,
            checking_seconds: found.checking_ns as f64 / 1e9,
            began_seconds: Some(began_ns.saturating_sub(resumed_ns) as f64 / 1e9),
        })
    }

    /// Takes in what has come. Samples and gaps wait until somebody asks for them.
    fn listen(&mut self) {
        for heard in self.link.take() {
            match heard.message {
                GuestMessage::Hello { workers, marker_gpa, .. } => {
                    self.hello = Some(Hello { workers, marker_gpa });
                }
                GuestMessage::Pong { asked_ns, now_ns } => {
                    self.answered(&heard, asked_ns, now_ns);
                }
                GuestMessage::Fatal(reason) => self.fatal = Some(reason),
                GuestMessage::Verified {
                    pages_checked,
                    corrupt_pages,
                    first,
                    first_writes,
                    ..
                } => {
                    let page = |it: sterna_wire::guest_line::CorruptWord| CorruptPage {
                        page: it.page,
                        offset_bytes: it.offset_bytes,
                        expected: Word(it.expected),
                        found: Word(it.found),
                    };
                    self.verified = Some(IntegrityDetail {
                        side: heard.side,
                        pages_checked,
                        corrupt_pages,
                        first: first.into_iter().map(page).collect(),
                        memory_pages: None,
                        first_writes: self.first_writes(first_writes),
                        writes_after_go: None,
                    });
                }
                GuestMessage::Sample { .. } | GuestMessage::Gap { .. } => self.waiting.push(heard),
                GuestMessage::State { .. } | GuestMessage::Bye => {}
            }
        }
    }

    /// A question put to one side and answered by the other was under way during the switchover, and tells nothing.
    fn answered(&mut self, heard: &Heard, asked_ns: u64, answered_ns: u64) {
        let Some(index) = self.pings.iter().position(|it| it.0 == asked_ns) else { return };
        let (_, side) = self.pings.swap_remove(index);
        if side != heard.side || heard.side != self.home {
            return;
        }
        let exchange = Exchange { asked_ns, answered_ns, received_ns: heard.received_ns };
        match side {
            Side::Source => self.source_clock.add(exchange),
            Side::Destination => self.destination_clock.add(exchange),
        }
    }

    fn clock(&self, side: Side) -> &GuestClock {
        match side {
            Side::Source => &self.source_clock,
            Side::Destination => &self.destination_clock,
        }
    }

    /// Where the guest was when its clock showed this. What it said just before the stop comes out at the destination.
    fn side_at(&self, guest_ns: u64) -> Side {
        match self.switchover {
            Some(switchover) if guest_ns > switchover.guest_ns => Side::Destination,
            _ => Side::Source,
        }
    }

    fn to_ours(&self, guest_ns: u64) -> Option<u64> {
        let clock = self.clock(self.side_at(guest_ns));
        // The first answers after a switchover come when the guest is busiest; later ones are better.
        if clock.len() < EXCHANGES_TO_TRUST { None } else { clock.to_ours(guest_ns) }
    }

    /// `None` when it has to wait.
    fn tell(&mut self, heard: &Heard, samples: &mut Samples) -> Option<()> {
        match &heard.message {
            GuestMessage::Sample { at_ns, counts, latency, since_due, gaps_lost, checking_ns } => {
                let side = self.side_at(*at_ns);
                let at_ns = self.to_ours(*at_ns)?;
                self.gaps_lost = self.gaps_lost.max(*gaps_lost);
                let histogram = latency.as_ref().and_then(self::histogram);
                let since_due = since_due.as_ref().and_then(self::histogram);
                self.latency.add(at_ns, histogram.as_ref(), since_due.as_ref());
                let latency = histogram.as_ref().and_then(summary);
                samples.guest.push(GuestPoint {
                    side,
                    at_ns,
                    counts: counts.clone(),
                    checking_ns: *checking_ns,
                    latency,
                    latency_half_octaves: histogram.map(|it| it.half_octaves()).unwrap_or_default(),
                });
            }
            GuestMessage::Gap { worker, start_ns, end_ns } => samples.gaps.push(GapSpan {
                side: self.side_at(*end_ns),
                worker: *worker,
                start_ns: self.to_ours(*start_ns)?,
                end_ns: self.to_ours(*end_ns)?,
            }),
            _ => {}
        }
        Some(())
    }

    /// The guest cannot note its own standstill, for its clock stood still too. The difference of its clock's two relations to ours is that standstill, and it holds for every worker.
    ///
    /// A guest that is held back answers so late that this is worth nothing; then QEMU's word has to do.
    fn tell_freeze(&mut self, samples: &mut Samples) {
        let Some(switchover) = self.switchover.filter(|_| !self.is_freeze_told) else { return };
        if self.destination_clock.len() < EXCHANGES_TO_TRUST {
            return;
        }
        let before = self.source_clock.at(switchover.guest_ns);
        let after = self.destination_clock.at(switchover.guest_ns);
        let Some((before, after)) = before.zip(after) else { return };
        self.is_freeze_told = true;
        let uncertainty_ns = before.uncertainty_ns + after.uncertainty_ns;
        let length_ns = u64::try_from(before.offset_ns - after.offset_ns).ok();
        let length_ns = length_ns.filter(|_| uncertainty_ns < FREEZE_UNCERTAINTY_NS);
        self.freeze = length_ns.map(|length_ns| Freeze { length_ns, uncertainty_ns });
        let by_events_ns = switchover.resumed_ns.saturating_sub(switchover.stopped_ns);
        let end_ns = switchover.stopped_ns + length_ns.unwrap_or(by_events_ns);
        let workers = self.hello.map_or(0, |it| it.workers);
        samples.gaps.extend((0..workers).map(|worker| GapSpan {
            side: Side::Destination,
            worker,
            start_ns: switchover.stopped_ns,
            end_ns,
        }));
    }
}

impl LatencySplit {
    fn add(&mut self, at_ns: u64, service: Option<&Histogram>, since_due: Option<&Histogram>) {
        let times = match self.accepted_ns {
            Some(accepted_ns) if at_ns > accepted_ns => &mut self.since,
            _ => &mut self.before,
        };
        service.into_iter().for_each(|it| times.service.merge(it));
        since_due.into_iter().for_each(|it| times.since_due.merge(it));
    }
}

impl Times {
    fn summary(&self) -> WriteTimes {
        WriteTimes { service: summary(&self.service), since_due: summary(&self.since_due) }
    }
}

fn histogram(parts: &LatencyParts) -> Option<Histogram> {
    let LatencyParts { sum_ns, max_ns, cells } = parts.clone();
    Histogram::from_parts(&HistogramParts { sum_ns, max_ns, cells }).ok()
}

fn summary(histogram: &Histogram) -> Option<Latency> {
    Some(Latency {
        samples: histogram.count(),
        p50_ns: histogram.percentile_ns(50.0)?,
        p99_ns: histogram.percentile_ns(99.0)?,
        p999_ns: histogram.percentile_ns(99.9)?,
        max_ns: histogram.max_ns()?,
    })
}
