//! What the report says about the engine.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sterna_pilot::{ClockOffset, Hypervisor};
use sterna_report::{Control, Engine, PeerVersions, Side, Tracker};

use sterna_wire::clock::Offset;

use super::Qemu;
use crate::place::Place;
use crate::process::QemuProcess;
use crate::switchover::{self, NetworkView, Switchover};

/// QEMU stamps events in microseconds, and a stamp is mapped between two readings of clocks that take less than one.
const EVENT_UNCERTAINTY_NS: u64 = 2_000;

impl Qemu {
    /// The engine, both binaries, and what they did.
    pub(super) fn all_facts(&self) -> Engine {
        let version = |qemu: &QemuProcess| {
            let greeting = qemu.greeting();
            let package = Some(&greeting.package).filter(|it| !it.is_empty());
            let package = package.map(|it| format!(" ({it})")).unwrap_or_default();
            format!("{}{package}", greeting.version)
        };
        let sides = self.sides.as_ref();
        Engine {
            name: self.name().to_owned(),
            control: Control::Steered,
            tracker: sides.map(|it| Tracker::Other(it.accelerator.name.to_owned())),
            tracker_reason: sides.map(|it| it.accelerator.reason.clone()),
            tracking_page_bytes: sides.map(|_| sterna_report::PAGE_BYTES),
            transport: Some(self.scenario.migration.transport.to_string()),
            peer_versions: PeerVersions {
                source: sides.map(|it| version(&it.source)),
                destination: sides.map(|it| version(&it.destination)),
            },
            details: self.details(),
            ..Engine::default()
        }
    }

    /// A QEMU of this machine stamps with its clock; what is uncertain is how a stamp of the wall clock was mapped. That of another machine is known as well as the way there is quick.
    pub(super) fn clock_offsets(&self) -> Vec<ClockOffset> {
        if self.sides.is_none() {
            return Vec::new();
        }
        let of = |(side, place): (Side, &Place)| {
            let offset = match place.keeper() {
                Some(keeper) => keeper.clock()?,
                None => Offset { offset_ns: 0, uncertainty_ns: 0 },
            };
            let uncertainty_ns = offset.uncertainty_ns + EVENT_UNCERTAINTY_NS;
            Some(ClockOffset { side, offset_ns: offset.offset_ns, uncertainty_ns })
        };
        [Side::Source, Side::Destination].into_iter().zip(&self.places).filter_map(of).collect()
    }

    /// The switchover as all observers saw it; `None` when there was none, or it was taken back.
    pub(super) fn switchover(&self) -> Option<Switchover> {
        let moments = self.trace.moments();
        let (stopped_ns, resumed_ns) = moments.stopped_ns.zip(moments.resumed_ns)?;
        let sides = self.sides.as_ref()?;
        let probes = self.probes_seen.iter().flatten();
        // While memory was compared the guest stood still for no reason of the migration's.
        let is_one = moments.restored_ns.is_none() && self.compared.is_none();
        is_one.then(|| Switchover {
            stopped_ns,
            resumed_ns,
            standstill: sides.guest.freeze(),
            blackout: switchover::blackout(&self.gaps, moments),
            networks: probes.filter_map(|it| NetworkView::of(it, moments)).collect(),
            heard_again_ns: self.heard_again_ns,
            throttle_percent: self.evidence.peak("throttle_percent"),
            is_postcopy: self.trace.has_postcopy_begun(),
            is_emulated: sides.accelerator.name == "tcg",
        })
    }

    fn details(&self) -> BTreeMap<String, Value> {
        let mut details = BTreeMap::new();
        let Some(sides) = &self.sides else { return details };
        let mut add = |name: &str, value: Value| {
            details.insert(name.to_owned(), value);
        };
        add("accelerator", sides.accelerator.name.into());
        add("machine", sides.machine.clone().into());
        add("boot_seconds", (sides.boot_ns as f64 / 1e9).into());
        add("memory_bytes", sides.memory.bytes.into());
        add("kernel", sides.image.kernel_release.clone().into());
        add("command_line_source", sides.source.command_line().into());
        add("command_line_destination", sides.destination.command_line().into());
        for (side, place) in ["source", "destination"].into_iter().zip(&self.places) {
            if let Some(keeper) = place.keeper() {
                let hello = keeper.hello();
                let machine = json!({
                    "address": keeper.target(),
                    "name": hello.host,
                    "kernel": hello.kernel,
                    "cpus": hello.cpus,
                });
                add(&format!("machine_{side}"), machine);
            }
        }
        if let Some(uri) = &self.stream_uri {
            add("stream_uri", uri.clone().into());
        }
        if self.has_migration_begun {
            let seconds = self.acceptance_took_ns as f64 / 1e9;
            add("accepted_uncertainty_seconds", seconds.into());
        }
        if self.recoveries > 0 {
            add("postcopy_recoveries", self.recoveries.into());
        }
        if let (Some(tls), Some(seen)) = (&self.scenario.migration.tls, self.encryption()) {
            add("tls", seen.to_details(tls));
        }
        let [source, destination] = &sides.footprints;
        add("memory_source", source.to_details());
        add("memory_destination", destination.to_details());
        add("left_out", sides.left_out.clone().into());
        for (name, polls) in
            [("polls_source", &self.polls), ("polls_destination", &self.destination_polls)]
        {
            if !polls.is_empty() {
                add(name, polls.to_table(self.accepted_ns));
            }
        }
        if let Some(compared) = &self.compared {
            add("memory_compared", compared.to_details());
        }
        if let Some(switchover) = self.switchover() {
            add("switchover", switchover.to_details());
        }
        if let Some(freeze) = sides.guest.freeze() {
            add("guest_clock_standstill_seconds", (freeze.length_ns as f64 / 1e9).into());
            let uncertainty = freeze.uncertainty_ns as f64 / 1e9;
            add("guest_clock_standstill_uncertainty_seconds", uncertainty.into());
        }
        if let Some(ns) = sides.guest.clock_uncertainty_ns() {
            add("guest_clock_uncertainty_seconds", (ns as f64 / 1e9).into());
        }
        let complaints = [sides.source.complaints(), sides.destination.complaints()];
        for (name, lines) in ["stderr_source", "stderr_destination"].into_iter().zip(complaints) {
            if !lines.is_empty() {
                add(name, lines.into());
            }
        }
        details.extend(self.evidence.to_details());
        if let Some(hold) = &self.hold {
            details.insert("hold".to_owned(), hold.to_details());
        }
        details
    }
}
