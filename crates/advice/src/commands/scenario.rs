//! Sterna's own words.

use sterna_scenario::Scenario;

use super::Commands;

/// One line, to try the settings on the emulator; guest and workload are for the user to add.
pub fn commands(scenario: &Scenario) -> Commands {
    let mut found = Commands::default();
    let flags = scenario.flags();
    found.add(std::iter::once("sterna run".to_owned()).chain(flags).collect::<Vec<_>>().join(" "));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_the_flags_of_a_run() {
        let text =
            "[migration]\nmax-bandwidth = \"10Gbit/s\"\n[migration.postcopy]\nafter-passes = 1\n";
        let found = commands(&Scenario::from_toml(text, "x").unwrap());
        let expected = "sterna run --max-bandwidth 10Gbit/s --postcopy-after-passes 1";
        assert_eq!(found.commands[0].text, expected);
    }
}
