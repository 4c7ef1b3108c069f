use std::sync::atomic::Ordering;

use sterna_sys::region::{HugePages, Region, RegionOptions};

use super::*;

#[test]
fn the_address_is_the_last_word_of_what_qemu_says() {
    let said = "Host virtual address for 0x1000 (ram) is 0x7f5d2be01000";
    assert_eq!(parse(said), Some(HostAddress(0x7f5d_2be0_1000)));
    for refused in ["", "No memory is mapped at address 0x1000", "is 0x", "is 0x0", "unknown"] {
        assert_eq!(parse(refused), None, "{refused}");
    }
}

/// A process like any other: ourselves.
#[test]
fn a_page_with_content_is_read_and_one_without_is_not() {
    let options = RegionOptions { bytes: 8 << 12, huge_pages: HugePages::None, locked: false };
    let region = Region::new(&options).unwrap();
    let at = HostAddress(region.words().as_ptr() as u64);
    let ours = GuestMemory::of_process(std::process::id()).unwrap();
    let mut found = [9; 8];
    assert_eq!(ours.read(at, &mut found).unwrap(), None);
    // The look itself has not made a page.
    assert_eq!((ours.read(at, &mut found).unwrap(), found), (None, [9; 8]));
    region.words()[0].store(7, Ordering::Relaxed);
    assert_eq!(ours.read(at, &mut found).unwrap(), Some(()));
    assert_eq!(u64::from_ne_bytes(found), 7);
    assert_eq!([0, PRESENT, SWAPPED, 1].map(has_content), [false, true, true, false]);
}

#[test]
fn a_process_that_is_not_there_is_named() {
    let error = GuestMemory::of_process(u32::MAX).unwrap_err().to_string();
    assert!(error.contains("/proc/4294967295/mem cannot be opened"), "{error}");
}
