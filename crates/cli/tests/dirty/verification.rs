//! A bit that is flipped on purpose is found at its page, and nothing is found where nothing is wrong.

use sterna_workload::{Method, Pattern};

use crate::harness::{dirty, number, report};

const SMALL: [&str; 6] = ["--memory", "2MiB", "--duration", "60ms", "--format", "json"];

/// The page, word and bit that the hook flips.
const PAGE: u64 = 300;
const OFFSET: u64 = 301 * 8;
const BIT: u64 = 1 << 17;

#[track_caller]
fn check_found(arguments: &[&str]) {
    let outcome = dirty(&[&SMALL, arguments, &["--x-break", "flip-bit=300"]].concat());
    assert_eq!(outcome.code, Some(4), "{arguments:?}: {}", outcome.stderr);
    let report = outcome.json();
    assert_eq!(report["summary"]["integrity"], "corrupt");
    let found = report["corruptions"].as_array().unwrap();
    assert!(found.iter().all(|it| it["page"] == PAGE && it["offset_bytes"] == OFFSET), "{found:?}");
    let word = |name: &str| {
        let text = found[0][name].as_str().unwrap().trim_start_matches("0x");
        u64::from_str_radix(text, 16).unwrap()
    };
    assert_eq!(word("expected") ^ word("found"), BIT);
}

#[test]
fn a_flipped_bit_is_found_at_the_end() {
    for method in Method::NAMES {
        check_found(&["--verify-final", "--method", method, "--pattern", "random"]);
    }
    check_found(&["--verify-final", "--workers", "2", "--huge-pages", "thp"]);
}

#[test]
fn a_flipped_bit_is_found_on_the_way() {
    check_found(&["--verify"]);
    check_found(&["--verify", "--pattern", "stride(7)", "--workers", "2"]);
    check_found(&["--verify", "--verify-final", "--method", "counter"]);
    for pattern in Pattern::NAMES {
        check_found(&["--verify", "--pattern", pattern]);
    }
    check_found(&["--verify", "--phases", "for=20ms,pattern=random;for=20ms,memory=2MiB"]);
}

#[test]
fn a_flipped_bit_is_found_in_memory_that_is_mapped_anew() {
    check_found(&["--remap", "--verify"]);
    for method in Method::NAMES {
        check_found(&["--remap", "--verify-final", "--method", method, "--workers", "2"]);
    }
}

#[test]
fn intact_memory_is_verified_though_mapped_anew() {
    for pattern in ["sequential", "random", "once", "stride(3)"] {
        let options = ["--verify-final", "--verify", "--remap", "--pattern", pattern];
        let report = report(&[&SMALL[..4], &options, &["--workers", "2"]].concat());
        assert_eq!(report["summary"]["integrity"], "verified", "{pattern}");
        assert!(number(&report, "/summary/pages_checked") >= 512.0);
    }
}

#[test]
fn intact_memory_is_verified() {
    for method in Method::NAMES {
        let options = ["--verify-final", "--verify", "--method", method, "--workers", "2"];
        let report = report(&[&SMALL[..4], &options].concat());
        assert_eq!(report["summary"]["integrity"], "verified", "{method}");
        assert_eq!(number(&report, "/summary/corrupt_pages"), 0.0);
        assert!(number(&report, "/summary/pages_checked") >= 512.0);
    }
}
