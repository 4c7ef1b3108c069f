//! Why nothing can be watched.

use std::path::PathBuf;
use std::time::Duration;

/// A watch without a report.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// No such file.
    #[error(
        "There is no socket {path}: its QEMU has ended, or was not started with a monitor there (-qmp unix:{path},server=on,wait=off)",
        path = .0.display()
    )]
    Missing(PathBuf),
    /// A file of another kind.
    #[error("{path} is no socket; the monitor is what -qmp unix:PATH of the QEMU names", path = .0.display())]
    NotASocket(PathBuf),
    /// This user may not.
    #[error(
        "The socket {path} may not be used by this user: watch as the user that runs the QEMU, or as root",
        path = .0.display()
    )]
    Denied(PathBuf),
    /// A socket that no process listens on.
    #[error("Nothing listens on {path}: its QEMU has ended and has left the file", path = .0.display())]
    Refused(PathBuf),
    /// Another client is served.
    #[error(
        "{path} takes the connection and says nothing within {patience:?}: a monitor serves one client at a time, and another one has it (libvirt and Incus hold theirs all the time: `sterna watch libvirt`; Proxmox between short calls only: --shared), or it is no QMP monitor",
        path = path.display()
    )]
    Held {
        /// The socket.
        path: PathBuf,
        /// How long was waited.
        patience: Duration,
    },
    /// Something else listens.
    #[error("{path} is no QMP monitor: {words}", path = path.display())]
    NotQmp {
        /// The socket.
        path: PathBuf,
        /// What it said.
        words: String,
    },
    /// The system refuses the connection for another reason.
    #[error("{path} cannot be connected to", path = path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// There is no program that speaks with libvirt.
    #[error(
        "{program} cannot be started; install it (Debian: libvirt-clients), or name another by --virsh"
    )]
    NoVirsh {
        /// What was started.
        program: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A question that has to be answered before anything can be watched was not.
    #[error("{what} was not answered: {reason}")]
    Unanswered {
        /// What was asked.
        what: String,
        /// The answer, or why there is none.
        reason: String,
    },
    /// The time for a migration to begin is over.
    #[error(
        "No migration began within {0:?}; --timeout says how long to wait for one{hint}",
        hint = .1.as_ref().map(|it| format!(" ({it})")).unwrap_or_default()
    )]
    NeverBegan(Duration, Option<String>),
    /// The guest's machine has ended before a migration began.
    #[error("No migration began, and there is nothing more to watch: {0}")]
    Ended(String),
    /// The user asked to stop before a migration began.
    #[error("Interrupted before a migration began")]
    Interrupted,
}
