//! `sterna doctor`: what this machine offers, what is missing, and how to get it.
//!
//! What an engine needs is probed by that engine.
//! What is here beside it looks for tools that Sterna compares itself with.

mod json;
mod text;
mod tools;

use std::path::PathBuf;

use anyhow::Result;
use sterna_emulator::{DEFAULT_RUN, probe_host};
use sterna_pilot::Finding;

use crate::args::Format;
use crate::machine;
use crate::output::Output;

/// The exit code for "not supported here", as `sterna run` gives it.
const UNSUPPORTED: u8 = 5;

/// Prints the findings; the exit code says whether a bare `sterna run` works here.
pub fn run(format: Format, qemus: &[PathBuf; 2], output: Output) -> Result<u8> {
    super::remove_leftovers(output);
    let findings = findings(qemus);
    let style = sterna_render::Style { colour: output.colour(), width: output.width() };
    output.result(&match format {
        Format::Json => json::document(&findings, &machine::host())?,
        Format::Text => text::page(&findings, &machine::host(), style),
    })?;
    Ok(exit_code(&findings))
}

fn findings([source, destination]: &[PathBuf; 2]) -> Vec<Finding> {
    let mut findings = probe_host();
    findings.extend(sterna_qemu::probe_host(source, destination));
    findings.extend(tools::findings(std::env::var_os("PATH").as_deref()));
    findings
}

/// The finding that sums up the emulator's.
fn default_run(findings: &[Finding]) -> Option<&Finding> {
    findings.iter().find(|it| it.name == DEFAULT_RUN)
}

fn exit_code(findings: &[Finding]) -> u8 {
    let works = default_run(findings).is_some_and(|it| !it.availability.is_missing());
    if works { 0 } else { UNSUPPORTED }
}

#[cfg(test)]
mod tests {
    use sterna_pilot::Availability;
    use sterna_qemu::DEFAULT_PROGRAM;

    use super::*;

    #[test]
    fn the_exit_code_says_whether_a_bare_run_works() {
        let check = |name: &str, availability: Availability, expected: u8| {
            let findings = [
                Finding::new("hypervisor", "kvm", "", Availability::missing("slow", "get it")),
                Finding::new("run", name, "", availability),
            ];
            assert_eq!(exit_code(&findings), expected);
        };
        check(DEFAULT_RUN, Availability::Ok, 0);
        check(DEFAULT_RUN, Availability::limited("not real", "newer kernel"), 0);
        check(DEFAULT_RUN, Availability::missing("does not work", "more memory"), 5);
        check("another", Availability::Ok, 5);
    }

    #[test]
    fn names_are_unique_and_stay_what_they_are() {
        let findings = findings(&[DEFAULT_PROGRAM.into(), DEFAULT_PROGRAM.into()]);
        let names: Vec<&str> = findings.iter().map(|it| it.name.as_str()).collect();
        // Programs read these names: one may be added, none may change.
        let known = [
            "default_run",
            "userfaultfd",
            "userfaultfd_user_mode_only",
            "write_protect_async",
            "pagemap_scan",
            "write_protect_huge_pages",
            "missing_page_faults",
            "memory_available",
            "guest_memory",
            "memory_lock_limit",
            "transparent_huge_pages",
            "huge_pages_2mib",
            "huge_pages_1gib",
            "cpus",
            "numa_nodes",
            "tcp_loopback",
            "unix_sockets",
            "zero_copy_send",
            "qemu_run",
            "kvm",
            "userfaultfd_kernel_faults",
            "guest_kernels",
            "guest_image",
            "guest_agent",
            "tap_devices",
            "bridges",
            "qemu",
            "iperf3",
        ];
        for name in known {
            assert_eq!(names.iter().filter(|it| **it == name).count(), 1, "{name} in {names:?}");
        }
    }
}
