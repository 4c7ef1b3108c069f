//! QMP, as `sterna run --engine qemu` would set it.

use serde_json::{Map, Value, json};
use sterna_scenario::{LimitAction, Scenario, Trigger};

use super::Commands;

/// Capabilities on both sides, parameters on both sides, and what to do while the migration runs.
pub fn commands(scenario: &Scenario) -> Commands {
    let mut found = Commands::default();
    let settings = sterna_qemu::qmp_settings(scenario);
    let capabilities: Vec<Value> = settings
        .iter()
        .filter(|it| it.value.is_none())
        .map(|it| json!({ "capability": it.name, "state": true }))
        .collect();
    let parameters: Map<String, Value> =
        settings.iter().filter_map(|it| Some((it.name.to_owned(), it.value.clone()?))).collect();
    let both = "before the migration, on the source and on the destination";
    found
        .add_at(both, command("migrate-set-capabilities", json!({ "capabilities": capabilities })));
    found.add_at(both, command("migrate-set-parameters", Value::Object(parameters)));
    later(scenario, &mut found);
    found
}

/// What QEMU does only when it is asked at the right moment.
fn later(scenario: &Scenario, found: &mut Commands) {
    let migration = &scenario.migration;
    let start = || command("migrate-start-postcopy", json!({}));
    if let Some(trigger) = migration.postcopy.as_ref().and_then(|it| it.trigger) {
        found.add_at(moment(trigger), start());
    }
    if let Some(pause) = &migration.pause {
        found.add_at(moment(pause.trigger), command("stop", json!({})));
    }
    if let Some(time) = scenario.limits.max_time {
        let text = match scenario.limits.then {
            LimitAction::Cancel => command("migrate_cancel", json!({})),
            LimitAction::Pause => command("stop", json!({})),
            LimitAction::Postcopy => start(),
        };
        found.add_at(format!("{time} after the migration began, if it has not ended"), text);
    }
    if let Some(steps) = migration.downtime.steps() {
        for step in 1..steps.steps {
            let limit = steps.limit(step).seconds() * 1e3;
            let after = steps.every.seconds() * f64::from(step);
            let text = command("migrate-set-parameters", json!({ "downtime-limit": limit as u64 }));
            found.add_at(format!("{after:.0} s after the migration began"), text);
        }
    }
}

fn moment(trigger: Trigger) -> String {
    match trigger {
        // QEMU counts the synchronisation before the first pass as well.
        Trigger::AfterPasses(passes) => {
            format!("when query-migrate shows a dirty-sync-count above {passes}")
        }
        Trigger::After(span) => format!("{span} after the migration began"),
    }
}

fn command(execute: &str, arguments: Value) -> String {
    let is_empty = arguments.as_object().is_some_and(Map::is_empty);
    let command = match is_empty {
        true => json!({ "execute": execute }),
        false => json!({ "execute": execute, "arguments": arguments }),
    };
    command.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_technique_becomes_its_capability_parameters_and_moment() {
        let text = "[migration]\ndowntime-limit = \"260ms\"\n[migration.postcopy]\nafter-passes = 1\npreempt = false\n";
        let found = commands(&Scenario::from_toml(text, "x").unwrap());
        let texts: Vec<&str> = found.commands.iter().map(|it| it.text.as_str()).collect();
        assert!(texts[0].contains(r#"{"capability":"postcopy-ram","state":true}"#), "{texts:?}");
        assert!(texts[1].contains(r#""downtime-limit":260"#), "{texts:?}");
        assert_eq!(texts[2], r#"{"execute":"migrate-start-postcopy"}"#);
        assert!(found.commands[2].when.as_ref().unwrap().contains("dirty-sync-count above 1"));
    }
}
