//! From a scenario to what a host is told.

use sterna_scenario::{IdSet, Migration, Placement, Scenario, SwitchoverDecision, ZeroPage};
use sterna_wire::control::{
    AutoConvergeConfig, HostConfig, MultifdConfig, PostcopyConfig, Request, Side, SwitchoverRule,
    Techniques,
};

use super::{DEVICE_STATE_BYTES, EmulatorOptions};

/// The request that builds one side.
pub fn prepare(
    scenario: &Scenario,
    options: &EmulatorOptions,
    side: Side,
    tls_name: Option<String>,
) -> Request {
    let Scenario { guest, migration, link, timing, .. } = scenario;
    let placement = match side {
        Side::Source => &guest.source,
        Side::Destination => &guest.destination,
    };
    let Placement { cpus, numa_nodes } = placement;
    let ids = |set: &Option<IdSet>| {
        set.as_ref().map(|it| it.iter().map(|id| id as usize).collect()).unwrap_or_default()
    };
    Request::Prepare(Box::new(HostConfig {
        side,
        paused: guest.paused,
        memory_bytes: guest.memory.0,
        ballast_bytes: scenario.ballast_bytes().0,
        workload: scenario.workload_spec().to_string(),
        huge_pages: guest.huge_pages.to_string(),
        prealloc: guest.prealloc,
        locked: guest.locked,
        cpus: ids(cpus),
        numa_nodes: ids(numa_nodes),
        tracker: options.tracker.clone(),
        sample_interval_ns: timing.sample_interval.0.as_nanos() as u64,
        max_bandwidth_bytes_per_second: migration.max_bandwidth.map(|it| it.bytes_per_second()),
        limit_in_switchover: migration.limit_in_switchover,
        downtime_limit_ns: migration.first_downtime_limit().0.as_nanos() as u64,
        zero_page: migration.zero_page == ZeroPage::Main,
        multifd: multifd(migration),
        postcopy: migration.postcopy.as_ref().map(|it| PostcopyConfig {
            preempt: it.preempt,
            recover: it.recover,
            max_bandwidth_bytes_per_second: it.max_bandwidth.map(|it| it.bytes_per_second()),
        }),
        device_state_bytes: DEVICE_STATE_BYTES,
        link_latency_ns: link.as_ref().map_or(0, |it| it.latency.0.as_nanos() as u64),
        link_bytes_per_second: link
            .as_ref()
            .and_then(|it| it.bandwidth)
            .map(|it| it.bytes_per_second()),
        techniques: techniques(scenario),
        answers_probes: scenario.probes.are_asked_for(),
        faults: scenario.faults.as_ref().map(ToString::to_string).unwrap_or_default(),
        tls_name,
        breakage: options.breakage.clone(),
    }))
}

fn techniques(scenario: &Scenario) -> Techniques {
    let migration = &scenario.migration;
    let memory = scenario.guest.memory;
    Techniques {
        xbzrle_cache_bytes: migration.xbzrle.as_ref().map(|it| it.cache.of(memory).0),
        auto_converge: migration.auto_converge.as_ref().map(|it| AutoConvergeConfig {
            initial: it.initial,
            increment: it.increment,
            max: it.max,
            tail_slow: it.tail_slow,
        }),
        dirty_limit_bytes_per_second: migration
            .dirty_limit
            .as_ref()
            .map(|it| it.per_vcpu.bytes_per_second()),
        hold: migration.hold.is_some(),
        switchover_rule: match migration.switchover_decision.unwrap_or_default() {
            SwitchoverDecision::Effective => SwitchoverRule::Effective,
            SwitchoverDecision::Qemu => SwitchoverRule::Qemu,
        },
    }
}

/// How pages travel through parallel connections, if they do.
pub fn multifd(migration: &Migration) -> Option<MultifdConfig> {
    let multifd = migration.multifd.as_ref()?;
    Some(MultifdConfig {
        channels: multifd.channels,
        compression: multifd.compression.to_string(),
        level: multifd.level,
        finds_zero_pages: migration.zero_page == ZeroPage::Multifd,
        zero_copy: migration.zero_copy,
    })
}
