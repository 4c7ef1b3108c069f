//! The techniques that are tried, the simplest first.

use sterna_scenario::{Builder, Origin, Scenario, ScenarioError};

/// One technique.
#[derive(Clone, Debug, PartialEq)]
pub struct Technique {
    /// What people call it.
    pub name: &'static str,
    /// The settings that make it: paths of a scenario and values.
    pub settings: Vec<(&'static str, String)>,
    /// What it costs the guest or its owner, beside time.
    pub price: Price,
}

/// What a technique may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Price {
    /// Nothing but time.
    None,
    /// Processors of both hosts.
    HostCpu,
    /// The guest is slowed down.
    Throttle,
    /// The guest is lost with the link, from the switch until all its memory is there.
    Postcopy,
    /// The guest stands still until its memory is through.
    Pause,
}

/// Tables that a technique brings; the others go, so that each stands alone.
const TABLES: [&str; 6] = [
    "migration.postcopy",
    "migration.auto-converge",
    "migration.dirty-limit",
    "migration.multifd",
    "migration.xbzrle",
    "migration.downtime",
];

impl Technique {
    /// The settings of `base`, with this technique and no other.
    ///
    /// # Errors
    /// The settings contradict the rest.
    pub fn applied(&self, base: &Scenario) -> Result<Scenario, ScenarioError> {
        let origin = || Origin::Flag(self.name.to_owned());
        let mut base = base.clone();
        base.migration.pause = None;
        let mut builder = Builder::over(base);
        for table in TABLES {
            builder = builder.set(table, "off", origin())?;
        }
        for (path, value) in &self.settings {
            builder = builder.set(path, value, origin())?;
        }
        builder.build()
    }

    /// The same with one more setting.
    pub fn with(mut self, path: &'static str, value: String) -> Technique {
        self.settings.push((path, value));
        self
    }
}

/// All of them.
pub fn techniques() -> Vec<Technique> {
    let technique = |name, settings: &[(&'static str, &str)], price| Technique {
        name,
        settings: settings.iter().map(|(path, value)| (*path, (*value).to_owned())).collect(),
        price,
    };
    vec![
        technique("plain pre-copy", &[], Price::None),
        technique("multifd", &[("migration.multifd.channels", "4")], Price::HostCpu),
        technique("xbzrle", &[("migration.xbzrle", "on")], Price::HostCpu),
        technique(
            "multifd, zstd",
            &[("migration.multifd.channels", "4"), ("migration.multifd.compression", "zstd")],
            Price::HostCpu,
        ),
        technique("auto-converge", &[("migration.auto-converge", "on")], Price::Throttle),
        technique("post-copy", &[("migration.postcopy.after-passes", "1")], Price::Postcopy),
        technique("pause", &[("migration.pause.after-passes", "3")], Price::Pause),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_technique_applies_to_a_bare_scenario_and_replaces_the_others() {
        for technique in techniques() {
            let once = technique.applied(&Scenario::default()).unwrap();
            let again = technique.applied(&once).unwrap();
            assert_eq!(again, once, "{}", technique.name);
        }
        let plain = &techniques()[0];
        for technique in techniques() {
            let there = technique.applied(&Scenario::default()).unwrap();
            assert_eq!(plain.applied(&there).unwrap(), Scenario::default(), "{}", technique.name);
        }
    }
}
