//! Values as the user wrote them.
//!
//! A scenario holds quantities, and a quantity has one canonical text: `0.5GiB` is 512MiB. What people read (printed
//! scenarios, reports, comparisons, pages) has the text that they wrote, as long as it still means the value that holds.

use std::collections::BTreeMap;

use crate::settings::Setting;
use crate::types::Scenario;

/// Texts by the paths of their fields. It is no part of what a scenario asks for, so any two are equal.
#[derive(Debug, Clone, Default)]
pub struct Written(BTreeMap<&'static str, String>);

impl PartialEq for Written {
    fn eq(&self, _: &Written) -> bool {
        true
    }
}

impl Written {
    /// Remembers what was written for a quantity.
    pub(crate) fn remember(&mut self, setting: &Setting, text: &str) {
        if setting.is_quantity() {
            self.0.insert(setting.path(), text.trim().to_owned());
        }
    }

    /// The text that was written, if it means the value that `canonical` is the text of.
    pub(crate) fn text(&self, setting: &Setting, canonical: &str) -> Option<String> {
        let text = self.0.get(setting.path())?;
        let mut alone = Scenario::default();
        setting.set(&mut alone, text).ok()?;
        (setting.canonical(&alone).as_deref() == Some(canonical)).then(|| text.clone())
    }
}

#[cfg(test)]
mod tests {
    use crate::{Builder, Origin, Scenario, settings};

    fn shown(path: &str, scenario: &Scenario) -> Option<String> {
        settings().iter().find(|it| it.path() == path).unwrap().get(scenario)
    }

    #[test]
    fn a_quantity_is_shown_as_it_was_written() {
        let table = [
            ("guest.memory", "0.5GiB"),
            ("guest.memory", "256000000"),
            ("guest.memory", "1G"),
            ("guest.ballast", "12.50%"),
            ("workload.memory", "64M"),
            ("workload.rate", "500MB/s"),
            ("workload.rate", "5000pages/s"),
            ("migration.max-bandwidth", "200Mbit/s"),
            ("migration.max-bandwidth", "0.2 Gbit/s"),
            ("migration.downtime-limit", "0.5s"),
            ("migration.downtime-limit", "250µs"),
            ("migration.postcopy.after", "90s"),
            ("migration.downtime.every", "1500ms"),
            ("migration.dirty-limit.per-vcpu", "8Mbit/s"),
            ("migration.xbzrle.cache", "64MB"),
            ("link.latency", "1000us"),
            ("limits.max-time", "120s"),
            ("timing.warmup", "2000ms"),
        ];
        for (path, text) in table {
            let flag = Origin::Flag("--x".to_owned());
            let scenario = Builder::new().set(path, text, flag).unwrap().build_unchecked().unwrap();
            assert_eq!(shown(path, &scenario).as_deref(), Some(text), "{path}");
            let printed = scenario.to_toml();
            assert!(printed.contains(&format!("\"{text}\"")), "{path}: {printed}");
            let json = serde_json::to_value(&scenario).unwrap();
            let pointer = format!("/{}", path.replace('.', "/"));
            assert_eq!(json.pointer(&pointer).unwrap(), text, "{path}");
            let again =
                Builder::new().file("printed", &printed).unwrap().build_unchecked().unwrap();
            assert_eq!(again, scenario, "{path}");
            assert_eq!(shown(path, &again).as_deref(), Some(text), "{path}");
        }
    }

    #[test]
    fn a_value_that_changed_since_is_not_shown_as_it_was_written() {
        let mut scenario = Scenario::from_toml("guest.memory = \"0.5GiB\"", "a").unwrap();
        assert_eq!(shown("guest.memory", &scenario).as_deref(), Some("0.5GiB"));
        scenario.guest.memory = sterna_units::Bytes::from_mib(128);
        assert_eq!(shown("guest.memory", &scenario).as_deref(), Some("128MiB"));
        let text = "migration.max-bandwidth = \"0.2Gbit/s\"";
        let mut scenario = Scenario::from_toml(text, "a").unwrap();
        scenario.migration.max_bandwidth = None;
        assert_eq!(shown("migration.max-bandwidth", &scenario), None);
    }
}
