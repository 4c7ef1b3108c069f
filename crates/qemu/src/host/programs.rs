//! The QEMUs of this machine.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use sterna_pilot::{Availability, Finding};

use crate::programs::{
    Answer, Judge, PATIENCE, RED_HAT_FOLDER, RED_HAT_NAME, ask_versions, executables, find,
};

/// Looks for those QEMUs that a run would start, and for all others in the folders of `path`, and asks each for its version.
pub fn findings(path: Option<&OsStr>, meant: [&Path; 2]) -> Vec<Finding> {
    let folders: Vec<PathBuf> =
        path.map(|it| std::env::split_paths(it).collect()).unwrap_or_default();
    let mut listed = executables(&folders, is_qemu);
    if !listed.iter().any(|it| it.ends_with(RED_HAT_NAME)) {
        listed.extend(executables(&[RED_HAT_FOLDER.into()], |it| it == RED_HAT_NAME));
    }
    let found = meant.map(|it| find(it, path));
    let mut all: Vec<&Path> = listed.iter().map(PathBuf::as_path).collect();
    let count = all.len();
    for one in found.iter().flatten().map(PathBuf::as_path) {
        if !all.contains(&one) {
            all.push(one);
        }
    }
    let answers = ask_versions(&all, PATIENCE);
    let each: Vec<Finding> = all.iter().zip(&answers).map(|it| qemu(it.0, it.1)).collect();
    let judged = |at: usize| {
        let place = all.iter().position(|it| Some(*it) == found[at].as_deref());
        Meant { name: meant[at], finding: place.map(|it| &each[it]) }
    };
    let mut findings = vec![qemu_of_a_run([judged(0), judged(1)], count)];
    // Those that were named may be called like others; they are told of in the first finding.
    findings.extend(each.into_iter().take(count));
    findings
}

/// What a run would start for one side.
#[derive(Clone, Copy)]
struct Meant<'a> {
    name: &'a Path,
    finding: Option<&'a Finding>,
}

fn is_qemu(name: &str) -> bool {
    name.starts_with("qemu-system-") || name == RED_HAT_NAME
}

/// Whether both sides have a QEMU; the others of this machine, of which there are `listed` in all, do not count.
fn qemu_of_a_run(meant: [Meant<'_>; 2], listed: usize) -> Finding {
    let [source, destination] = meant;
    let lacking = meant.iter().find(|it| !it.is_usable());
    let value = match lacking {
        Some(lacking) => lacking.to_string(),
        None if source.name == destination.name => source.to_string(),
        None => format!("{source}, and to {destination}"),
    };
    let availability = match lacking {
        None => Availability::Ok,
        Some(_) => Availability::missing(
            "No QEMU guest can be run on this machine",
            "Install QEMU (Debian: qemu-system-x86, Fedora: qemu-kvm), put its folder on PATH, or name it by --qemu-source (STERNA_QEMU_SOURCE) and --qemu-destination",
        ),
    };
    let fact = |it: Meant<'_>| it.finding.and_then(|it| it.facts.get("path").cloned());
    Finding::new("hypervisor", "qemu", value, availability)
        .fact("programs", listed)
        .fact("source", fact(source))
        .fact("destination", fact(destination))
}

impl Meant<'_> {
    fn is_usable(&self) -> bool {
        self.finding.is_some_and(|it| it.availability == Availability::Ok)
    }
}

impl std::fmt::Display for Meant<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.finding.and_then(|it| it.value.as_deref()) {
            Some(value) => f.write_str(value),
            None => write!(f, "there is no {}", self.name.display()),
        }
    }
}

fn qemu(path: &Path, answer: &Answer) -> Finding {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let judge = Judge {
        group: "hypervisor",
        name: &snake(&name),
        marker: "version ",
        consequence: "This QEMU cannot be used",
    };
    judge.finding(path, answer)
}

fn snake(name: &str) -> String {
    name.chars()
        .map(|it| if it.is_ascii_alphanumeric() { it.to_ascii_lowercase() } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_needs_the_programs_that_it_starts_and_no_others() {
        let text = |it: &str| Answer::Text(format!("QEMU emulator version {it}\n"));
        let [old, new] = ["7.2.22", "10.0.0"].map(|it| qemu(Path::new(it), &text(it)));
        let broken = qemu(Path::new("broken"), &Answer::Silent);
        #[track_caller]
        fn check(source: Option<&Finding>, destination: Option<&Finding>, expected: &str) {
            let meant = |name: &'static str, finding| Meant { name: Path::new(name), finding };
            let judged = qemu_of_a_run([meant("here", source), meant("there", destination)], 5);
            assert_eq!(judged.value.as_deref(), Some(expected));
            let has_both = [source, destination]
                .iter()
                .all(|it| it.is_some_and(|it| it.availability == Availability::Ok));
            assert_eq!(judged.availability.is_missing(), !has_both);
        }
        check(Some(&old), Some(&new), "7.2.22 (7.2.22), and to 10.0.0 (10.0.0)");
        check(Some(&old), None, "there is no there");
        check(None, Some(&new), "there is no here");
        check(Some(&broken), Some(&new), "broken: `--version` does not end within 5 s");
    }

    #[test]
    fn a_program_is_judged_by_its_answer() {
        #[track_caller]
        fn check(answer: Answer, word: &str, value: &str) {
            let finding = qemu(Path::new("/x/qemu-system-x86_64"), &answer);
            assert_eq!(finding.name, "qemu_system_x86_64");
            assert_eq!(finding.availability.as_str(), word);
            assert_eq!(finding.value.as_deref(), Some(value));
        }
        let text = |it: &str| Answer::Text(it.to_owned());
        let at = "/x/qemu-system-x86_64";
        check(text("QEMU emulator version 7.2.22\n"), "ok", &format!("7.2.22 ({at})"));
        check(text("hello\n"), "limited", &format!("{at}: `--version` tells no version"));
        check(Answer::Silent, "limited", &format!("{at}: `--version` does not end within 5 s"));
        check(Answer::Failed("it broke".to_owned()), "limited", &format!("{at}: it broke"));
    }
}
