//! What shows that a technique was really at work, under the names that the engine for QEMU uses.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sterna_wire::control::{RuleVerdict, SwitchoverRule, TechniqueStatus};

/// For the report; `seconds` maps the source's clock to the time since the migration began.
pub(super) fn to_details(
    status: &TechniqueStatus,
    seconds: impl Fn(u64) -> f64,
) -> BTreeMap<String, Value> {
    let mut details = BTreeMap::new();
    let counters = counters(status);
    if !counters.is_empty() {
        details.insert("source_counters".to_owned(), counters.into());
    }
    if !status.limited_workers.is_empty() {
        let workers = status.limited_workers.iter().map(|it| {
            json!({
                "dirty_rate_bytes_per_second": it.bytes_per_second,
                "throttle_percent": it.throttle_percent,
            })
        });
        details.insert("dirty_limit_workers".to_owned(), workers.collect());
    }
    details.insert("switchover_decision".to_owned(), switchover(status, seconds));
    details
}

fn counters(status: &TechniqueStatus) -> Map<String, Value> {
    let mut counters = Map::new();
    if let Some(percent) = status.peak_throttle_percent {
        counters.insert("throttle_percent".to_owned(), json!(percent));
        counters.insert("forced_syncs".to_owned(), status.forced_syncs.into());
    }
    if let Some(it) = &status.xbzrle {
        let all: [(&str, Value); 7] = [
            ("xbzrle_cache_bytes", it.cache_bytes.into()),
            ("xbzrle_pages", it.pages.into()),
            ("xbzrle_bytes", it.bytes.into()),
            ("xbzrle_cache_misses", it.cache_misses.into()),
            ("xbzrle_overflows", it.overflows.into()),
            ("xbzrle_unchanged_pages", it.unchanged_pages.into()),
            ("xbzrle_encoding_rate", it.encoding_rate.into()),
        ];
        counters.extend(all.map(|(name, value)| (name.to_owned(), value)));
    }
    counters
}

/// Both rules side by side; null where a rule would never have stopped the guest by itself.
fn switchover(status: &TechniqueStatus, seconds: impl Fn(u64) -> f64) -> Value {
    let it = &status.switchover;
    let verdict = |verdict: Option<RuleVerdict>| {
        verdict.map(|it| {
            json!({
                "after_passes": it.after_passes,
                "t_seconds": seconds(it.at_ns),
                "pending_bytes": it.pending_bytes,
                "expected_downtime_seconds": it.expected_downtime_ns as f64 / 1e9,
            })
        })
    };
    json!({
        "rule": match it.rule {
            SwitchoverRule::Effective => "effective",
            SwitchoverRule::Qemu => "qemu",
        },
        "wire_bytes_per_raw_byte": it.wire_share,
        "effective_would_stop": verdict(it.effective),
        "qemu_would_stop": verdict(it.qemu),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_wire::control::{Switchover, XbzrleCounters};

    #[test]
    fn a_rule_that_never_said_stop_is_null() {
        let effective = RuleVerdict {
            after_passes: 3,
            at_ns: 5_000_000_000,
            pending_bytes: 8192,
            expected_downtime_ns: 20_000_000,
        };
        let status = TechniqueStatus {
            xbzrle: Some(XbzrleCounters { pages: 7, ..XbzrleCounters::default() }),
            switchover: Switchover {
                wire_share: 0.25,
                effective: Some(effective),
                ..Switchover::default()
            },
            ..TechniqueStatus::default()
        };
        let details = to_details(&status, |ns| ns as f64 / 1e9 - 4.0);
        assert_eq!(details["source_counters"]["xbzrle_pages"], 7);
        let decision = &details["switchover_decision"];
        assert_eq!(decision["rule"], "effective");
        assert_eq!(
            decision["effective_would_stop"],
            json!({
                "after_passes": 3,
                "t_seconds": 1.0,
                "pending_bytes": 8192,
                "expected_downtime_seconds": 0.02,
            })
        );
        assert!(decision["qemu_would_stop"].is_null());
        assert!(!details.contains_key("dirty_limit_workers"));
    }
}
