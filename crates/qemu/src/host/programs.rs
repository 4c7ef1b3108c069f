//! The QEMUs of this machine.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use sterna_pilot::{Availability, Finding};

use crate::programs::{Answer, Judge, PATIENCE, ask_versions, executables, is_executable};

/// Where Red Hat and its relatives keep their QEMU, which is on nobody's PATH.
const RED_HAT_QEMU: &str = "/usr/libexec/qemu-kvm";

/// Looks for QEMU in the folders of `path`, and asks each for its version.
pub fn findings(path: Option<&OsStr>) -> Vec<Finding> {
    let folders: Vec<PathBuf> =
        path.map(|it| std::env::split_paths(it).collect()).unwrap_or_default();
    let mut qemus = executables(&folders, is_qemu);
    qemus.extend(Some(PathBuf::from(RED_HAT_QEMU)).filter(|it| is_executable(it)));
    let all: Vec<&Path> = qemus.iter().map(PathBuf::as_path).collect();
    let answers = ask_versions(&all, PATIENCE);
    let each: Vec<Finding> =
        qemus.iter().zip(&answers).map(|(path, answer)| qemu(path, answer)).collect();
    let mut findings = vec![qemu_at_all(&each)];
    findings.extend(each);
    findings
}

fn is_qemu(name: &str) -> bool {
    name.starts_with("qemu-system-") || name == "qemu-kvm"
}

fn qemu_at_all(each: &[Finding]) -> Finding {
    let usable = each.iter().filter(|it| it.availability == Availability::Ok).count();
    let programs = if each.len() == 1 { "program" } else { "programs" };
    let value = match each.len() {
        0 => "none found".to_owned(),
        found => format!("{found} {programs}, {usable} with a version"),
    };
    let availability = if usable > 0 {
        Availability::Ok
    } else {
        Availability::missing(
            "No QEMU guest can be run on this machine",
            "Install QEMU (Debian: qemu-system-x86 or the like, Fedora: qemu-kvm), or put its folder on PATH",
        )
    };
    Finding::new("hypervisor", "qemu", value, availability).fact("programs", each.len())
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
