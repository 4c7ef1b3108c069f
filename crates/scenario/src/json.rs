//! The scenario as a report carries it: the same tables and names as in a file, every default filled in.
//!
//! Quantities are their canonical texts, whole numbers and truth values are themselves. What has no value is null:
//! a field without one, and an optional table that was not asked for.

use serde::ser::{Error, Serialize, SerializeMap, Serializer};

use crate::settings::{self, Setting};
use crate::tables::{self, Table, key, parent};
use crate::types::Scenario;
use crate::value::Kind;

impl Serialize for Scenario {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Node { scenario: self, table: "" }.serialize(serializer)
    }
}

/// One table.
struct Node<'a> {
    scenario: &'a Scenario,
    table: &'static str,
}

/// The value of one field.
struct Leaf {
    kind: Kind,
    text: Option<String>,
}

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for setting in settings::within(self.table) {
            map.serialize_entry(setting.key(), &Leaf::of(setting, self.scenario))?;
        }
        for table in tables::tables().iter().filter(|table| self.holds(table)) {
            let node = Node { scenario: self.scenario, table: table.path() };
            map.serialize_entry(key(table.path()), &table.is_in(self.scenario).then_some(node))?;
        }
        map.end()
    }
}

impl Serialize for Leaf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (&self.text, self.kind) {
            (None, _) => serializer.serialize_none(),
            (Some(text), Kind::Text) => serializer.serialize_str(text),
            (Some(text), Kind::Integer) => {
                serializer.serialize_u64(text.parse().map_err(Error::custom)?)
            }
            (Some(text), Kind::Boolean) => {
                serializer.serialize_bool(text.parse().map_err(Error::custom)?)
            }
        }
    }
}

impl Node<'_> {
    fn holds(&self, table: &Table) -> bool {
        !table.path().is_empty() && parent(table.path()) == self.table
    }
}

impl Leaf {
    fn of(setting: &Setting, scenario: &Scenario) -> Leaf {
        Leaf { kind: setting.kind(), text: setting.get(scenario) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_report_sees_every_field_resolved() {
        let text = "name = \"n\"\n[guest]\nvcpus = 4\n[migration.postcopy]\nafter = \"1s\"\n[link]\nlatency = \"1ms\"";
        let scenario = Scenario::from_toml(text, "run.toml").unwrap();
        assert_eq!(
            serde_json::to_value(&scenario).unwrap(),
            json!({
                "name": "n",
                "verify": "workload",
                "probes": "default",
                "faults": null,
                "guest": {
                    "paused": false, "vcpus": 4, "memory": "256MiB", "ballast": "0B", "huge-pages": "none",
                    "prealloc": true, "locked": false,
                    "source": { "cpus": null, "numa-nodes": null },
                    "destination": { "cpus": null, "numa-nodes": null },
                },
                "workload": {
                    "memory": "25%", "workers": 4, "pattern": "random", "method": "counter",
                    "rate": "32MiB/s", "seed": 1, "latency": true, "catch-up": false,
                    "phases": null, "repeat": false,
                },
                "migration": {
                    "hops": 1, "transport": "tcp", "max-bandwidth": "1Gbit/s", "downtime-limit": "300ms",
                    "switchover-decision": null,
                    "zero-page": "main", "zero-copy": false, "limit-in-switchover": false, "mapped-ram": false, "direct-io": false,
                "return-path": true, "switchover-ack": false, "switchover-bandwidth": null,
                "compress": null,
                    "downtime": null,
                    "postcopy": {
                        "after-passes": null, "after": "1s", "preempt": true, "max-bandwidth": null,
                        "recover": false,
                    },
                    "pause": null, "auto-converge": null, "dirty-limit": null, "multifd": null,
                    "xbzrle": null, "tls": null, "hold": null,
                },
                "link": { "latency": "1ms", "bandwidth": null },
                "fleet": null,
                "limits": {
                    "max-time": "5m", "max-passes": null, "then": "cancel",
                    "abandon-postcopy-after": null,
                },
                "slo": { "fail-if": null },
                "timing": { "warmup": "2s", "cooldown": "2s", "sample-interval": "100ms" },
            })
        );
    }

    #[test]
    fn large_numbers_stay_whole() {
        let mut scenario = Scenario::default();
        scenario.workload.seed = u64::MAX;
        let value = serde_json::to_value(&scenario).unwrap();
        assert_eq!(value.pointer("/workload/seed").and_then(Value::as_u64), Some(u64::MAX));
    }
}
