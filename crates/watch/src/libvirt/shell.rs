//! One `virsh` that answers questions, kept open: a question costs a few milliseconds, where a program for each costs forty.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sterna_sys::process;

use crate::WatchError;

/// How long an answer may take; libvirt answers late while the domain changes hands.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the first answer may take: the connection may go by ssh.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);

/// The longest answer that is kept.
const LONGEST_BYTES: usize = 4 << 20;

/// What a question came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Text(String),
    /// In virsh's words.
    Refused(String),
    /// Not within the patience.
    Silent(String),
    /// The program has ended; its last words.
    Ended(String),
}

/// A running virsh.
pub(super) struct Shell {
    child: Child,
    stdin: ChildStdin,
    stdout: Receiver<Vec<u8>>,
    stderr: Arc<Mutex<String>>,
    buffer: String,
    /// The number of the last question, and whether its answer is still to come.
    asked: u64,
    is_owed: bool,
    patience: Duration,
}

/// A virsh with this connection; it ends when we do, and hears no Ctrl-C of ours.
pub(super) fn command(virsh: &Path, uri: Option<&str>) -> Command {
    let mut command = Command::new(virsh);
    command.arg("--quiet").env("LC_ALL", "C");
    if let Some(uri) = uri {
        command.arg("--connect").arg(uri);
    }
    command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
    process::die_with_parent(&mut command);
    command
}

pub(super) fn spawn(command: &mut Command) -> Result<Child, WatchError> {
    command.spawn().map_err(|source| WatchError::NoVirsh {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    })
}

impl Shell {
    /// Starts it and waits for its first answer.
    pub fn start(virsh: &Path, uri: Option<&str>) -> Result<Shell, WatchError> {
        let mut child = spawn(command(virsh, uri).stdin(Stdio::piped()))?;
        let (stdin, mut stdout, mut stderr) =
            match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
                (Some(stdin), Some(stdout), Some(stderr)) => (stdin, stdout, stderr),
                _ => return Err(unanswered("virsh", "it has no pipes")),
            };
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 16 << 10];
            while let Ok(count @ 1..) = stdout.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let words = Arc::new(Mutex::new(String::new()));
        let theirs = Arc::clone(&words);
        std::thread::spawn(move || {
            let mut bytes = [0; 4 << 10];
            while let Ok(count @ 1..) = stderr.read(&mut bytes) {
                let mut text = theirs.lock().unwrap_or_else(PoisonError::into_inner);
                if text.len() < LONGEST_BYTES {
                    text.push_str(&String::from_utf8_lossy(&bytes[..count]));
                }
            }
        });
        let mut shell = Shell {
            child,
            stdin,
            stdout: receiver,
            stderr: words,
            buffer: String::new(),
            asked: 0,
            is_owed: false,
            patience: CONNECT_PATIENCE,
        };
        let what = uri.map_or_else(|| "virsh".to_owned(), |it| format!("virsh -c {it}"));
        match shell.ask("uri") {
            Reply::Text(_) => {
                shell.patience = PATIENCE;
                Ok(shell)
            }
            Reply::Refused(words) | Reply::Silent(words) | Reply::Ended(words) => {
                Err(unanswered(&what, &words))
            }
        }
    }

    /// A question that has to be answered.
    pub fn must_ask(&mut self, question: &str) -> Result<String, WatchError> {
        match self.ask(question) {
            Reply::Text(text) => Ok(text),
            Reply::Refused(words) | Reply::Silent(words) | Reply::Ended(words) => {
                Err(unanswered(&format!("virsh {question}"), &words))
            }
        }
    }

    /// Asks; while an earlier answer is owed, waits for that instead, so that questions do not pile up behind a domain that is busy.
    pub fn ask(&mut self, question: &str) -> Reply {
        let deadline = Instant::now() + self.patience;
        if self.is_owed
            && let Some(other) = self.answer(deadline).err()
        {
            return other;
        }
        self.asked += 1;
        self.is_owed = true;
        let mark = self.mark();
        self.words();
        if writeln!(self.stdin, "{question}\necho {mark}")
            .and_then(|()| self.stdin.flush())
            .is_err()
        {
            return self.ended();
        }
        match self.answer(deadline) {
            Ok(text) => match self.words() {
                words if text.is_empty() && !words.is_empty() => Reply::Refused(words),
                _ => Reply::Text(text),
            },
            Err(other) => other,
        }
    }

    fn mark(&self) -> String {
        format!("sterna-{}", self.asked)
    }

    /// What stands between the question and its mark. virsh repeats each command behind a prompt, and ends what `echo` says without a new line.
    fn answer(&mut self, deadline: Instant) -> Result<String, Reply> {
        let mark = self.mark();
        let end = format!("echo {mark}\n{mark}");
        loop {
            if let Some(at) = self.buffer.find(&end) {
                let text = answer_in(&self.buffer[..at]);
                self.buffer.drain(..at + end.len());
                self.is_owed = false;
                return Ok(text);
            }
            match self.stdout.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) if self.buffer.len() < LONGEST_BYTES => {
                    self.buffer.push_str(&String::from_utf8_lossy(&bytes));
                }
                Ok(_) => self.buffer.clear(),
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
                Err(RecvTimeoutError::Timeout) => {
                    let text = format!("virsh did not answer within {:?}", self.patience);
                    return Err(Reply::Silent(text));
                }
            }
        }
    }

    fn ended(&mut self) -> Reply {
        // Its last words come by another pipe.
        std::thread::sleep(Duration::from_millis(50));
        let words = self.words();
        Reply::Ended(if words.is_empty() { "virsh has ended".to_owned() } else { words })
    }

    /// What it complained of since the last time, in one line.
    fn words(&self) -> String {
        let mut text = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<&str> =
            text.lines().map(|it| it.trim_start_matches("error: ").trim()).collect();
        let words =
            lines.iter().filter(|it| !it.is_empty()).copied().collect::<Vec<_>>().join(": ");
        text.clear();
        words
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of an answer, without the command that virsh repeats.
fn answer_in(text: &str) -> String {
    let is_prompt = |it: &str| it.trim_start().starts_with("virsh # ") || it.trim() == "virsh #";
    // The first line is the rest of the prompt of before, with the command.
    let lines = text.lines().skip(1).filter(|it| !is_prompt(it));
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

fn unanswered(what: &str, reason: &str) -> WatchError {
    WatchError::Unanswered { what: what.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_what_stands_between_the_command_and_the_next_prompt() {
        let check = |text: &str, expected: &str| assert_eq!(answer_in(text), expected);
        check("virsh # domid tern\n1\nvirsh # ", "1");
        check("virsh # domstate nix\nvirsh # ", "");
        check("qemu-monitor-command tern '…'\n{\"return\":{}}\nvirsh # ", "{\"return\":{}}");
    }
}
