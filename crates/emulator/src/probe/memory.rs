//! How much memory there is for two hosts, and of which kinds.

use std::sync::atomic::AtomicU64;

use rustix::process::{Resource, getrlimit};
use sterna_pilot::{Availability, Finding};
use sterna_sys::PAGE_BYTES;
use sterna_sys::region::{HugePages, Region, RegionError, RegionOptions};
use sterna_units::human_bytes;

use super::{OVERHEAD_BYTES, cgroup, chain};

const GROUP: &str = "memory";

/// Both sides are on one machine.
const SIDES: u64 = 2;

pub(super) fn findings(guest_bytes: u64) -> Vec<Finding> {
    let needed_bytes = SIDES * (guest_bytes + OVERHEAD_BYTES);
    let pool = |name, huge_pages| huge_pages_reserved(name, huge_pages, SIDES * guest_bytes);
    vec![
        judge_available(&read("/proc/meminfo"), cgroup::headroom_bytes(), needed_bytes),
        guest_memory(guest_bytes),
        memory_lock(guest_bytes),
        judge_thp(&read("/sys/kernel/mm/transparent_hugepage/enabled")),
        pool("huge_pages_2mib", HugePages::Size2MiB),
        pool("huge_pages_1gib", HugePages::Size1GiB),
    ]
}

/// Memory that this process may still take: what the machine has or its cgroup leaves, whichever is less. `None` when neither says.
pub fn available_bytes() -> Option<u64> {
    let machine = meminfo_bytes(&read("/proc/meminfo"), "MemAvailable");
    machine.into_iter().chain(cgroup::headroom_bytes()).min()
}

/// Empty where there is no such file, which then says nothing.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Bytes in the line `name:   1234 kB` of `/proc/meminfo`.
fn meminfo_bytes(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A container's limit counts as much as the machine's own memory: whichever ends first ends the run.
fn judge_available(meminfo: &str, cgroup_bytes: Option<u64>, needed_bytes: u64) -> Finding {
    let machine_bytes = meminfo_bytes(meminfo, "MemAvailable");
    let bound_by_cgroup = match (machine_bytes, cgroup_bytes) {
        (Some(machine), Some(cgroup)) => cgroup < machine,
        (machine, cgroup) => machine.is_none() && cgroup.is_some(),
    };
    let available_bytes = if bound_by_cgroup { cgroup_bytes } else { machine_bytes };
    let needed = human_bytes(needed_bytes as f64);
    let (value, availability) = match available_bytes {
        None => (String::new(), Availability::Ok),
        Some(bytes) => {
            let bound = if bound_by_cgroup { " within the cgroup's limit" } else { "" };
            let value = format!("{}{bound}", human_bytes(bytes as f64));
            let remedy = if bound_by_cgroup {
                format!(
                    "Raise the memory limit of this container or service to leave {needed}, or use a smaller guest.memory"
                )
            } else {
                format!("Free memory until {needed} are available, or use a smaller guest.memory")
            };
            let lacking = || {
                let consequence = format!(
                    "The default guest does not fit twice: both sides together take {needed}"
                );
                Availability::missing(consequence, remedy)
            };
            (value, if bytes < needed_bytes { lacking() } else { Availability::Ok })
        }
    };
    Finding::new(GROUP, "memory_available", value, availability)
        .required()
        .fact("available_bytes", available_bytes)
        .fact("machine_available_bytes", machine_bytes)
        .fact("cgroup_headroom_bytes", cgroup_bytes)
        .fact("needed_bytes", needed_bytes)
        .fact("total_bytes", meminfo_bytes(meminfo, "MemTotal"))
}

/// Maps as much as a guest has, which takes no memory, and populates one page.
fn guest_memory(guest_bytes: u64) -> Finding {
    let populate =
        |_| region(PAGE_BYTES as u64, HugePages::None, false)?.prealloc(1, &AtomicU64::new(0));
    let trial = region(guest_bytes, HugePages::None, false).and_then(populate);
    let size = human_bytes(guest_bytes as f64);
    let (value, availability) = match trial {
        Ok(()) => (format!("{size} can be mapped"), Availability::Ok),
        Err(error) => {
            let remedy = match rustix::param::page_size() {
                PAGE_BYTES => "Raise RLIMIT_AS (`ulimit -v unlimited`)",
                _ => "Use a kernel with base pages of 4 KiB",
            };
            let consequence = format!("There can be no guest of {size}");
            (chain(&error), Availability::missing(consequence, remedy))
        }
    };
    Finding::new(GROUP, "guest_memory", value, availability)
        .required()
        .fact("guest_bytes", guest_bytes)
        .fact("page_bytes", rustix::param::page_size())
}

/// Locks as much as a guest has; pages would be locked when touched, so nothing is taken.
fn memory_lock(guest_bytes: u64) -> Finding {
    let limit_bytes = getrlimit(Resource::Memlock).current;
    let is_enough = region(guest_bytes, HugePages::None, true).is_ok();
    judge_memory_lock(limit_bytes, guest_bytes, is_enough)
}

fn judge_memory_lock(limit_bytes: Option<u64>, guest_bytes: u64, is_enough: bool) -> Finding {
    let mut value = limit_bytes.map_or("unlimited".to_owned(), |it| human_bytes(it as f64));
    if is_enough && limit_bytes.is_some_and(|it| it < guest_bytes) {
        value.push_str(", which does not bind this user");
    }
    let size = human_bytes(guest_bytes as f64);
    let availability = if is_enough {
        Availability::Ok
    } else {
        Availability::limited(
            format!(
                "guest.locked does not work for the default guest of {size}, and zero-copy sends fail beyond the limit"
            ),
            "Raise RLIMIT_MEMLOCK: `ulimit -l unlimited` as root, LimitMEMLOCK=infinity for a service, or memlock in /etc/security/limits.conf",
        )
    };
    Finding::new(GROUP, "memory_lock_limit", value, availability).fact("limit_bytes", limit_bytes)
}

fn judge_thp(enabled: &str) -> Finding {
    const CONSEQUENCE: &str = "guest.huge-pages = \"thp\" gets pages of 4 KiB";
    let mode = enabled.split_once('[').and_then(|(_, rest)| Some(rest.split_once(']')?.0));
    let availability = match mode {
        Some("always" | "madvise") => Availability::Ok,
        Some(_) => Availability::missing(
            CONSEQUENCE,
            "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled",
        ),
        None => Availability::missing(
            CONSEQUENCE,
            "Use a kernel built with CONFIG_TRANSPARENT_HUGEPAGE, and mount /sys in this container",
        ),
    };
    let name = "transparent_huge_pages";
    Finding::new(GROUP, name, mode.unwrap_or_default(), availability).fact("mode", mode)
}

/// The reserved huge pages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pool {
    /// In the machine; `None` where the kernel does not know the size.
    total_pages: Option<u64>,
    /// Of these, in nobody's use.
    free_pages: Option<u64>,
    /// Of the free ones, promised to somebody who has not touched them yet.
    claimed_pages: Option<u64>,
}

impl Pool {
    fn unclaimed_pages(self) -> u64 {
        self.free_pages.unwrap_or(0).saturating_sub(self.claimed_pages.unwrap_or(0))
    }
}

/// How much of them a trial got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Granted {
    /// Enough for both sides of the default scenario.
    Both,
    /// At least one.
    Some,
    /// None at all.
    Nothing,
}

/// Reserves what both sides would need, and gives it back at once.
///
/// The number of free pages alone would mislead: others may have a claim on them, a cgroup may forbid them, and the kernel may be allowed to make more.
fn huge_pages_reserved(name: &str, huge_pages: HugePages, both_bytes: u64) -> Finding {
    let page_bytes = huge_pages.page_bytes();
    let needed_pages = both_bytes.div_ceil(page_bytes).max(SIDES);
    let number = |file| read(&format!("{}/{file}", folder(page_bytes))).trim().parse().ok();
    let pool = Pool {
        total_pages: number("nr_hugepages"),
        free_pages: number("free_hugepages"),
        claimed_pages: number("resv_hugepages"),
    };
    let has = |pages: u64| region(pages * page_bytes, huge_pages, false).is_ok();
    let granted = match () {
        () if has(needed_pages) => Granted::Both,
        () if has(1) => Granted::Some,
        () => Granted::Nothing,
    };
    judge_pool(name, page_bytes, pool, granted, needed_pages)
}

fn folder(page_bytes: u64) -> String {
    format!("/sys/kernel/mm/hugepages/hugepages-{}kB", page_bytes >> 10)
}

fn judge_pool(
    name: &str,
    page_bytes: u64,
    pool: Pool,
    granted: Granted,
    needed_pages: u64,
) -> Finding {
    let setting = if page_bytes == 2 << 20 { "2MiB" } else { "1GiB" };
    let remedy = || remedy_for_pool(page_bytes, pool, needed_pages);
    let availability = match granted {
        Granted::Both => Availability::Ok,
        Granted::Some => Availability::limited(
            format!(
                "guest.huge-pages = \"{setting}\" works for small guests only: the default scenario takes {needed_pages} pages"
            ),
            remedy(),
        ),
        Granted::Nothing => Availability::missing(
            format!("guest.huge-pages = \"{setting}\" cannot be used"),
            remedy(),
        ),
    };
    let value = match pool.total_pages {
        Some(total) => format!("{} of {total} free", pool.unclaimed_pages()),
        None => "unknown to this kernel".to_owned(),
    };
    Finding::new(GROUP, name, value, availability)
        .fact("page_bytes", page_bytes)
        .fact("total_pages", pool.total_pages)
        .fact("free_pages", pool.free_pages)
        .fact("claimed_pages", pool.claimed_pages)
        .fact("needed_pages", needed_pages)
}

fn remedy_for_pool(page_bytes: u64, pool: Pool, needed_pages: u64) -> String {
    let Some(total_pages) = pool.total_pages else {
        return "Use a kernel and a processor that have pages of this size, or other guest.huge-pages"
            .to_owned();
    };
    let short_pages = needed_pages.saturating_sub(pool.unclaimed_pages());
    if short_pages == 0 {
        return "Raise the limit on huge pages of this container or service (hugetlb cgroup)"
            .to_owned();
    }
    let wanted = total_pages.saturating_add(short_pages);
    let size = if page_bytes == 2 << 20 { "2M" } else { "1G" };
    format!(
        "echo {wanted} | sudo tee {}/nr_hugepages; where memory is too fragmented for that, boot with hugepagesz={size} hugepages={wanted}",
        folder(page_bytes)
    )
}

fn region(bytes: u64, huge_pages: HugePages, locked: bool) -> Result<Region, RegionError> {
    Region::new(&RegionOptions { bytes, huge_pages, locked })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn amounts_are_read_from_meminfo() {
        let check =
            |text: &str, expected| assert_eq!(meminfo_bytes(text, "MemAvailable"), expected);
        check("MemTotal: 8 kB\nMemAvailable:   23923740 kB\n", Some(23_923_740 * 1024));
        check("MemAvailableToo: 8 kB\n", None);
        check("MemAvailable: 8\n", None);
        check("MemAvailable: 99999999999999999999 kB\n", None);
        check("MemAvailable: 18446744073709551615 kB\n", None);
        check("", None);
    }

    #[test]
    fn the_smaller_of_machine_and_cgroup_decides() {
        #[track_caller]
        fn check(machine_mib: Option<u64>, cgroup_mib: Option<u64>, value: &str, word: &str) {
            let meminfo = machine_mib
                .map_or_else(String::new, |it| format!("MemAvailable: {} kB\n", it << 10));
            let finding = judge_available(&meminfo, cgroup_mib.map(|it| it * MIB), 640 * MIB);
            assert_eq!(finding.value.as_deref().unwrap_or("unknown"), value);
            assert_eq!(finding.availability.as_str(), word);
            assert!(finding.is_required);
        }
        check(Some(2048), None, "2.00 GiB", "ok");
        check(Some(640), None, "640 MiB", "ok");
        check(Some(639), None, "639 MiB", "missing");
        check(Some(2048), Some(4096), "2.00 GiB", "ok");
        check(Some(2048), Some(512), "512 MiB within the cgroup's limit", "missing");
        check(None, Some(1024), "1.00 GiB within the cgroup's limit", "ok");
        check(None, None, "unknown", "ok");
    }

    #[test]
    fn who_is_not_bound_by_the_lock_limit_is_not_bothered() {
        #[track_caller]
        fn check(limit_bytes: Option<u64>, is_enough: bool, value: &str, word: &str) {
            let finding = judge_memory_lock(limit_bytes, 256 * MIB, is_enough);
            assert_eq!(finding.value.as_deref(), Some(value));
            assert_eq!(finding.availability.as_str(), word);
        }
        check(None, true, "unlimited", "ok");
        check(Some(8 * MIB), false, "8.00 MiB", "limited");
        check(Some(8 * MIB), true, "8.00 MiB, which does not bind this user", "ok");
        check(Some(512 * MIB), true, "512 MiB", "ok");
        check(Some(0), false, "0 B", "limited");
    }

    #[test]
    fn the_mode_of_transparent_huge_pages_stands_in_brackets() {
        #[track_caller]
        fn check(enabled: &str, mode: Option<&str>, word: &str) {
            let finding = judge_thp(enabled);
            assert_eq!((finding.value.as_deref(), finding.availability.as_str()), (mode, word));
        }
        check("always [madvise] never\n", Some("madvise"), "ok");
        check("[always] madvise never\n", Some("always"), "ok");
        check("always madvise [never]\n", Some("never"), "missing");
        check("always madvise never", None, "missing");
        check("", None, "missing");
    }

    #[test]
    fn reserved_pages_are_judged_by_what_a_trial_got() {
        #[track_caller]
        fn check(pool: Option<[u64; 3]>, granted: Granted, value: &str, word: &str, remedy: &str) {
            let pool = Pool {
                total_pages: pool.map(|it| it[0]),
                free_pages: pool.map(|it| it[1]),
                claimed_pages: pool.map(|it| it[2]),
            };
            let finding = judge_pool("huge_pages_2mib", 2 * MIB, pool, granted, 256);
            assert_eq!(finding.value.as_deref(), Some(value));
            assert_eq!(finding.availability.as_str(), word);
            let told = finding.availability.shortfall().map_or("", |it| it.remedy.as_str());
            assert!(told.starts_with(remedy), "{told}");
            assert_eq!(told.is_empty(), remedy.is_empty(), "{told}");
        }
        use Granted::{Both, Nothing, Some as AtLeastOne};
        let cgroup = "Raise the limit on huge pages";
        check(Some([300, 256, 0]), Both, "256 of 300 free", "ok", "");
        check(Some([0, 0, 0]), Both, "0 of 0 free", "ok", "");
        check(Some([0, 0, 0]), Nothing, "0 of 0 free", "missing", "echo 256 | sudo tee /sys/");
        check(Some([100, 60, 0]), AtLeastOne, "60 of 100 free", "limited", "echo 296 |");
        check(Some([300, 256, 256]), Nothing, "0 of 300 free", "missing", "echo 556 |");
        check(Some([300, 256, 0]), Nothing, "256 of 300 free", "missing", cgroup);
        check(None, Nothing, "unknown to this kernel", "missing", "Use a kernel and a processor");
    }
}
