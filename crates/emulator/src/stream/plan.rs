//! What is to be tried, checked: the client does so before it connects, the server before it believes the client.

use sterna_sys::PAGE_BYTES;
use sterna_units::{Bytes, human_bytes};
use sterna_wire::stream::Compression;
use sterna_wire::trial::ask::Test;
use sterna_wire::trial::{
    MAX_BLOCK_BYTES, MAX_CHANNELS, MAX_PREFETCH, MAX_VCPUS, Part, VERSION, Way,
};
use sterna_workload::Spec;

/// Below this a limit is so low that a page alone takes longer than a connection may be silent.
const LEAST_BYTES_PER_SECOND: u64 = 1000;

/// More would only wait somewhere.
const MOST_BUFFER_BYTES: u64 = 1 << 30;

const SHORTEST_INTERVAL_NS: u64 = 10_000_000;
const LONGEST_INTERVAL_NS: u64 = 3_600_000_000_000;

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct Plan {
    /// As it was asked for.
    pub test: Test,
    /// How content travels.
    pub compression: Compression,
    /// What dirties the source's memory.
    pub dirty: Option<Spec>,
}

/// Why a trial cannot be as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PlanError(String);

impl Plan {
    /// Checks a test; `most_memory_bytes` is what this machine has for it.
    ///
    /// # Errors
    /// A value that cannot be, or two that exclude each other.
    pub fn of(test: Test, most_memory_bytes: u64) -> Result<Plan, PlanError> {
        let compression = Compression::ALL.into_iter().find(|it| it.name() == test.compression);
        let Some(compression) = compression else {
            return refuse(format!(
                "compression {}: known are none, zlib and zstd",
                test.compression
            ));
        };
        check_shape(&test)?;
        check_sizes(&test)?;
        check_memory(&test, most_memory_bytes)?;
        check_requests(&test)?;
        check_packing(&test, compression)?;
        check_times(&test)?;
        let dirty = dirty(&test)?;
        Ok(Plan { test, compression, dirty })
    }

    /// The directions in which pages travel.
    pub fn ways(&self) -> impl Iterator<Item = Way> + use<> {
        let (up, down) = (self.test.up, self.test.down);
        [(up, Way::Up), (down, Way::Down)].into_iter().filter(|it| it.0).map(|it| it.1)
    }

    /// All connections that carry pages, in the order in which a client makes them.
    pub fn lanes(&self) -> Vec<(Way, Part, u16)> {
        let mut lanes = Vec::new();
        for way in self.ways() {
            lanes.extend((0..self.test.channels).map(|index| (way, Part::Main, index)));
            lanes.extend(self.test.preempt.then_some((way, Part::Urgent, 0)));
        }
        lanes
    }

    /// Whether requests travel on such a lane.
    pub fn has_requests(&self, part: Part, index: u16) -> bool {
        self.test.requests
            && match part {
                Part::Urgent => true,
                Part::Main => !self.test.preempt && index == 0,
            }
    }

    /// Whether bulk travels on such a lane.
    pub fn has_bulk(&self, part: Part) -> bool {
        self.test.bulk && part == Part::Main
    }

    /// Pages that are sent at once.
    pub fn block_pages(&self) -> usize {
        self.test.block_bytes as usize / PAGE_BYTES
    }

    /// Pages of the source's memory.
    pub fn pages(&self) -> usize {
        self.test.memory_bytes.unwrap_or(self.test.block_bytes) as usize / PAGE_BYTES
    }
}

fn refuse<T>(reason: impl Into<String>) -> Result<T, PlanError> {
    Err(PlanError(reason.into()))
}

fn check_shape(test: &Test) -> Result<(), PlanError> {
    if test.version != VERSION {
        return refuse(format!(
            "The other side speaks version {} of a trial, this one {VERSION} (Sterna {}); use the same release on both",
            test.version,
            env!("CARGO_PKG_VERSION")
        ));
    }
    if !test.bulk && !test.requests {
        return refuse("Neither bulk nor requests were asked for");
    }
    if !test.up && !test.down {
        return refuse("No direction was asked for");
    }
    if test.preempt && !(test.bulk && test.requests) {
        return refuse("preempt keeps requests apart from bulk, so it needs mode both");
    }
    if test.channels == 0 || test.channels > MAX_CHANNELS {
        return refuse(format!("channels {}: use 1 to {MAX_CHANNELS}", test.channels));
    }
    if test.channels > 1 && !test.bulk {
        return refuse(format!(
            "channels {}: in mode postcopy only the first would be used; leave it out, or use mode both",
            test.channels
        ));
    }
    Ok(())
}

fn check_sizes(test: &Test) -> Result<(), PlanError> {
    let page = PAGE_BYTES as u64;
    if test.block_bytes == 0
        || test.block_bytes > MAX_BLOCK_BYTES as u64
        || !test.block_bytes.is_multiple_of(page)
    {
        return refuse(format!(
            "block {}: use a multiple of 4KiB, up to {}",
            Bytes(test.block_bytes),
            Bytes(MAX_BLOCK_BYTES as u64)
        ));
    }
    let buffers =
        [("send buffer", test.send_buffer_bytes), ("receive buffer", test.receive_buffer_bytes)];
    for (name, bytes) in buffers {
        if bytes.is_some_and(|it| it == 0 || it > MOST_BUFFER_BYTES) {
            let bytes = Bytes(bytes.unwrap_or_default());
            return refuse(format!("{name} {bytes}: use up to {}", Bytes(MOST_BUFFER_BYTES)));
        }
    }
    if test.dscp.is_some_and(|it| it > 63) {
        return refuse(format!("dscp {}: use 0 to 63", test.dscp.unwrap_or_default()));
    }
    Ok(())
}

fn check_memory(test: &Test, most_bytes: u64) -> Result<(), PlanError> {
    let Some(bytes) = test.memory_bytes else { return Ok(()) };
    if bytes < test.block_bytes || !bytes.is_multiple_of(PAGE_BYTES as u64) {
        return refuse(format!(
            "memory {}: use a multiple of 4KiB, and no less than a block, which is {}",
            Bytes(bytes),
            Bytes(test.block_bytes)
        ));
    }
    // A machine that is source and destination, or at both ends of both directions, has it twice.
    let copies = if test.place && test.up && test.down { 2 } else { 1 };
    if bytes.saturating_mul(copies) > most_bytes {
        return refuse(format!(
            "memory {}: this machine allows {} for a trial",
            Bytes(bytes),
            human_bytes(most_bytes as f64)
        ));
    }
    Ok(())
}

fn check_requests(test: &Test) -> Result<(), PlanError> {
    if !test.requests {
        return match test.vcpus {
            0 | 1 if test.prefetch == 0 => Ok(()),
            _ => refuse("vcpus and prefetch are about requests, of which mode precopy has none"),
        };
    }
    if test.vcpus == 0 || test.vcpus > MAX_VCPUS {
        return refuse(format!("vcpus {}: use 1 to {MAX_VCPUS}", test.vcpus));
    }
    if test.prefetch > MAX_PREFETCH
        || usize::from(test.vcpus) * (usize::from(test.prefetch) + 1) > usize::from(u16::MAX)
    {
        return refuse(format!(
            "prefetch {}: use up to {MAX_PREFETCH}, and fewer with very many vcpus",
            test.prefetch
        ));
    }
    Ok(())
}

fn check_packing(test: &Test, compression: Compression) -> Result<(), PlanError> {
    let packs = compression != Compression::None;
    if test.zero_copy && packs {
        return refuse("zero-copy sends pages from where they are, so they cannot be compressed");
    }
    if let Some(level) = test.level {
        let most = match compression {
            Compression::None => return refuse("A compression level needs a compression"),
            Compression::Zlib => 9,
            Compression::Zstd => 20,
        };
        if level > most {
            let name = compression.name();
            return refuse(format!("compression level {level}: {name} has 0 to {most}"));
        }
    }
    Ok(())
}

fn check_times(test: &Test) -> Result<(), PlanError> {
    if test.duration_ns == Some(0) {
        return refuse("Nothing can be seen in no time; use a longer duration");
    }
    if test.bytes == Some(0) {
        return refuse("Nothing can be seen of no bytes; use more");
    }
    if test.bytes.is_some() && !test.bulk {
        return refuse("bytes count bulk, of which mode postcopy has none; use a duration");
    }
    if !(SHORTEST_INTERVAL_NS..=LONGEST_INTERVAL_NS).contains(&test.interval_ns) {
        return refuse(format!("An interval of {} ns: use 10ms to 1h", test.interval_ns));
    }
    match test.max_bytes_per_second {
        // Each connection must carry a page before it counts as one that stands still.
        Some(limit) if limit < LEAST_BYTES_PER_SECOND * u64::from(test.channels.max(1)) => {
            let least = LEAST_BYTES_PER_SECOND * u64::from(test.channels.max(1));
            refuse(format!(
                "bandwidth {limit}B/s: use at least {least}B/s for {} connections",
                test.channels
            ))
        }
        Some(_) if !test.bulk => refuse("bandwidth limits bulk, of which mode postcopy has none"),
        _ => Ok(()),
    }
}

fn dirty(test: &Test) -> Result<Option<Spec>, PlanError> {
    let Some(text) = &test.dirty else { return Ok(None) };
    let Some(memory_bytes) = test.memory_bytes else {
        return refuse("What dirties memory needs some: give memory, too");
    };
    let spec: Spec = match text.parse() {
        Ok(spec) => spec,
        Err(error) => return refuse(format!("dirty {text}: {error}")),
    };
    if spec.memory.0 > memory_bytes || spec.pages() == 0 {
        return refuse(format!(
            "dirty writes {}, and there are {}",
            spec.memory,
            Bytes(memory_bytes)
        ));
    }
    if spec.workers > u32::from(MAX_CHANNELS) || spec.workers as usize > spec.pages() {
        return refuse(format!("dirty with {} workers: that is too many", spec.workers));
    }
    Ok(Some(spec))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A test that is fine.
    pub fn good() -> Test {
        Test {
            version: VERSION,
            bulk: true,
            up: true,
            channels: 1,
            block_bytes: 128 << 10,
            interval_ns: 1_000_000_000,
            vcpus: 1,
            compression: "none".to_owned(),
            ..Test::default()
        }
    }

    #[test]
    fn lanes_follow_from_what_is_asked_for() {
        let lanes = |change: fn(&mut Test)| {
            let mut test = good();
            change(&mut test);
            Plan::of(test, 0).unwrap().lanes()
        };
        let (main, urgent) = (Part::Main, Part::Urgent);
        assert_eq!(lanes(|_| ()), [(Way::Up, main, 0)]);
        let found = lanes(|it| (it.channels, it.requests, it.preempt) = (2, true, true));
        assert_eq!(found, [(Way::Up, main, 0), (Way::Up, main, 1), (Way::Up, urgent, 0)]);
        let found = lanes(|it| (it.bulk, it.requests, it.down) = (false, true, true));
        assert_eq!(found, [(Way::Up, main, 0), (Way::Down, main, 0)]);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_name_and_value() {
        #[track_caller]
        fn check(change: fn(&mut Test), expected: &str) {
            let mut test = good();
            change(&mut test);
            let error = Plan::of(test, 1 << 30).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        check(|it| it.version = 9, "version 9");
        check(|it| it.bulk = false, "Neither bulk nor requests");
        check(|it| it.up = false, "No direction");
        check(|it| it.preempt = true, "needs mode both");
        check(|it| it.channels = 0, "channels 0: use 1 to 256");
        check(|it| it.channels = 257, "channels 257");
        check(|it| (it.channels, it.bulk, it.requests) = (2, false, true), "channels 2");
        check(|it| it.block_bytes = 5000, "block 5000B: use a multiple");
        check(|it| it.block_bytes = 32 << 20, "block 32MiB");
        check(|it| it.memory_bytes = Some(4096), "memory 4KiB");
        check(|it| it.memory_bytes = Some(2 << 30), "this machine allows 1.00 GiB");
        check(|it| it.prefetch = 1, "mode precopy has none");
        check(|it| (it.requests, it.vcpus) = (true, 0), "vcpus 0");
        check(|it| (it.requests, it.vcpus, it.prefetch) = (true, 1024, 64), "prefetch 64");
        check(|it| it.compression = "lz4".to_owned(), "compression lz4: known are");
        check(|it| it.level = Some(1), "needs a compression");
        check(|it| (it.compression, it.level) = ("zlib".to_owned(), Some(10)), "zlib has 0 to 9");
        check(|it| (it.compression, it.zero_copy) = ("zstd".to_owned(), true), "zero-copy");
        check(|it| it.duration_ns = Some(0), "no time");
        check(|it| it.bytes = Some(0), "no bytes");
        check(|it| (it.bulk, it.requests, it.bytes) = (false, true, Some(1)), "bytes count bulk");
        check(|it| it.interval_ns = 0, "use 10ms to 1h");
        check(|it| it.max_bytes_per_second = Some(0), "bandwidth 0B/s");
        check(|it| it.dscp = Some(64), "dscp 64");
        check(|it| it.send_buffer_bytes = Some(2 << 30), "send buffer 2GiB");
        check(|it| it.dirty = Some("memory=1MiB".to_owned()), "give memory");
        check(
            |it| (it.memory_bytes, it.dirty) = (Some(1 << 20), Some("memory=2MiB".to_owned())),
            "dirty writes 2MiB",
        );
        check(
            |it| (it.memory_bytes, it.dirty) = (Some(1 << 20), Some("quickly".to_owned())),
            "dirty quickly",
        );
    }
}
