//! What the model does not know.

use sterna_scenario::{Compression, HugePages, Scenario, Transport};
use sterna_workload::{Pattern, Phase};

/// A field of a scenario that the model cannot simulate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmodelled {
    /// The field, dotted.
    pub field: &'static str,
    /// Why not, and what to use in its place.
    pub reason: &'static str,
}

/// What of a scenario the model cannot simulate, field by field.
pub fn unmodelled(scenario: &Scenario) -> Vec<Unmodelled> {
    let migration = &scenario.migration;
    let multifd = migration.multifd.as_ref();
    let table = [
        (
            migration.hops > 1,
            "migration.hops",
            "the model flies one hop, and the way back is like it; use the emulator or QEMU, or drop the field",
        ),
        (
            scenario.guest.paused,
            "guest.paused",
            "the model has no paused guest; use workload.rate = \"idle\", or the emulator or QEMU",
        ),
        (
            scenario.faults.is_some(),
            "fault",
            "the model knows no faults; use the emulator, or drop [[fault]]",
        ),
        (
            !matches!(migration.transport, Transport::Tcp | Transport::Unix),
            "migration.transport",
            "the model knows \"tcp\" and \"unix\"; use one of these, or --engine qemu",
        ),
        (
            migration.mapped_ram,
            "migration.mapped-ram",
            "the model writes no files; use --engine qemu, or drop the field",
        ),
        (
            migration.direct_io,
            "migration.direct-io",
            "the model writes no files; use --engine qemu, or drop the field",
        ),
        (
            migration.compress.is_some(),
            "migration.compress",
            "the model knows compression by channels only; use migration.multifd.compression",
        ),
        (
            multifd.is_some_and(|it| {
                !matches!(it.compression, Compression::None | Compression::Zlib | Compression::Zstd)
            }),
            "migration.multifd.compression",
            "the model knows no special hardware; use \"none\", \"zlib\" or \"zstd\"",
        ),
        (
            scenario.guest.huge_pages != HugePages::None,
            "guest.huge-pages",
            "the model follows pages of 4 KiB; use \"none\", or another engine",
        ),
        (
            scenario.workload.catch_up,
            "workload.catch-up",
            "the model knows no bursts that make up for a standstill; use the emulator, or false",
        ),
        (
            has_unknown_phases(scenario),
            "workload.phase",
            "in phases the model knows pages that are written at random, by zipf or as a hot set, and sweeps over all of workload.memory that no other pattern joins; use these, or the emulator",
        ),
    ];
    let asked_for = table.into_iter().filter(|it| it.0);
    asked_for.map(|(_, field, reason)| Unmodelled { field, reason }).collect()
}

/// Sweeps are followed over a whole region, so one in a phase needs a region to itself.
fn has_unknown_phases(scenario: &Scenario) -> bool {
    let Some(phases) = &scenario.workload.phases else { return false };
    let pattern = |it: &Phase| it.pattern.unwrap_or(scenario.workload.pattern);
    let mut patterns: Vec<Pattern> = phases.all().iter().map(pattern).collect();
    patterns.push(scenario.workload.pattern);
    let sweeps =
        |it: &Pattern| matches!(it, Pattern::Sequential | Pattern::Stride(_) | Pattern::Once);
    let has_part = phases.all().iter().any(|it| it.memory.is_some());
    let strides = patterns.iter().any(|it| matches!(it, Pattern::Stride(_)));
    let once = patterns.contains(&Pattern::Once);
    let is_mixed = !patterns.iter().all(|it| *it == patterns[0]);
    patterns.iter().any(sweeps) && (has_part || (strides && is_mixed) || once)
}
