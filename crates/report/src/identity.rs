//! Who measured, where, and by which mechanism.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The program that wrote the report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tool {
    /// Name of the program, normally `sterna`.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// Optional parts that were compiled in.
    #[serde(default)]
    pub features: Vec<String>,
}

/// The machine on which the pilot ran. Null where the machine did not say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// The machine's own name for itself.
    pub hostname: Option<String>,
    /// Kernel release, as `uname -r` prints it.
    pub kernel: Option<String>,
    /// Name of the processor.
    pub cpu_model: Option<String>,
    /// Logical CPUs that this process may use.
    pub cpus: Option<u64>,
    /// Physical memory of the machine, in bytes.
    pub memory_bytes: Option<u64>,
    /// Name and version of the operating system.
    pub os: Option<String>,
}

/// The mechanism that migrated the guest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Engine {
    /// Name of the engine, for example `emulator`.
    pub name: String,
    /// Who began the migration and decided about it: `steered`, the writer of this report, or `observed`, others, and
    /// the report is what a watcher saw.
    #[serde(default)]
    pub control: Control,
    /// How writes to guest memory were found; null when the run ended before one was chosen.
    pub tracker: Option<Tracker>,
    /// Why this tracker was taken, in one sentence; null when there was no choice.
    pub tracker_reason: Option<String>,
    /// The unit in which the tracker sees writes, in bytes. When it is larger than 4096, one
    /// written word makes a whole such unit dirty, and dirty rates rise accordingly.
    pub tracking_page_bytes: Option<u64>,
    /// How the two sides were connected, for example `tcp`.
    pub transport: Option<String>,
    /// Versions of the programs on both sides.
    pub peer_versions: PeerVersions,
    /// Whether the file is of an instrument (iperf3, mig_mon) that measured a link or a guest and knows of no
    /// migration: the verdict then says nothing, and what a migration would have is null.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_instrument: bool,
    /// Facts of this engine that have no field of their own. Names in here are not stable.
    #[serde(default)]
    pub details: BTreeMap<String, serde_json::Value>,
}

/// Who began a migration and decided about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Control {
    /// The writer of the report.
    #[default]
    Steered,
    /// Others; it was only watched.
    Observed,
}

/// Versions of the programs that held the guest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PeerVersions {
    /// Version on the source, in its own words; null when it was never heard.
    pub source: Option<String>,
    /// Version on the destination, in its own words; null when it was never heard.
    pub destination: Option<String>,
}

/// How writes to guest memory are found.
///
/// Engines to come bring trackers of their own, and a reader must not fail on a name that it does
/// not know; therefore an unknown name is kept as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tracker {
    /// The kernel's asynchronous write protection: the first write to a page after each
    /// synchronisation faults, as it does under a hypervisor.
    WpAsync,
    /// A bitmap that the workload keeps itself. The memory contents and the network traffic are
    /// real, the cost of tracking is not.
    Cooperative,
    /// A tracker of another engine or of a later version, by its name.
    #[serde(untagged)]
    Other(String),
}

impl Tracker {
    /// Whether the guest paid for tracking what a guest of a hypervisor pays.
    pub fn cost_is_real(&self) -> bool {
        *self != Tracker::Cooperative
    }

    /// The name as it stands in the JSON.
    pub fn as_str(&self) -> &str {
        match self {
            Tracker::WpAsync => "wp-async",
            Tracker::Cooperative => "cooperative",
            Tracker::Other(name) => name,
        }
    }
}

impl std::fmt::Display for Tracker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracker_is_one_word_in_json_and_an_unknown_one_is_kept() {
        let table = [
            (Tracker::WpAsync, "wp-async", true),
            (Tracker::Cooperative, "cooperative", false),
            (Tracker::Other("kvm-dirty-ring".to_owned()), "kvm-dirty-ring", true),
        ];
        for (tracker, name, real) in table {
            assert_eq!(serde_json::to_value(&tracker).unwrap(), name);
            assert_eq!(serde_json::from_value::<Tracker>(name.into()).unwrap(), tracker);
            assert_eq!(tracker.to_string(), name);
            assert_eq!(tracker.cost_is_real(), real);
        }
    }
}
