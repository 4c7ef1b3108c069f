//! Whether the kernel can tell which pages were written, and hold back who reads a page that is missing.

use sterna_pilot::{Availability, Finding};
use sterna_sys::PAGE_BYTES;
use sterna_sys::region::{HugePages, Region, RegionOptions};
use sterna_sys::tracking::{Features, TrackingError, probe_missing_faults, probe_write_tracking};

use super::chain;

const GROUP: &str = "tracking";

/// The findings without which the cooperative tracker stands in.
pub(super) const WP_ASYNC_NEEDS: [&str; 4] =
    ["userfaultfd", "userfaultfd_user_mode_only", "write_protect_async", "pagemap_scan"];

const NOT_REAL: &str =
    "The cooperative tracker stands in, so the cost of dirty tracking is not real";
const NEWER: &str = "Use Linux 6.7 or later on x86-64 or arm64, or a kernel that has it backported";

pub(super) fn findings() -> Vec<Finding> {
    let features = features();
    // Without a descriptor none of the trials can succeed, and their errors would say the same again.
    let tracking = features.as_ref().ok().map(|_| probe_write_tracking());
    let missing = features.as_ref().ok().map(|_| probe_missing_faults());
    judge(&features, tracking, missing)
}

/// What the handshake offers; whether it holds what it promises, the trials show.
fn features() -> Result<Features, TrackingError> {
    let bytes = PAGE_BYTES as u64;
    let options = RegionOptions { bytes, huge_pages: HugePages::None, locked: false };
    let region =
        Region::new(&options).map_err(|it| TrackingError::Open(std::io::Error::other(it)))?;
    Ok(region.uffd()?.features())
}

/// From the answers of the kernel to findings; `None` is a trial that could not be made.
fn judge(
    features: &Result<Features, TrackingError>,
    tracking: Option<Result<(), TrackingError>>,
    missing: Option<Result<(), TrackingError>>,
) -> Vec<Finding> {
    let offered = features.as_ref().copied().unwrap_or_default();
    vec![
        userfaultfd(features.as_ref().err()),
        user_mode_only(features.as_ref().err()),
        write_protect_async(offered),
        pagemap_scan(offered, tracking),
        write_protect_huge_pages(offered),
        missing_page_faults(missing),
    ]
}

fn userfaultfd(error: Option<&TrackingError>) -> Finding {
    let (value, availability) = match error {
        // A kernel that is only too old for our kind of descriptor has the call itself.
        None | Some(TrackingError::NoUserModeOnly) => {
            ("the system call answers".to_owned(), Availability::Ok)
        }
        Some(error) => (chain(error), Availability::missing(NOT_REAL, remedy(error))),
    };
    Finding::new(GROUP, WP_ASYNC_NEEDS[0], value, availability)
}

/// The way to what the kernel refuses, the same for `sterna doctor` and for a run that is refused.
pub(crate) fn remedy(error: &TrackingError) -> &'static str {
    const SWITCH: &str = "/proc/sys/vm/unprivileged_userfaultfd";
    match error {
        TrackingError::NoUserfaultfd => "Use a kernel built with CONFIG_USERFAULTFD",
        TrackingError::Forbidden(_) => {
            let switch = std::fs::read_to_string(SWITCH).unwrap_or_default();
            remedy_of_forbidden(switch.trim())
        }
        TrackingError::NoUserModeOnly => "Use Linux 5.11 or later, or one that has it backported",
        TrackingError::Open(_) => "Raise the limit on open files (`ulimit -n`)",
        TrackingError::Pagemap(_) => "Mount /proc in this container",
        _ => NEWER,
    }
}

fn remedy_of_forbidden(switch: &str) -> &'static str {
    if switch == "0" {
        "Run `sudo sysctl vm.unprivileged_userfaultfd=1`, or allow the userfaultfd system call in the seccomp profile of this container or service"
    } else {
        "Allow the userfaultfd system call in the seccomp profile of this container or service"
    }
}

fn user_mode_only(error: Option<&TrackingError>) -> Finding {
    let (value, availability) = match error {
        None => ("no privilege is needed", Availability::Ok),
        Some(TrackingError::NoUserModeOnly) => (
            "not in this kernel",
            Availability::missing(
                NOT_REAL,
                "Use Linux 5.11 or later, or one that has it backported",
            ),
        ),
        Some(_) => ("", Availability::missing(NOT_REAL, "Get `userfaultfd` first")),
    };
    Finding::new(GROUP, WP_ASYNC_NEEDS[1], value, availability)
}

fn write_protect_async(offered: Features) -> Finding {
    let (value, availability) = if offered.wp_async {
        ("the kernel notes writes by itself", Availability::Ok)
    } else {
        ("not offered", Availability::missing(NOT_REAL, NEWER))
    };
    Finding::new(GROUP, WP_ASYNC_NEEDS[2], value, availability)
}

/// The trial of the whole tracker: it needs all of the above, and PAGEMAP_SCAN last.
fn pagemap_scan(offered: Features, trial: Option<Result<(), TrackingError>>) -> Finding {
    let (value, availability) = match trial {
        Some(Ok(())) => ("a trial found every written page".to_owned(), Availability::Ok),
        Some(Err(error)) if offered.wp_async => {
            let remedy = match error {
                TrackingError::Pagemap(_) => "Mount /proc in this container",
                TrackingError::NoPagemapScan(_) => NEWER,
                _ => "Use another kernel, and tell its makers",
            };
            (chain(&error), Availability::missing(NOT_REAL, remedy))
        }
        // Nobody can tell without the marks that it scans for.
        _ => (String::new(), Availability::missing(NOT_REAL, "Get `write_protect_async` first")),
    };
    Finding::new(GROUP, WP_ASYNC_NEEDS[3], value, availability)
}

fn write_protect_huge_pages(offered: Features) -> Finding {
    let (value, availability) = if offered.wp_hugetlb {
        ("reserved huge pages are tracked as a whole", Availability::Ok)
    } else {
        (
            "not offered",
            Availability::missing(
                "Guests on reserved huge pages use the cooperative tracker",
                NEWER,
            ),
        )
    };
    Finding::new(GROUP, "write_protect_huge_pages", value, availability)
}

fn missing_page_faults(trial: Option<Result<(), TrackingError>>) -> Finding {
    const CONSEQUENCE: &str = "Guest memory cannot be fetched on first touch, as post-copy does it";
    let (value, availability) = match trial {
        Some(Ok(())) => ("a trial placed a missing page".to_owned(), Availability::Ok),
        Some(Err(error)) => {
            (chain(&error), Availability::missing(CONSEQUENCE, "Use Linux 5.11 or later"))
        }
        None => (
            String::new(),
            Availability::missing(CONSEQUENCE, "Get `userfaultfd_user_mode_only` first"),
        ),
    };
    Finding::new(GROUP, "missing_page_faults", value, availability)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const ALL: Features =
        Features { wp_async: true, wp_hugetlb: true, missing_hugetlb: true, thread_id: true };
    const OLD: Features =
        Features { wp_async: false, wp_hugetlb: false, missing_hugetlb: true, thread_id: true };

    /// `expected` has one letter for each finding in order: ok or missing.
    #[track_caller]
    fn check(
        features: Result<Features, TrackingError>,
        tracking: Option<Result<(), TrackingError>>,
        missing: Option<Result<(), TrackingError>>,
        expected: &str,
    ) -> Vec<Finding> {
        let findings = judge(&features, tracking, missing);
        let words: Vec<_> = findings.iter().map(|it| it.availability.as_str()).collect();
        let letters: String = words.iter().map(|it| &it[..1]).collect();
        assert_eq!(letters, expected);
        findings
    }

    #[test]
    fn a_refused_call_names_the_switch_where_it_is_off() {
        assert!(remedy_of_forbidden("0").contains("sysctl vm.unprivileged_userfaultfd=1"));
        assert!(!remedy_of_forbidden("1").contains("sysctl"));
        assert!(!remedy_of_forbidden("").contains("sysctl"));
        let open = TrackingError::Open(io::Error::from_raw_os_error(24));
        assert!(remedy(&open).contains("ulimit -n"));
    }

    #[test]
    fn each_answer_of_the_kernel_has_its_finding() {
        check(Ok(ALL), Some(Ok(())), Some(Ok(())), "oooooo");
        let no_async = || TrackingError::NoAsyncWriteProtect { page_bytes: 4096 };
        check(Ok(OLD), Some(Err(no_async())), Some(Ok(())), "oommmo");
        let no_scan = || TrackingError::NoPagemapScan(io::ErrorKind::Unsupported.into());
        check(Ok(ALL), Some(Err(no_scan())), Some(Ok(())), "ooomoo");
        check(Err(TrackingError::NoUserfaultfd), None, None, "mmmmmm");
        check(Err(TrackingError::NoUserModeOnly), None, None, "ommmmm");
    }

    #[test]
    fn a_forbidden_call_is_told_from_a_missing_one() {
        let forbidden = TrackingError::Forbidden(io::ErrorKind::PermissionDenied.into());
        let findings = check(Err(forbidden), None, None, "mmmmmm");
        assert!(findings[0].availability.shortfall().unwrap().remedy.contains("seccomp"));
        assert!(findings[0].value.as_ref().unwrap().ends_with("permission denied"));
        assert_eq!(findings[3].value, None, "what was not tried is unknown");
    }
}
