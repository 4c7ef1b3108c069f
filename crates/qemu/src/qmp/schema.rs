//! What a QEMU says about itself: commands, their arguments, and which values these take.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// QEMU's own description of its commands (`query-qmp-schema`).
///
/// Advice follows this, never version numbers: distributors leave things out and carry others back.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    entries: BTreeMap<String, Value>,
}

impl Schema {
    /// Reads the answer to `query-qmp-schema`.
    pub fn new(answer: &Value) -> Schema {
        let entries = answer.as_array().map(Vec::as_slice).unwrap_or_default();
        let named = |it: &Value| Some((it.get("name")?.as_str()?.to_owned(), it.clone()));
        Schema { entries: entries.iter().filter_map(named).collect() }
    }

    /// The values that a migration parameter takes; empty when they are no choice of words.
    pub fn parameter_values(&self, parameter: &str) -> BTreeSet<String> {
        let member = self.member("migrate-set-parameters", parameter);
        member.map(|it| self.values(it)).unwrap_or_default()
    }

    /// Whether `migrate` takes streams to this kind of address: `socket`, `exec`, `rdma` or `file`. QEMUs before 8.2 say of none that they do.
    pub fn has_address(&self, kind: &str) -> bool {
        let channels = self.member("migrate", "channels");
        let channel = channels.and_then(|it| self.entries.get(it)?.get("element-type")?.as_str());
        let address = channel.and_then(|it| self.type_of_member(it, "addr"));
        let kinds = address.and_then(|it| self.type_of_member(it, "transport"));
        kinds.is_some_and(|it| self.values(it).contains(kind))
    }

    fn arguments(&self, command: &str) -> Option<&str> {
        self.entries.get(command)?.get("arg-type")?.as_str()
    }

    fn member(&self, command: &str, argument: &str) -> Option<&str> {
        self.type_of_member(self.arguments(command)?, argument)
    }

    fn type_of_member(&self, object: &str, member: &str) -> Option<&str> {
        let members = self.entries.get(object)?.get("members")?.as_array()?;
        members.iter().find(|it| it["name"] == member)?.get("type")?.as_str()
    }

    fn member_names(&self, object: &str) -> BTreeSet<String> {
        let members = self.entries.get(object).and_then(|it| it.get("members")?.as_array());
        let names = members.into_iter().flatten().filter_map(|it| it["name"].as_str());
        names.map(str::to_owned).collect()
    }

    /// The words of an enumeration: `values` in old versions, `members` with a name each in newer ones.
    fn values(&self, enumeration: &str) -> BTreeSet<String> {
        let entry = self.entries.get(enumeration).filter(|it| it["meta-type"] == "enum");
        let plain = entry.and_then(|it| it.get("values")?.as_array());
        let plain = plain.into_iter().flatten().filter_map(|it| it.as_str().map(str::to_owned));
        let mut words =
            if entry.is_some() { self.member_names(enumeration) } else { BTreeSet::new() };
        words.extend(plain);
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn words(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|it| (*it).to_owned()).collect()
    }

    #[test]
    fn both_forms_of_enumerations_are_read_and_odd_entries_passed_over() {
        let schema = Schema::new(&json!([
            {"name": "migrate-set-capabilities", "meta-type": "command", "arg-type": "1"},
            {"name": "1", "meta-type": "object", "members": [{"name": "capabilities", "type": "[2]"}]},
            {"name": "[2]", "meta-type": "array", "element-type": "2"},
            {"name": "2", "meta-type": "object", "members": [{"name": "capability", "type": "3"}, {"name": "state", "type": "bool"}]},
            {"name": "3", "meta-type": "enum", "values": ["xbzrle", "multifd"]},
            {"name": "migrate-set-parameters", "meta-type": "command", "arg-type": "4"},
            {"name": "4", "meta-type": "object", "members": [{"name": "max-bandwidth", "type": "int"}, {"name": "multifd-compression", "type": "5"}]},
            {"name": "5", "meta-type": "enum", "members": [{"name": "none"}, {"name": "zstd", "features": ["x"]}]},
            {"meta-type": "object"}, 7
        ]));
        assert_eq!(schema.parameter_values("multifd-compression"), words(&["none", "zstd"]));
        assert_eq!(schema.parameter_values("max-bandwidth"), words(&[]));
    }

    #[test]
    fn nothing_is_known_of_an_empty_schema() {
        for answer in [json!([]), Value::Null] {
            let schema = Schema::new(&answer);
            assert!(schema.parameter_values("multifd-compression").is_empty());
        }
    }
}
