//! Any text is a quantity or an error; what was read prints so that it reads the same.

#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use sterna_units::{Bytes, Percent, Rate, Size, Span};

fuzz_target!(|text: &str| {
    check::<Bytes>(text);
    check::<Percent>(text);
    check::<Rate>(text);
    check::<Size>(text);
    check::<Span>(text);
});

fn check<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let printed = value.to_string();
        assert_eq!(printed.parse::<T>().expect(&printed), value, "{printed}");
    }
}
