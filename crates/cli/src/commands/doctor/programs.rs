//! Programs of others: QEMU, and tools that Sterna compares itself with.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sterna_pilot::{Availability, Finding};

use super::ask::{Answer, ask_versions};

/// For all programs together; a QEMU on a busy machine with a cold disk takes a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where Red Hat and its relatives keep their QEMU, which is on nobody's PATH.
const RED_HAT_QEMU: &str = "/usr/libexec/qemu-kvm";

/// Looks for QEMU and iperf3 in the folders of `path`, and asks each program for its version.
pub fn findings(path: Option<&OsStr>) -> Vec<Finding> {
    let folders: Vec<PathBuf> =
        path.map(|it| std::env::split_paths(it).collect()).unwrap_or_default();
    let mut qemus = executables(&folders, is_qemu);
    qemus.extend(Some(PathBuf::from(RED_HAT_QEMU)).filter(|it| is_executable(it)));
    let iperf3 = executables(&folders, |name| name == "iperf3");
    let all: Vec<&Path> = qemus.iter().chain(&iperf3).map(PathBuf::as_path).collect();
    let answers = ask_versions(&all, PATIENCE);
    let (of_qemus, of_iperf3) = answers.split_at(qemus.len());
    let each: Vec<Finding> =
        qemus.iter().zip(of_qemus).map(|(path, answer)| qemu(path, answer)).collect();
    let mut findings = vec![qemu_at_all(&each)];
    findings.extend(each);
    findings.push(iperf3_of(iperf3.first().zip(of_iperf3.first())));
    findings
}

fn is_qemu(name: &str) -> bool {
    name.starts_with("qemu-system-") || name == "qemu-kvm"
}

/// The first executable of each wanted name, as a shell would find it, in the order of their names.
///
/// Relative folders are left out: a program should not be run because of where one happens to stand.
fn executables(folders: &[PathBuf], is_wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = BTreeMap::new();
    for folder in folders.iter().filter(|it| it.is_absolute()) {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if is_wanted(&name) && !found.contains_key(&name) && is_executable(&entry.path()) {
                found.insert(name, entry.path());
            }
        }
    }
    found.into_values().collect()
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
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
    asked("hypervisor", &snake(&name), path, answer, "version ", "This QEMU cannot be used")
}

fn iperf3_of(found: Option<(&PathBuf, &Answer)>) -> Finding {
    const CONSEQUENCE: &str = "Benchmarks cannot show its figure beside Sterna's";
    match found {
        Some((path, answer)) => asked("tools", "iperf3", path, answer, "iperf ", CONSEQUENCE),
        None => {
            let availability = Availability::missing(CONSEQUENCE, "Install the package iperf3");
            Finding::new("tools", "iperf3", "not on PATH", availability)
                .fact("path", None::<String>)
                .fact("version", None::<String>)
        }
    }
}

/// Judges one program by what it said of itself; the version is what follows `marker`.
fn asked(
    group: &'static str,
    name: &str,
    path: &Path,
    answer: &Answer,
    marker: &str,
    consequence: &str,
) -> Finding {
    let version = match answer {
        Answer::Text(text) => version(text, marker),
        Answer::Failed(_) | Answer::Silent => None,
    };
    let shown = path.display();
    let (value, availability) = match (version, answer) {
        (Some(version), _) => (format!("{version} ({shown})"), Availability::Ok),
        (None, answer) => {
            let how = match answer {
                Answer::Text(_) => "`--version` tells no version".to_owned(),
                Answer::Failed(how) => how.clone(),
                Answer::Silent => {
                    format!("`--version` does not end within {} s", PATIENCE.as_secs())
                }
            };
            let remedy = format!("Run `{shown} --version` to see why, and install it anew");
            (format!("{shown}: {how}"), Availability::limited(consequence, remedy))
        }
    };
    Finding::new(group, name, value, availability)
        .fact("path", path.to_string_lossy())
        .fact("version", version)
}

/// The word that follows `marker` in the first line, if it looks like a version.
fn version<'a>(text: &'a str, marker: &str) -> Option<&'a str> {
    let (_, rest) = text.lines().next()?.split_once(marker)?;
    let version = rest.split_whitespace().next()?;
    version.starts_with(|it: char| it.is_ascii_digit()).then_some(version)
}

fn snake(name: &str) -> String {
    name.chars()
        .map(|it| if it.is_ascii_alphanumeric() { it.to_ascii_lowercase() } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn versions_are_read_as_programs_write_them() {
        #[track_caller]
        fn check(text: &str, marker: &str, expected: Option<&str>) {
            assert_eq!(version(text, marker), expected);
        }
        let debian = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright (c)\n";
        check(debian, "version ", Some("7.2.22"));
        check("QEMU emulator version 10.0.0", "version ", Some("10.0.0"));
        check("QEMU emulator version 9.0.50 (v9.0.0-1-gabc)\n", "version ", Some("9.0.50"));
        check("iperf 3.12 (cJSON 1.7.15)\nLinux\n", "iperf ", Some("3.12"));
        check("QEMU emulator version unknown\n", "version ", None);
        check("QEMU emulator version \n", "version ", None);
        check("\nversion 7.2\n", "version ", None);
        check("", "version ", None);
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

    #[test]
    fn the_first_executable_of_each_name_counts() {
        let root = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|it| root.path().join(it));
        for (folder, name, mode) in [
            (&first, "qemu-system-arm", 0o755),
            (&first, "qemu-system-ppc", 0o644),
            (&first, "qemu-img", 0o755),
            (&second, "qemu-system-arm", 0o755),
            (&second, "qemu-system-ppc", 0o755),
        ] {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join(name), "").unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        symlink("qemu-system-arm", second.join("qemu-kvm")).unwrap();
        symlink("nowhere", second.join("qemu-system-s390x")).unwrap();
        fs::create_dir(second.join("qemu-system-folder")).unwrap();

        let folders = [root.path().join("none"), first, second, PathBuf::from("relative")];
        let found = executables(&folders, is_qemu);
        let found: Vec<_> = found
            .iter()
            .map(|it| it.strip_prefix(root.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(found, ["second/qemu-kvm", "first/qemu-system-arm", "second/qemu-system-ppc"]);
    }
}
