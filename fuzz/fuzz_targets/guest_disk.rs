//! Any page is one of a disk or none; what was read is written so that it reads the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_wire::guest_disk::DiskPage;

fuzz_target!(|text: &str| {
    if let Ok(page) = text.parse::<DiskPage>() {
        assert_eq!(page.to_string().parse(), Ok(page));
    }
});
