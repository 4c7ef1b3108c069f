//! Any text is a workload or an error; what was read prints so that it reads the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_workload::Spec;

fuzz_target!(|text: &str| {
    if let Ok(spec) = text.parse::<Spec>() {
        let printed = spec.to_string();
        assert_eq!(printed.parse::<Spec>().expect(&printed), spec, "{printed}");
    }
});
