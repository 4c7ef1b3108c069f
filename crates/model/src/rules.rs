//! Whose algorithm is followed, where programs and versions differ.

use sterna_converge::SYNC_SPACING_NS;

/// The rules of one program and version.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// When pages are watched again.
    pub rearm: Rearm,
    /// How often it is asked whether a synchronisation is due, while a limit holds the stream back.
    pub check_ns: u64,
    /// Shortest time between two synchronisations while pages are pending.
    pub sync_spacing_ns: u64,
    /// Whether a synchronisation is forced under auto-converge when there was none for five seconds.
    pub forces_syncs: bool,
    /// Whether memory that comes after a switch to post-copy is discarded before the guest is stopped, not in its downtime.
    pub discards_before_stop: bool,
    /// Pages with content leave in batches of what the limit allows in this time, without a check between them.
    pub batch_ns: u64,
    /// Pages of zeros that leave at once, without a check between them.
    pub zero_batch_pages: f64,
    /// Bytes for each page with content besides the page.
    pub page_overhead_bytes: f64,
    /// Bytes for each page of zeros.
    pub zero_page_bytes: f64,
    /// By how much each parallel channel exceeds a limit, in bytes a second.
    pub channel_overshoot_bytes_per_second: f64,
}

/// When the pages that a synchronisation has found are watched for writes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rearm {
    /// All of them at the synchronisation: the emulator, the dirty ring, TCG.
    Sync,
    /// Chunk by chunk, each just before the first of its pages is sent: KVM with manual protection, in chunks of 1 GiB.
    Chunk {
        /// The size of a chunk.
        bytes: u64,
    },
}

impl Rules {
    /// The emulator of this project.
    pub const EMULATOR: Rules = Rules {
        rearm: Rearm::Sync,
        // It looks after each batch.
        check_ns: 1,
        sync_spacing_ns: SYNC_SPACING_NS,
        forces_syncs: true,
        discards_before_stop: true,
        batch_ns: 10_000_000,
        zero_batch_pages: 4096.0,
        page_overhead_bytes: 0.3,
        zero_page_bytes: 0.05,
        channel_overshoot_bytes_per_second: 0.0,
    };

    /// QEMU 10.0 under TCG, which watches by the synchronisation.
    pub const QEMU_10_TCG: Rules = Rules {
        rearm: Rearm::Sync,
        check_ns: 100_000_000,
        sync_spacing_ns: SYNC_SPACING_NS,
        forces_syncs: true,
        discards_before_stop: false,
        batch_ns: 0,
        zero_batch_pages: 0.0,
        page_overhead_bytes: 8.0,
        zero_page_bytes: 9.0,
        channel_overshoot_bytes_per_second: 5.2e6,
    };

    /// QEMU 7.2 under TCG.
    pub const QEMU_7_2_TCG: Rules = Rules {
        forces_syncs: false,
        channel_overshoot_bytes_per_second: 0.0,
        ..Rules::QEMU_10_TCG
    };

    /// QEMU 10.0 under KVM without a dirty ring.
    pub const QEMU_10_KVM: Rules =
        Rules { rearm: Rearm::Chunk { bytes: 1 << 30 }, ..Rules::QEMU_10_TCG };
}
