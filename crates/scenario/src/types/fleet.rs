//! Several guests in one run.

use super::Scenario;

/// Several guests that are migrated over one link, each as the scenario says.
///
/// `[link] bandwidth` is what all of them share, as guests share the wire of the machine that they leave; `migration.max-bandwidth` holds for each of them alone, as it does in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fleet {
    /// How many guests.
    pub guests: u32,
    /// How many of them migrate at the same time, the others waiting: 1 for one after the other.
    pub parallel: u32,
}

impl Default for Fleet {
    fn default() -> Fleet {
        Fleet { guests: 2, parallel: 2 }
    }
}

impl Scenario {
    /// What guest `index` of the fleet runs, counted from 0: the same with other pages and contents.
    pub fn of_guest(&self, index: u32) -> Scenario {
        let mut scenario = self.clone();
        scenario.workload.seed = scenario.workload.seed.wrapping_add(u64::from(index));
        scenario
    }
}
