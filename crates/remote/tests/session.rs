//! Sessions over a stand-in for ssh: a script that runs the command on this machine.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sterna_remote::{Program, RemoteError, Session, Ssh, Target};
use tempfile::TempDir;

/// A program that says it is up, tells its directory and arguments, and echoes.
const ECHO: &str =
    "#!/bin/sh\necho sterna-remote up\necho \"$0|$STERNA_REMOTE_DIRECTORY|$*\"\nexec cat\n";

struct Bench {
    directory: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(bench.remote_directory()).unwrap();
        fs::create_dir(bench.path("bin")).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where the other machine keeps temporary files.
    fn remote_directory(&self) -> PathBuf {
        self.path("tmp")
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// A client that runs `shell`, with the command as `$command`, on this machine.
    fn ssh(&self, shell: &str) -> Ssh {
        let (tmp, bin) = (self.remote_directory(), self.path("bin"));
        let text = format!(
            "#!/bin/sh\nfor command; do :; done\nexport TMPDIR={} PATH={}:$PATH\n{shell}\n",
            tmp.display(),
            bin.display()
        );
        Ssh { program: self.script("ssh", &text), ..Ssh::default() }
    }

    fn start(&self, shell: &str, program: &Path) -> Result<Session, RemoteError> {
        let target = Target { user: Some("me".to_owned()), host: "there".to_owned(), port: None };
        let program = Program { file: program, arguments: &["a b", "it's"] };
        self.ssh(shell).start(&target, &program, &|| false)
    }

    #[track_caller]
    fn refused(&self, shell: &str, program: &Path, expected: &str) {
        let error = self.start(shell, program).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
        self.assert_nothing_is_left();
    }

    #[track_caller]
    fn assert_nothing_is_left(&self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        let left = || fs::read_dir(self.remote_directory()).unwrap().count();
        while left() > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(left(), 0, "files are left");
    }
}

fn line(session: &Session) -> String {
    session.socket().set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut line = Vec::new();
    let mut byte = [0];
    while session.socket().read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.extend(byte);
    }
    String::from_utf8(line).unwrap()
}

#[test]
fn a_program_is_copied_speaks_and_leaves_nothing() {
    let bench = Bench::new();
    let program = bench.script("program", ECHO);
    let greeting = "echo 'Welcome to sterna-remote need'; echo; exec /bin/sh -c \"$command\"";
    let session = bench.start(greeting, &program).unwrap();
    let said = line(&session);
    let words: Vec<&str> = said.split('|').collect();
    assert_eq!(words[0], format!("{}/sterna", words[1]));
    assert!(Path::new(words[1]).starts_with(bench.remote_directory()), "{said}");
    assert_eq!(words[2], "a b it's");
    assert_eq!(fs::metadata(words[1]).unwrap().permissions().mode() & 0o777, 0o700);
    session.socket().write_all(b"hello\n").unwrap();
    assert_eq!(line(&session), "hello");
    drop(session);
    bench.assert_nothing_is_left();
}

#[test]
fn the_same_program_is_taken_where_it_is_and_another_one_is_not() {
    let bench = Bench::new();
    let program = bench.script("program", ECHO);
    fs::copy(&program, bench.path("bin/sterna")).unwrap();
    let session = bench.start("exec sh -c \"$command\"", &program).unwrap();
    assert!(line(&session).starts_with(&format!("{}|", bench.path("bin/sterna").display())));
    drop(session);
    let newer = bench.script("newer", &format!("{ECHO}# Another version.\n"));
    let session = bench.start("exec sh -c \"$command\"", &newer).unwrap();
    assert!(line(&session).starts_with(bench.remote_directory().to_str().unwrap()));
    drop(session);
    bench.assert_nothing_is_left();
}

#[test]
fn a_program_that_is_killed_leaves_nothing_and_its_end_is_told() {
    let bench = Bench::new();
    let program = bench.script("program", "#!/bin/sh\necho sterna-remote up\nkill -9 $$\n");
    let mut session = bench.start("exec sh -c \"$command\"", &program).unwrap();
    session.socket().set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(session.socket().read(&mut [0]).unwrap(), 0);
    let deadline = Instant::now() + Duration::from_secs(5);
    let end = loop {
        if let Some(end) = session.obituary() {
            break end;
        }
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(end.contains("exit code 137"), "{end}");
    bench.assert_nothing_is_left();
}

#[test]
fn what_goes_wrong_is_told_in_its_own_words() {
    let bench = Bench::new();
    let program = bench.script("program", ECHO);
    let denied = "echo 'me@there: Permission denied (publickey).' >&2; exit 255";
    bench.refused(
        denied,
        &program,
        "ssh to me@there failed: me@there: Permission denied (publickey).",
    );
    bench.refused("exit 255", &program, "it gives no reason");
    bench.script("bin/uname", "#!/bin/sh\necho riscv64\n");
    bench.refused(
        "exec sh -c \"$command\"",
        &program,
        "of the kind riscv64 riscv64, and this Sterna is made for Linux",
    );
    fs::remove_file(bench.path("bin/uname")).unwrap();
    let broken = bench.script("broken", "#!/nonexistent/interpreter\n");
    bench.refused("exec sh -c \"$command\"", &broken, "Sterna does not run on me@there: ");
    bench.script("bin/head", "#!/bin/sh\n/usr/bin/head \"$@\" | tr e f\n");
    bench.refused("exec sh -c \"$command\"", &program, "another checksum");
    fs::remove_file(bench.path("bin/head")).unwrap();
    bench.script("bin/mktemp", "#!/bin/sh\nexit 1\n");
    bench.refused("exec sh -c \"$command\"", &program, "no directory in which");
    bench.refused(
        "exit 0",
        Path::new("/nonexistent/program"),
        "/nonexistent/program, which has to be copied",
    );
    let ssh = Ssh { program: "/nonexistent/ssh".into(), ..Ssh::default() };
    let target = Target { user: None, host: "there".to_owned(), port: None };
    let program = Program { file: &program, arguments: &[] };
    let error = ssh.start(&target, &program, &|| false).err().unwrap().to_string();
    assert!(error.contains("ssh cannot be started as /nonexistent/ssh"), "{error}");
}

#[test]
fn a_copy_that_is_broken_off_leaves_nothing() {
    let bench = Bench::new();
    let program = bench.script("program", &format!("{ECHO}#{}\n", "x".repeat(4 << 20)));
    // The client dies in the middle of the copy, as with a network that breaks.
    let dies = "head -c 1000000 | sh -c \"$command\"; echo 'Connection reset' >&2; exit 255";
    let error = bench.start(dies, &program).err().unwrap().to_string();
    // Which end meets it first is a matter of moments.
    assert!(error.contains("checksum") || error.contains("Connection reset"), "{error}");
    bench.assert_nothing_is_left();
}

#[test]
fn a_user_who_asks_to_stop_does_not_wait() {
    let bench = Bench::new();
    let program = bench.script("program", ECHO);
    let target = Target { user: None, host: "there".to_owned(), port: Some(2222) };
    let began = Instant::now();
    let outcome = bench.ssh("exec sleep 60").start(
        &target,
        &Program { file: &program, arguments: &[] },
        &|| began.elapsed() > Duration::from_millis(200),
    );
    assert!(matches!(outcome, Err(RemoteError::Interrupted)));
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn ssh_is_called_so_that_it_asks_nothing() {
    let bench = Bench::new();
    let program = bench.script("program", ECHO);
    let seen = bench.path("seen");
    let ssh = Ssh {
        config: Some("/some/config".into()),
        options: vec!["ConnectTimeout=1".to_owned()],
        ..bench.ssh(&format!("echo \"$@\" > {}; exit 255", seen.display()))
    };
    let target = Target { user: Some("me".to_owned()), host: "::1".to_owned(), port: Some(2222) };
    let program = Program { file: &program, arguments: &[] };
    assert!(ssh.start(&target, &program, &|| false).is_err());
    let words = fs::read_to_string(seen).unwrap();
    let expected = "-F /some/config -o ConnectTimeout=1 -o BatchMode=yes";
    assert!(words.starts_with(expected), "{words}");
    assert!(words.contains("-l me -p 2222 -- ::1 exec sh -c "), "{words}");
}

#[test]
fn half_an_end_is_an_end() {
    let bench = Bench::new();
    let program = bench.script("program", ECHO);
    let session = bench.start("exec sh -c \"$command\"", &program).unwrap();
    line(&session);
    session.socket().shutdown(Shutdown::Write).unwrap();
    assert_eq!(session.socket().read(&mut [0]).unwrap(), 0);
    drop(session);
    bench.assert_nothing_is_left();
}
