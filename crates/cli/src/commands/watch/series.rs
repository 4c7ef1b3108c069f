//! Several migrations, one after the other: which report is which, and where the guest is looked for next.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use sterna_pilot::Interrupt;
use sterna_report::Verdict;
use sterna_watch::libvirt::{Domain, Libvirt};
use sterna_watch::{WatchError, Way};

use crate::args::WatchTarget;
use crate::usage;

/// Time between two looks for a domain that is away.
const RETRY: Duration = Duration::from_millis(500);

/// Where numbered reports go. Numbers go on behind those that are there, so that no report is lost.
pub struct Folder {
    path: PathBuf,
    next: u64,
}

impl Folder {
    /// Makes the directory, where there is none.
    pub fn open(path: &Path) -> Result<Folder> {
        if std::fs::metadata(path).is_ok_and(|it| !it.is_dir()) {
            return Err(usage(anyhow!(
                "--output {}: with --repeat or --listen there may be many reports, and this is no directory",
                path.display()
            )));
        }
        std::fs::create_dir_all(path)
            .with_context(|| format!("Cannot make the directory {}", path.display()))?;
        let files = std::fs::read_dir(path)
            .with_context(|| format!("Cannot read the directory {}", path.display()))?;
        let number = |it: std::fs::DirEntry| it.path().file_stem()?.to_str()?.parse::<u64>().ok();
        let last = files.flatten().filter_map(number).max().unwrap_or(0);
        let folder = Folder { path: path.to_owned(), next: last + 1 };
        super::super::check_writable(&folder.name(folder.next))?;
        Ok(folder)
    }

    /// The file of the next report.
    pub fn take(&mut self) -> PathBuf {
        self.next += 1;
        self.name(self.next - 1)
    }

    fn name(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:04}.json"))
    }
}

/// How the next migration of the guest is seen.
pub enum Next {
    /// As this one: the guest has not left.
    Same,
    /// As this domain, as soon as it is there.
    Domain(Domain),
    /// Not at all; why.
    Nowhere(&'static str),
}

/// Where to look after a migration with this end.
pub fn next(target: &WatchTarget, verdict: Verdict) -> Next {
    match (target, verdict) {
        (_, Verdict::Failed | Verdict::Cancelled) => Next::Same,
        (WatchTarget::Libvirt(domain), Verdict::Completed) => Next::Domain(after(domain)),
        (WatchTarget::Libvirt(domain), _) => Next::Domain(domain.clone()),
        (WatchTarget::Qmp { .. }, _) => Next::Nowhere(
            "the guest is no longer at this socket, and its next migration has another",
        ),
    }
}

/// A guest that has arrived leaves from there. Where virsh's own connection is one of both, only the way back to it is known.
fn after(domain: &Domain) -> Domain {
    match (&domain.uri, &domain.destination) {
        (Some(uri), Some(destination)) => Domain {
            uri: Some(destination.clone()),
            destination: Some(uri.clone()),
            ..domain.clone()
        },
        _ => domain.clone(),
    }
}

/// Waits until the domain is there.
pub fn reopen(
    domain: &Domain,
    timeout: Duration,
    interrupt: &Interrupt,
) -> Result<Box<dyn Way>, WatchError> {
    let began = Instant::now();
    loop {
        let error = match Libvirt::open(domain.clone()) {
            Ok(way) => return Ok(Box::new(way)),
            Err(error) => error,
        };
        if interrupt.requested() {
            return Err(WatchError::Interrupted);
        }
        if began.elapsed() >= timeout {
            return Err(WatchError::NeverBegan(timeout, Some(error.to_string())));
        }
        std::thread::sleep(RETRY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(uri: Option<&str>, destination: Option<&str>) -> Domain {
        Domain {
            name: "tern".to_owned(),
            uri: uri.map(str::to_owned),
            destination: destination.map(str::to_owned),
            virsh: "virsh".into(),
        }
    }

    #[test]
    fn a_domain_that_moved_is_looked_for_where_it_went() {
        let check = |before: Domain, verdict, expected: Option<Domain>| {
            let found = match next(&WatchTarget::Libvirt(before), verdict) {
                Next::Domain(domain) => Some(domain),
                _ => None,
            };
            assert_eq!(found, expected);
        };
        let (there, back) = (domain(Some("a"), Some("b")), domain(Some("b"), Some("a")));
        check(there.clone(), Verdict::Completed, Some(back));
        check(there.clone(), Verdict::Lost, Some(there.clone()));
        check(there, Verdict::Cancelled, None);
        let alone = domain(None, Some("b"));
        check(alone.clone(), Verdict::Completed, Some(alone));
    }

    #[test]
    fn numbers_go_on_behind_those_that_are_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("reports");
        let mut folder = Folder::open(&path).unwrap();
        let first = folder.take();
        assert!(first.ends_with("0001.json") && folder.take().ends_with("0002.json"));
        std::fs::write(path.join("0041.json"), "{}").unwrap();
        assert!(Folder::open(&path).unwrap().take().ends_with("0042.json"));
        std::fs::write(&first, "{}").unwrap();
        let error = Folder::open(&first).err().unwrap().to_string();
        assert!(error.contains("no directory"), "{error}");
    }
}
