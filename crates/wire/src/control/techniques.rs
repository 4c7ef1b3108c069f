//! What a source does to make a hard migration end, and what shows that it did.

use serde::{Deserialize, Serialize};

/// The techniques that a source uses; the default uses none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Techniques {
    /// Size of the cache of former contents; `None` sends whole pages only.
    pub xbzrle_cache_bytes: Option<u64>,
    /// Slows all workers down alike.
    pub auto_converge: Option<AutoConvergeConfig>,
    /// Slows down those workers that dirty more than this.
    pub dirty_limit_bytes_per_second: Option<u64>,
    /// Whether the migration may not finish before it is released.
    pub hold: bool,
    /// When the guest may be stopped.
    pub switchover_rule: SwitchoverRule,
}

/// How auto-converge goes about it, in percent of processor time taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AutoConvergeConfig {
    /// The first step.
    pub initial: u8,
    /// Each further step adds this much.
    pub increment: u8,
    /// Never more than this.
    pub max: u8,
    /// Whether a further step is no larger than the dirty rate asks for.
    pub tail_slow: bool,
}

/// What is held against what can be sent within the downtime limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SwitchoverRule {
    /// Pending bytes as they will travel, by what the passes so far have taught.
    #[default]
    Effective,
    /// Raw bytes of pending pages, as QEMU does it.
    Qemu,
}

/// What the techniques have done so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct TechniqueStatus {
    /// The share of time that the workers are held back now, the most of any; `None` without a technique that does.
    pub throttle_percent: Option<f64>,
    /// The highest of it so far.
    pub peak_throttle_percent: Option<f64>,
    /// Synchronisations that were made only because there was none for long.
    pub forced_syncs: u64,
    /// What xbzrle did; `None` without it.
    pub xbzrle: Option<XbzrleCounters>,
    /// The workers as the dirty limit last measured them; empty before.
    pub limited_workers: Vec<LimitedWorker>,
    /// A page that was sent and then found dirty again, the latest.
    pub resent_page: Option<u64>,
    /// How the rules judge.
    pub switchover: Switchover,
}

/// What was sent as differences, in QEMU's counters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct XbzrleCounters {
    /// Size of the cache.
    pub cache_bytes: u64,
    /// Pages whose former content was in the cache.
    pub pages: u64,
    /// Bytes that these took: differences with 3 bytes of their own each, and whole pages where the difference would have been longer.
    pub bytes: u64,
    /// Pages whose former content was not in the cache.
    pub cache_misses: u64,
    /// Pages whose difference would have been longer than the page.
    pub overflows: u64,
    /// Pages that were as they had been sent before, so that nothing was sent.
    pub unchanged_pages: u64,
    /// Raw bytes of encoded pages / bytes that they took, over the last period of more than a second in which there were some.
    pub encoding_rate: Option<f64>,
}

/// A worker under a dirty limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct LimitedWorker {
    /// Its dirty rate when it was last measured.
    pub bytes_per_second: u64,
    /// The share of time it has been held back since.
    pub throttle_percent: f64,
}

/// How the rules for stopping the guest have judged so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Switchover {
    /// The rule that is followed.
    pub rule: SwitchoverRule,
    /// Bytes that a pending byte takes on the wire, as the effective rule has learnt.
    pub wire_share: f64,
    /// What the downtime would be now, by the rule that is followed.
    pub expected_downtime_ns: Option<u64>,
    /// When QEMU's rule would have stopped the guest.
    pub qemu: Option<RuleVerdict>,
    /// When the effective rule would have stopped the guest.
    pub effective: Option<RuleVerdict>,
}

/// The synchronisation after which a rule would have stopped the guest for the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct RuleVerdict {
    /// Passes that were complete then.
    pub after_passes: u32,
    /// The host's clock then.
    pub at_ns: u64,
    /// Raw bytes of the pages that were pending.
    pub pending_bytes: u64,
    /// What the downtime would have been, as that rule expects it.
    pub expected_downtime_ns: u64,
}
