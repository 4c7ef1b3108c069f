//! Asking programs of others for their version, without trusting them to answer.

use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use sterna_sys::process::die_with_parent;

/// More than any version takes; what comes after it is thrown away.
const MOST_BYTES: usize = 16 << 10;

const POLL: Duration = Duration::from_millis(2);

/// What a program said to `--version`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It ended well, having written this.
    Text(String),
    /// It could not be started, or ended badly; how.
    Failed(String),
    /// It did not end in time, and was killed.
    Silent,
}

/// Starts all programs with `--version`, and waits `patience` for all of them together.
///
/// A program is any file with a certain name, so it may hang, flood us, or leave children behind that hold its output open.
/// Therefore each has a process group of its own that is killed in any case, and the end of its output is never waited for.
pub fn ask_versions(programs: &[&Path], patience: Duration) -> Vec<Answer> {
    let mut asked: Vec<Asked> = programs.iter().map(|it| Asked::start(it)).collect();
    let deadline = Instant::now() + patience;
    while asked.iter_mut().any(|it| it.is_running()) && Instant::now() < deadline {
        sleep(POLL);
    }
    asked.into_iter().map(Asked::finish).collect()
}

/// A program that was asked.
enum Asked {
    Running { child: Child, output: ChildStdout, text: Vec<u8> },
    Failed(String),
}

impl Asked {
    fn start(program: &Path) -> Asked {
        let mut command = Command::new(program);
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.process_group(0);
        die_with_parent(&mut command);
        match command.spawn() {
            Ok(mut child) => match child.stdout.take() {
                Some(output) if rustix::io::ioctl_fionbio(&output, true).is_ok() => {
                    Asked::Running { child, output, text: Vec::new() }
                }
                _ => {
                    let _ = end(&mut child);
                    Asked::Failed("has no output".to_owned())
                }
            },
            Err(error) => Asked::Failed(format!("cannot be started: {error}")),
        }
    }

    /// Takes what it has written, so that it is never held up, and looks whether it has ended.
    fn is_running(&mut self) -> bool {
        let Asked::Running { child, output, text } = self else { return false };
        // First the look, then the reading: what it wrote before its end is read then.
        let has_ended = has_ended(child);
        read_available(output, text);
        !has_ended
    }

    fn finish(mut self) -> Answer {
        let is_running = self.is_running();
        match self {
            Asked::Failed(how) => Answer::Failed(how),
            Asked::Running { mut child, text, .. } => match end(&mut child) {
                _ if is_running => Answer::Silent,
                Ok(status) if status.success() => {
                    Answer::Text(String::from_utf8_lossy(&text).into_owned())
                }
                Ok(status) => Answer::Failed(describe(status)),
                Err(error) => Answer::Failed(format!("cannot be waited for: {error}")),
            },
        }
    }
}

/// Looks without taking the child's status, so that its number stays its own until its group is killed.
fn has_ended(child: &Child) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // An error means that there is nothing to wait for.
    !matches!(waitid(WaitId::Pid(Pid::from_child(child)), options), Ok(None))
}

/// Kills what is left of the child's group, and takes its status.
fn end(child: &mut Child) -> io::Result<ExitStatus> {
    // Fails when nobody is left but the child that has ended.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    child.wait()
}

/// Reads until nothing more is there, but not for longer than a flood would take to be boring.
fn read_available(output: &mut ChildStdout, text: &mut Vec<u8>) {
    let mut buffer = [0; 4096];
    for _ in 0..64 {
        match output.read(&mut buffer) {
            Ok(count) if count > 0 => {
                let room = MOST_BYTES.saturating_sub(text.len());
                text.extend_from_slice(&buffer[..count.min(room)]);
            }
            // The end, or nothing for now; an error is as good as the end.
            _ => return,
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("`--version` ends with exit code {code}"),
        (None, Some(signal)) => format!("`--version` is killed by signal {signal}"),
        (None, None) => "`--version` ends badly".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    /// Scripts are written through a child of their own: a descriptor of ours that is open for writing could leak into a program that another test starts just then, and starting the script would fail.
    fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "printf '%s' \"$2\" > \"$1\"", "sh"]).arg(&path);
        assert!(shell.arg(format!("#!/bin/sh\n{text}\n")).status().unwrap().success());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn every_kind_of_program_gets_its_answer_in_one_patience() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join("left");
        let table = [
            (
                "good",
                "echo good 1.2 $1".to_owned(),
                Answer::Text("good 1.2 --version\n".to_owned()),
            ),
            ("quiet", String::new(), Answer::Text(String::new())),
            ("bad", "echo bad; exit 3".to_owned(), failed("`--version` ends with exit code 3")),
            ("killed", "kill -TERM $$".to_owned(), failed("`--version` is killed by signal 15")),
            ("hanging", "echo late; kill -STOP $$".to_owned(), Answer::Silent),
            ("flooding", "while :; do echo xxxxxxxxxxxxxxxx; done".to_owned(), Answer::Silent),
            // Its child keeps the output open, and stays as long as the folder of this test does.
            (
                "parent",
                format!(
                    "/bin/sh -c 'echo $$ > {left}; while [ -e {left} ]; do :; done' &\nuntil [ -s {left} ]; do :; done\necho parent 1",
                    left = left.display()
                ),
                Answer::Text("parent 1\n".to_owned()),
            ),
        ];
        let mut programs: Vec<PathBuf> =
            table.iter().map(|(name, text, _)| script(folder.path(), name, text)).collect();
        programs.push(folder.path().join("absent"));
        let programs: Vec<&Path> = programs.iter().map(PathBuf::as_path).collect();

        let started = Instant::now();
        let answers = ask_versions(&programs, Duration::from_secs(2));
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        for ((name, _, expected), answer) in table.iter().zip(&answers) {
            assert_eq!(answer, expected, "{name}");
        }
        assert!(
            matches!(answers.last(), Some(Answer::Failed(how)) if how.starts_with("cannot be started"))
        );
        let left = fs::read_to_string(left).unwrap();
        while is_alive(left.trim()) {
            assert!(started.elapsed() < Duration::from_secs(10), "a child of a program is left");
            sleep(POLL);
        }
    }

    /// One that has died may wait long for its new parent to notice.
    fn is_alive(pid: &str) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    }

    fn failed(how: &str) -> Answer {
        Answer::Failed(how.to_owned())
    }
}
