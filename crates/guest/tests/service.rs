//! The agent as an ordinary program, spoken to over its standard input and output.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use sterna_wire::guest_config::GuestConfig;
use sterna_wire::guest_line::{Decoder, Encoder, GuestCommand, GuestMessage, VERSION};
use sterna_workload::{expected_word, stamp_word};

const AGENT: &str = env!("CARGO_BIN_EXE_sterna-guest");

struct Agent {
    child: Child,
    output: ChildStdout,
    decoder: Decoder<GuestMessage>,
    encoder: Encoder,
    waiting: Vec<GuestMessage>,
}

impl Agent {
    fn start(config: &GuestConfig) -> Agent {
        let file = config_file(&config.to_string());
        let mut child = Command::new(AGENT)
            .arg("--config")
            .arg(file.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let (decoder, encoder) = (Decoder::default(), Encoder::default());
        let mut agent = Agent { child, output, decoder, encoder, waiting: Vec::new() };
        // By then the file has been read.
        agent.wait(|it| matches!(it, GuestMessage::Hello { .. }).then_some(()));
        agent
    }

    fn say(&mut self, command: GuestCommand) {
        let line = self.encoder.encode(&command);
        self.child.stdin.as_mut().unwrap().write_all(&line).unwrap();
    }

    fn wait<T>(&mut self, fits: impl Fn(&GuestMessage) -> Option<T>) -> T {
        let mut buffer = [0; 4096];
        loop {
            for (index, message) in self.waiting.iter().enumerate() {
                if let Some(found) = fits(message) {
                    self.waiting.drain(..=index);
                    return found;
                }
            }
            self.waiting.clear();
            let length = self.output.read(&mut buffer).unwrap();
            assert_ne!(length, 0, "the agent has ended");
            self.waiting = self.decoder.push(&buffer[..length]);
        }
    }

    fn ends_well(mut self) -> bool {
        self.child.wait().unwrap().success()
    }
}

fn config_file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// Without the network, whose ports belong to others.
fn config(workload: &str) -> GuestConfig {
    GuestConfig { port_name: "-".to_owned(), echo_port: None, ..GuestConfig::of(workload) }
}

fn state(message: &GuestMessage) -> Option<(bool, Vec<u64>)> {
    match message {
        GuestMessage::State { running, counts, .. } => Some((*running, counts.clone())),
        _ => None,
    }
}

fn verified(message: &GuestMessage) -> Option<(u64, u64)> {
    match message {
        GuestMessage::Verified { pages_checked, corrupt_pages, .. } => {
            Some((*pages_checked, *corrupt_pages))
        }
        _ => None,
    }
}

#[test]
fn a_session_from_hello_to_bye() {
    let mut agent = Agent::start(&GuestConfig {
        ballast_bytes: 1 << 20,
        sample_interval_ns: 20_000_000,
        ..config("memory=2MiB workers=2 rate=64MiB/s")
    });
    agent.say(GuestCommand::Hello);
    let hello = agent.wait(|it| match it {
        GuestMessage::Hello { version, workers, memory_bytes, pid1, .. } => {
            Some((*version, *workers, *memory_bytes, *pid1))
        }
        _ => None,
    });
    assert_eq!(hello, (VERSION, 2, 3 << 20, false));
    // Nothing is written before the start.
    agent.say(GuestCommand::Verify);
    assert_eq!(agent.wait(verified), (768, 0));
    agent.say(GuestCommand::Start);
    assert!(agent.wait(state).0);
    let timed = agent.wait(|it| match it {
        GuestMessage::Sample { counts, latency: Some(latency), .. }
            if counts.iter().all(|it| *it > 0) =>
        {
            Some(latency.cells.iter().map(|it| it.1).sum::<u64>())
        }
        _ => None,
    });
    assert!(timed > 0);
    // The workload is paused for the check, and goes on after it.
    agent.say(GuestCommand::Verify);
    assert_eq!(agent.wait(verified), (768, 0));
    agent.say(GuestCommand::Pause);
    let (is_running, paused) = agent.wait(state);
    assert!(!is_running);
    agent.say(GuestCommand::Start);
    agent.wait(state);
    agent.wait(|it| match it {
        GuestMessage::Sample { counts, .. } => (*counts > paused).then_some(()),
        _ => None,
    });
    agent.say(GuestCommand::Stop);
    agent.wait(|it| (*it == GuestMessage::Bye).then_some(()));
    assert_eq!(agent.decoder.missed(), 0);
    assert!(agent.ends_well());
}

#[test]
fn an_agent_ends_with_its_input() {
    let mut agent =
        Agent::start(&GuestConfig { start_at_once: true, ..config("memory=1MiB latency=off") });
    let latency = agent.wait(|it| match it {
        GuestMessage::Sample { latency, .. } => Some(latency.clone()),
        _ => None,
    });
    assert_eq!(latency, None);
    drop(agent.child.stdin.take());
    agent.wait(|it| (*it == GuestMessage::Bye).then_some(()));
    assert!(agent.ends_well());
}

#[test]
fn mistakes_are_told_in_words_and_by_the_exit_code() {
    let run = |arguments: &[&str]| -> Output {
        Command::new(AGENT).args(arguments).stdin(Stdio::null()).output().unwrap()
    };
    let check = |output: &Output, code: i32, expected: &str| {
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(words.contains(expected), "{words:?}, wanted {expected:?}");
        assert_eq!(output.status.code(), Some(code), "{words}");
    };
    check(&run(&[]), 2, "Usage: sterna-guest --config FILE");
    check(
        &run(&["--config", "/nowhere/config"]),
        1,
        "/nowhere/config cannot be read: No such file",
    );
    let with = |text: &str| {
        let file = config_file(text);
        run(&["--config", file.path().to_str().unwrap()])
    };
    check(&with("workload=memory=1MiB\nspeed=9\n"), 1, "Unknown key `speed`");
    let standard = "port-name=-\necho-port=none\n";
    check(&with(&format!("{standard}workload=memory=lots\n")), 1, "memory cannot be `lots`");
    let output = with(&format!("{standard}workload=memory=8EiB\n"));
    check(&output, 1, "do not fit");
    let told = Decoder::<GuestMessage>::default().push(&output.stdout);
    assert!(matches!(told.as_slice(), [GuestMessage::Fatal(it)] if it.contains("do not fit")));
    let output = with("workload=memory=1MiB\nport-name=none.such\nport-wait-ns=0\nserial=none\n");
    check(&output, 1, "no virtio-serial port named none.such");
}

/// Where the agent's memory begins, found by what it holds before the first write.
fn memory_of(agent: &Agent, seed: u64) -> Option<(File, u64)> {
    let path = |name: &str| format!("/proc/{}/{name}", agent.child.id());
    let memory = File::options().read(true).write(true).open(path("mem")).ok()?;
    let maps = std::fs::read_to_string(path("maps")).ok()?;
    let expected: Vec<u8> =
        (0..4).flat_map(|word| expected_word(seed, 0, word).to_le_bytes()).collect();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (range, _) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let bound = |text: &str| u64::from_str_radix(text, 16).ok();
        for page in (bound(start)?..bound(end)?).step_by(4096) {
            let mut found = [0; 32];
            if memory.read_exact_at(&mut found, page).is_ok() && found[..] == expected {
                return Some((memory, page));
            }
        }
    }
    None
}

#[test]
fn a_page_that_changed_while_the_guest_was_stopped_is_found_before_it_is_written_over() {
    const SEED: u64 = 5;
    let workload = "memory=1MiB workers=1 pattern=sequential method=fill-random rate=1MiB/s seed=5";
    let mut agent = Agent::start(&config(workload));
    let Some((memory, start)) = memory_of(&agent, SEED) else {
        eprintln!("skipped: the agent's memory cannot be changed from outside; run as root");
        return;
    };
    agent.say(GuestCommand::Start);
    // A page that the worker, who goes round in a second, comes to in half a second.
    let flip = |agent: &mut Agent| {
        let mut byte = [0];
        let written = |it: &GuestMessage| match it {
            GuestMessage::Sample { counts, .. } => Some(counts[0]),
            _ => None,
        };
        agent.waiting.clear();
        let page = (agent.wait(written) + 128) % 256;
        let place = start + page * 4096 + (stamp_word(page as usize) as u64 * 8 + 8) % 4096;
        memory.read_exact_at(&mut byte, place).unwrap();
        memory.write_all_at(&[byte[0] ^ 1], place).unwrap();
    };
    let rounds = |agent: &mut Agent| {
        let count = |it: &GuestMessage| match it {
            GuestMessage::Sample { counts, .. } => Some(counts[0]),
            _ => None,
        };
        let from = agent.wait(count);
        agent.wait(|it| count(it).filter(|now| *now > from + 256));
    };
    let checked = |it: &GuestMessage| match it {
        GuestMessage::Verified { corrupt_pages, first_writes, .. } => {
            Some((*corrupt_pages, first_writes.map(|it| (it.pages_checked, it.corrupt_pages))))
        }
        _ => None,
    };
    // The agent does not know that anything has happened, and makes the page right again.
    flip(&mut agent);
    rounds(&mut agent);
    agent.say(GuestCommand::Verify);
    assert_eq!(agent.wait(checked), (0, Some((0, 0))));
    // Each page is checked again after the check, so that round is waited for.
    rounds(&mut agent);
    flip(&mut agent);
    for _ in 0..2 {
        agent.say(GuestCommand::Resumed { number: 1 });
    }
    rounds(&mut agent);
    agent.say(GuestCommand::Verify);
    let (corrupt_pages, first) = agent.wait(checked);
    assert_eq!((corrupt_pages, first.unwrap().1), (1, 1));
}
