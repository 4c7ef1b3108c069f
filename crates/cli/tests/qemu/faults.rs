//! Whatever goes wrong is said clearly, and nothing is left running.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::harness::{Run, Running, marked, public_copy};
use super::{Bench, NEVER_ENDING};

#[test]
fn what_qemu_refuses_is_refused_in_its_own_words_before_the_guest_boots() {
    let Some(bench) = Bench::new() else { return };
    // It needs KVM's dirty ring in every version.
    let outcome = bench.outcome(&["--dirty-limit", "--accelerator", "tcg"]);
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("migration.dirty-limit: ");
    outcome.assert_reason_has("(QEMU ");
}

#[test]
fn an_emulated_wire_is_none_of_qemus_business() {
    let outcome = Run::new(&["--engine", "qemu", "--link-latency", "1ms"]).outcome();
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("link: ");
}

#[test]
fn a_qemu_that_is_not_there_is_named() {
    let program = "/nonexistent/qemu";
    let outcome = Run::new(&["--engine", "qemu", "--qemu-source", program]).outcome();
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has(program);
}

#[test]
fn a_program_that_is_no_qemu_is_named() {
    for flag in ["--qemu-source", "--qemu-destination"] {
        let program = if flag == "--qemu-source" { "/bin/true" } else { "/bin/false" };
        let Some(bench) = Bench::new() else { return };
        let outcome = bench.outcome(&[flag, program]);
        outcome.assert_ended(5, "unsupported", "unchecked");
        outcome.assert_reason_has(&format!("{program} is no QEMU that runs here"));
        outcome.assert_reason_has(flag);
    }
}

#[test]
fn what_is_no_kernel_is_refused_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let cut = directory.path().join("vmlinuz-cut");
    let mut table = vec![("/etc/passwd".to_owned(), "none of the marks")];
    let kernels = std::fs::read_dir("/boot").into_iter().flatten().flatten();
    let kernel = kernels.map(|it| it.path()).find(|it| it.to_string_lossy().contains("/vmlinuz"));
    if let Some(bytes) = kernel.and_then(|it| std::fs::read(it).ok()) {
        std::fs::write(&cut, &bytes[..1 << 20]).unwrap();
        table.push((cut.display().to_string(), "the file ends before the kernel does"));
    }
    for (kernel, reason) in table {
        let outcome = Run::new(&["--engine", "qemu", "--kernel", &kernel]).outcome();
        outcome.assert_ended(5, "unsupported", "unchecked");
        outcome.assert_reason_has(&format!("{kernel} is not a kernel: "));
        outcome.assert_reason_has(reason);
    }
}

/// The kernel's own words say why; no side can run the guest any more.
#[test]
fn a_guest_that_panics_in_mid_migration_is_lost_by_its_own_fault() {
    let Some(bench) = Bench::new() else { return };
    let outcome = bench.outcome(&[&NEVER_ENDING[..], &["--x-break", "guest-panic"]].concat());
    outcome.assert_ended(3, "lost", "unchecked");
    outcome.assert_reason_has("The guest itself died (kernel panic: NMI");
    outcome.assert_reason_has("), before the commit point");
    assert_eq!(outcome.report()["summary"]["lost_cause"], "guest");
    assert!(outcome.report()["events"].to_string().contains("the guest's kernel panics"));
}

#[test]
fn a_kernel_that_is_not_there_is_named() {
    let outcome = Run::new(&["--engine", "qemu", "--kernel", "/nonexistent/vmlinuz"]).outcome();
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("/nonexistent/vmlinuz");
}

#[test]
fn a_kernel_that_cannot_be_read_is_named() {
    let outcome = Run::new(&["--engine", "qemu", "--kernel", "/etc"]).outcome();
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("/etc");
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become another user, who may not read a kernel");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let copy = public_copy(&directory);
    let kernel = directory.path().join("vmlinuz-secret");
    std::fs::write(&kernel, "x").unwrap();
    std::fs::set_permissions(&kernel, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]);
    nobody.arg(copy);
    let run = Run::of(nobody, &["--engine", "qemu", "--kernel", kernel.to_str().unwrap()]);
    for path in [run.directory(), run.directory().join("tmp")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let outcome = run.outcome();
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("vmlinuz-secret");
    outcome.assert_reason_has("Permission denied");
}

#[test]
fn a_destination_that_rejects_the_stream_leaves_the_guest_on_the_source() {
    let Some(bench) = Bench::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join("qemu");
    // It expects a guest with one processor.
    let script = format!("#!/bin/sh\nexec {} \"$@\" -smp 1\n", bench.program.display());
    std::fs::write(&other, script).unwrap();
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o755)).unwrap();
    let outcome = bench.outcome(&["--qemu-destination", other.to_str().unwrap()]);
    outcome.assert_ended(3, "failed", "verified");
    outcome.assert_reason_has("destination: ");
    assert!(outcome.report()["passes"].as_array().is_some_and(|it| !it.is_empty()));
}

#[test]
fn an_argument_that_qemu_does_not_take_fails_in_its_words() {
    let Some(bench) = Bench::new() else { return };
    let outcome = bench.outcome(&["--qemu-arg=-bios", "--qemu-arg=/nonexistent/bios"]);
    outcome.assert_ended(1, "failed", "unchecked");
    outcome.assert_reason_has("/nonexistent/bios");
}

#[test]
fn a_guest_that_panics_has_its_last_words_in_the_report() {
    let Some(bench) = Bench::new() else { return };
    let outcome = bench.outcome(&["--guest-agent", "/etc/passwd"]);
    outcome.assert_ended(1, "failed", "unchecked");
    outcome.assert_reason_has("Kernel panic");
}

#[test]
fn a_guest_without_room_for_its_kernel_and_workload_is_refused_by_its_field() {
    for (memory, workload) in [("32MiB", "1MiB"), ("128MiB", "64MiB")] {
        let sizes = ["--memory", memory, "--workload-memory", workload];
        let outcome = Run::new(&[&["--engine", "qemu"], &sizes[..]].concat()).outcome();
        outcome.assert_ended(5, "unsupported", "unchecked");
        outcome.assert_reason_has(&format!("guest.memory: {memory} cannot hold a kernel"));
    }
}

/// Kills one of the two.
pub fn kill_side(running: &Running, side: &str) {
    let name = format!("sterna-{side},");
    let is_named = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&name)
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    let pid = loop {
        // A process that was just made has another's name until it runs its program.
        match marked(&running.mark()).into_iter().find(is_named) {
            Some(pid) => break Pid::from_raw(pid.cast_signed()).unwrap(),
            None => assert!(Instant::now() < deadline, "there is no {side}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    kill_process(pid, Signal::KILL).unwrap();
}

/// Kills one of the two in the middle of a migration.
fn killed(bench: &Bench, side: &str, more: &[&str]) -> super::Outcome {
    let slow = [&NEVER_ENDING[..], &["--progress", "plain"], more].concat();
    let mut running = bench.run(&slow).start();
    running.wait_for("active");
    kill_side(&running, side);
    running.outcome()
}

#[test]
fn a_destination_that_is_killed_leaves_the_guest_on_the_source() {
    let Some(bench) = Bench::new() else { return };
    let outcome = killed(&bench, "destination", &[]);
    outcome.assert_ended(3, "failed", "verified");
    outcome.assert_reason_has("killed by signal 9");
}

#[test]
fn a_source_that_is_killed_takes_the_guest_with_it() {
    let Some(bench) = Bench::new() else { return };
    let outcome = killed(&bench, "source", &[]);
    outcome.assert_ended(3, "lost", "unchecked");
    outcome.assert_reason_has("killed by signal 9");
    assert!(outcome.report()["summary"].get("lost_cause").is_none());
}

#[test]
fn an_interrupt_ends_in_good_order() {
    let Some(bench) = Bench::new() else { return };
    let mut running = bench.run(&[&NEVER_ENDING[..], &["--progress", "plain"]].concat()).start();
    running.wait_for("active");
    running.signal(Signal::INT);
    running.outcome().assert_ended(130, "interrupted", "verified");
}
