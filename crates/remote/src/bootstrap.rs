//! What runs on the other machine before Sterna does: a few lines for a POSIX shell.
//!
//! ```text
//!  here                                      there
//!    │          sterna-remote machine Linux x86_64 │
//!    │ ◄────────────────────────────────────────── │
//!    │                          sterna-remote need │   (left out when the same program is in PATH)
//!    │ ◄────────────────────────────────────────── │
//!    │ the program, its length and checksum known  │
//!    │ ──────────────────────────────────────────► │
//!    │                        sterna-remote have … │
//!    │ ◄────────────────────────────────────────── │
//!    │                            sterna-remote up │   (said by the program itself)
//!    │ ◄────────────────────────────────────────── │
//!    │ ◄───────────── the session ───────────────► │
//! ```
//!
//! The shell stays until the program ends and then removes the directory, so that even a program that was killed leaves nothing behind.
//! Lines before the first of ours are somebody's greeting and are left aside.

/// Begins every line of ours.
pub(crate) const WORD: &str = "sterna-remote ";

/// What the program says first.
pub(crate) const UP: &str = "sterna-remote up";

/// The command for ssh, which hands it to the user's shell there, whichever that is: so it is one line, and inside its single quotes there is none of what some shell or other would touch.
///
/// The program is killed with the connection by the end of its standard input, not by a signal.
pub(crate) fn command(checksum: &str, length: u64, arguments: &[&str]) -> String {
    let script = [
        "umask 077",
        "trap : HUP INT TERM PIPE",
        "sum() { sha256sum \"$1\" 2>/dev/null | cut -c1-64; }",
        "echo \"sterna-remote machine $(uname -s) $(uname -m)\"",
        "dir=",
        "for base in \"${TMPDIR:-/tmp}\" /tmp /var/tmp \"$HOME\"; do \
            d=$(mktemp -d \"$base/sterna-XXXXXX\" 2>/dev/null) || continue; \
            if : > \"$d/try\" && chmod 700 \"$d/try\" && \"$d/try\" 2>/dev/null; \
            then rm -f \"$d/try\"; dir=$d; break; fi; \
            rm -rf \"$d\"; done",
        "if [ -z \"$dir\" ]; then echo sterna-remote no-directory; exit 1; fi",
        "program=$(command -v sterna)",
        "if [ -z \"$program\" ] || [ \"$(sum \"$program\")\" != \"$0\" ]; then \
            program=$dir/sterna; \
            echo sterna-remote need; \
            head -c \"$1\" > \"$program\"; \
            chmod 700 \"$program\"; \
            if [ \"$(sum \"$program\")\" != \"$0\" ]; then \
                rm -rf \"$dir\"; echo sterna-remote damaged; exit 1; fi; fi",
        "shift",
        "echo \"sterna-remote have $program\"",
        "STERNA_REMOTE_DIRECTORY=$dir \"$program\" \"$@\"",
        "code=$?",
        "rm -rf \"$dir\"",
        "exit $code",
    ]
    .join("; ");
    let arguments: String = arguments.iter().map(|it| format!(" {}", quoted(it))).collect();
    format!("exec sh -c '{script}' {checksum} {length}{arguments}")
}

/// For every shell: single quotes, and those inside by themselves.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_shell_finds_anything_to_touch() {
        let command = command("abc", 5, &["a b", "it's"]);
        let script = command.split('\'').nth(1).unwrap();
        // Csh would take `!` for its history if another character but a space or `=` followed.
        assert!(!script.contains(['\n', '\\', '\'']), "{script}");
        assert!(script.split('!').skip(1).all(|it| it.starts_with('=')), "{script}");
        assert!(command.ends_with(r"' abc 5 'a b' 'it'\''s'"), "{command}");
    }
}
