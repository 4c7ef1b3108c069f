//! One run of a batch, as a process of its own.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use sterna_pilot::Interrupt;

use super::Job;
use super::manifest::Entry;
use crate::args::BatchOptions;

/// How long an interrupted run may take to put the world back and write its report.
const GRACE: Duration = Duration::from_secs(60);

/// Makes one run; its report and what it says on standard error are files in the directory.
pub fn run(job: &Job, options: &BatchOptions, interrupt: &Interrupt) -> Result<Entry> {
    let base = options.directory.join(&job.report);
    let (scenario, log) = (base.with_extension("toml"), base.with_extension("log"));
    std::fs::write(&scenario, job.run.scenario.to_toml())
        .with_context(|| format!("Cannot write {}", scenario.display()))?;
    // Of an earlier, unfinished attempt: it must not be taken for this one's.
    let _ = std::fs::remove_file(&base);
    let words = File::create(&log).with_context(|| format!("Cannot write {}", log.display()))?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args([OsString::from("run"), scenario.into()])
        .args(["--engine", job.engine.name(), "--color", "never", "--output"])
        .arg(&base)
        .args(&options.run_arguments)
        .stdin(Stdio::null())
        .stdout(words.try_clone()?)
        .stderr(words)
        // A Ctrl-C at the terminal comes to the batch, which passes it on once.
        .process_group(0);
    sterna_sys::process::die_with_parent(&mut command);
    let mut child = command.spawn().context("Cannot start `sterna run`")?;
    let status = wait(&mut child, options, interrupt)?;
    Ok(Entry::of_run(job, &options.directory, status.code()))
}

fn wait(child: &mut Child, options: &BatchOptions, interrupt: &Interrupt) -> Result<ExitStatus> {
    let timeout = options.timeout_seconds.map(|it| Instant::now() + Duration::from_secs(it));
    let mut told: Option<Instant> = None;
    let mut is_urged = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let is_late = timeout.is_some_and(|it| Instant::now() > it);
        if told.is_none() && (is_late || interrupt.requested()) {
            told = Some(Instant::now());
            signal(child, Signal::INT);
        }
        if interrupt.urgent() && !is_urged {
            is_urged = true;
            signal(child, Signal::INT);
        }
        if told.is_some_and(|it| it.elapsed() > GRACE) {
            child.kill()?;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signal(child: &Child, signal: Signal) {
    // It may have ended in this very moment.
    let _ = kill_process(Pid::from_child(child), signal);
}
