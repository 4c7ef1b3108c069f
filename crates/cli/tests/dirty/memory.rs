//! The memory that is dirtied is of the kind that it is said to be.

use std::path::Path;

use crate::harness::{dirty, number, report};

const SHORT: [&str; 4] = ["--memory", "32MiB", "--duration", "50ms"];

#[test]
fn pages_are_large_unless_said_otherwise() {
    let enabled = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    if enabled.map_or(true, |it| it.contains("[never]")) {
        return eprintln!("skipped: transparent huge pages are turned off on this machine");
    }
    let report_of = |more: &[&str]| report(&[&SHORT, more].concat());
    let large = report_of(&[]);
    assert_eq!(large["spec"]["huge_pages"], "thp");
    if number(&large, "/spec/huge_bytes") == 0.0 {
        return eprintln!("skipped: memory is too fragmented for transparent huge pages");
    }
    for small in [report_of(&["--huge-pages", "none"]), report_of(&["--remap"])] {
        assert_eq!(small["spec"]["huge_pages"], "none");
        assert_eq!(small["spec"]["huge_bytes"], 0);
        assert_eq!(small["spec"]["page_bytes"], 4096);
    }
}

/// A process may turn transparent huge pages off for itself and its children.
#[test]
fn without_transparent_huge_pages_small_ones_do_and_are_told() {
    if rustix::thread::disable_transparent_huge_pages(true).is_err() {
        return eprintln!("skipped: this kernel does not turn transparent huge pages off");
    }
    let quiet = dirty(&SHORT);
    let asked = dirty(&[&SHORT[..], &["--huge-pages", "thp"]].concat());
    let report = report(&SHORT);
    rustix::thread::disable_transparent_huge_pages(false).unwrap();
    assert_eq!((report["spec"]["huge_bytes"].as_u64(), quiet.code), (Some(0), Some(0)));
    assert_eq!(report["spec"]["page_bytes"], 4096);
    assert!(quiet.stdout.contains("(4 KiB pages, none of them joined)"), "{}", quiet.stdout);
    assert!(!quiet.stderr.contains("warning"), "{}", quiet.stderr);
    assert_eq!(asked.code, Some(0));
    assert!(asked.stderr.contains("/sys/kernel/mm/transparent_hugepage"), "{}", asked.stderr);
}

/// Huge pages reserved for one test, and given back after it.
struct Reserved {
    before: String,
}

const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

impl Reserved {
    /// None where this user may not, or memory is too fragmented.
    fn pages(count: u64) -> Option<Reserved> {
        let file = Path::new(POOL).join("nr_hugepages");
        let before = std::fs::read_to_string(&file).ok()?;
        let wanted = before.trim().parse::<u64>().ok()? + count;
        std::fs::write(&file, wanted.to_string()).ok()?;
        let reserved = Reserved { before };
        let free = std::fs::read_to_string(Path::new(POOL).join("free_hugepages")).ok()?;
        (free.trim().parse::<u64>().ok()? >= count).then_some(reserved)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let _ = std::fs::write(Path::new(POOL).join("nr_hugepages"), &self.before);
    }
}

#[test]
fn reserved_huge_pages_are_used_and_too_few_are_told() {
    let Some(_reserved) = Reserved::pages(8) else {
        return eprintln!("skipped: huge pages of 2 MiB cannot be reserved here (needs root)");
    };
    let options = ["--duration", "50ms", "--verify-final", "--workers", "2"];
    let report = report(&[&options[..], &["--memory", "16MiB", "-P", "2m"]].concat());
    assert_eq!(report["spec"]["huge_pages"], "2MiB");
    assert_eq!(report["spec"]["huge_bytes"], 16 << 20);
    assert_eq!(report["summary"]["integrity"], "verified");
    let much = dirty(&[&options[..], &["--memory", "1TiB", "-P", "2m"]].concat());
    assert_eq!(much.code, Some(5), "{}", much.stderr);
    let way_out = format!("write at least {} to {POOL}/nr_hugepages", 1u64 << 19);
    assert!(much.stderr.contains(&way_out), "{}", much.stderr);
}
