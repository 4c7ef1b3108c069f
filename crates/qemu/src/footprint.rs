//! Which pages a guest's memory really got, as the kernel says.

use std::fs;
use std::ops::Range;

use serde_json::{Value, json};

use crate::guest_memory::HostAddress;
use crate::process::QemuProcess;

/// What stands in `/proc` about the memory of one guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Footprint {
    /// The guest's memory in reserved huge pages.
    huge_page_bytes: Option<u64>,
    /// The guest's memory in transparent huge pages.
    transparent_huge_page_bytes: Option<u64>,
    /// Locked against swapping, of the whole process.
    locked_bytes: Option<u64>,
    /// The nodes that memory is bound to, as the kernel writes them; empty where nothing is bound.
    numa_binding: Option<String>,
}

/// One side's guest memory before the migration and at its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Footprints {
    pid: Option<u32>,
    guest: Option<Range<u64>>,
    before: Footprint,
    end: Option<Footprint>,
}

impl Footprints {
    /// Reads what it is before; a QEMU of another machine tells nothing.
    pub fn new(qemu: &mut QemuProcess, memory_bytes: u64) -> Footprints {
        let Some(pid) = qemu.local_pid() else { return Footprints::default() };
        let start = HostAddress::of(qemu, 0).ok();
        let guest = start.map(|HostAddress(start)| start..start + memory_bytes);
        let before = Footprint::of(pid, guest.clone());
        Footprints { pid: Some(pid), guest, before, end: None }
    }

    /// Reads what it is at the end of the migration, once.
    pub fn see_end(&mut self) {
        if let (Some(pid), None) = (self.pid, &self.end) {
            self.end = Some(Footprint::of(pid, self.guest.clone()));
        }
    }

    /// For the report: at the end of the migration, where one ended, and before it.
    pub fn to_details(&self) -> Value {
        let nothing = Footprint::default();
        let end = self.end.as_ref().unwrap_or(&nothing);
        json!({
            "huge_page_bytes": end.huge_page_bytes,
            "transparent_huge_page_bytes": end.transparent_huge_page_bytes,
            "transparent_huge_page_bytes_before": self.before.transparent_huge_page_bytes,
            "locked_bytes": end.locked_bytes,
            "numa_binding": end.numa_binding,
        })
    }
}

impl Footprint {
    /// Reads it now; what cannot be read is `None`. `guest` is where the guest's memory lies in the process.
    ///
    /// The process has other memory too, which may be in huge pages whatever the guest's is in: caches of the translator, buffers of channels.
    fn of(pid: u32, guest: Option<Range<u64>>) -> Footprint {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        let smaps = guest.and_then(|guest| Some((read("smaps")?, guest)));
        let sum = |names: &[&str]| smaps.as_ref().and_then(|(smaps, it)| sum(smaps, it, names));
        let (status, maps) = (read("status"), read("numa_maps"));
        Footprint {
            huge_page_bytes: sum(&["Private_Hugetlb:", "Shared_Hugetlb:"]),
            transparent_huge_page_bytes: sum(&["AnonHugePages:"]),
            locked_bytes: status.as_deref().and_then(|it| kib(it, "VmLck:")),
            numa_binding: maps.as_deref().map(binding),
        }
    }
}

/// The sum of these lines over all mappings that lie in the range. `None` where there is no such mapping.
fn sum(smaps: &str, guest: &Range<u64>, names: &[&str]) -> Option<u64> {
    let mut total = None;
    let mut is_within = false;
    for line in smaps.lines() {
        if let Some(mapping) = mapping(line) {
            is_within = mapping.start < guest.end && guest.start < mapping.end;
        } else if is_within {
            let found = names.iter().find_map(|it| kib(line, it));
            total = found.map(|it| it + total.unwrap_or(0)).or(total);
        }
    }
    total
}

/// The range of a line such as `7f1c00000000-7f1c10000000 rw-p 00000000 00:00 0`.
fn mapping(line: &str) -> Option<Range<u64>> {
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    let address = |it| u64::from_str_radix(it, 16).ok();
    Some(address(start)?..address(end)?)
}

/// The value of a line such as `VmLck:     1024 kB`, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|it| it.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|it| it << 10)
}

/// Each line of `numa_maps` has an address and a policy, such as `bind:0-1`.
fn binding(numa_maps: &str) -> String {
    let policies = numa_maps.lines().filter_map(|it| it.split_whitespace().nth(1));
    policies.filter_map(|it| it.strip_prefix("bind:")).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
7f0000000000-7f0000400000 rw-p 00000000 00:00 0
Size: 4096 kB
AnonHugePages: 2048 kB
Shared_Hugetlb: 0 kB
Private_Hugetlb: 0 kB
7f1000000000-7f1000400000 rw-p 00000000 00:00 0 [anon:guest]
AnonHugePages: 4096 kB
Shared_Hugetlb: 8 kB
Private_Hugetlb: 16 kB
7f1000400000-7f1000800000 rw-p 00000000 00:00 0
AnonHugePages: 1024 kB
";

    #[test]
    fn the_kernels_lines_are_read() {
        assert_eq!(kib("VmPeak:  1 kB\nVmLck:\t    1024 kB\n", "VmLck:"), Some(1 << 20));
        assert_eq!(kib("VmPeak:  1 kB\n", "VmLck:"), None);
        assert_eq!(binding("7f00 default anon=1\n7f10 bind:0-1 anon=2 N0=2\n"), "0-1");
        assert_eq!(binding("7f00 default anon=1\n"), "");
        let ours = Footprint::of(std::process::id(), Some(0..u64::MAX));
        assert!(ours.locked_bytes.is_some() && ours.huge_page_bytes == Some(0), "{ours:?}");
        assert_eq!(Footprint::of(u32::MAX, Some(0..u64::MAX)), Footprint::default());
    }

    #[test]
    fn huge_pages_of_the_guest_alone_count() {
        let thp = |guest: Range<u64>| sum(SMAPS, &guest, &["AnonHugePages:"]);
        assert_eq!(thp(0x7f10_0000_0000..0x7f10_0040_0000), Some(4 << 20));
        // The kernel may have cut the guest's memory into several mappings.
        assert_eq!(thp(0x7f10_0000_0000..0x7f10_0080_0000), Some(5 << 20));
        assert_eq!(thp(0x7f20_0000_0000..0x7f20_0040_0000), None);
        let reserved = ["Private_Hugetlb:", "Shared_Hugetlb:"];
        assert_eq!(sum(SMAPS, &(0x7f10_0000_0000..0x7f10_0000_1000), &reserved), Some(24 << 10));
        let ours = Footprint::of(std::process::id(), None);
        assert_eq!((ours.transparent_huge_page_bytes, ours.huge_page_bytes), (None, None));
        assert!(ours.locked_bytes.is_some());
    }
}
