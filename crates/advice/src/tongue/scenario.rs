//! Sterna's own words.

use sterna_scenario::Scenario;

use super::Spoken;

/// One line, to try the settings on the emulator; guest and workload are added by whoever knows them.
pub fn speak(scenario: &Scenario) -> Spoken {
    let mut spoken = Spoken::default();
    let flags = scenario.flags();
    spoken.say(std::iter::once("sterna run".to_owned()).chain(flags).collect::<Vec<_>>().join(" "));
    spoken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_the_flags_of_a_run() {
        let text =
            "[migration]\nmax-bandwidth = \"10Gbit/s\"\n[migration.postcopy]\nafter-passes = 1\n";
        let spoken = speak(&Scenario::from_toml(text, "x").unwrap());
        let expected = "sterna run --max-bandwidth 10Gbit/s --postcopy-after-passes 1";
        assert_eq!(spoken.commands[0].text, expected);
    }
}
