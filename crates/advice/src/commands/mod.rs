//! The same settings as commands of four systems. What a system cannot express is listed, never dropped in silence.

#[cfg(feature = "kubevirt")]
mod kubevirt;
mod libvirt;
mod qemu;
mod scenario;

use std::collections::BTreeMap;

use sterna_report::foresight::Command;
use sterna_scenario::Scenario;

/// The system that gets the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A scenario file and the flags of `sterna run`.
    Scenario,
    /// QMP commands.
    Qemu,
    /// `virsh` commands.
    Libvirt {
        /// The guest.
        domain: String,
        /// Where it goes.
        destination: String,
    },
    /// A MigrationPolicy.
    #[cfg(feature = "kubevirt")]
    Kubevirt,
}

/// Settings as one system takes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commands {
    /// Lines or documents, in order.
    pub commands: Vec<Command>,
    /// Fields that it cannot express, each with where they would have to be set.
    pub not_expressible: BTreeMap<String, String>,
}

/// The settings of the migration as commands of a system.
pub fn commands(scenario: &Scenario, target: &Target) -> Commands {
    match target {
        Target::Scenario => scenario::commands(scenario),
        Target::Qemu => qemu::commands(scenario),
        Target::Libvirt { domain, destination } => libvirt::commands(scenario, domain, destination),
        #[cfg(feature = "kubevirt")]
        Target::Kubevirt => kubevirt::commands(scenario),
    }
}

impl Commands {
    /// One more line before the migration.
    fn add(&mut self, text: impl Into<String>) {
        self.commands.push(Command { text: text.into(), when: None });
    }

    /// One more line for a certain moment.
    fn add_at(&mut self, when: impl Into<String>, text: impl Into<String>) {
        self.commands.push(Command { text: text.into(), when: Some(when.into()) });
    }

    /// One field more that cannot be said.
    fn cannot(&mut self, field: &str, instead: impl Into<String>) {
        self.not_expressible.insert(field.to_owned(), instead.into());
    }
}
