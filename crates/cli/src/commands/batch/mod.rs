//! `sterna batch`: all runs of a suite, each a process of its own, so that none can harm another and a batch survives whatever happens in one.

mod child;
mod grid;
mod manifest;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use globset::Glob;
use sterna_pilot::Interrupt;
use sterna_scenario::{Suite, SuiteRun};

use crate::args::{BatchOptions, EngineKind};
use crate::output::Output;
use crate::usage;
use manifest::{Entry, Manifest};

/// The file in which a batch keeps the suite's text, so that it is gone on with as it was begun.
const SUITE_FILE: &str = "suite.toml";

/// One run to be made.
struct Job<'a> {
    run: &'a SuiteRun,
    engine: EngineKind,
    repeat: u32,
    /// The report's path within the directory.
    report: PathBuf,
}

/// Runs a suite.
pub fn run(options: BatchOptions, output: Output) -> Result<u8> {
    let (name, text) = suite_text(&options.suite)?;
    let suite = Suite::from_toml(&name, &text).map_err(usage)?;
    let jobs = jobs(&suite, &options)?;
    open_directory(&options, &text)?;
    let interrupt = super::interrupt_on_signals()?;
    let mut manifest = Manifest::new(&suite);
    work(&jobs, &options, &interrupt, &mut manifest, output)?;
    output.result(&grid::tables(&manifest))?;
    Ok(manifest.exit_code(interrupt.requested()))
}

fn work(
    jobs: &[Job],
    options: &BatchOptions,
    interrupt: &Interrupt,
    manifest: &mut Manifest,
    output: Output,
) -> Result<()> {
    let (began, mut made) = (Instant::now(), 0);
    for (index, job) in jobs.iter().enumerate() {
        let kept = options.resume.then(|| Entry::of_report(job, &options.directory)).flatten();
        let is_kept = kept.as_ref().is_some_and(Entry::has_ended);
        let entry = match kept.filter(Entry::has_ended) {
            Some(entry) => entry,
            None => {
                made += 1;
                child::run(job, options, interrupt)?
            }
        };
        let left = (made > 0).then(|| began.elapsed() / made * (jobs.len() - index - 1) as u32);
        let left = left.map_or(String::new(), |it| format!(", about {} s left", it.as_secs()));
        let kept = if is_kept { "kept" } else { "ended" };
        output.progress(&format!("[{}/{}] {} {kept}{left}\n", index + 1, jobs.len(), entry.line()));
        let is_failure = entry.exit_code != 0;
        manifest.runs.push(entry);
        // After every run, so that whatever ends the batch leaves a true manifest.
        manifest.write(&options.directory)?;
        if interrupt.requested() || (options.fail_fast && is_failure) {
            break;
        }
    }
    Ok(())
}

fn suite_text(suite: &str) -> Result<(String, String)> {
    if let Some(text) = Suite::text_of(suite) {
        return Ok((suite.to_owned(), text.to_owned()));
    }
    let path = Path::new(suite);
    if !path.exists() {
        return Err(super::suites::unknown(suite));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| usage(anyhow!("Cannot read suite {suite}: {error}")))?;
    let name = path.file_stem().map_or_else(|| suite.into(), |stem| stem.to_string_lossy());
    Ok((name.into_owned(), text))
}

fn jobs<'a>(suite: &'a Suite, options: &BatchOptions) -> Result<Vec<Job<'a>>> {
    let glob = options.filter.as_deref().map(Glob::new).transpose();
    let matcher = glob.map_err(|error| usage(anyhow!("--filter: {error}")))?;
    let matcher = matcher.map(|glob| glob.compile_matcher());
    let mut jobs = Vec::new();
    for engine in &options.engines {
        for repeat in 1..=options.repeat {
            let wanted = |run: &&SuiteRun| matcher.as_ref().is_none_or(|it| it.is_match(&run.name));
            jobs.extend(suite.runs.iter().filter(wanted).map(|run| Job {
                run,
                engine: *engine,
                repeat,
                report: format!("{}/{}.{repeat}.json", engine.name(), run.name).into(),
            }));
        }
    }
    if jobs.is_empty() {
        let filter = options.filter.as_deref().unwrap_or_default();
        return Err(usage(anyhow!(
            "--filter {filter}: no run of {} has such a name; {} is one",
            suite.name,
            suite.runs.first().map_or("none", |run| run.name.as_str())
        )));
    }
    Ok(jobs)
}

/// Makes the directory, or checks that it holds the same batch.
fn open_directory(options: &BatchOptions, text: &str) -> Result<()> {
    let directory = &options.directory;
    let fail = || format!("Cannot use {} for the reports", directory.display());
    let file = directory.join(SUITE_FILE);
    match std::fs::read_to_string(&file) {
        Ok(_) if !options.resume => {
            return Err(usage(anyhow!(
                "--output {}: there is a batch already; go on with it by --resume, or choose another directory",
                directory.display()
            )));
        }
        Ok(begun) if begun != text => {
            return Err(usage(anyhow!(
                "--resume: {} was begun with another suite, which is kept in {SUITE_FILE} there; choose another directory",
                directory.display()
            )));
        }
        Ok(_) => {}
        Err(_) => {
            std::fs::create_dir_all(directory).with_context(fail)?;
            std::fs::write(&file, text).with_context(fail)?;
        }
    }
    for engine in &options.engines {
        std::fs::create_dir_all(directory.join(engine.name())).with_context(fail)?;
    }
    Ok(())
}
