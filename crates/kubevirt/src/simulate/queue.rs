//! Whose turn it is: KubeVirt's limits and priorities; pure.

use std::collections::HashMap;

/// A migration that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its UID.
    pub uid: String,
    /// The node that the guest would leave.
    pub source: String,
    /// Who is more important has more.
    pub priority: u32,
    /// When it came, by the cluster's clock and then by name.
    pub came: (String, String),
}

/// Priority of a migration that a drain made.
pub const SYSTEM_CRITICAL: u32 = 100;
/// Priority of a migration that somebody asked for.
pub const USER: u32 = 50;

/// Those that may go on now: most important first, then first come; never more than the limits allow.
///
/// `under_way` names the source node of each migration that has its turn already.
pub fn turns(
    mut waiting: Vec<Waiting>,
    under_way: &[String],
    per_cluster: u32,
    per_node: u32,
) -> Vec<Waiting> {
    let mut leaving: HashMap<String, u32> = HashMap::new();
    for source in under_way {
        *leaving.entry(source.clone()).or_default() += 1;
    }
    let mut running = u32::try_from(under_way.len()).unwrap_or(u32::MAX);
    waiting.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.came.cmp(&b.came)));
    let mut chosen = Vec::new();
    for next in waiting {
        let node = leaving.entry(next.source.clone()).or_default();
        if running >= per_cluster {
            break;
        }
        if *node >= per_node {
            continue;
        }
        *node += 1;
        running += 1;
        chosen.push(next);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(uid: &str, source: &str, priority: u32) -> Waiting {
        let came = (String::new(), uid.to_owned());
        Waiting { uid: uid.to_owned(), source: source.to_owned(), priority, came }
    }

    #[test]
    fn limits_hold_and_the_important_go_first() {
        let all = vec![
            waiting("a", "n1", USER),
            waiting("b", "n1", USER),
            waiting("c", "n1", SYSTEM_CRITICAL),
            waiting("d", "n2", USER),
            waiting("e", "n3", USER),
        ];
        let chosen = |under_way: &[&str], per_cluster, per_node| -> String {
            let under_way: Vec<String> = under_way.iter().map(|it| (*it).to_owned()).collect();
            turns(all.clone(), &under_way, per_cluster, per_node)
                .into_iter()
                .map(|it| it.uid)
                .collect()
        };
        assert_eq!(chosen(&[], 5, 2), "cade");
        assert_eq!(chosen(&[], 2, 2), "ca");
        assert_eq!(chosen(&["n1", "n1"], 5, 2), "de");
        assert_eq!(chosen(&["n9", "n9"], 2, 2), "");
        assert_eq!(chosen(&["n1"], 9, 1), "de");
    }
}
