//! What the emulator cannot do.

use sterna_pilot::Unsupported;
use sterna_probe::Kind;
use sterna_scenario::{Compression, HugePages, LimitAction, Scenario, TlsMode, Transport, Verify};
use sterna_wire::stream;
use sterna_workload::Method;

use crate::migration::multifd::MAX_CHANNELS;

/// What the emulator cannot do, field by field.
pub fn unsupported(scenario: &Scenario) -> Vec<Unsupported> {
    let migration = &scenario.migration;
    let qemu_alone = "only the engine QEMU has this; use it by `--engine qemu`, or drop the field";
    let has_postcopy =
        migration.postcopy.is_some() || scenario.limits.then == LimitAction::Postcopy;
    let has_transport = matches!(migration.transport, Transport::Tcp | Transport::Unix);
    let table = [
        (
            scenario.guest.paused && migration.hold.is_some(),
            "guest.paused",
            "a migration is held until a page was written again, and a paused guest writes none; drop one of them",
        ),
        (
            scenario.probes.or(&[]).iter().any(|it| !matches!(it.kind, Kind::Udp | Kind::Playout)),
            "probes",
            "the emulator's guest answers probes of the kinds \"udp\" and \"playout\" only; use these, or --engine qemu",
        ),
        (
            !has_transport,
            "migration.transport",
            "the emulator has \"tcp\" and \"unix\"; use one of these, or `--engine qemu`",
        ),
        (migration.mapped_ram, "migration.mapped-ram", qemu_alone),
        (migration.direct_io, "migration.direct-io", qemu_alone),
        (
            !migration.return_path,
            "migration.return-path",
            "the destination always answers here; drop the field",
        ),
        (
            scenario.verify == Verify::AllMemory,
            "verify",
            "only the engine QEMU compares all memory of both sides; use \"workload\", or `--engine qemu`",
        ),
        (migration.switchover_ack, "migration.switchover-ack", qemu_alone),
        (
            migration.switchover_bandwidth.is_some(),
            "migration.switchover-bandwidth",
            "the switchover is planned with what was sent lately; use \"estimate\"",
        ),
        (
            migration.compress.is_some(),
            "migration.compress",
            "the emulator has no threads that compress one page each; use migration.multifd.compression = \"zlib\" or \"zstd\"",
        ),
        (
            has_postcopy && scenario.guest.huge_pages == HugePages::Size1Gib,
            "guest.huge-pages",
            "a worker in post-copy would wait for a whole page of 1 GiB; use \"2MiB\", \"thp\" or \"none\", or do without post-copy",
        ),
        (
            migration.multifd.as_ref().is_some_and(|it| it.channels > MAX_CHANNELS),
            "migration.multifd.channels",
            "the emulator has at most 64 parallel connections",
        ),
        (
            migration.multifd.as_ref().is_some_and(|it| !is_known(it.compression)),
            "migration.multifd.compression",
            "the emulator packs without special hardware; use \"none\", \"zlib\" or \"zstd\"",
        ),
        (
            migration.tls_mode() == TlsMode::Psk,
            "migration.tls.mode",
            "connections are encrypted with certificates here; use \"x509\", for which `sterna run` makes certificates of its own when it is given none",
        ),
        (
            migration.zero_copy && migration.transport == Transport::Unix,
            "migration.zero-copy",
            "Unix sockets always copy; use migration.transport = \"tcp\", or drop the field",
        ),
        (
            migration.hold.is_some() && scenario.workload.method == Method::Zero,
            "migration.hold",
            "the proof counts the writes of a page by what it holds, and workload.method = \"zero\" leaves no trace; use another method",
        ),
        (
            scenario.workload.workers != scenario.guest.vcpus,
            "workload.workers",
            "each worker stands for a vCPU here; give guest.vcpus the same number",
        ),
    ];
    table
        .into_iter()
        .filter(|(is_asked_for, ..)| *is_asked_for)
        .map(|(_, field, reason)| Unsupported {
            field: field.to_owned(),
            reason: reason.to_owned(),
        })
        .collect()
}

fn is_known(compression: Compression) -> bool {
    stream::Compression::from_name(&compression.to_string()).is_some()
}
