//! From a scenario to a plan.

mod content;
mod ranks;
mod refusals;
mod workload;

use sterna_scenario::{Compression as Packed, Migration, Scenario, ZeroPage};

use crate::flight::Plan;
use crate::guest::Guest;
use crate::host::Host;
use crate::link::Link;
use crate::rules::Rules;
use crate::settings::{Compression, Multifd, Settings};

pub use refusals::{Unmodelled, unmodelled};

impl Plan {
    /// The plan that a scenario asks for, between these machines and by these rules.
    ///
    /// # Errors
    /// The scenario has what the model does not know, field by field.
    pub fn of_scenario(
        scenario: &Scenario,
        host: Host,
        rules: Rules,
    ) -> Result<Plan, Vec<Unmodelled>> {
        let refused = unmodelled(scenario);
        if !refused.is_empty() {
            return Err(refused);
        }
        let ns = |span: sterna_units::Span| u64::try_from(span.0.as_nanos()).unwrap_or(u64::MAX);
        let link = scenario.link.clone().unwrap_or_default();
        Ok(Plan {
            guest: Guest { vcpus: scenario.guest.vcpus, dirty: workload::process(scenario, &host) },
            link: Link {
                bytes_per_second: link.bandwidth.map(|it| it.bytes_per_second()),
                latency_ns: ns(link.latency),
            },
            host,
            rules,
            settings: settings(scenario),
        })
    }
}

fn settings(scenario: &Scenario) -> Settings {
    let migration = &scenario.migration;
    let postcopy = migration.postcopy.as_ref();
    Settings {
        max_bytes_per_second: migration.max_bandwidth.map(|it| it.bytes_per_second()),
        limit_in_switchover: migration.limit_in_switchover,
        downtime_limit_ns: migration.first_downtime_limit().0.as_nanos() as u64,
        switchover_bytes_per_second: migration.switchover_bandwidth.map(|it| it.bytes_per_second()),
        switchover: migration.switchover_decision.unwrap_or_default(),
        finds_zero_pages: migration.zero_page != ZeroPage::Off,
        multifd: multifd(migration),
        xbzrle_cache_bytes: migration
            .xbzrle
            .as_ref()
            .map(|it| it.cache.of(scenario.guest.memory).0),
        auto_converge: migration.auto_converge.clone(),
        dirty_limit_bytes_per_second: migration
            .dirty_limit
            .as_ref()
            .map(|it| it.per_vcpu.bytes_per_second()),
        postcopy_bytes_per_second: postcopy
            .and_then(|it| it.max_bandwidth)
            .map(|it| it.bytes_per_second()),
        postcopy_preempts: postcopy.is_none_or(|it| it.preempt),
        hold_passes: migration.hold.as_ref().map_or(0, |it| it.at_least_passes),
    }
}

fn multifd(migration: &Migration) -> Option<Multifd> {
    let multifd = migration.multifd.as_ref()?;
    let compression = match multifd.compression {
        Packed::Zlib => Compression::Zlib,
        Packed::Zstd => Compression::Zstd,
        _ => Compression::None,
    };
    Some(Multifd { channels: u32::from(multifd.channels), compression })
}
