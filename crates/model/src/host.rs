//! What the machines on both sides need time for.

use sterna_workload::Method;

use crate::dirty::PAGE;

/// Speeds and fixed times of the hosts. Until they are measured they are assumptions, and [`Host::assumptions`] says so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Host {
    /// How fast one connection takes pages with content when nothing limits it: copying, checking and the kernel's part.
    pub send_bytes_per_second: f64,
    /// The most that parallel connections reach together, as a multiple of one.
    pub parallel_gain: f64,
    /// How fast memory is found to be zero.
    pub zero_scan_bytes_per_second: f64,
    /// How fast one channel compresses by zlib.
    pub zlib_bytes_per_second: f64,
    /// How fast one channel compresses by zstd.
    pub zstd_bytes_per_second: f64,
    /// Channels that can work at the same time.
    pub processors: u32,
    /// How fast differences are found.
    pub delta_bytes_per_second: f64,
    /// Time from the accepted command to the first byte.
    pub setup_ns: u64,
    /// Time to watch all memory for the first time, for each GiB.
    pub arm_ns_per_gib: u64,
    /// Length of a synchronisation, for each GiB of memory.
    pub sync_ns_per_gib: u64,
    /// Downtime without any memory: devices, processors, the answer of the destination.
    pub fixed_downtime_ns: u64,
    /// Time to discard memory at the destination before post-copy, for each GiB.
    pub discard_ns_per_gib: u64,
    /// How long a processor waits for a page that it asks for in post-copy, without the link's latency and the page's own time on it.
    pub fault_ns: u64,
    /// How long the first write to a page takes after it was watched again.
    pub first_touch_ns: u64,
    /// How many bytes a second a worker without a limit fills.
    pub fill_bytes_per_second: f64,
    /// How long such a worker needs for a page of which it changes one word only.
    pub touch_ns: u64,
}

impl Host {
    /// The emulator on two small processors over the loopback interface.
    pub fn emulator() -> Host {
        Host {
            send_bytes_per_second: 1.0e9,
            parallel_gain: 1.3,
            zero_scan_bytes_per_second: 8e9,
            zlib_bytes_per_second: 60e6,
            zstd_bytes_per_second: 300e6,
            processors: 2,
            delta_bytes_per_second: 1.5e9,
            setup_ns: 8_000_000,
            arm_ns_per_gib: 60_000_000,
            sync_ns_per_gib: 4_000_000,
            fixed_downtime_ns: 1_500_000,
            discard_ns_per_gib: 100_000_000,
            fault_ns: 150_000,
            first_touch_ns: 1_000,
            fill_bytes_per_second: 4e9,
            touch_ns: 100,
        }
    }

    /// QEMU with KVM on a server.
    pub fn qemu_kvm() -> Host {
        Host {
            send_bytes_per_second: 1.5e9,
            parallel_gain: 6.0,
            zero_scan_bytes_per_second: 10e9,
            processors: 16,
            setup_ns: 10_000_000,
            arm_ns_per_gib: 0,
            sync_ns_per_gib: 1_000_000,
            fixed_downtime_ns: 30_000_000,
            discard_ns_per_gib: 20_000_000,
            fault_ns: 300_000,
            ..Host::emulator()
        }
    }

    /// From the accepted command to the first byte, for a guest of `bytes`.
    pub(crate) fn whole_setup_ns(&self, bytes: u64) -> u64 {
        self.setup_ns + (self.arm_ns_per_gib as f64 * bytes as f64 / f64::from(1 << 30)) as u64
    }

    /// Writes a second of a worker without a limit.
    pub(crate) fn unlimited_writes_per_second(&self, method: Method) -> f64 {
        match method {
            Method::Touch | Method::Counter => 1e9 / self.touch_ns.max(1) as f64,
            _ => self.fill_bytes_per_second / PAGE,
        }
    }

    /// What a report has to say of numbers that were not measured.
    pub fn assumptions(&self) -> Vec<String> {
        vec![
            format!("one connection carries at most {:.1} GB/s", self.send_bytes_per_second / 1e9),
            format!(
                "memory is found to be zero at {:.1} GB/s",
                self.zero_scan_bytes_per_second / 1e9
            ),
            format!(
                "one channel compresses {:.0} MB/s by zlib and {:.0} MB/s by zstd",
                self.zlib_bytes_per_second / 1e6,
                self.zstd_bytes_per_second / 1e6
            ),
            format!(
                "a downtime without any memory takes {:.0} ms",
                self.fixed_downtime_ns as f64 / 1e6
            ),
            format!(
                "a synchronisation takes {:.1} ms for each GiB",
                self.sync_ns_per_gib as f64 / 1e6
            ),
            format!(
                "a page that is asked for in post-copy arrives after {:.2} ms besides the link's time",
                self.fault_ns as f64 / 1e6
            ),
        ]
    }
}
