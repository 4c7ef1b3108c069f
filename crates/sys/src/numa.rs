//! Memory nodes: which there are, and binding a region to some of them.

use std::{fs, io};

use crate::{cpu::parse_cpu_list, region::Region};

/// One memory node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The kernel's number of the node.
    pub id: usize,
    /// Processors close to it; empty for a node of memory only.
    pub cpus: Vec<usize>,
    /// Its memory in use or free; None where the kernel does not say.
    pub memory_bytes: Option<u64>,
}

const NODES: &str = "/sys/devices/system/node";

/// The nodes that are online; empty where the kernel knows nothing of nodes.
#[must_use]
pub fn nodes() -> Vec<Node> {
    let online = fs::read_to_string(format!("{NODES}/online")).unwrap_or_default();
    let ids = parse_cpu_list(&online).unwrap_or_default();
    ids.into_iter().map(node).collect()
}

fn node(id: usize) -> Node {
    let read = |file| fs::read_to_string(format!("{NODES}/node{id}/{file}")).unwrap_or_default();
    Node {
        id,
        cpus: parse_cpu_list(&read("cpulist")).unwrap_or_default(),
        memory_bytes: memory_bytes(&read("meminfo")),
    }
}

/// Reads the line `Node 0 MemTotal: 1024 kB`.
fn memory_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|it| it.contains("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().rev().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Lets the pages of `region` come from these nodes only, spread evenly when there are several.
///
/// Pages that exist already stay where they are, so bind before touching.
///
/// # Errors
/// An empty list, a node that does not exist or that a cgroup does not allow, or a kernel without
/// NUMA.
pub fn bind(region: &Region, nodes: &[usize]) -> io::Result<()> {
    let mask = mask(nodes)?;
    let mode = if nodes.len() == 1 { libc::MPOL_BIND } else { libc::MPOL_INTERLEAVE };
    let words = region.words();
    // SAFETY: the range is that of the region, the policy of a mapping says nothing about its
    // content, and the mask has as many bits as are announced; the kernel reads one bit less than
    // `maxnode`.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            words.as_ptr(),
            size_of_val(words),
            mode,
            mask.as_ptr(),
            mask.len() * MASK_BITS + 1,
            0,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

const MASK_BITS: usize = libc::c_ulong::BITS as usize;
/// More than any kernel is built for.
const MAX_NODES: usize = 1024;

fn mask(nodes: &[usize]) -> io::Result<Vec<libc::c_ulong>> {
    let refuse = |message: String| Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    let mut mask = vec![0; MAX_NODES / MASK_BITS];
    if nodes.is_empty() {
        return refuse("Node list is empty: name at least one memory node".into());
    }
    for &id in nodes {
        match mask.get_mut(id / MASK_BITS) {
            Some(bits) => *bits |= 1 << (id % MASK_BITS),
            None => {
                return refuse(format!("Node {id} does not exist: nodes are below {MAX_NODES}"));
            }
        }
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::{HugePages, RegionOptions};

    #[test]
    fn a_region_binds_to_nodes_that_exist_only() {
        let options = RegionOptions { bytes: 1 << 20, huge_pages: HugePages::None, locked: false };
        let region = Region::new(&options).unwrap();
        let kind = |nodes: &[usize]| bind(&region, nodes).map_err(|it| it.kind());
        assert_eq!(kind(&[]), Err(io::ErrorKind::InvalidInput));
        assert_eq!(kind(&[1 << 20]), Err(io::ErrorKind::InvalidInput));
        let Some(node) = nodes().into_iter().next() else {
            eprintln!("skipped: this kernel has no memory nodes");
            return;
        };
        if kind(&[node.id]) == Err(io::ErrorKind::Unsupported) {
            eprintln!("skipped: this kernel is built without NUMA");
            return;
        }
        assert_eq!(kind(&[node.id]), Ok(()));
        assert_eq!(kind(&[1000]), Err(io::ErrorKind::InvalidInput));
        region.words()[0].store(1, std::sync::atomic::Ordering::Relaxed);
    }

    #[test]
    fn node_memory() {
        assert_eq!(
            memory_bytes("Node 0 MemTotal:       2048 kB\nNode 0 MemFree: 1 kB\n"),
            Some(2 << 20)
        );
        assert_eq!(memory_bytes(""), None);
    }
}
