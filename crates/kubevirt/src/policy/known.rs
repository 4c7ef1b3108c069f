//! Whether a cluster's KubeVirt knows the fields of a policy.
//!
//! An API server drops fields that a kind does not have, and says so at most in a warning. So the server is asked what
//! it would keep.

use serde_json::Value;

use super::Inexpressible;
use crate::cluster::Cluster;
use crate::error::KubevirtError;

/// Refuses a policy of which this cluster would drop fields; nothing is created.
pub async fn require_known(cluster: &Cluster, policy: &Value) -> Result<(), KubevirtError> {
    let kept = match cluster.rehearsing().post(policy).await {
        Ok(kept) => kept,
        // One of its name is there already, which creating it will tell.
        Err(KubevirtError::Refused { code: 409, .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut dropped = Vec::new();
    compare(&policy["spec"], &kept.data["spec"], "spec", &mut dropped);
    let inexpressible = |field| {
        Inexpressible {
        field,
        instead: "this cluster's KubeVirt has no such field, and would drop it without a word; it came with KubeVirt 1.9, some of it later".to_owned(),
    }
    };
    if dropped.is_empty() {
        return Ok(());
    }
    Err(KubevirtError::Policy(dropped.into_iter().map(inexpressible).collect()))
}

/// Fields that were given and not kept, the outermost of each.
fn compare(given: &Value, kept: &Value, path: &str, dropped: &mut Vec<String>) {
    let Value::Object(given) = given else { return };
    for (key, value) in given {
        let path = format!("{path}.{key}");
        match kept.get(key) {
            None => dropped.push(path),
            Some(kept) => compare(value, kept, &path, dropped),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_kept_is_named_by_its_outermost_field() {
        let given = json!({"a": 1, "b": {"c": 2, "d": {"e": 3}}, "f": {"g": 4}});
        let kept = json!({"a": "1", "b": {"c": 2}, "more": true});
        let mut dropped = Vec::new();
        compare(&given, &kept, "spec", &mut dropped);
        assert_eq!(dropped, ["spec.b.d", "spec.f"]);
        dropped.clear();
        compare(&given, &given, "spec", &mut dropped);
        assert_eq!(dropped, [""; 0]);
    }
}
