//! The container file.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_container_file_is_clean_and_a_mistake_in_it_is_seen() {
    let cached = crate::ground::cache().map(|it| it.join("sterna/hadolint/bin/hadolint"));
    let Some(program) = cached.filter(|it| it.exists()) else {
        return eprintln!("skipped: there is no hadolint; `cargo xtask hadolint` fetches it");
    };
    let check = |text: &str| {
        let mut command = Command::new(&program);
        command.args(["--no-color", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = command.spawn().unwrap();
        running.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = running.wait_with_output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("Containerfile")).unwrap();
    assert_eq!(check(&text), (true, String::new()));
    let (is_clean, words) = check(&text.replace("FROM scratch", "FROM debian"));
    assert!(!is_clean && words.contains("DL3006"), "{words}");
}
