//! The tables of a scenario file.

use crate::types::{Downtime, Scenario};

/// A table of a scenario file.
///
/// Most tables are always there. An optional one stands for a technique: to have it is to ask for it, and
/// [`Builder::set`](crate::Builder::set) takes its path with `on` or `off`.
#[derive(Debug)]
pub struct Table {
    path: &'static str,
    about: &'static str,
    pub(crate) switch: Option<Switch>,
}

/// How an optional table is asked for.
#[derive(Debug)]
pub(crate) struct Switch {
    pub(crate) is_on: fn(&Scenario) -> bool,
    pub(crate) on: fn(&mut Scenario),
    pub(crate) off: fn(&mut Scenario),
}

/// Every table, in the order in which files are written: a table comes before the tables within it.
pub fn tables() -> &'static [Table] {
    TABLES
}

impl Table {
    /// The dotted path, such as `migration.postcopy`; empty for what stands outside any table.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// What it is for, in one line.
    pub fn about(&self) -> &'static str {
        self.about
    }

    /// Whether it stands for something that is off unless asked for.
    pub fn is_optional(&self) -> bool {
        self.switch.is_some()
    }

    /// Whether `scenario` has it.
    pub fn is_in(&self, scenario: &Scenario) -> bool {
        self.switch.as_ref().is_none_or(|switch| (switch.is_on)(scenario))
    }

    /// Its variable of the environment, which takes `on` or `off` where the table is optional.
    pub fn variable(&self) -> String {
        crate::settings::variable(self.path)
    }

    /// The name of its flag, without dashes in front.
    pub fn flag(&self) -> String {
        crate::settings::flag(self.path)
    }
}

/// The table of this path.
pub(crate) fn find(path: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.path == path)
}

/// The path of the table that holds `path`; empty at the top.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(parent, _)| parent)
}

/// The last part of `path`.
pub(crate) fn key(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, key)| key)
}

macro_rules! technique {
    ($path:literal, $field:ident, $about:literal) => {
        technique!(
            $path,
            $about,
            |s| s.migration.$field.is_some(),
            |s| {
                s.migration.$field.get_or_insert_default();
            },
            |s| s.migration.$field = None
        )
    };
    ($path:literal, $about:literal, $is_on:expr, $on:expr, $off:expr) => {
        Table {
            path: $path,
            about: $about,
            switch: Some(Switch { is_on: $is_on, on: $on, off: $off }),
        }
    };
}

const fn always(path: &'static str, about: &'static str) -> Table {
    Table { path, about, switch: None }
}

const TABLES: &[Table] = &[
    always("", "A run"),
    always("guest", "The virtual machine that is migrated"),
    always("guest.source", "Where the source runs"),
    always("guest.destination", "Where the destination runs"),
    always("workload", "What the guest does with its memory"),
    always("migration", "How the guest is moved"),
    technique!(
        "migration.downtime",
        "Instead of downtime-limit: a limit that grows while the migration does not finish",
        |s| s.migration.downtime.steps().is_some(),
        |s| {
            s.migration.downtime.steps_or_default();
        },
        |s| {
            if s.migration.downtime.steps().is_some() {
                s.migration.downtime = Downtime::default();
            }
        }
    ),
    technique!(
        "migration.postcopy",
        postcopy,
        "Switch to post-copy: the guest fetches what it lacks"
    ),
    technique!(
        "migration.pause",
        "Stop the guest, so that the rest can be sent",
        |s| s.migration.pause.is_some(),
        // There is no default moment to stop a guest; the builder insists on one.
        |_| {},
        |s| s.migration.pause = None
    ),
    technique!(
        "migration.auto-converge",
        auto_converge,
        "Slow the guest down, step by step, while it dirties faster than can be sent"
    ),
    technique!(
        "migration.dirty-limit",
        dirty_limit,
        "Slow down the processors that dirty too fast"
    ),
    technique!("migration.multifd", multifd, "Send through several connections"),
    technique!(
        "migration.compress",
        compress,
        "Compress pages on one connection, which QEMU did up to 9.0; later ones have multifd for it"
    ),
    technique!("migration.xbzrle", xbzrle, "Send what changed in a page instead of the page"),
    technique!("migration.tls", tls, "Encrypt the stream"),
    technique!("migration.hold", hold, "Keep the migration from finishing early"),
    technique!(
        "link",
        "An emulated wire",
        |s| s.link.is_some(),
        |s| {
            s.link.get_or_insert_default();
        },
        |s| s.link = None
    ),
    technique!(
        "fleet",
        "Several guests over one link, which [link] bandwidth is shared by",
        |s| s.fleet.is_some(),
        |s| {
            s.fleet.get_or_insert_default();
        },
        |s| s.fleet = None
    ),
    always(
        "limits",
        "When the migration has taken long enough; the limit that is reached first counts",
    ),
    always("slo", "What the numbers of the run must keep to"),
    always("timing", "How long to watch, and how often"),
];

/// A scenario in which `table` and everything around it is asked for; tells defaults within optional tables.
pub(crate) fn default_with(table: &str) -> Scenario {
    let mut scenario = Scenario::default();
    if let Some(Table { switch: Some(switch), .. }) = find(table) {
        (switch.on)(&mut scenario);
    }
    scenario
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::DowntimeSteps;

    #[test]
    fn optional_tables_can_be_asked_for_and_dropped() {
        for table in TABLES.iter().filter(|table| table.path != "migration.pause") {
            let Some(switch) = &table.switch else {
                assert!(table.is_in(&Scenario::default()), "{}", table.path);
                continue;
            };
            let mut scenario = default_with(table.path);
            assert!(table.is_in(&scenario), "{}", table.path);
            assert_ne!(scenario, Scenario::default(), "{}", table.path);
            (switch.off)(&mut scenario);
            assert_eq!(scenario, Scenario::default(), "{}", table.path);
        }
        let steps = default_with("migration.downtime").migration.downtime;
        assert_eq!(steps.steps(), Some(&DowntimeSteps::default()));
    }

    #[test]
    fn a_table_comes_before_the_tables_within_it() {
        for (index, table) in TABLES.iter().enumerate() {
            assert!(
                TABLES[..=index]
                    .iter()
                    .any(|earlier| { earlier.path == parent(table.path) || table.path.is_empty() })
            );
        }
    }
}
