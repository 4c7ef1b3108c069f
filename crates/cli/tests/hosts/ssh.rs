//! A host that ssh starts on another machine, for one run.

use crate::harness::Run;
use crate::sshd::Machine;

#[test]
fn ssh_starts_either_side_over_there() {
    let Some(machine) = Machine::new() else { return };
    let (address, config) = (machine.address(), machine.config());
    for side in ["--destination", "--source"] {
        let outcome = Run::small(&[side, &address, "--ssh-config", &config]).outcome();
        outcome.assert_ended(0, "completed", "verified");
        // Memory went from machine to machine, not through ssh.
        assert!(outcome.stdout.contains("memory-in-clear"), "{}", outcome.stdout);
    }
    let outcome = Run::small(&[
        "--destination",
        &address,
        "--ssh-config",
        &config,
        "--x-break",
        "destination:die=pass1",
    ])
    .outcome();
    outcome.assert_ended(3, "failed", "verified");
    let encrypted = ["--destination", &address, "--ssh-config", &config, "--tls-mode", "x509"];
    Run::small(&encrypted)
        .outcome()
        .assert_reason_has("use a `sterna host --listen --tls-dir DIR`");
}
