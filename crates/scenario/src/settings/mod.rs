//! What a setting is: one field of a scenario, and everything that follows from its row in the table.

mod rows;

use rows::SETTINGS;

use crate::tables::{self, key, parent};
use crate::types::Scenario;
use crate::value::{Kind, ValueError};

/// One field of a scenario: where it stands, what it means, how it is read and shown.
///
/// Files are read and written, flags and variables named, errors worded and JSON made from the list of these, so
/// that a field that exists at all exists everywhere, under names that follow from its path.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    path: &'static str,
    about: &'static str,
    example: Option<&'static str>,
    /// The word for "no value", where that can be asked for.
    none: Option<&'static str>,
    kind: Kind,
    is_list: bool,
    is_quantity: bool,
    choices: fn() -> &'static [&'static str],
    get: fn(&Scenario) -> Option<String>,
    set: fn(&mut Scenario, &str) -> Result<(), ValueError>,
}

/// Every field, in the order in which files are written.
pub fn settings() -> &'static [Setting] {
    SETTINGS
}

impl Setting {
    /// The dotted path, such as `migration.max-bandwidth`.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// The path of the table it stands in; empty at the top.
    pub fn table(&self) -> &'static str {
        parent(self.path)
    }

    /// Its name within its table.
    pub fn key(&self) -> &'static str {
        key(self.path)
    }

    /// What it means, in one line that begins with a capital and has no stop.
    pub fn about(&self) -> &'static str {
        self.about
    }

    /// How TOML and JSON write it.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether a file may write a list of texts, and a flag may be repeated; the text of it has semicolons between
    /// the entries.
    pub fn is_list(&self) -> bool {
        self.is_list
    }

    /// The only values there are; empty where there is no such list.
    pub fn choices(&self) -> &'static [&'static str] {
        (self.choices)()
    }

    /// The word that asks for no value at all, such as `unlimited`.
    pub fn none_word(&self) -> Option<&'static str> {
        self.none
    }

    /// Whether a text asks for no value.
    pub(crate) fn is_none_word(&self, text: &str) -> bool {
        self.none.is_some_and(|none| rows::means_none(none, text))
    }

    /// Its variable of the environment, such as `STERNA_MIGRATION_MAX_BANDWIDTH`.
    pub fn variable(&self) -> String {
        variable(self.path)
    }

    /// The name of its flag, without dashes in front, such as `max-bandwidth`: the path without its first part,
    /// where that leaves a name that is unique and tells enough.
    pub fn flag(&self) -> String {
        flag(self.path)
    }

    /// The default as text; within an optional table, the default once that table is asked for. `None` where the
    /// default is to have no value.
    pub fn default_text(&self) -> Option<String> {
        (self.get)(&tables::default_with(self.table()))
    }

    /// A value that could be given: the default, or an example where there is none.
    pub fn example_text(&self) -> String {
        self.default_text().or(self.example.map(str::to_owned)).unwrap_or_default()
    }

    /// Its value in `scenario` as text, or `None` if it has none there. A quantity is as it was written.
    pub fn get(&self, scenario: &Scenario) -> Option<String> {
        let canonical = self.canonical(scenario)?;
        Some(scenario.written.text(self, &canonical).unwrap_or(canonical))
    }

    /// Its value in `scenario` as the one text that each value has.
    pub(crate) fn canonical(&self, scenario: &Scenario) -> Option<String> {
        (self.get)(scenario)
    }

    /// Whether its values are amounts with units, which can be written in more than one way.
    pub(crate) fn is_quantity(&self) -> bool {
        self.is_quantity
    }

    /// Gives it the value that `text` stands for. A field of an optional table brings the table with it.
    pub(crate) fn set(&self, scenario: &mut Scenario, text: &str) -> Result<(), ValueError> {
        (self.set)(scenario, text)
    }

    /// Its value as a file would say it: like [`get`](Self::get), with the word for "no value" where only that word
    /// overrules the default.
    pub(crate) fn explicit(&self, scenario: &Scenario) -> Option<String> {
        let none = || self.none.filter(|_| self.default_text().is_some()).map(str::to_owned);
        self.get(scenario).or_else(none)
    }
}

/// The setting of this path.
pub(crate) fn find(path: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.path == path)
}

/// The settings that stand directly in `table`.
pub(crate) fn within(table: &str) -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(move |setting| setting.table() == table)
}

pub(crate) fn variable(path: &str) -> String {
    format!("STERNA_{}", path.replace(['.', '-'], "_").to_uppercase())
}

pub(crate) fn flag(path: &str) -> String {
    let kept_whole =
        ["workload.memory", "workload.latency", "workload.repeat", "limits.then"].contains(&path);
    let short = match path.split_once('.') {
        Some((first, rest)) if first != "link" && first != "fleet" && !kept_whole => rest,
        _ => path,
    };
    short.replace('.', "-")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn defaults_are_those_that_are_promised() {
        let promised = [
            ("verify", "workload"),
            ("probes", "default"),
            ("guest.paused", "false"),
            ("guest.vcpus", "2"),
            ("guest.memory", "256MiB"),
            ("guest.ballast", "0B"),
            ("guest.huge-pages", "none"),
            ("guest.prealloc", "true"),
            ("guest.locked", "false"),
            ("workload.memory", "25%"),
            ("workload.workers", "2"),
            ("workload.pattern", "random"),
            ("workload.method", "counter"),
            ("workload.rate", "32MiB/s"),
            ("workload.seed", "1"),
            ("workload.latency", "true"),
            ("workload.catch-up", "false"),
            ("workload.repeat", "false"),
            ("migration.transport", "tcp"),
            ("migration.max-bandwidth", "1Gbit/s"),
            ("migration.downtime-limit", "300ms"),
            ("migration.zero-page", "main"),
            ("migration.hops", "1"),
            ("migration.zero-copy", "false"),
            ("migration.mapped-ram", "false"),
            ("migration.direct-io", "false"),
            ("migration.return-path", "true"),
            ("migration.switchover-ack", "false"),
            ("migration.limit-in-switchover", "false"),
            ("migration.downtime.from", "50ms"),
            ("migration.downtime.to", "500ms"),
            ("migration.downtime.steps", "5"),
            ("migration.downtime.every", "5s"),
            ("migration.postcopy.preempt", "true"),
            ("migration.postcopy.recover", "false"),
            ("migration.auto-converge.initial", "20"),
            ("migration.auto-converge.increment", "10"),
            ("migration.auto-converge.max", "99"),
            ("migration.auto-converge.tail-slow", "false"),
            ("migration.dirty-limit.per-vcpu", "10MB/s"),
            ("migration.multifd.channels", "4"),
            ("migration.multifd.compression", "none"),
            ("migration.compress.level", "1"),
            ("migration.compress.threads", "8"),
            ("migration.compress.decompress-threads", "2"),
            ("migration.xbzrle.cache", "25%"),
            ("migration.tls.mode", "psk"),
            ("migration.hold.at-least-passes", "2"),
            ("link.latency", "0s"),
            ("fleet.guests", "2"),
            ("fleet.parallel", "2"),
            ("limits.max-time", "5m"),
            ("limits.then", "cancel"),
            ("timing.warmup", "2s"),
            ("timing.cooldown", "2s"),
            ("timing.sample-interval", "100ms"),
        ];
        let defaults: Vec<(&str, String)> = settings()
            .iter()
            .filter_map(|setting| Some((setting.path(), setting.default_text()?)))
            .collect();
        let promised: Vec<(&str, String)> =
            promised.iter().map(|(path, text)| (*path, (*text).to_owned())).collect();
        assert_eq!(defaults, promised);
    }

    #[test]
    fn every_setting_takes_its_own_example_and_shows_it_again() {
        for setting in settings() {
            let mut scenario = Scenario::default();
            let example = setting.example_text();
            assert!(!example.is_empty(), "{} needs an example", setting.path());
            setting.set(&mut scenario, &example).unwrap();
            assert_eq!(setting.get(&scenario), Some(example), "{}", setting.path());
            if let Some(none) = setting.none_word() {
                setting.set(&mut scenario, none).unwrap();
                assert_eq!(setting.get(&scenario), None, "{}", setting.path());
            }
        }
    }

    #[test]
    fn every_setting_stands_in_a_known_table() {
        for setting in settings() {
            assert!(tables::find(setting.table()).is_some(), "{}", setting.path());
        }
    }

    #[test]
    fn names_follow_from_paths_and_are_unique() {
        let setting = find("migration.postcopy.max-bandwidth").unwrap();
        assert_eq!(setting.variable(), "STERNA_MIGRATION_POSTCOPY_MAX_BANDWIDTH");
        assert_eq!(setting.flag(), "postcopy-max-bandwidth");
        assert_eq!(find("guest.memory").unwrap().flag(), "memory");
        assert_eq!(find("workload.memory").unwrap().flag(), "workload-memory");
        assert_eq!(find("link.latency").unwrap().flag(), "link-latency");
        assert_eq!(find("fleet.guests").unwrap().flag(), "fleet-guests");

        let optional = || tables::tables().iter().filter(|table| table.is_optional());
        let flags = settings().iter().map(Setting::flag).chain(optional().map(|t| t.flag()));
        let flags: Vec<String> = flags.collect();
        assert_eq!(flags.iter().collect::<BTreeSet<_>>().len(), flags.len(), "{flags:?}");
        let variables = settings().iter().map(Setting::variable);
        let variables: Vec<String> = variables.chain(optional().map(|t| t.variable())).collect();
        assert_eq!(variables.iter().collect::<BTreeSet<_>>().len(), variables.len());
    }

    #[test]
    fn kinds_and_choices_follow_from_types() {
        assert_eq!(find("guest.vcpus").unwrap().kind(), Kind::Integer);
        assert_eq!(find("guest.prealloc").unwrap().kind(), Kind::Boolean);
        assert_eq!(find("guest.memory").unwrap().kind(), Kind::Text);
        assert_eq!(find("limits.then").unwrap().choices(), ["cancel", "pause", "postcopy"]);
        assert!(find("workload.pattern").unwrap().choices().is_empty(), "it may have parameters");
        assert!(find("guest.memory").unwrap().choices().is_empty());
    }
}
