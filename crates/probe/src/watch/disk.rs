//! Writes records on a schedule, and notes when each was safe.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sterna_sys::clock::monotonic_ns;

use super::messages::nonce;
use super::state::Shared;
use super::{Extra, Failure, words};
use crate::disk::Records;

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskSeen {
    /// Records that are safe.
    pub acknowledged: u64,
    /// The number of the last of them.
    pub last: Option<u64>,
    /// Where they are.
    pub files: Vec<String>,
}

pub(super) struct Writer {
    records: Records,
    path: PathBuf,
    acknowledged: Option<File>,
}

impl Writer {
    pub fn create(
        path: &Path,
        record_bytes: usize,
        acknowledged: Option<&Path>,
    ) -> Result<Writer, Failure> {
        let cannot = |path: &Path, error: &std::io::Error, way_out: &str| {
            Failure::Broken(format!("Cannot write {}: {}{way_out}", path.display(), words(error)))
        };
        let records = Records::create(path, nonce(), record_bytes).map_err(|error| {
            let way_out = match error.kind() {
                std::io::ErrorKind::AlreadyExists => {
                    "; check what is in it with --verify, or name another file"
                }
                _ => "",
            };
            cannot(path, &error, way_out)
        })?;
        let open = |path: &Path| {
            let file = OpenOptions::new().append(true).create(true).open(path);
            file.map_err(|error| cannot(path, &error, ""))
        };
        let acknowledged = acknowledged.map(open).transpose()?;
        Ok(Writer { records, path: path.to_owned(), acknowledged })
    }

    pub fn run(mut self, shared: &Shared) -> Result<(), Failure> {
        let mut seen =
            DiskSeen { files: vec![self.path.display().to_string()], ..DiskSeen::default() };
        let mut numbers = Vec::new();
        loop {
            let now_ns = monotonic_ns();
            if !shared.sends(now_ns) {
                return Ok(());
            }
            shared.lock().take_due(now_ns, &mut numbers);
            if !numbers.is_empty() {
                self.write(&numbers)?;
                seen.acknowledged += numbers.len() as u64;
                seen.last = numbers.last().copied();
                let safe_ns = monotonic_ns();
                let mut state = shared.lock();
                numbers.drain(..).for_each(|it| state.log.received(it, safe_ns, None));
                state.extra = Extra::Disk(seen.clone());
            }
            let due_ns = shared.lock().schedule.due_ns().min(now_ns + 50_000_000);
            std::thread::sleep(Duration::from_nanos(due_ns.saturating_sub(monotonic_ns())));
        }
    }

    fn write(&mut self, numbers: &[u64]) -> Result<(), Failure> {
        let failed = |path: &Path, error: &std::io::Error| {
            Failure::Broken(format!("Cannot write {}: {}", path.display(), words(error)))
        };
        self.records.append(numbers).map_err(|error| failed(&self.path, &error))?;
        if let Some(file) = &mut self.acknowledged {
            let lines: String = numbers.iter().map(|it| format!("{it}\n")).collect();
            file.write_all(lines.as_bytes())
                .map_err(|error| failed(Path::new("the file of --acknowledged"), &error))?;
        }
        Ok(())
    }
}
