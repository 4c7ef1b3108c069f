//! What others ask of a migration: the parameters and capabilities that their QEMU has.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Answers to `query-migrate-parameters` and `query-migrate-capabilities`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Parameters by QEMU's names; an empty object where they were not said.
    pub parameters: Value,
    /// Capabilities with whether they are on.
    pub capabilities: BTreeMap<String, bool>,
    /// The guest's memory, where it was said.
    pub memory_bytes: Option<u64>,
}

impl Settings {
    /// From QEMU's answers; what is not understood is left out.
    pub fn new(parameters: Value, capabilities: &Value, memory: &Value) -> Settings {
        let list = capabilities.as_array().map(Vec::as_slice).unwrap_or_default();
        let one =
            |it: &Value| Some((it["capability"].as_str()?.to_owned(), it["state"].as_bool()?));
        Settings {
            parameters,
            capabilities: list.iter().filter_map(one).collect(),
            memory_bytes: memory["base-memory"].as_u64().filter(|it| *it > 0),
        }
    }

    /// Whether a capability is on.
    pub fn has(&self, capability: &str) -> bool {
        self.capabilities.get(capability) == Some(&true)
    }

    /// The downtime limit.
    pub fn downtime_limit_ns(&self) -> Option<u64> {
        self.parameters["downtime-limit"].as_u64().map(|ms| ms.saturating_mul(1_000_000))
    }

    /// The bandwidth that is planned for the switchover, where it is not left to be measured.
    pub fn switchover_bandwidth(&self) -> Option<u64> {
        self.parameters["avail-switchover-bandwidth"].as_u64().filter(|it| *it > 0)
    }

    /// The part of a scenario that is known, in the spelling of its file.
    pub fn to_scenario(&self, name: &str) -> Map<String, Value> {
        let mut migration = Map::new();
        if let Some(ns) = self.downtime_limit_ns() {
            migration.insert("downtime-limit".to_owned(), format!("{}ms", ns / 1_000_000).into());
        }
        if let Some(rate) = self.parameters["max-bandwidth"].as_u64() {
            let text = if rate > 0 { format!("{rate}B/s") } else { "unlimited".to_owned() };
            migration.insert("max-bandwidth".to_owned(), text.into());
        }
        if let Some(channels) =
            self.parameters["multifd-channels"].as_u64().filter(|_| self.has("multifd"))
        {
            migration.insert("multifd".to_owned(), json!({ "channels": channels }));
        }
        let mut scenario = Map::new();
        scenario.insert("name".to_owned(), name.into());
        scenario.insert("migration".to_owned(), migration.into());
        scenario
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_becomes_the_known_part_of_a_scenario() {
        let settings = Settings::new(
            json!({"downtime-limit": 300, "max-bandwidth": 0, "multifd-channels": 4}),
            &json!([{"capability": "multifd", "state": true}, {"capability": "x"}, 7]),
            &json!({"base-memory": 134_217_728}),
        );
        assert_eq!(settings.memory_bytes, Some(134_217_728));
        assert_eq!(settings.downtime_limit_ns(), Some(300_000_000));
        assert_eq!(
            Value::Object(settings.to_scenario("tern")),
            json!({"name": "tern", "migration": {
                "downtime-limit": "300ms", "max-bandwidth": "unlimited", "multifd": {"channels": 4},
            }})
        );
        let silent = Settings::new(Value::Null, &Value::Null, &Value::Null);
        assert_eq!(silent.downtime_limit_ns(), None);
        assert_eq!(
            Value::Object(silent.to_scenario("tern")),
            json!({"name": "tern", "migration": {}})
        );
    }
}
