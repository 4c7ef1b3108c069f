//! How the guest's processors run, and what happens where the best way only seems to work.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Bench, detail};

/// A QEMU that does as told by `with_kvm` when it is to use KVM; without it, it is the usual one.
fn pretender(bench: &Bench, directory: &Path, with_kvm: &str) -> PathBuf {
    let program = directory.join("qemu");
    let usual = bench.program.display();
    let script = format!(
        "#!/bin/sh\nqemu={usual}\ncase \"$*\" in *'-accel kvm'*) {with_kvm};; esac\nexec \"$qemu\" \"$@\"\n"
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[test]
fn a_kvm_that_does_not_start_gives_way_to_emulation() {
    let Some(bench) = Bench::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    let program = pretender(&bench, directory.path(), "echo KVM is out today >&2; exit 1");
    let program = program.to_str().unwrap();
    let pretend = ["--qemu-source", program, "--x-break", "pretend-kvm"];
    let outcome = bench.outcome(&pretend);
    outcome.assert_ended(0, "completed", "verified");
    assert_eq!(detail(&outcome, "/accelerator"), "tcg");
    let reason = outcome.report()["engine"]["tracker_reason"].as_str().unwrap();
    assert!(reason.contains("KVM is out today"), "{reason}");

    // Whoever insists on it gets its words, and no other accelerator.
    let outcome = bench.outcome(&[&pretend[..], &["--accelerator", "kvm"]].concat());
    outcome.assert_ended(1, "failed", "unchecked");
    outcome.assert_reason_has("KVM is out today");
    // Where it works, what a technique needs of it is in the command line.
    let ring = ["--accelerator", "kvm", "--dirty-limit"];
    let program = pretender(&bench, directory.path(), "echo \"$*\" >&2; exit 1");
    let outcome =
        bench.outcome(&[&["--qemu-source", program.to_str().unwrap()], &ring[..]].concat());
    outcome.assert_reason_has("-accel kvm,dirty-ring-size=4096 -cpu host,migratable=on");
}

#[test]
fn a_machine_without_kvm_refuses_a_run_that_insists_on_it() {
    let Some(bench) = Bench::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    let words = "Could not access KVM kernel module: No such file or directory";
    let program = pretender(&bench, directory.path(), &format!("echo '{words}' >&2; exit 1"));
    let outcome =
        bench.outcome(&["--qemu-source", program.to_str().unwrap(), "--accelerator", "kvm"]);
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("--accelerator kvm: ");
    outcome.assert_reason_has(words);
    outcome.assert_reason_has("use --accelerator auto or tcg");
}

/// The first attempt has both QEMUs running, sockets and a network; the second must find room for its own.
#[test]
fn a_kvm_in_which_no_guest_boots_gives_way_to_emulation() {
    let Some(bench) = Bench::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    let no_init = "for it do shift; case \"$it\" in kvm*) it=tcg;; host,*) it=qemu64;; *no_timer_check*) it='console=ttyS0 panic=-1 rdinit=/none';; esac; set -- \"$@\" \"$it\"; done";
    let program = pretender(&bench, directory.path(), no_init);
    let pretend = ["--qemu-source", program.to_str().unwrap(), "--x-break", "pretend-kvm"];
    let outcome = bench.outcome(&pretend);
    outcome.assert_ended(0, "completed", "verified");
    assert_eq!(detail(&outcome, "/accelerator"), "tcg");
    let reason = outcome.report()["engine"]["tracker_reason"].as_str().unwrap();
    assert!(reason.contains("The guest did not boot"), "{reason}");
    assert!(outcome.report()["probes"][0]["received"].as_u64() > Some(20));
}
