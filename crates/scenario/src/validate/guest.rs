//! The machine and its workload.

use sterna_units::Bytes;
use sterna_workload::Pace;

use super::Findings;
use crate::PAGE_BYTES;
use crate::types::Scenario;

/// The limit of the processors that engines can give a guest.
const MOST_VCPUS: u32 = 1024;
/// The address space of a process; no guest is larger.
const MOST_MEMORY_BYTES: u64 = 1 << 48;

pub(super) fn check(scenario: &Scenario, found: &mut Findings) {
    let guest = &scenario.guest;
    found.range("guest.vcpus", guest.vcpus, 1, MOST_VCPUS);
    found.range("workload.workers", scenario.workload.workers, 1, MOST_VCPUS);
    if let Pace::BytesPerSecond(rate) = scenario.workload.rate {
        found.some_rate(
            "workload.rate",
            Some(rate),
            "give a rate such as 32MiB/s, `unlimited`, or `idle` for no writes",
        );
    }
    found.refuse_if(guest.paused && scenario.migration.hops > 1, &["guest.paused", "migration.hops"], || {
        "Field `guest.paused` is for one hop, since a guest that goes on between hops is not paused; leave one of them out"
            .to_owned()
    });
    memory(scenario, found);
    shares(scenario, found);
    phases(scenario, found);
}

fn phases(scenario: &Scenario, found: &mut Findings) {
    let phases = scenario.workload.phases.clone().unwrap_or_default();
    let whole = scenario.workload_bytes();
    if let Err(error) = phases.check_memory(whole) {
        let fields = ["workload.phases", "workload.memory"];
        found.refuse_if(true, &fields, || format!("Field `workload.phases` does not fit: {error}"));
    }
    let fields = ["workload.repeat", "workload.phases"];
    found.refuse_if(scenario.workload.repeat && phases.is_empty(), &fields, || {
        "Field `workload.repeat` is true, but there are no `workload.phases` to repeat; give some, or leave it false"
            .to_owned()
    });
}

fn memory(scenario: &Scenario, found: &mut Findings) {
    let Bytes(memory) = scenario.guest.memory;
    let pages = scenario.guest.huge_pages;
    found.refuse_if(memory == 0 || memory > MOST_MEMORY_BYTES, &["guest.memory"], || {
        let most = Bytes(MOST_MEMORY_BYTES);
        format!("Field `guest.memory` is {}; it must be from 4KiB to {most}", Bytes(memory))
    });
    found.refuse_if(!memory.is_multiple_of(PAGE_BYTES), &["guest.memory"], || {
        format!("Field `guest.memory` is {}, not a multiple of 4KiB; round it", Bytes(memory))
    });
    let whole = Bytes(pages.granularity_bytes());
    let fields = ["guest.memory", "guest.huge-pages"];
    found.refuse_if(whole.0 > PAGE_BYTES && !memory.is_multiple_of(whole.0), &fields, || {
        format!(
            "Field `guest.memory` is {}, not a multiple of the {whole} that `guest.huge-pages` asks for; \
             round it or choose smaller pages",
            Bytes(memory)
        )
    });
}

/// How the workload and the ballast share the memory.
fn shares(scenario: &Scenario, found: &mut Findings) {
    let memory = scenario.guest.memory;
    let (workload, ballast) = (scenario.workload_bytes(), scenario.ballast_bytes());
    let (workload_pages, workers) = (workload.0 / PAGE_BYTES, scenario.workload.workers);
    found.refuse_if(
        workload_pages < u64::from(workers),
        &["workload.memory", "workload.workers", "guest.memory"],
        || {
            format!(
                "Field `workload.memory` is {}, which is {workload_pages} whole pages, fewer than `workload.workers` \
                 with {workers}; give each worker at least one page of 4KiB",
                scenario.workload.memory
            )
        },
    );
    found.refuse_if(workload > memory, &["workload.memory", "guest.memory"], || {
        format!(
            "Field `workload.memory` is {workload}, more than the {memory} of `guest.memory`; \
             make it smaller or the guest larger"
        )
    });
    found.refuse_if(ballast > memory, &["guest.ballast", "guest.memory"], || {
        format!(
            "Field `guest.ballast` is {ballast}, more than the {memory} of `guest.memory`; \
             make it smaller or the guest larger"
        )
    });
    let fit_alone = workload <= memory && ballast <= memory;
    let together = Bytes(workload.0.saturating_add(ballast.0));
    found.refuse_if(
        fit_alone && together > memory,
        &["workload.memory", "guest.ballast", "guest.memory"],
        || {
            format!(
                "Fields `workload.memory` and `guest.ballast` take {together} together, more than the {memory} of \
                 `guest.memory`; make one of them smaller or the guest larger"
            )
        },
    );
}
