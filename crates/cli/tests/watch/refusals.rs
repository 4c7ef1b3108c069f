//! What cannot be watched, in words.

use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::{Duration, Instant};

use super::pair::{Monitor, Pair};
use super::watcher::Watcher;

fn refusal(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sterna"))
        .args(["watch", "qmp"])
        .args(arguments)
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn sockets_that_are_no_monitor_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let check = |socket: &str, words: &str| {
        for more in [&[][..], &["--shared"]] {
            let (code, stderr) = refusal(&[&[socket], more].concat());
            assert_eq!(code, Some(1), "{stderr}");
            assert!(stderr.contains(words) && stderr.contains(socket), "{stderr}");
        }
    };
    check(&path("missing"), "There is no socket");
    std::fs::write(path("file"), "").unwrap();
    check(&path("file"), "is no socket");
    drop(UnixListener::bind(path("left")).unwrap());
    check(&path("left"), "Nothing listens");
    let listener = UnixListener::bind(path("web")).unwrap();
    std::thread::spawn(move || {
        use std::io::Write;
        for mut client in listener.incoming().flatten() {
            let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    check(&path("web"), "is no QMP monitor");
}

#[test]
fn a_monitor_that_another_client_holds_is_not_waited_for_long() {
    let Some(pair) = Pair::new() else { return };
    let _holder = Monitor::open(&pair.socket("source"));
    let began = Instant::now();
    let outcome = Watcher::start(&pair, &[]).outcome();
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("serves one client at a time"), "{}", outcome.stderr);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_wait_for_a_migration_ends() {
    let Some(pair) = Pair::new() else { return };
    let socket = pair.socket("source");
    for more in [&[][..], &["--shared"]] {
        let (code, stderr) =
            refusal(&[&[socket.to_str().unwrap(), "--timeout", "1s"], more].concat());
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("No migration began within 1s"), "{stderr}");
    }
}

#[test]
fn a_machine_that_ends_before_a_migration_is_an_error() {
    let Some(mut pair) = Pair::new() else { return };
    let watcher = Watcher::of(&pair, &[]);
    pair.kill_source();
    let outcome = watcher.outcome();
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("nothing more to watch"), "{}", outcome.stderr);
}
