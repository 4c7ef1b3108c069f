//! What a pair of binaries cannot do together although each of them accepts it.

use sterna_pilot::EngineError;

use super::Wish;

/// The first version that refuses multifd together with post-copy; from 10.1 on both work together.
const LOOKS_AT_BOTH: u32 = 8;

/// Refuses what would make this pair hang or abort.
///
/// Before 8.0 a destination with `postcopy-preempt` takes its connection and those of multifd for one another and waits
/// for ever; without it the destination aborts at the end of post-copy.
///
/// # Errors
/// [`EngineError::Unsupported`], with the field and the way out.
pub(crate) fn check_pair(wishes: &[Wish], versions: [&str; 2]) -> Result<(), EngineError> {
    let has = |name| wishes.iter().any(|it| it.name == name);
    let is_old = |version: &&str| major(version).is_some_and(|it| it < LOOKS_AT_BOTH);
    match versions.iter().find(|it| is_old(it)) {
        Some(old) if has("multifd") && has("postcopy-ram") => {
            Err(EngineError::Unsupported(format!(
                "migration.multifd: QEMU {old} accepts it together with post-copy, but its destination hangs or aborts; leave one of the two out, or use QEMU 10.1 or later on both sides"
            )))
        }
        _ => Ok(()),
    }
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

    #[track_caller]
    fn check(toml: &str, versions: [&str; 2], is_refused: bool) {
        let wishes = wishes(&Scenario::from_toml(toml, "test.toml").unwrap());
        let checked = check_pair(&wishes, versions);
        assert_eq!(checked.is_err(), is_refused, "{toml} on {versions:?}: {checked:?}");
    }

    #[test]
    fn an_old_binary_on_either_side_does_not_get_multifd_and_postcopy() {
        let both = "[migration.multifd]\n[migration.postcopy]\nafter-passes = 1\n";
        check(both, ["7.2.22", "7.2.22"], true);
        check(both, ["10.0.2", "7.2.22"], true);
        check(both, ["7.2.22", "10.0.2"], true);
        check(&format!("{both}preempt = false"), ["7.2.22", "7.2.22"], true);
        check(both, ["10.1.0", "10.1.0"], false);
        check(both, ["unheard of", "10.1.0"], false);
        check("[migration.postcopy]\nafter-passes = 1", ["7.2.22", "7.2.22"], false);
        check("[migration.multifd]", ["7.2.22", "7.2.22"], false);
    }
}
