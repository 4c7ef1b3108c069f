//! Which pages a QEMU's memory really got, as the kernel tells.

use std::fs;

use serde_json::{Value, json};

/// What stands in `/proc` about the memory of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// In reserved huge pages.
    huge_page_bytes: Option<u64>,
    /// In transparent huge pages.
    transparent_huge_page_bytes: Option<u64>,
    /// Locked against swapping.
    locked_bytes: Option<u64>,
    /// The nodes that memory is bound to, as the kernel writes them; empty where nothing is bound.
    numa_binding: Option<String>,
}

impl Footprint {
    /// Reads it now; what cannot be read is `None`.
    pub fn of(pid: u32) -> Footprint {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        let (rollup, status, maps) = (read("smaps_rollup"), read("status"), read("numa_maps"));
        let rollup = |name: &str| kib(rollup.as_deref()?, name);
        Footprint {
            huge_page_bytes: rollup("Private_Hugetlb:")
                .zip(rollup("Shared_Hugetlb:"))
                .map(|(private, shared)| private + shared),
            transparent_huge_page_bytes: rollup("AnonHugePages:"),
            locked_bytes: status.as_deref().and_then(|it| kib(it, "VmLck:")),
            numa_binding: maps.as_deref().map(binding),
        }
    }

    /// For the report.
    pub fn to_details(&self) -> Value {
        json!({
            "huge_page_bytes": self.huge_page_bytes,
            "transparent_huge_page_bytes": self.transparent_huge_page_bytes,
            "locked_bytes": self.locked_bytes,
            "numa_binding": self.numa_binding,
        })
    }
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

    #[test]
    fn the_kernels_lines_are_read() {
        assert_eq!(kib("VmPeak:  1 kB\nVmLck:\t    1024 kB\n", "VmLck:"), Some(1 << 20));
        assert_eq!(kib("VmPeak:  1 kB\n", "VmLck:"), None);
        assert_eq!(binding("7f00 default anon=1\n7f10 bind:0-1 anon=2 N0=2\n"), "0-1");
        assert_eq!(binding("7f00 default anon=1\n"), "");
        let ours = Footprint::of(std::process::id());
        assert!(ours.locked_bytes.is_some() && ours.huge_page_bytes == Some(0), "{ours:?}");
        assert_eq!(Footprint::of(u32::MAX), Footprint::default());
    }
}
