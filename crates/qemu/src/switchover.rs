//! One switchover as four observers saw it, and why they do not agree where they do not.
//!
//! QEMU's events say when processors stopped and ran, the guest's clock how long it stood still, the guest's workers how long none of them got anything done, and each probe how long the network was silent.
//! They answer different questions, so they may differ; but each difference has a length, a side of the stop on which it lies, and causes that can be named.

use serde_json::{Value, json};
use sterna_pilot::{GapSpan, Moments, ProbeSeen};
use sterna_probe::{Kind, playout};
use sterna_report::Warning;
use sterna_report::statistics::{Gap, common_gaps};

use crate::guest::Freeze;
use crate::warnings::warning;

/// Observers agree when they differ by less than this and what they cannot resolve.
const TOLERANCE_NS: u64 = 50_000_000;

/// A silence that begins this long after the resumption is another one.
const AFTERMATH_NS: u64 = 100_000_000;

/// What is known of a switchover. Stamps are nanoseconds of the pilot's clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Switchover {
    /// QEMU's events: the processors stopped on the source.
    pub stopped_ns: u64,
    /// QEMU's events: they run on the destination.
    pub resumed_ns: u64,
    /// By the guest's own clock.
    pub standstill: Option<Freeze>,
    /// No worker of the guest got anything done.
    pub blackout: Option<Stretch>,
    /// What each probe saw.
    pub networks: Vec<NetworkView>,
    /// The first frame of any kind from the guest since it was resumed.
    pub heard_again_ns: Option<u64>,
    /// How far auto-converge held the processors back when they were stopped.
    pub throttle_percent: Option<f64>,
    /// Whether memory was still fetched after the resumption.
    pub is_postcopy: bool,
    /// Whether the guest's code is translated.
    pub is_emulated: bool,
}

/// From one moment to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub start_ns: u64,
    pub end_ns: u64,
}

/// One probe's silence around the switchover.
#[derive(Clone, Debug)]
pub(crate) struct NetworkView {
    pub kind: String,
    /// Shorter silences are not told.
    pub resolution_ns: u64,
    /// `None` when it noticed nothing.
    pub silence: Option<Stretch>,
}

impl Stretch {
    fn length_ns(self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }
}

impl NetworkView {
    /// The longest silence of a probe around the switchover.
    pub fn of(probe: &ProbeSeen, moments: &Moments) -> Option<NetworkView> {
        let (stopped_ns, resumed_ns) = moments.stopped_ns.zip(moments.resumed_ns)?;
        let outages = probe.seen.outages.iter();
        let around = outages
            .filter(|it| it.end_ns > stopped_ns && it.start_ns < resumed_ns + AFTERMATH_NS)
            .map(|it| Stretch { start_ns: it.start_ns, end_ns: it.end_ns });
        Some(NetworkView {
            kind: probe.kind.clone(),
            resolution_ns: (3 * probe.interval_ns).max(10_000_000) + buffered_ns(&probe.kind),
            silence: around.max_by_key(|it| it.length_ns()),
        })
    }
}

/// What a viewer of pictures does not notice, because its player has something to show.
fn buffered_ns(kind: &str) -> u64 {
    if kind == Kind::Playout.as_str() { playout::BUFFER.as_nanos() as u64 } else { 0 }
}

/// The longest time around the switchover in which no worker got anything done.
pub(crate) fn blackout(gaps: &[GapSpan], moments: &Moments) -> Option<Stretch> {
    let (stopped_ns, resumed_ns) = moments.stopped_ns.zip(moments.resumed_ns)?;
    let workers = gaps.iter().map(|it| it.worker).max()? + 1;
    let of_worker = |worker| gaps.iter().filter(move |it| it.worker == worker);
    let gap = |it: &GapSpan| Gap {
        start_seconds: it.start_ns as f64 / 1e9,
        length_seconds: it.end_ns.saturating_sub(it.start_ns) as f64 / 1e9,
    };
    let logs: Vec<Vec<Gap>> =
        (0..workers).map(|worker| of_worker(worker).map(gap).collect()).collect();
    let stretch = |it: &Gap| Stretch {
        start_ns: (it.start_seconds * 1e9) as u64,
        end_ns: ((it.start_seconds + it.length_seconds) * 1e9) as u64,
    };
    let all: Vec<Stretch> = common_gaps(&logs).iter().map(stretch).collect();
    let around = all.into_iter().filter(|it| it.end_ns > stopped_ns && it.start_ns < resumed_ns);
    around.max_by_key(|it| it.length_ns())
}

impl Switchover {
    /// By QEMU's events.
    pub fn downtime_ns(&self) -> u64 {
        self.resumed_ns.saturating_sub(self.stopped_ns)
    }

    /// For the report: each observer's length, in seconds.
    pub fn to_details(&self) -> Value {
        let seconds = |ns: u64| ns as f64 / 1e9;
        let probes = self.networks.iter().map(|it| {
            json!({
                "kind": it.kind,
                "resolution_seconds": seconds(it.resolution_ns),
                "silence_seconds": it.silence.map(|it| seconds(it.length_ns())),
            })
        });
        let after_resume = |ns: u64| seconds(ns.saturating_sub(self.resumed_ns));
        json!({
            "by_events_seconds": seconds(self.downtime_ns()),
            "by_guest_clock_seconds": self.standstill.map(|it| seconds(it.length_ns)),
            "by_guest_workers_seconds": self.blackout.map(|it| seconds(it.length_ns())),
            "by_probes": probes.collect::<Vec<_>>(),
            "heard_after_resume_seconds": self.heard_again_ns.map(after_resume),
            "do_agree": self.differences().is_empty(),
        })
    }

    /// Each disagreement with its parts and its causes.
    pub fn differences(&self) -> Vec<Warning> {
        let mut found = Vec::new();
        found.extend(self.clock());
        found.extend(self.workers());
        found.extend(self.networks.iter().filter_map(|it| self.network(it)));
        found
    }

    fn clock(&self) -> Option<Warning> {
        let standstill = self.standstill?;
        let downtime_ns = self.downtime_ns();
        let apart_ns = downtime_ns.abs_diff(standstill.length_ns);
        (apart_ns > TOLERANCE_NS + standstill.uncertainty_ns).then(|| {
            let how = if standstill.length_ns < downtime_ns {
                "its clock went on while it was stopped"
            } else {
                "its clock stood still for longer than its processors, or runs slower on the destination"
            };
            warning(
                "downtime-disagreement",
                format!(
                    "From QEMU's events the guest was stopped for {}, by the guest's own clock for {} (known to {}): {how}",
                    ms(downtime_ns),
                    ms(standstill.length_ns),
                    ms(standstill.uncertainty_ns)
                ),
                Some("Trust the events; a measurement inside the guest by its own clock shows the other figure"),
            )
        })
    }

    fn workers(&self) -> Option<Warning> {
        let blackout = self.blackout?;
        let downtime_ns = self.downtime_ns();
        if blackout.length_ns() <= downtime_ns + TOLERANCE_NS {
            return None;
        }
        let before_ns = self.stopped_ns.saturating_sub(blackout.start_ns);
        let after_ns = blackout.end_ns.saturating_sub(self.resumed_ns);
        let mut text = format!(
            "The guest got nothing done for {}, of which QEMU's events explain {}: {} passed before the stop and {} after the resumption",
            ms(blackout.length_ns()),
            ms(downtime_ns),
            ms(before_ns),
            ms(after_ns)
        );
        let mut causes = self.causes(after_ns > TOLERANCE_NS);
        if causes.is_empty() {
            causes.push("the machine was busy with other things".to_owned());
        }
        for cause in causes {
            text = format!("{text}; {cause}");
        }
        let advice = "Judge a service by the blackout, and a setting by the downtime";
        Some(warning("blackout-longer", text, Some(advice)))
    }

    fn causes(&self, is_after: bool) -> Vec<String> {
        let mut causes = Vec::new();
        if let Some(percent) = self.throttle_percent.filter(|it| *it > 0.0) {
            let sleep_ns = sleep_ns(percent);
            let word = ms(sleep_ns);
            causes.push(format!("auto-converge at {percent:.0} % lets a processor sleep for {word} at a time until the migration ends"));
        }
        if self.is_postcopy && is_after {
            causes.push("post-copy had still to fetch memory that the guest asked for".to_owned());
        }
        if self.is_emulated && is_after {
            causes.push(
                "the destination's emulator had to translate the guest's code again".to_owned(),
            );
        }
        causes
    }

    fn network(&self, view: &NetworkView) -> Option<Warning> {
        let downtime_ns = self.downtime_ns();
        let slack_ns = TOLERANCE_NS + view.resolution_ns;
        let Some(silence) = view.silence else {
            return (downtime_ns > slack_ns).then(|| {
                warning(
                    "network-unaware",
                    format!(
                        "The {} probe noticed nothing of a stop of {}",
                        view.kind,
                        ms(downtime_ns)
                    ),
                    Some(
                        "It was answered by another machine than the guest, or the events are wrong",
                    ),
                )
            });
        };
        (silence.length_ns() > downtime_ns + slack_ns).then(|| self.network_longer(view, silence))
    }

    /// A switch learns of the move when the destination first sends something; QEMU announces it 50 ms after it runs, and a guest may be faster or slower.
    fn network_longer(&self, view: &NetworkView, silence: Stretch) -> Warning {
        let before_ns = self.stopped_ns.saturating_sub(silence.start_ns);
        let heard_ns =
            self.heard_again_ns.filter(|it| *it >= self.resumed_ns && *it <= silence.end_ns);
        let late_ns = silence.end_ns.saturating_sub(heard_ns.unwrap_or(self.resumed_ns));
        let causes: String =
            self.causes(late_ns > TOLERANCE_NS).iter().map(|it| format!("; {it}")).collect();
        let after = match heard_ns {
            Some(heard_ns) => format!(
                "{} passed after the resumption until the switch heard the guest in its new place, and {} from there to the first answer",
                ms(heard_ns - self.resumed_ns),
                ms(silence.end_ns - heard_ns)
            ),
            None => format!(
                "{} passed after the resumption",
                ms(silence.end_ns.saturating_sub(self.resumed_ns))
            ),
        };
        let advice = if view.kind == "tcp" {
            "A connection sends again what was lost only after its own timeout, here a second at least; look at the udp probe for the network alone"
        } else {
            "QEMU announces the move 50 ms after it, by default; real switches may take longer"
        };
        warning(
            "network-outage",
            format!(
                "The {} probe heard nothing for {} around the switchover, and the guest was stopped for {}: {} passed before the stop, {after}{causes}",
                view.kind,
                ms(silence.length_ns()),
                ms(self.downtime_ns()),
                ms(before_ns)
            ),
            Some(advice),
        )
    }
}

/// For each 10 ms in which it may run, a processor that is throttled sleeps for p ÷ (100 − p) times as long.
fn sleep_ns(percent: f64) -> u64 {
    (percent / (100.0 - percent).max(1.0) * 10e6) as u64
}

fn ms(ns: u64) -> String {
    format!("{:.0} ms", ns as f64 / 1e6)
}

#[cfg(test)]
mod tests;
