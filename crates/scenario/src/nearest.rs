//! What somebody most likely meant.

/// The known name closest to `given`, if one is close enough to be meant rather than guessed.
pub(crate) fn nearest(
    given: &str,
    known: impl IntoIterator<Item = &'static str>,
) -> Option<&'static str> {
    /// Below this similarity a suggestion misleads more often than it helps.
    const CLOSE_ENOUGH: f64 = 0.8;
    let given = normal(given);
    let scored = known.into_iter().map(|name| (similarity(&given, &normal(name)), name));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(score, _)| *score >= CLOSE_ENOUGH).map(|(_, name)| name)
}

/// 0 to 1. Jaro-Winkler trusts beginnings, so a word that lacks its first part (`bandwidth` for `max-bandwidth`)
/// needs the second look.
fn similarity(given: &str, name: &str) -> f64 {
    let contains =
        given.len() >= 4 && name.contains(given) || name.len() >= 4 && given.contains(name);
    strsim::jaro_winkler(given, name).max(if contains { 0.85 } else { 0.0 })
}

fn normal(name: &str) -> String {
    // Nobody means a name from far beyond the longest one, and similarity costs time quadratic in the length.
    const LONGEST: usize = 80;
    name.chars()
        .take(LONGEST)
        .flat_map(char::to_lowercase)
        .map(|c| if c == '_' { '-' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_mended_and_nonsense_is_not() {
        #[track_caller]
        fn check(given: &str, expected: Option<&str>) {
            let known = ["max-bandwidth", "downtime-limit", "downtime", "transport", "tls"];
            assert_eq!(nearest(given, known), expected, "{given}");
        }
        check("max-bandwith", Some("max-bandwidth"));
        check("max_bandwidth", Some("max-bandwidth"));
        check("MaxBandwidth", Some("max-bandwidth"));
        check("bandwidth", Some("max-bandwidth"));
        check("downtime-limits", Some("downtime-limit"));
        check("downtme", Some("downtime"));
        check("TLS", Some("tls"));
        check("", None);
        check("colour", None);
        check(&"x".repeat(100_000), None);
    }
}
