//! Where QEMU's numbers or settings mislead, said with what was seen in this run.

use sterna_pilot::{OutageSpan, ProbeSeen};
use sterna_report::Warning;
use sterna_scenario::{Compression, Scenario};

use crate::evidence::Evidence;
use crate::hold::Hold;
use crate::launch::Launched;
use crate::trace::Trace;

/// Everything worth saying about a run.
pub(crate) fn of(
    scenario: &Scenario,
    evidence: &Evidence,
    trace: &Trace,
    hold: Option<&Hold>,
    probe: Option<&ProbeSeen>,
    sides: &Launched,
) -> Vec<Warning> {
    let mut found = Vec::new();
    found.extend(probe.and_then(|it| network_longer_than_downtime(it, trace)));
    emulation_forgets(trace, sides, &mut found);
    if hold.is_some_and(|it| it.is_holding()) {
        found.push(unproven());
    }
    overshoot(scenario, trace, &mut found);
    compressed_threshold(scenario, trace, &mut found);
    zero_copy(scenario, evidence, &mut found);
    if let Some(freeze) = sides.guest.freeze() {
        let moments = trace.moments();
        let downtime = moments.stopped_ns.zip(moments.resumed_ns);
        let downtime_ns = downtime.map_or(0, |(from, to)| to.saturating_sub(from));
        let apart_ns = downtime_ns.abs_diff(freeze.length_ns);
        if apart_ns > 50_000_000 + freeze.uncertainty_ns {
            found.push(warning(
                "downtime-disagreement",
                format!(
                    "From QEMU's events the guest was stopped for {:.0} ms, by the guest's own clock for {:.0} ms (known to {:.0} ms)",
                    downtime_ns as f64 / 1e6,
                    freeze.length_ns as f64 / 1e6,
                    freeze.uncertainty_ns as f64 / 1e6
                ),
                Some("The guest's clock went on while it was stopped, or the machine is too busy to time it"),
            ));
        }
    }
    if sides.guest.gaps_lost() > 0 {
        found.push(warning(
            "gaps-lost",
            format!("{} standstills of workers were not recorded", sides.guest.gaps_lost()),
            Some("The machine is overloaded; the blackout may be longer than stated"),
        ));
    }
    if sides.guest.lines_lost() > 0 {
        found.push(warning(
            "guest-lines-lost",
            format!("{} lines of the agent in the guest were lost", sides.guest.lines_lost()),
            None,
        ));
    }
    if sides.accelerator.name == "tcg" {
        found.push(warning(
            "emulated-processors",
            format!("The guest ran under TCG, since {}; its speed and the cost of tracking are not those of KVM", sides.accelerator.reason),
            None,
        ));
    }
    found
}

/// QEMU counts what multifd's threads have sent only afterwards, so that each of them is a packet ahead of the limit.
fn overshoot(scenario: &Scenario, trace: &Trace, found: &mut Vec<Warning>) {
    let (Some(limit), Some(multifd)) =
        (scenario.migration.max_bandwidth, &scenario.migration.multifd)
    else {
        return;
    };
    let limit = limit.bytes_per_second() as f64;
    let Some(mean) = trace.live_bandwidth().filter(|it| *it > limit * 1.1) else { return };
    found.push(warning(
        "bandwidth-overshoot",
        format!(
            "QEMU sent {:.0} MB/s while the guest ran, above the limit of {:.0} MB/s: with {} channels of multifd the limit is not kept",
            mean / 1e6,
            limit / 1e6,
            multifd.channels
        ),
        Some("Set the limit lower by about 5 MB/s for each channel, or limit the network itself"),
    ));
}

/// What remains is counted raw, and the bandwidth as it is on the wire.
fn compressed_threshold(scenario: &Scenario, trace: &Trace, found: &mut Vec<Warning>) {
    let migration = &scenario.migration;
    let compression = migration.multifd.as_ref().map(|it| it.compression);
    let is_compressed = compression.is_some_and(|it| it != Compression::None);
    if !(is_compressed || migration.xbzrle.is_some()) || trace.passes() < 3 {
        return;
    }
    found.push(warning(
        "compressed-threshold",
        format!(
            "{} passes were made; QEMU compares raw memory that remains with a bandwidth of compressed bytes, and therefore switches over later than it could",
            trace.passes()
        ),
        Some("Raise the downtime limit by the compression's factor, or set avail-switchover-bandwidth where QEMU has it (8.2 and later)"),
    ));
}

/// A switch learns of the move when the destination first sends something; QEMU announces it 50 ms after it runs, and a guest may be faster or slower.
fn network_longer_than_downtime(probe: &ProbeSeen, trace: &Trace) -> Option<Warning> {
    let moments = trace.moments();
    let (stopped_ns, resumed_ns) = moments.stopped_ns.zip(moments.resumed_ns)?;
    let around =
        |it: &&OutageSpan| it.end_ns > stopped_ns && it.start_ns < resumed_ns + 100_000_000;
    let outage = probe.outages.iter().filter(around).max_by_key(|it| it.end_ns - it.start_ns)?;
    let outage_ns = outage.end_ns - outage.start_ns;
    let downtime_ns = resumed_ns.saturating_sub(stopped_ns);
    (outage_ns > downtime_ns + 50_000_000).then(|| {
        warning(
            "network-outage",
            format!(
                "The network was silent for {:.0} ms around the switchover, the guest stood still for {:.0} ms; the rest went by until a switch could know that the guest had moved",
                outage_ns as f64 / 1e6,
                downtime_ns as f64 / 1e6
            ),
            Some("QEMU announces the move 50 ms after it, by default; real switches may take longer"),
        )
    })
}

/// Old versions clear bits of the bitmap of dirty pages without telling the translator, which then goes on writing without setting them again; QEMU's own history places the repair in 9.0. Seen here with 7.2 in nearly every migration of two passes and more, as a guest that panics on arrival; never with 10.0.
fn emulation_forgets(trace: &Trace, sides: &Launched, found: &mut Vec<Warning>) {
    let version = &sides.source.greeting().version;
    let major = version.split('.').next().and_then(|it| it.parse::<u32>().ok());
    if sides.accelerator.name != "tcg" || major.is_none_or(|it| it >= 9) || trace.passes() < 2 {
        return;
    }
    found.push(warning(
        "emulation-forgets-writes",
        format!("QEMU {version} may lose writes of an emulated guest once memory is synchronised more than once; a guest that was damaged by that is no fault of the settings"),
        Some("Use a newer QEMU for guests under TCG (10.0 was not seen to lose any), or KVM"),
    ));
}

fn unproven() -> Warning {
    warning(
        "hold-unproven",
        "The migration ended before memory was seen to be sent, written and sent again; the passes that were asked for are not proven".to_owned(),
        Some("Let the workload write faster, or lower the bandwidth"),
    )
}

fn zero_copy(scenario: &Scenario, evidence: &Evidence, found: &mut Vec<Warning>) {
    let missed = evidence.peak("zero_copy_missed").unwrap_or(0.0);
    if scenario.migration.zero_copy && missed > 0.0 {
        found.push(warning(
            "zero-copy-fell-back",
            format!("The kernel copied all the same in {missed:.0} flushes of zero-copy sends"),
            Some("Loopback and Unix sockets always copy; zero-copy shows its worth between two machines only"),
        ));
    }
}

fn warning(code: &str, text: String, advice: Option<&str>) -> Warning {
    Warning { code: code.to_owned(), text, advice: advice.map(str::to_owned) }
}
