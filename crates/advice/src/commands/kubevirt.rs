//! A MigrationPolicy, made by the same rules as for `sterna run --engine kubevirt`.

use sterna_kubevirt::policy::{DOWNTIME_GATES, PolicySpec};
use sterna_kubevirt::yaml;
use sterna_scenario::{Builder, LimitAction, Origin, Scenario, Trigger, settings, tables};

use super::Commands;

/// The policy of everything that one can say; fields that it cannot are listed and left at KubeVirt's own.
pub fn commands(scenario: &Scenario) -> Commands {
    let mut found = Commands::default();
    let gates = DOWNTIME_GATES.map(str::to_owned);
    let mut scenario = by_timeout(scenario.clone(), &mut found);
    // Each round takes away what the last one refused, so there are at most as many rounds as fields.
    for _ in 0..settings().len() {
        match PolicySpec::of_scenario(&scenario, &gates) {
            Ok(policy) => {
                let mut object = policy.object("advice");
                without_our_marks(&mut object);
                found.add(yaml::document(&object));
                return found;
            }
            Err(refused) => {
                for it in refused {
                    scenario = without(scenario, &it.field);
                    found.not_expressible.insert(it.field, it.instead);
                }
            }
        }
    }
    found
}

/// A policy knows no passes: what is to happen after some happens at the completion timeout instead.
fn by_timeout(mut scenario: Scenario, found: &mut Commands) -> Scenario {
    let instead = "a policy knows only the completion timeout, and switches then";
    if let Some(postcopy) = &mut scenario.migration.postcopy {
        if postcopy.preempt {
            postcopy.preempt = false;
            found.cannot("migration.postcopy.preempt", "virt-launcher decides it by itself");
        }
        if let Some(Trigger::AfterPasses(_)) = postcopy.trigger {
            postcopy.trigger = None;
            scenario.limits.then = LimitAction::Postcopy;
            found.cannot("migration.postcopy.after-passes", instead);
        }
    }
    let pause = scenario.migration.pause.as_ref().map(|it| it.trigger);
    if let Some(Trigger::AfterPasses(_)) = pause {
        scenario.migration.pause = None;
        scenario.limits.then = LimitAction::Pause;
        found.cannot("migration.pause.after-passes", instead);
    }
    scenario
}

/// The policy is its owner's: a name to change, and a selector to fill in.
fn without_our_marks(object: &mut serde_json::Value) {
    object["metadata"] = serde_json::json!({ "name": "migration-advice" });
    object["spec"]["selectors"] = serde_json::json!({
        "virtualMachineInstanceSelector": { "example.com/migration-advice": "yes" },
    });
}

/// The field as a bare run has it.
fn without(scenario: Scenario, field: &str) -> Scenario {
    let is_optional = tables().iter().any(|it| it.path() == field && it.is_optional());
    let usual = settings()
        .iter()
        .find(|it| it.path() == field)
        .and_then(|it| it.get(&Scenario::default()).or_else(|| it.none_word().map(str::to_owned)));
    let value = if is_optional { Some("off".to_owned()) } else { usual };
    let whole = field.rsplit_once('.').map_or(field, |(table, _)| table);
    let origin = || Origin::Flag("--for kubevirt".to_owned());
    let set = |path: &str, value: &str| {
        Builder::over(scenario.clone()).set(path, value, origin()).and_then(Builder::build)
    };
    let changed = value.map(|value| set(field, &value)).and_then(Result::ok);
    changed.or_else(|| set(whole, "off").ok()).unwrap_or(scenario)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_says_what_it_can_and_lists_the_rest() {
        let text = "[migration]\nmax-bandwidth = \"1GiB/s\"\n[migration.postcopy]\nafter-passes = 1\n[limits]\nmax-time = \"5m\"\n";
        let found = commands(&Scenario::from_toml(text, "x").unwrap());
        let policy = &found.commands[0].text;
        assert!(policy.contains("kind: MigrationPolicy"), "{policy}");
        assert!(policy.contains("allowPostCopy: true"), "{policy}");
        assert!(found.not_expressible.contains_key("migration.postcopy.after-passes"));
    }
}
