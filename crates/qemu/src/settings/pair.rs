//! What a pair of binaries cannot do together although each of them accepts it.

use sterna_report::Warning;

use super::Wish;
use crate::warnings::warning;

/// What is left out of a scenario's settings for this pair.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LeftOut {
    /// QEMU's names.
    pub names: Vec<&'static str>,
    /// What the user is told.
    pub warnings: Vec<Warning>,
}

/// The first version that looks at multifd and post-copy together; from 8.0 on they are refused, from 10.1 on they work.
const LOOKS_AT_BOTH: u32 = 8;

/// Takes out of the settings what would make this pair hang.
///
/// Before 8.0 post-copy's own connection for requested pages (`postcopy-preempt`) and multifd's connections are taken for one another by the destination, which then waits for ever; without the former both techniques work.
pub(crate) fn fit(wishes: &mut Vec<Wish>, versions: [&str; 2]) -> LeftOut {
    const PREEMPT: &str = "postcopy-preempt";
    let has = |wishes: &[Wish], name| wishes.iter().any(|it| it.name == name);
    let is_old = |version: &&str| major(version).is_some_and(|it| it < LOOKS_AT_BOTH);
    let Some(old) = versions.iter().find(|it| is_old(it)) else { return LeftOut::default() };
    if !has(wishes, "multifd") || !has(wishes, PREEMPT) {
        return LeftOut::default();
    }
    wishes.retain(|it| it.name != PREEMPT);
    let told = warning(
        "preempt-left-out",
        format!(
            "migration.postcopy.preempt was left out: with multifd beside it QEMU {old} hangs in post-copy, so requested pages share a connection with all others"
        ),
        Some("Leave out multifd to measure preempt, or use QEMU 10.1 or later on both sides"),
    );
    LeftOut { names: vec![PREEMPT], warnings: vec![told] }
}

/// The first number of a version.
pub(crate) fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use sterna_scenario::Scenario;

    use super::*;
    use crate::settings::wishes;

    /// Whether `postcopy-preempt` is set, and whether the user is told that it is not.
    #[track_caller]
    fn check(toml: &str, versions: [&str; 2], expected: (bool, bool)) {
        let mut wishes = wishes(&Scenario::from_toml(toml, "test.toml").unwrap());
        let left_out = fit(&mut wishes, versions);
        let is_set = wishes.iter().any(|it| it.name == "postcopy-preempt");
        let is_told = left_out.warnings.iter().any(|it| it.code == "preempt-left-out");
        assert_eq!((is_set, is_told), expected, "{toml} on {versions:?}");
        assert_eq!(left_out.names.is_empty(), !is_told);
    }

    #[test]
    fn an_old_binary_on_either_side_does_not_get_preempt_beside_multifd() {
        let both = "[migration.multifd]\n[migration.postcopy]\nafter-passes = 1\n";
        check(both, ["7.2.22", "7.2.22"], (false, true));
        check(both, ["10.0.2", "7.2.22"], (false, true));
        check(both, ["7.2.22", "10.0.2"], (false, true));
        check(both, ["10.1.0", "10.1.0"], (true, false));
        check(both, ["unheard of", "10.1.0"], (true, false));
        check("[migration.postcopy]\nafter-passes = 1", ["7.2.22", "7.2.22"], (true, false));
        check(&format!("{both}preempt = false"), ["7.2.22", "7.2.22"], (false, false));
        check("[migration.multifd]", ["7.2.22", "7.2.22"], (false, false));
    }
}
