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
