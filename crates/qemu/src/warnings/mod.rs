//! Where QEMU's numbers or settings mislead, said with what was seen in this run.
//!
//! What the observers of the switchover disagree about is in [`crate::switchover`].

#[cfg(test)]
mod tests;

use sterna_pilot::ProbeSeen;
use sterna_report::Warning;
use sterna_scenario::{Compression, Scenario};

use crate::evidence::Evidence;
use crate::memory_size::MemorySize;
use crate::trace::Trace;
use crate::workload_size;

/// A bandwidth this much above the limit is not kept.
const OVERSHOOT: f64 = 1.1;

/// QEMU's dirty rate says nothing when it is this close to the bandwidth.
const SATURATED: std::ops::RangeInclusive<f64> = 0.8..=1.15;

/// With fewer passes there is no pattern in them.
const FEWEST_PASSES: usize = 3;

/// A probe that is late by more than this measures its own machine.
const LATE_NS: u64 = 50_000_000;

/// What a warning is made of.
pub(crate) struct Facts<'a> {
    pub scenario: &'a Scenario,
    pub evidence: &'a Evidence,
    pub trace: &'a Trace,
    /// Whether a migration that was to be held ended before it was let go.
    pub is_hold_unproven: bool,
    /// `None` for a probe that was never answered.
    pub probes: &'a [Option<ProbeSeen>],
    /// `kvm` or `tcg`, and why.
    pub accelerator: (&'a str, &'a str),
    pub memory: &'a MemorySize,
    pub gaps_lost: u64,
    pub lines_lost: u64,
}

/// Everything worth saying about a run.
pub(crate) fn of(facts: &Facts) -> Vec<Warning> {
    let found = [
        facts.memory.warning(facts.trace.passes()),
        workload_size::less_than_asked(facts.scenario),
        facts.hold_unproven(),
        facts.overshoot(),
        facts.compressed_threshold(),
        facts.dirty_rate_saturates(),
        facts.zero_copy(),
        facts.probe_unanswered(),
        facts.probe_late(),
        facts.gaps_lost(),
        facts.lines_lost(),
        facts.emulated(),
    ];
    found.into_iter().flatten().collect()
}

pub(crate) fn warning(code: &str, text: String, advice: Option<&str>) -> Warning {
    Warning { code: code.to_owned(), text, advice: advice.map(str::to_owned) }
}

/// What to do about a bandwidth above the limit. A limit that is lower by all that the channels are ahead may be none.
fn way_out(limit: f64, mean: f64, channels: u8) -> String {
    let lower = limit - (mean - limit);
    if lower < limit / 4.0 {
        return format!("Use fewer than {channels} channels, or limit the network itself");
    }
    format!(
        "Set the limit to about {:.0} MB/s, use fewer channels, or limit the network itself",
        lower / 1e6
    )
}

impl Facts<'_> {
    fn hold_unproven(&self) -> Option<Warning> {
        self.is_hold_unproven.then(|| {
            warning(
                "hold-unproven",
                "The migration ended before memory was seen to be sent, written and sent again; the passes that were asked for are not proven".to_owned(),
                Some("Let the workload write faster, or lower the bandwidth"),
            )
        })
    }

    /// QEMU counts what multifd's threads have sent only afterwards, so that each of them is a packet ahead of the limit.
    fn overshoot(&self) -> Option<Warning> {
        let migration = &self.scenario.migration;
        let multifd = migration.multifd.as_ref()?;
        let limit = migration.max_bandwidth?.bytes_per_second() as f64;
        let mean = self.trace.live_bandwidth().filter(|it| *it > limit * OVERSHOOT)?;
        Some(warning(
            "bandwidth-overshoot",
            format!(
                "QEMU sent {:.0} MB/s while the guest ran, above the limit of {:.0} MB/s: with {} channels of multifd the limit is not kept",
                mean / 1e6,
                limit / 1e6,
                multifd.channels
            ),
            Some(&way_out(limit, mean, multifd.channels)),
        ))
    }

    fn is_compressed(&self) -> bool {
        let migration = &self.scenario.migration;
        let compression = migration.multifd.as_ref().map(|it| it.compression);
        compression.is_some_and(|it| it != Compression::None) || migration.xbzrle.is_some()
    }

    /// What remains is counted raw, and the bandwidth as it is on the wire.
    fn compressed_threshold(&self) -> Option<Warning> {
        let passes = self.trace.passes();
        (self.is_compressed() && passes >= FEWEST_PASSES).then(|| {
            warning(
                "compressed-threshold",
                format!("{passes} passes were made; QEMU compares raw memory that remains with a bandwidth of compressed bytes, and therefore switches over later than it could"),
                Some("Raise the downtime limit by the compression's factor, or set avail-switchover-bandwidth where QEMU has it (8.2 and later)"),
            )
        })
    }

    /// QEMU counts pages that became dirty since the synchronisation before, and a page that still waits to be sent cannot become so again: in the long run the rate cannot exceed what is sent.
    fn dirty_rate_saturates(&self) -> Option<Warning> {
        if self.is_compressed() || self.trace.passes() < FEWEST_PASSES {
            return None;
        }
        let bandwidth = self.trace.live_bandwidth()?;
        let rate = self.trace.last_dirty_rate()?;
        SATURATED.contains(&(rate / bandwidth)).then(|| {
            warning(
                "dirty-rate-saturates",
                format!(
                    "QEMU's dirty rate of {:.0} MB/s is what it sends, {:.0} MB/s: it cannot become higher, however fast the guest writes",
                    rate / 1e6,
                    bandwidth / 1e6
                ),
                Some("Judge by the touch rate, which the guest counts itself, not by dirty-pages-rate"),
            )
        })
    }

    fn zero_copy(&self) -> Option<Warning> {
        let missed = self.evidence.peak("zero_copy_missed").filter(|it| *it > 0.0)?;
        self.scenario.migration.zero_copy.then(|| {
            warning(
                "zero-copy-fell-back",
                format!("The kernel copied all the same in {missed:.0} flushes of zero-copy sends"),
                Some("Loopback and Unix sockets always copy; zero-copy shows its worth between two machines only"),
            )
        })
    }

    fn probe_unanswered(&self) -> Option<Warning> {
        let unanswered = self
            .probes
            .iter()
            .filter(|it| it.as_ref().is_none_or(|it| it.seen.received == 0))
            .count();
        (unanswered > 0).then(|| {
            warning(
                "probe-unanswered",
                format!("The guest never answered {unanswered} of {} probes", self.probes.len()),
                Some("On a bridge, look for a firewall (br_netfilter) and for another station with the guest's address"),
            )
        })
    }

    fn probe_late(&self) -> Option<Warning> {
        let latest_ns = self.probes.iter().flatten().map(|it| it.latest_ns).max()?;
        (latest_ns > LATE_NS).then(|| {
            warning(
                "probe-late",
                format!("A probe was itself up to {:.0} ms late with a message; an outage of that length may be its own", latest_ns as f64 / 1e6),
                Some("The machine is overloaded; leave it a processor, or send less often"),
            )
        })
    }

    fn gaps_lost(&self) -> Option<Warning> {
        (self.gaps_lost > 0).then(|| {
            warning(
                "gaps-lost",
                format!("{} standstills of workers were not recorded", self.gaps_lost),
                Some("The machine is overloaded; the blackout may be longer than stated"),
            )
        })
    }

    fn lines_lost(&self) -> Option<Warning> {
        (self.lines_lost > 0).then(|| {
            let text = format!("{} lines of the agent in the guest were lost", self.lines_lost);
            warning("guest-lines-lost", text, None)
        })
    }

    fn emulated(&self) -> Option<Warning> {
        let (name, reason) = self.accelerator;
        (name == "tcg").then(|| {
            warning(
                "emulated-processors",
                format!("The guest ran under TCG, since {reason}; its speed and the cost of tracking are not those of KVM"),
                None,
            )
        })
    }
}
