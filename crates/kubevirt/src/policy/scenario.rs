//! How a scenario becomes a policy, and what no policy can express.

use sterna_scenario::{
    Compression, Downtime, DowntimeSteps, LimitAction, Scenario, TlsMode, Trigger, Verify,
};
use sterna_units::Span;

use super::experimental::ExperimentalField;
use super::{DOWNTIME_GATES, Inexpressible, PolicySpec, TUNING_GATE, gigabytes, has_one_of};

/// Parallel connections that virt-launcher takes by itself.
const LAUNCHER_CHANNELS: u8 = 8;

impl PolicySpec {
    /// What `[migration]` and `[limits]` of a scenario ask for, for a guest of `memory_bytes`; or all that cannot be had.
    pub fn of_scenario(
        scenario: &Scenario,
        gates: &[String],
    ) -> Result<PolicySpec, Vec<Inexpressible>> {
        let has_downtime_gate = has_one_of(gates, &DOWNTIME_GATES);
        let problems = inexpressible(scenario, gates);
        if !problems.is_empty() {
            return Err(problems);
        }
        let migration = &scenario.migration;
        let wants_postcopy =
            migration.postcopy.is_some() || scenario.limits.then == LimitAction::Postcopy;
        let wants_pause = migration.pause.is_some() || scenario.limits.then == LimitAction::Pause;
        let limit_seconds = timeout_seconds(scenario);
        let gigabytes = gigabytes(scenario.guest.memory.0);
        let downtime = migration.downtime.limit().filter(|_| has_downtime_gate);
        let last_step = steps(scenario).map(|it| it.to);
        Ok(PolicySpec {
            allow_auto_converge: Some(migration.auto_converge.is_some()),
            allow_post_copy: Some(wants_postcopy),
            allow_workload_disruption: Some(wants_postcopy || wants_pause),
            bandwidth_bytes_per_second: migration
                .max_bandwidth
                .map(|it| it.bytes_per_second_f64() as u64),
            completion_timeout_per_gib: limit_seconds
                .map(|it| (it / gigabytes as f64).round().max(1.0) as i64),
            max_downtime_ms: downtime.copied().or(last_step).map(milliseconds),
            experimental: experimental(scenario),
        })
    }
}

fn milliseconds(span: Span) -> u64 {
    (span.seconds() * 1e3).round().max(1.0) as u64
}

/// A downtime limit that grows.
fn steps(scenario: &Scenario) -> Option<&DowntimeSteps> {
    match &scenario.migration.downtime {
        Downtime::Steps(steps) => Some(steps),
        Downtime::Limit(_) => None,
    }
}

/// What only KubeVirt 1.9 has a field for. Its steps are increments, of which there is one less than limits.
fn experimental(scenario: &Scenario) -> Vec<ExperimentalField> {
    let mut fields = Vec::new();
    let multifd = scenario.migration.multifd.as_ref();
    if multifd.is_some_and(|it| it.compression == Compression::Zstd) {
        fields.push(ExperimentalField::known("compression", "zstd".into()));
    }
    if let Some(DowntimeSteps { from, steps, every, .. }) = steps(scenario) {
        let tuning = [
            ("downtimeTuning.initialMs", milliseconds(*from)),
            ("downtimeTuning.steps", u64::from(steps.saturating_sub(1).max(1))),
            ("downtimeTuning.cooldownSeconds", every.seconds().round().max(1.0) as u64),
        ];
        fields.extend(tuning.map(|(path, value)| ExperimentalField::known(path, value.into())));
    }
    fields
}

/// When the scenario wants something done about a migration that does not end.
fn timeout_seconds(scenario: &Scenario) -> Option<f64> {
    let trigger = |trigger: Trigger| match trigger {
        Trigger::After(span) => Some(span.seconds()),
        Trigger::AfterPasses(_) => None,
    };
    let migration = &scenario.migration;
    let postcopy = migration.postcopy.as_ref().and_then(|it| it.trigger).and_then(trigger);
    let pause = migration.pause.as_ref().and_then(|it| trigger(it.trigger));
    postcopy.or(pause).or(scenario.limits.max_time.map(|it| it.seconds()))
}

fn inexpressible(scenario: &Scenario, gates: &[String]) -> Vec<Inexpressible> {
    let has_downtime_gate = has_one_of(gates, &DOWNTIME_GATES);
    let migration = &scenario.migration;
    let default = Scenario::default();
    let cluster = |what: &str| {
        format!("it is the cluster's: set {what} in KubeVirt's spec.configuration.migrations")
    };
    let launcher =
        || "virt-launcher decides it by itself, and no object has a field for it".to_owned();
    let by_time = || {
        "a policy knows only a timeout: give `after` a time, or leave it to [limits] max-time"
            .to_owned()
    };
    let is_passes = |it: Option<Trigger>| matches!(it, Some(Trigger::AfterPasses(_)));
    let mut found = Vec::new();
    let mut refuse = |is: bool, field: &'static str, instead: String| {
        if is {
            found.push(Inexpressible { field: field.to_owned(), instead });
        }
    };
    refuse(
        migration.postcopy.as_ref().is_some_and(|it| is_passes(it.trigger)),
        "migration.postcopy.after-passes",
        by_time(),
    );
    refuse(
        migration.pause.as_ref().is_some_and(|it| is_passes(Some(it.trigger))),
        "migration.pause.after-passes",
        by_time(),
    );
    let postcopy = migration.postcopy.as_ref();
    refuse(postcopy.is_some_and(|it| it.preempt), "migration.postcopy.preempt", launcher());
    let bandwidth = postcopy.is_some_and(|it| it.max_bandwidth.is_some());
    refuse(bandwidth, "migration.postcopy.max-bandwidth", launcher());
    let steps = steps(scenario);
    refuse(
        steps.is_some() && !has_one_of(gates, &[TUNING_GATE]),
        "migration.downtime",
        format!(
            "it needs KubeVirt 1.9 with the feature gate {TUNING_GATE} in spec.configuration.developerConfiguration.featureGates; or set migration.downtime-limit"
        ),
    );
    refuse(
        steps.is_some_and(|it| it.every.seconds() < 1.0),
        "migration.downtime.every",
        "KubeVirt waits whole seconds between two steps, at least one".to_owned(),
    );
    refuse(
        !has_downtime_gate && steps.is_none() && migration.downtime != default.migration.downtime,
        "migration.downtime-limit",
        format!(
            "it needs KubeVirt 1.9 with one of the feature gates {} in spec.configuration.developerConfiguration.featureGates; without, QEMU's 300 ms hold",
            DOWNTIME_GATES.join(" and ")
        ),
    );
    refuse(migration.transport != default.migration.transport, "migration.transport", launcher());
    refuse(migration.zero_copy, "migration.zero-copy", launcher());
    refuse(
        migration.hops > 1,
        "migration.hops",
        "a cluster chooses where each migration goes; make several runs".to_owned(),
    );
    refuse(
        scenario.guest.paused,
        "guest.paused",
        "KubeVirt migrates no paused machine; drop the field".to_owned(),
    );
    let multifd = migration.multifd.as_ref();
    refuse(
        multifd.is_some_and(|it| it.channels != LAUNCHER_CHANNELS),
        "migration.multifd.channels",
        format!(
            "virt-launcher takes {LAUNCHER_CHANNELS} channels by itself, or one where the machine has a CPU limit or dedicated CPUs"
        ),
    );
    refuse(
        multifd.is_some_and(|it| it.compression == Compression::Zlib),
        "migration.multifd.compression",
        "a policy knows none and zstd, as spec.experimental.compression from KubeVirt 1.9 on"
            .to_owned(),
    );
    refuse(multifd.is_some_and(|it| it.level.is_some()), "migration.multifd.level", launcher());
    refuse(migration.compress.is_some(), "migration.compress", launcher());
    refuse(migration.xbzrle.is_some(), "migration.xbzrle", launcher());
    refuse(migration.dirty_limit.is_some(), "migration.dirty-limit", launcher());
    refuse(migration.hold.is_some(), "migration.hold", launcher());
    refuse(
        migration.tls.as_ref().is_some_and(|it| it.mode != TlsMode::Off),
        "migration.tls",
        cluster("disableTLS, which is false unless it was changed,"),
    );
    refuse(
        scenario.verify == Verify::AllMemory,
        "verify",
        "the memory of a virtual machine on a cluster cannot be read; use \"workload\"".to_owned(),
    );
    refuse(
        scenario.link.is_some(),
        "link",
        "a cluster has a real wire; limit migration.max-bandwidth".to_owned(),
    );
    refuse(
        scenario.fleet.is_some(),
        "fleet",
        "several guests are those of `sterna kubevirt apply --vm-count` and `migrate --at-once`"
            .to_owned(),
    );
    refuse(scenario.faults.is_some(), "fault", "faults are the emulator's".to_owned());
    refuse(scenario.limits.max_passes.is_some(), "limits.max-passes", by_time());
    refuse(
        scenario.limits.abandon_postcopy_after.is_some(),
        "limits.abandon-postcopy-after",
        "KubeVirt never gives up a guest in post-copy".to_owned(),
    );
    found
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn scenario(text: &str) -> Scenario {
        Scenario::from_toml(text, "test.toml").unwrap()
    }

    fn fields(problems: &[Inexpressible]) -> Vec<&str> {
        problems.iter().map(|it| it.field.as_str()).collect()
    }

    const GATES: [&str; 1] = [TUNING_GATE];

    #[test]
    fn a_growing_downtime_limit_and_zstd_become_fields_of_kubevirt_1_9() {
        let scenario = scenario(
            "[migration.downtime]\nfrom = \"50ms\"\nto = \"500ms\"\nsteps = 5\nevery = \"5s\"\n[migration.multifd]\nchannels = 8\ncompression = \"zstd\"\n",
        );
        let policy = PolicySpec::of_scenario(&scenario, &GATES.map(str::to_owned)).unwrap();
        let object: Value = policy.object("a");
        assert_eq!(object["spec"]["maxDowntimeMs"], 500);
        let expected = serde_json::json!({
            "compression": "zstd",
            "downtimeTuning": {"initialMs": 50, "steps": 4, "cooldownSeconds": 5},
        });
        assert_eq!(object["spec"]["experimental"], expected);
        let problems = PolicySpec::of_scenario(&scenario, &[]).unwrap_err();
        assert_eq!(fields(&problems), ["migration.downtime"]);
        assert!(problems[0].instead.contains("MigrationDowntimeTuning"), "{problems:?}");
    }

    #[test]
    fn what_no_policy_has_is_named_with_where_it_is_decided() {
        let refused = |text: &str| PolicySpec::of_scenario(&scenario(text), &[]).unwrap_err();
        let problems =
            refused("[migration.multifd]\nchannels = 4\ncompression = \"zlib\"\nlevel = 3\n");
        let expected = [
            "migration.multifd.channels",
            "migration.multifd.compression",
            "migration.multifd.level",
        ];
        assert_eq!(fields(&problems), expected);
        let problems = refused("[migration]\ndowntime-limit = \"50ms\"\n");
        assert_eq!(fields(&problems), ["migration.downtime-limit"]);
    }
}
