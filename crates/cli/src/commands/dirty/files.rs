//! Files that grow while it runs: long writes, and histograms for HdrHistogram's tools.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use sterna_workload::{Histogram, Stall, hdr};

use super::look::Seen;
use super::report::Stalls;
use crate::args::Telling;
use crate::usage;

/// The tag of histograms of the time since pages were due; those of the service time have none.
const SINCE_DUE: &str = "since-due";

/// The files that were asked for.
pub struct Files {
    stalls: Option<StallLog>,
    histograms: Option<Log>,
}

struct StallLog {
    log: Log,
    released_ns: u64,
    noted: u64,
}

/// A file and its name, for errors.
struct Log {
    file: BufWriter<File>,
    name: String,
}

impl Files {
    /// Makes the files; what was in them is lost.
    ///
    /// # Errors
    /// One cannot be made.
    pub fn create(telling: &Telling) -> Result<Files> {
        let stalls = telling.stalls.as_deref().map(Log::create).transpose()?;
        Ok(Files {
            stalls: stalls.map(|log| StallLog { log, released_ns: 0, noted: 0 }),
            histograms: telling.histogram.as_deref().map(Log::create).transpose()?,
        })
    }

    /// The workers were released, at this time on CLOCK_MONOTONIC and now on the wall.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn begin(&mut self, released_ns: u64) -> Result<()> {
        if let Some(stalls) = &mut self.stalls {
            stalls.released_ns = released_ns;
            stalls.log.write("start_seconds,length_ns,worker,page\n")?;
        }
        if let Some(log) = &mut self.histograms {
            let now = jiff::Timestamp::now().as_millisecond() as f64 / 1e3;
            log.write(&hdr::log_header(now))?;
        }
        Ok(())
    }

    /// An interval is over.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn interval(&mut self, seen: &Seen, stalls: &[Stall]) -> Result<()> {
        if let Some(log) = &mut self.stalls {
            stalls.iter().try_for_each(|it| log.add(it))?;
            log.log.flush()?;
        }
        if let Some(log) = &mut self.histograms {
            let stretch = &seen.stretch;
            let mut line = |tag: Option<&str>, times: &Histogram| {
                let (start, seconds) = (stretch.start_seconds, stretch.seconds());
                log.write(&hdr::log_line(tag, start, seconds, times))
            };
            line(None, &seen.latency)?;
            if stretch.since_due.is_some() {
                line(Some(SINCE_DUE), &seen.since_due)?;
            }
            log.flush()?;
        }
        Ok(())
    }

    /// How many long writes were noted; None when they are not.
    pub fn stalls(&self, lost: u64) -> Option<Stalls> {
        self.stalls.as_ref().map(|it| Stalls { noted: it.noted, lost })
    }
}

impl StallLog {
    /// A sleep that ended late has no page.
    fn add(&mut self, stall: &Stall) -> Result<()> {
        let seconds = stall.start_ns.saturating_sub(self.released_ns) as f64 / 1e9;
        let page = stall.page.map_or(String::new(), |it| it.to_string());
        self.noted += 1;
        self.log.write(&format!("{seconds:.9},{},{},{page}\n", stall.length_ns, stall.worker))
    }
}

impl Log {
    fn create(path: &Path) -> Result<Log> {
        let name = path.display().to_string();
        let file =
            File::create(path).with_context(|| format!("Cannot write {name}")).map_err(usage)?;
        Ok(Log { file: BufWriter::new(file), name })
    }

    fn write(&mut self, text: &str) -> Result<()> {
        self.file.write_all(text.as_bytes()).with_context(|| format!("Cannot write {}", self.name))
    }

    /// Others follow the file while it grows.
    fn flush(&mut self) -> Result<()> {
        self.file.flush().with_context(|| format!("Cannot write {}", self.name))
    }
}
