//! `sterna batch`: all runs of a suite, each a process of its own, so that none can harm another and a batch survives whatever happens in one.

mod child;
mod earlier;
mod grid;
mod manifest;
mod noise;
mod overall;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use globset::{Glob, GlobMatcher};
use sterna_pilot::Interrupt;
use sterna_scenario::{Suite, SuiteRun};

use crate::args::{BatchOptions, EngineKind};
use crate::output::Output;
use crate::usage;
use manifest::{Entry, Manifest};
use noise::{Meter, Noise};
use overall::Overall;

pub use manifest::worst_exit_code;

/// The file in which a batch keeps the suite's text, so that it is gone on with as it was begun.
const SUITE_FILE: &str = "suite.toml";

/// One run to be made.
struct Job<'a> {
    run: &'a SuiteRun,
    engine: EngineKind,
    repeat: u32,
    /// Where it stands within the suite.
    index: usize,
    /// The report's path within the directory.
    report: PathBuf,
}

impl<'a> Job<'a> {
    fn new(suite: &Suite, run: &'a SuiteRun, engine: EngineKind, repeat: u32) -> Job<'a> {
        let index = suite.runs.iter().position(|it| it.name == run.name).unwrap_or(usize::MAX);
        let report = format!("{}/{}.{repeat}.json", engine.name(), run.name).into();
        Job { run, engine, repeat, index, report }
    }
}

/// Runs a suite.
pub fn run(mut options: BatchOptions, output: Output) -> Result<u8> {
    let (name, text) = suite_text(&options.suite)?;
    let suite = Suite::from_toml(&name, &text).map_err(usage)?;
    let jobs = jobs(&suite, &options)?;
    open_directory(&options, &text)?;
    take_over_arguments(&mut options, output)?;
    let interrupt = super::interrupt_on_signals()?;
    let mut manifest = Manifest::new(&suite);
    manifest.concurrent = options.concurrent;
    manifest.run_arguments = options.run_arguments.clone();
    let (mut to_make, seed) = (kept(&jobs, &options, &mut manifest), shuffle_seed(&options));
    let kept: Vec<String> = manifest.runs.iter().map(Entry::line).collect();
    if options.resume {
        let others = earlier::others(&suite, &jobs, &options.directory);
        if !others.is_empty() {
            output
                .progress(&format!("{} other runs of this batch stay as they are\n", others.len()));
        }
        others.into_iter().for_each(|it| manifest.add(it));
    }
    if let Some(seed) = seed {
        shuffle(&mut to_make, seed);
        manifest.shuffle_seed = Some(seed);
    }
    let work = Work {
        options: &options,
        kept,
        interrupt: &interrupt,
        state: Mutex::new(State {
            overall: Overall::new(jobs.len(), to_make.len(), options.concurrent, output),
            left: to_make.into_iter(),
            meter: Meter::new(),
            manifest,
            is_over: false,
        }),
    };
    let manifest = work.all()?;
    output.result(&grid::tables(&manifest, &suite.tables))?;
    warn(&manifest, output);
    Ok(manifest.exit_code(interrupt.requested()))
}

/// Takes over what an earlier batch has made, and gives the rest.
fn kept<'a>(
    jobs: &'a [Job<'a>],
    options: &BatchOptions,
    manifest: &mut Manifest,
) -> Vec<&'a Job<'a>> {
    let mut rest = Vec::new();
    for job in jobs {
        let entry = options.resume.then(|| Entry::of_report(job, &options.directory)).flatten();
        match entry.filter(Entry::has_ended) {
            Some(entry) => manifest.add(entry),
            None => rest.push(job),
        }
    }
    rest
}

/// The runs of a batch at work.
struct Work<'a> {
    options: &'a BatchOptions,
    /// Those that need not be made again, each in a line.
    kept: Vec<String>,
    interrupt: &'a Interrupt,
    state: Mutex<State<'a>>,
}

struct State<'a> {
    left: std::vec::IntoIter<&'a Job<'a>>,
    overall: Overall,
    meter: Meter,
    manifest: Manifest,
    is_over: bool,
}

impl<'a> Work<'a> {
    /// Makes all runs, so many at a time as was asked for.
    fn all(self) -> Result<Manifest> {
        let is_alone = self.options.concurrent == 1;
        {
            let mut state = self.lock();
            self.kept.iter().for_each(|line| state.overall.done(line, true));
            let noise = state.meter.measure();
            state.manifest.noise[0] = Some(noise);
            state.manifest.write(&self.options.directory)?;
        }
        let results: Vec<Result<()>> = std::thread::scope(|scope| {
            let start = |_| scope.spawn(|| self.some(is_alone));
            let workers: Vec<_> = (0..self.options.concurrent).map(start).collect();
            let join = |it: std::thread::ScopedJoinHandle<_>| {
                it.join().unwrap_or_else(|_| Err(anyhow!("A thread of the batch broke")))
            };
            workers.into_iter().map(join).collect()
        });
        let mut state = self.state.into_inner().unwrap_or_else(|it| it.into_inner());
        state.overall.finish();
        let noise = state.meter.measure();
        state.manifest.noise[1] = Some(noise);
        state.manifest.write(&self.options.directory)?;
        results.into_iter().collect::<Result<()>>()?;
        Ok(state.manifest)
    }

    /// Makes one run after the other until there are no more. What the machine does around a run
    /// says something only when nothing else of ours runs.
    fn some(&self, is_alone: bool) -> Result<()> {
        let mut before = is_alone.then(|| self.lock().manifest.noise[0].clone()).flatten();
        loop {
            let Some(job) = self.next() else { return Ok(()) };
            let mut entry = child::run(job, self.options, self.interrupt)?;
            let mut state = self.lock();
            let after = is_alone.then(|| state.meter.measure());
            entry.noise = before.as_ref().zip(after.as_ref()).map(|(a, b)| Noise::around(a, b));
            before = after;
            state.is_over |= self.options.fail_fast && entry.exit_code != 0;
            state.overall.done(&entry.line(), false);
            state.manifest.add(entry);
            // After every run, so that whatever ends the batch leaves a true manifest.
            state.manifest.write(&self.options.directory)?;
        }
    }

    fn next(&self) -> Option<&'a Job<'a>> {
        let mut state = self.lock();
        if state.is_over || self.interrupt.requested() {
            return None;
        }
        let job = state.left.next()?;
        state.overall.begins(&format!("{} ({})", job.run.name, job.engine.name()));
        Some(job)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<'a>> {
        // A thread that broke has left nothing half done: each change is one call.
        self.state.lock().unwrap_or_else(|it| it.into_inner())
    }
}

/// What is to be known about the numbers before they are believed.
fn warn(manifest: &Manifest, output: Output) {
    if manifest.concurrent > 1 {
        output.warn("Runs were made at the same time and disturbed each other; do not compare their times with those of others");
    }
    let noisy: Vec<(&str, String)> = manifest
        .runs
        .iter()
        .filter_map(|it| Some((it.name.as_str(), it.noise.as_ref()?.complaint()?)))
        .collect();
    if let Some((name, complaint)) = noisy.first() {
        output.warn(&format!(
            "The machine was not quiet during {} of {} runs; during {name} {complaint}. The manifest has all of it",
            noisy.len(),
            manifest.runs.len()
        ));
    }
}

fn shuffle_seed(options: &BatchOptions) -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    options.shuffle.then_some(now.as_nanos() as u64)
}

/// Every order is as likely as any other, as far as 64 bits can tell them apart.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    for place in (1..items.len()).rev() {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let other = ((u128::from(state) * (place as u128 + 1)) >> 64) as usize;
        items.swap(place, other);
    }
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
    let mut jobs: Vec<Job<'_>> = Vec::new();
    for (place, engine) in options.engines.iter().enumerate() {
        if options.engines[..place].contains(engine) {
            continue;
        }
        for repeat in 1..=options.repeat {
            let matches = |run: &SuiteRun, matcher: &GlobMatcher| {
                let grouped = format!("{}/{}", run.group, run.name);
                matcher.is_match(&run.name) || (!run.group.is_empty() && matcher.is_match(grouped))
            };
            let wanted = |run: &&SuiteRun| matcher.as_ref().is_none_or(|it| matches(run, it));
            for run in suite.runs.iter().filter(wanted) {
                jobs.push(Job::new(suite, run, *engine, repeat));
            }
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

/// A batch that is gone on with has the arguments with which it was begun: other ones would make its runs unlike
/// each other.
fn take_over_arguments(options: &mut BatchOptions, output: Output) -> Result<()> {
    if !options.resume {
        return Ok(());
    }
    let Some(manifest) = manifest::read(&options.directory) else { return Ok(()) };
    let Some(begun) = manifest["run_arguments"].as_array() else { return Ok(()) };
    let begun: Vec<String> = begun.iter().filter_map(|it| it.as_str().map(str::to_owned)).collect();
    if options.run_arguments.is_empty() && !begun.is_empty() {
        output.progress(&format!("Each run has the arguments of before: {}\n", begun.join(" ")));
        options.run_arguments = begun;
    } else if options.run_arguments != begun {
        let words = if begun.is_empty() { "none".to_owned() } else { begun.join(" ") };
        return Err(usage(anyhow!(
            "--resume: {} was begun with other arguments for each run ({words}); give the same ones or none behind `--`, or choose another directory",
            options.directory.display()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffled_list_has_the_same_items_in_another_order_which_the_seed_decides() {
        let shuffled = |seed| {
            let mut items: Vec<u32> = (0..50).collect();
            shuffle(&mut items, seed);
            items
        };
        assert_eq!(shuffled(1), shuffled(1));
        assert_ne!(shuffled(1), shuffled(2));
        let mut sorted = shuffled(3);
        assert_ne!(sorted, (0..50).collect::<Vec<u32>>());
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<u32>>());
    }
}
