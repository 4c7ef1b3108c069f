//! Why nothing runs on another machine.

use std::io;
use std::path::PathBuf;

/// A session that did not come about.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// No ssh here.
    #[error("ssh cannot be started as {program}: {source}; install it (Debian: openssh-client)")]
    NoSsh {
        /// What was started.
        program: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Our own program file.
    #[error("{path}, which has to be copied to {target}, cannot be read: {source}")]
    Program {
        /// The file.
        path: PathBuf,
        /// The machine, as ssh was told.
        target: String,
        /// The system's reason.
        source: io::Error,
    },
    /// ssh gave up; its words tell why.
    #[error(
        "ssh to {target} failed: {words}; try `ssh {target} true`: it must work without a password or a question"
    )]
    Refused {
        /// The machine, as ssh was told.
        target: String,
        /// What ssh said.
        words: String,
    },
    /// The machine is of another kind.
    #[error("{target} is a machine of the kind {theirs}, and this Sterna is made for {ours}")]
    Machine {
        /// The machine, as ssh was told.
        target: String,
        /// As `uname -s -m` tells it there.
        theirs: String,
        /// The same here.
        ours: String,
    },
    /// Nowhere to put anything.
    #[error(
        "{target} has no directory in which a program can be put and run; TMPDIR, /tmp, /var/tmp and the home directory were tried"
    )]
    NoDirectory {
        /// The machine, as ssh was told.
        target: String,
    },
    /// The copy is not what was sent.
    #[error("The copy of Sterna on {target} has another checksum than the original{words}")]
    Damaged {
        /// The machine, as ssh was told.
        target: String,
        /// What was said on stderr, as the rest of a sentence.
        words: String,
    },
    /// It was copied, and does not run.
    #[error(
        "Sterna does not run on {target}{words}; a static build (`cargo xtask dist`) runs everywhere"
    )]
    DoesNotRun {
        /// The machine, as ssh was told.
        target: String,
        /// What was said on stderr, as the rest of a sentence.
        words: String,
    },
    /// Nothing came for too long.
    #[error("{target} did not answer within {seconds} s{words}")]
    Silent {
        /// The machine, as ssh was told.
        target: String,
        /// How long was waited.
        seconds: u64,
        /// What was said on stderr, as the rest of a sentence.
        words: String,
    },
    /// The user asked to stop meanwhile.
    #[error("Interrupted")]
    Interrupted,
    /// This end of the session.
    #[error("No session with {target} can be opened: {source}")]
    Io {
        /// The machine, as ssh was told.
        target: String,
        /// The system's reason.
        source: io::Error,
    },
}
