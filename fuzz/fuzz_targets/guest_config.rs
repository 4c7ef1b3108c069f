//! Any text is an agent's configuration or an error; what was read is written so that it reads the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_wire::guest_config::GuestConfig;

fuzz_target!(|text: &str| {
    let Ok(config) = text.parse::<GuestConfig>() else { return };
    assert_eq!(config.to_string().parse(), Ok(config));
});
