//! Processors and memory nodes.

use sterna_pilot::{Availability, Finding};
use sterna_sys::region::{HugePages, Region, RegionOptions};
use sterna_sys::{PAGE_BYTES, cpu, numa};

use super::chain;

const GROUP: &str = "processors";

/// Beside the workers, the sending and the receiving thread want to run all the time.
const MIGRATION_THREADS: usize = 2;

pub(super) fn findings(vcpus: u32) -> Vec<Finding> {
    let cpus = Cpus {
        online: cpu::online(),
        allowed: cpu::allowed().ok().map(|it| it.len()),
        // Also counts what a cgroup gives in processor time.
        usable: std::thread::available_parallelism().ok().map(usize::from),
    };
    vec![judge_cpus(cpus, vcpus as usize + MIGRATION_THREADS), numa_nodes()]
}

/// How many processors there are, in three ways of counting.
#[derive(Clone, Copy)]
struct Cpus {
    /// In the machine.
    online: usize,
    /// That this process may run on.
    allowed: Option<usize>,
    /// The same, or fewer where there is a quota of processor time.
    usable: Option<usize>,
}

fn judge_cpus(cpus: Cpus, wanted: usize) -> Finding {
    let Cpus { online, allowed, usable } = cpus;
    let has_quota = allowed.zip(usable).is_some_and(|(allowed, usable)| usable < allowed);
    let mut value = match allowed {
        Some(allowed) if allowed < online => format!("{allowed} of {online} allowed"),
        _ => format!("{online}"),
    };
    if let Some(usable) = usable.filter(|_| has_quota) {
        value = format!("{value}, time for {usable} by quota");
    }
    let availability = if has_quota {
        Availability::limited(
            "The kernel stops all threads when the quota is used up, which shows in downtime and blackout",
            "Give this container or service whole processors instead of a quota (cpuset, or no CPU limit)",
        )
    } else if allowed.unwrap_or(online) < wanted {
        Availability::limited(
            "Workers and migration wait for each other, which shows in throughput, passes and downtime",
            format!(
                "Use {wanted} processors or more, or fewer with guest.vcpus and workload.workers"
            ),
        )
    } else {
        Availability::Ok
    };
    Finding::new(GROUP, "cpus", value, availability)
        .fact("online", online)
        .fact("allowed", allowed)
        .fact("usable_by_quota", usable)
        .fact("wanted", wanted)
}

fn numa_nodes() -> Finding {
    let nodes = numa::nodes();
    let ids: Vec<usize> = nodes.iter().map(|it| it.id).collect();
    let availability = match bind_trial(ids.first().copied()) {
        Ok(()) => Availability::Ok,
        Err(reason) => Availability::missing(
            format!(
                "guest.source.numa-nodes and guest.destination.numa-nodes cannot be used ({reason})"
            ),
            "Use a kernel built with NUMA, and allow the mbind system call in the seccomp profile of this container or service",
        ),
    };
    Finding::new(GROUP, "numa_nodes", format!("{}", ids.len()), availability).fact("ids", ids)
}

/// Binds one page, since containers forbid it as often as kernels lack it.
fn bind_trial(node: Option<usize>) -> Result<(), String> {
    let node = node.ok_or("the kernel knows no memory nodes")?;
    let bytes = PAGE_BYTES as u64;
    let options = RegionOptions { bytes, huge_pages: HugePages::None, locked: false };
    let region = Region::new(&options).map_err(|error| chain(&error))?;
    numa::bind(&region, &[node]).map_err(|error| chain(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_judged_by_what_a_run_wants() {
        #[track_caller]
        fn check(online: usize, allowed: usize, usable: usize, value: &str, word: &str) {
            let cpus = Cpus { online, allowed: Some(allowed), usable: Some(usable) };
            let finding = judge_cpus(cpus, 4);
            assert_eq!(finding.value.as_deref(), Some(value));
            assert_eq!(finding.availability.as_str(), word);
        }
        check(8, 8, 8, "8", "ok");
        check(4, 4, 4, "4", "ok");
        check(2, 2, 2, "2", "limited");
        check(8, 4, 4, "4 of 8 allowed", "ok");
        check(8, 1, 1, "1 of 8 allowed", "limited");
        check(8, 8, 2, "8, time for 2 by quota", "limited");
        check(8, 6, 5, "6 of 8 allowed, time for 5 by quota", "limited");
    }

    #[test]
    fn what_cannot_be_counted_is_null() {
        let finding = judge_cpus(Cpus { online: 4, allowed: None, usable: None }, 4);
        assert_eq!(finding.availability, Availability::Ok);
        assert!(finding.facts["allowed"].is_null());
    }
}
