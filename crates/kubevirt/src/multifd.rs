//! How many parallel connections virt-launcher takes. No object has a field for it; the release and the machine decide.

use crate::views::Domain;

/// Parallel connections of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connections {
    /// How many; None where it depends on a release that is not known.
    pub count: Option<u8>,
    /// In words, with the reason.
    pub text: String,
}

/// What virt-launcher takes where nothing speaks against it.
const PARALLEL: u8 = 8;
/// The first release that takes them.
const SINCE: (u32, u32) = (1, 5);
/// The first release that takes them together with post-copy, and one for machines with dedicated CPUs.
const WITH_POSTCOPY: (u32, u32) = (1, 9);

/// The connections of a migration of this machine by this release of KubeVirt.
pub fn connections(domain: &Domain, has_postcopy: bool, release: Option<&str>) -> Connections {
    let one =
        |why: &str| Connections { count: Some(1), text: format!("one connection, since {why}") };
    if domain.resources.limits.contains_key("cpu") {
        return one("the machine has a CPU limit");
    }
    let is_dedicated = domain.cpu.as_ref().and_then(|it| it.dedicated_cpu_placement) == Some(true);
    let Some(version) = release.and_then(version) else {
        let mut text = format!(
            "{PARALLEL} parallel connections from KubeVirt 1.5 on, one before; the release is not known"
        );
        if is_dedicated {
            text.push_str("; one from 1.9 on, since the machine has dedicated CPUs");
        } else if has_postcopy {
            text.push_str("; one before 1.9, since post-copy is allowed");
        }
        return Connections { count: None, text };
    };
    if version < SINCE {
        let release = release.unwrap_or_default();
        return one(&format!("KubeVirt {release} has no others; they came with 1.5"));
    }
    if is_dedicated && version >= WITH_POSTCOPY {
        return one("the machine has dedicated CPUs");
    }
    if has_postcopy && version < WITH_POSTCOPY {
        return one("post-copy is allowed; both together came with KubeVirt 1.9");
    }
    Connections { count: Some(PARALLEL), text: format!("{PARALLEL} parallel connections") }
}

/// Major and minor of a release, such as `v1.5.0-rc.1`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.trim().trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_release_and_the_machine_decide_on_connections() {
        let plain = json!({});
        let limited = json!({"resources": {"limits": {"cpu": "2"}}});
        let dedicated = json!({"cpu": {"dedicatedCpuPlacement": true}});
        let table = [
            (&plain, false, Some("v1.1.1"), Some(1), "since KubeVirt v1.1.1 has no others"),
            (&plain, false, Some("v0.59.2"), Some(1), "came with 1.5"),
            (&plain, false, Some("v1.4.9"), Some(1), "came with 1.5"),
            (&plain, false, Some("v1.5.0"), Some(8), "8 parallel connections"),
            (&plain, false, Some("1.10.0-alpha"), Some(8), "8 parallel connections"),
            (&plain, true, Some("v1.5.0"), Some(1), "post-copy is allowed"),
            (&plain, true, Some("v1.9.0-rc.2"), Some(8), "8 parallel connections"),
            (&limited, false, Some("v1.9.0"), Some(1), "CPU limit"),
            (&limited, false, None, Some(1), "CPU limit"),
            (&dedicated, false, Some("v1.8.0"), Some(8), "8 parallel connections"),
            (&dedicated, false, Some("v1.9.0"), Some(1), "dedicated CPUs"),
            (&plain, false, None, None, "the release is not known"),
            (&plain, true, Some("devel"), None, "one before 1.9, since post-copy is allowed"),
            (&dedicated, false, None, None, "one from 1.9 on"),
        ];
        for (domain, has_postcopy, release, count, words) in table {
            let domain: Domain = serde_json::from_value(domain.clone()).unwrap();
            let found = connections(&domain, has_postcopy, release);
            assert_eq!(found.count, count, "{release:?} {}", found.text);
            assert!(found.text.contains(words), "{release:?} {}", found.text);
        }
    }
}
