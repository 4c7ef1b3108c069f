//! The same settings in the words of four systems. What a system cannot say is listed, never dropped in silence.

#[cfg(feature = "kubevirt")]
mod kubevirt;
mod libvirt;
mod qemu;
mod scenario;

use std::collections::BTreeMap;

use sterna_report::foresight::Command;
use sterna_scenario::Scenario;

/// Who is to be told.
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

/// Settings in one system's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    /// Lines or documents, in order.
    pub commands: Vec<Command>,
    /// Fields that it cannot say, each with where they would have to be set.
    pub not_expressible: BTreeMap<String, String>,
}

/// Says the migration's settings to a system.
pub fn speak(scenario: &Scenario, target: &Target) -> Spoken {
    match target {
        Target::Scenario => scenario::speak(scenario),
        Target::Qemu => qemu::speak(scenario),
        Target::Libvirt { domain, destination } => libvirt::speak(scenario, domain, destination),
        #[cfg(feature = "kubevirt")]
        Target::Kubevirt => kubevirt::speak(scenario),
    }
}

impl Spoken {
    /// One more line before the migration.
    fn say(&mut self, text: impl Into<String>) {
        self.commands.push(Command { text: text.into(), when: None });
    }

    /// One more line for a certain moment.
    fn say_when(&mut self, when: impl Into<String>, text: impl Into<String>) {
        self.commands.push(Command { text: text.into(), when: Some(when.into()) });
    }

    /// One field more that cannot be said.
    fn cannot(&mut self, field: &str, instead: impl Into<String>) {
        self.not_expressible.insert(field.to_owned(), instead.into());
    }
}
