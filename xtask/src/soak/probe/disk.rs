//! A writer that is killed at any moment: what it was promised is there.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::child::{start, sterna};

/// Kills a writer of records so many times.
pub fn run(program: &Path, count: u32) -> Result<bool> {
    let folder = tempfile::Builder::new().prefix("xtask-").tempdir()?;
    let mut torn_tails = 0;
    for trial in 0..count {
        let file = folder.path().join(format!("records-{trial}"));
        let acknowledged = folder.path().join(format!("acknowledged-{trial}"));
        let mut command = sterna(program);
        command.args(["probe", "disk", "--interval", "1ms", "--acknowledged"]);
        let mut running = start({
            command.arg(&acknowledged).arg(&file);
            command
        })?;
        while std::fs::metadata(&acknowledged).map_or(0, |it| it.len()) == 0 {
            if running.0.try_wait()?.is_some() {
                bail!("The writer of trial {trial} ended by itself");
            }
            sleep(Duration::from_millis(1));
        }
        // All moments of the millisecond between two records, and of several.
        sleep(Duration::from_micros(u64::from(trial) * 137 % 20_000));
        running.0.kill()?;
        drop(running);
        let mut verify = sterna(program);
        verify.args(["probe", "disk", "--verify", "--format", "json", "--acknowledged"]);
        let output = verify.arg(&acknowledged).arg(&file).output()?;
        let proof = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            println!("trial {trial}: {proof}");
            return Ok(false);
        }
        let proof: serde_json::Value = serde_json::from_str(&proof).context("There is no proof")?;
        torn_tails += u32::from(proof["tail_bytes"].as_u64() != Some(0));
        std::fs::remove_file(&file)?;
    }
    println!(
        "kill -9 of the writer {count} times: no acknowledged record lost; {torn_tails} files ended in a part of a record"
    );
    Ok(true)
}
