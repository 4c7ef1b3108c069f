//! Records that were promised to be safe.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Responder, Running, assert_lasted, number, probe, sterna, wait_until};

/// The smallest record that the tests write.
const RECORD_BYTES: usize = 64;

/// Checks a file and returns the exit code with the proof.
fn verify(file: &Path, acknowledged: &str) -> (Option<i32>, Value) {
    let file = file.to_str().unwrap();
    let flags = ["disk", file, "--verify", "--acknowledged", acknowledged, "--format", "json"];
    let outcome = probe(&flags);
    (outcome.code, outcome.json())
}

/// Files of a writer that was killed after it had acknowledged something.
struct Killed {
    records: PathBuf,
    acknowledged: PathBuf,
}

impl Killed {
    fn after(directory: &Path, number: u32, length: Duration) -> Killed {
        let killed = Killed {
            records: directory.join(format!("records-{number}")),
            acknowledged: directory.join(format!("acknowledged-{number}")),
        };
        let mut command: Command = sterna();
        command.args(["probe", "disk", "--interval", "1ms", "--record-bytes", "64"]);
        command.arg("--acknowledged").arg(&killed.acknowledged).arg(&killed.records);
        let mut writer = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        wait_until("nothing is acknowledged", || {
            std::fs::metadata(&killed.acknowledged).is_ok_and(|it| it.len() > 0)
        });
        sleep(length);
        writer.kill().unwrap();
        writer.wait().unwrap();
        killed
    }

    fn proof(&self) -> (Option<i32>, Value) {
        verify(&self.records, self.acknowledged.to_str().unwrap())
    }

    /// What the proof says once the file was changed; the file is then as it was.
    fn proof_after(&self, change: impl FnOnce(&mut Vec<u8>)) -> (Option<i32>, Value) {
        let whole = std::fs::read(&self.records).unwrap();
        let mut bytes = whole.clone();
        change(&mut bytes);
        std::fs::write(&self.records, bytes).unwrap();
        let proof = self.proof();
        std::fs::write(&self.records, whole).unwrap();
        proof
    }
}

/// The long form, 200 times, is in `cargo xtask soak probe`.
#[test]
fn a_writer_that_is_killed_has_kept_its_word() {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..8 {
        let length = Duration::from_micros(u64::from(number) * 3137);
        let killed = Killed::after(directory.path(), number, length);
        let (code, proof) = killed.proof();
        assert_eq!((code, &proof["is_sound"]), (Some(0), &true.into()), "{number}: {proof:#}");
        let (last, acknowledged) = (&proof["last"], &proof["last_acknowledged"]);
        assert!(last.as_u64() >= acknowledged.as_u64(), "{number}: {proof:#}");
    }
}

#[test]
fn whatever_happened_to_a_safe_record_is_found_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let killed = Killed::after(directory.path(), 0, Duration::from_millis(100));
    let (_, proof) = killed.proof();
    let last = proof["last_acknowledged"].as_u64().unwrap();
    assert!(last > 5, "{proof:#}");
    let check = |change: &dyn Fn(&mut Vec<u8>), defects: [u64; 3], number: u64| {
        let (code, proof) = killed.proof_after(change);
        let found = ["missing", "torn", "out_of_order"].map(|it| proof[it].as_u64().unwrap());
        assert_eq!((code, found), (Some(4), defects), "{proof:#}");
        assert_eq!(proof["defects"][0]["number"].as_u64(), Some(number), "{proof:#}");
    };
    let at = |number: u64| number as usize * RECORD_BYTES;
    // The second half was never written, as when the power fails.
    check(&|it| it[at(3) + 32..at(4)].fill(0), [0, 1, 0], 3);
    // One bit, in the last that was promised.
    check(&|it| it[at(last) + 50] ^= 4, [0, 1, 0], last);
    // The disk never had it.
    check(&|it| it[at(2)..at(3)].fill(0), [1, 0, 0], 2);
    // The end of the file is lost, two promised records with it.
    check(&|it| it.truncate(at(last - 1)), [2, 0, 0], last - 1);
    // An old record has come back in the place of a newer one.
    check(&|it| it.copy_within(at(1)..at(2), at(4)), [0, 0, 1], 4);
    let (code, _) = killed.proof();
    assert_eq!(code, Some(0), "the file is as it was");
    // In words, and without knowing what was promised: a torn record in the middle is known to have been.
    let mut bytes = std::fs::read(&killed.records).unwrap();
    bytes[at(3) + 50] ^= 4;
    std::fs::write(&killed.records, bytes).unwrap();
    let outcome = probe(&["disk", killed.records.to_str().unwrap(), "--verify"]);
    assert_eq!(outcome.code, Some(4), "{}", outcome.stderr);
    for part in ["Corrupt: 0 records missing, 1 torn", "record 3, at byte 192", "checksum"] {
        assert!(outcome.stdout.contains(part), "{}", outcome.stdout);
    }
}

#[test]
fn records_on_another_machine_survive_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let responder = Responder::with(&["--disk", path]);
    let flags = ["disk", "--remote", &responder.address, "--interval", "2ms"];
    let mut running = Running::start(&flags);
    let stopped = Duration::from_millis(600);
    responder.stop_for(stopped);
    assert_lasted(&running.wait_for_outage(stopped), stopped);
    sleep(Duration::from_millis(100));
    // kill -9, as if the machine were gone.
    drop(responder);
    let (_, report) = running.end();
    let disk = &report["probes"][0]["disk"];
    assert!(number(disk, "/longest_stall_seconds") > 0.7 * stopped.as_secs_f64(), "{disk:#}");
    let file = PathBuf::from(disk["files"][0].as_str().unwrap());
    let last = disk["last_acknowledged"].as_u64().unwrap();
    let (code, proof) = verify(&file, &last.to_string());
    assert_eq!((code, &proof["missing"]), (Some(0), &0.into()), "{proof:#}");
    assert!(proof["last"].as_u64() >= Some(last), "{proof:#}");
    // A promise that was not kept would have been seen.
    let (code, proof) = verify(&file, &(proof["last"].as_u64().unwrap() + 1).to_string());
    assert_eq!((code, &proof["missing"]), (Some(4), &1.into()), "{proof:#}");
}
