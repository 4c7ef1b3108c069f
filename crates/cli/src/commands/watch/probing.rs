//! Probes beside a watched migration: they begin before it, and end when the guest answers again.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use sterna_pilot::{Interrupt, ProbeSeen};
use sterna_probe::watch::{Look, Plan, PlayoutSeen, Task, Watch};
use sterna_probe::{Direction, Kind, Outage, Probe, Seen, Target};
use sterna_sys::clock::monotonic_ns;

use crate::args::{DEFAULT_BUFFER, DEFAULT_FRAME_BYTES};

/// How long the first answers may take: who asks for probes has a guest that answers.
const PATIENCE: Duration = Duration::from_secs(5);

/// What comes right after the end of a migration belongs to it: the network may follow the guest late.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// How long an outage that still lasts then is waited for.
const LONGEST_OUTAGE: Duration = Duration::from_secs(10);

/// Answers that are under way at the end come within this time.
const GRACE: Duration = Duration::from_millis(1200);

const POLL: Duration = Duration::from_millis(10);

/// Probes at work.
pub struct Probing {
    watches: Vec<(Probe, Watch)>,
}

impl Probing {
    /// Starts them, and waits until each was answered once.
    pub fn start(probes: &[Probe], target: &Target, interrupt: &Interrupt) -> Result<Probing> {
        let mut watches = Vec::new();
        for probe in probes {
            let plan = Plan {
                task: task(probe.kind, target.clone()),
                interval: probe.interval.0,
                patience: PATIENCE,
                follow: false,
            };
            watches.push((*probe, Watch::start(plan)?));
        }
        let mut probing = Probing { watches };
        while !interrupt.requested() && !probing.watches.iter().all(|it| is_answered(&it.1.look()))
        {
            if let Some((probe, watch)) = probing.watches.iter_mut().find(|it| it.1.is_over()) {
                let why = watch.join().map_or_else(String::new, |it| format!(": {it}"));
                let kind = probe.kind.as_str();
                return Err(anyhow!(
                    "--probe-address {}: the probe `{kind}` cannot look at it{why}",
                    target.host
                ));
            }
            sleep(POLL);
        }
        Ok(probing)
    }

    /// What they saw, after the guest has answered again.
    pub fn finish(self, interrupt: &Interrupt) -> Vec<ProbeSeen> {
        let began = Instant::now();
        let is_silent = || self.watches.iter().any(|it| it.1.silent_since_ns().is_some());
        while !interrupt.requested()
            && (began.elapsed() < AFTERWARDS || (is_silent() && began.elapsed() < LONGEST_OUTAGE))
        {
            sleep(POLL);
        }
        let end_ns = monotonic_ns();
        self.watches.iter().for_each(|it| it.1.end_at(end_ns, true));
        let ended = Instant::now();
        while ended.elapsed() < GRACE && !self.watches.iter().all(|it| it.1.is_over()) {
            sleep(POLL);
        }
        self.watches.iter().filter_map(|(probe, watch)| seen(probe, watch.look())).collect()
    }
}

fn task(kind: Kind, target: Target) -> Task {
    match kind {
        Kind::Udp => Task::Udp { target, size: None },
        Kind::Tcp => Task::Tcp { target },
        Kind::Icmp => Task::Icmp { target, size: None },
        Kind::Playout => {
            Task::Playout { target, frame_bytes: DEFAULT_FRAME_BYTES, buffer: DEFAULT_BUFFER }
        }
    }
}

fn is_answered(look: &Look) -> bool {
    look.seen.as_ref().is_some_and(|it| it.received > 0)
        || look.playout.as_ref().is_some_and(|it| it.frames > 0)
}

fn seen(probe: &Probe, look: Look) -> Option<ProbeSeen> {
    let seen = match look.playout {
        Some(playout) => viewed(playout, look.resolution_ns),
        None => look.seen?,
    };
    Some(ProbeSeen {
        kind: probe.kind.as_str().to_owned(),
        interval_ns: probe.interval_ns(),
        latest_ns: look.latest_ns,
        seen,
    })
}

/// A viewer's freezes are its outages.
fn viewed(playout: PlayoutSeen, resolution_ns: u64) -> Seen {
    let outages = playout.freezes.iter().map(|it| Outage {
        start_ns: it.start_ns,
        end_ns: it.end_ns,
        has_ended: it.has_ended,
        lost: it.missed,
        direction: Direction::Unknown,
    });
    Seen {
        sent: playout.frames + playout.skipped,
        received: playout.frames,
        duplicates: playout.duplicates,
        reordered: 0,
        losses: None,
        restarts: None,
        round_trip: None,
        outages: outages.collect(),
        resolution_ns,
    }
}
