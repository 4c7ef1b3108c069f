//! Any file is a scenario or an error; a scenario that is printed reads the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_scenario::Scenario;

fuzz_target!(|text: &str| {
    if let Ok(scenario) = Scenario::from_toml(text, "fuzz.toml") {
        let printed = scenario.to_toml();
        let again = Scenario::from_toml(&printed, "printed.toml").expect(&printed);
        assert_eq!(again, scenario, "{printed}");
    }
});
