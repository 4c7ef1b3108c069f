//! An encrypted stream: what both sides are given for it, and what shows that it was used.
//!
//! # Evidence
//! A setting that was accepted proves nothing.
//! So each QEMU is asked to write down every TLS handshake that it completes (its own trace points), and both logs are counted: one handshake for each connection, on both sides.
//! That a handshake was completed on a channel is what QEMU says of itself; nobody looks at the bytes on the wire.

mod dh_parameters;
mod psk;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use sterna_pilot::EngineError;
use sterna_report::{Side, Warning};
use sterna_scenario::{Tls, TlsMode};
use sterna_sys::nameless::NamelessFile;
use sterna_wire::tls::issue_nameless;

use crate::place::Place;
use crate::process::QemuProcess;
use crate::settings::{self, TLS_HOSTNAME, TLS_OBJECT};

/// QEMU's trace point for a handshake that was completed, on either side.
const HANDSHAKE: &str = "qio_channel_tls_handshake_complete";

/// The directory of the keys, below that of the run.
const FOLDER: &str = "tls";

/// Certificates for one run need not outlive it by much.
const VALID: Duration = Duration::from_secs(30 * 86400);

/// Where each side finds its keys, source and destination.
#[derive(Debug)]
pub(crate) struct Keys {
    mode: TlsMode,
    folders: [PathBuf; 2],
    /// The keys that were made for this run; the folders hold links to them.
    made: Vec<NamelessFile>,
    /// The scenario's field that is to blame for them.
    field: &'static str,
}

impl Keys {
    /// Those that were given, or those that are made for this run: a key, or an authority with a certificate for each side.
    ///
    /// A QEMU of this machine must be started after that, since it inherits the keys: no disk ever holds them.
    ///
    /// With `strangers` (a defect on purpose) each side gets an authority of its own.
    pub fn make(tls: &Tls, directory: &Path, strangers: bool) -> Result<Keys, EngineError> {
        let mode = tls.mode;
        if let Some(given) = tls.credentials.as_ref().map(PathBuf::from) {
            let field = "migration.tls.credentials";
            return Ok(Keys { mode, folders: [given.clone(), given], made: Vec::new(), field });
        }
        let destination = directory.join(FOLDER);
        let mut made = make(mode, &destination)?;
        let mut source = destination.clone();
        if strangers {
            source = directory.join("tls-of-a-stranger");
            made.extend(make(mode, &source)?);
        }
        Ok(Keys { mode, folders: [source, destination], made, field: "migration.tls.mode" })
    }

    /// Removes what was laid out for the QEMUs once both have read it. A key that both share stays until the end of
    /// the run, because a QEMU that listens reads it at each handshake.
    pub fn forget(&self, places: &[Place; 2]) {
        if self.mode == TlsMode::Psk {
            return;
        }
        for (folder, place) in self.folders.iter().zip(places) {
            let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
            if place.keeper().is_some() {
                let there = place.directory().join(FOLDER);
                names.for_each(|it| place.remove(&there.join(it.file_name())));
            }
        }
        if !self.made.is_empty() {
            self.folders.iter().for_each(|it| drop(std::fs::remove_dir_all(it)));
        }
    }
}

fn make(mode: TlsMode, folder: &Path) -> Result<Vec<NamelessFile>, EngineError> {
    let failed = |error: String| EngineError::Failed(format!("Cannot make keys: {error}"));
    // An attempt with another accelerator has left links to keys that are gone.
    let _ = std::fs::remove_dir_all(folder);
    let mut made = match mode {
        TlsMode::Off => return Ok(Vec::new()),
        TlsMode::Psk => vec![psk::make_key(folder).map_err(|it| failed(it.to_string()))?],
        TlsMode::X509 => {
            let names = [TLS_HOSTNAME.to_owned()];
            issue_nameless(folder, &names, VALID).map_err(|it| failed(it.to_string()))?
        }
    };
    made.push(dh_parameters::make(folder).map_err(|it| failed(it.to_string()))?);
    Ok(made)
}

/// Gives the keys to one side, and has it write down its handshakes.
///
/// Certificates are verified by both sides.
///
/// # Errors
/// [`EngineError::Unsupported`] in the words of a QEMU that cannot use them.
pub(crate) fn give(
    qemu: &mut QemuProcess,
    side: Side,
    keys: &Keys,
    place: &Place,
) -> Result<(), EngineError> {
    let kind = match keys.mode {
        TlsMode::Off => return Ok(()),
        TlsMode::Psk => "tls-creds-psk",
        TlsMode::X509 => "tls-creds-x509",
    };
    let endpoint = match side {
        Side::Source => "client",
        Side::Destination => "server",
    };
    let folder = place.bring_directory(&keys.folders[side as usize], FOLDER)?;
    let object = json!({
        "qom-type": kind,
        "id": TLS_OBJECT,
        "endpoint": endpoint,
        "dir": folder.to_string_lossy(),
        "verify-peer": true,
    });
    match qemu.try_execute("object-add", object) {
        Ok(_) => {}
        Err(error) => match qemu.explain(error.clone()) {
            EngineError::Failed(_) => {
                return Err(settings::refused(qemu, side, keys.field, &error.text()));
            }
            other => return Err(other),
        },
    }
    // Without the trace point nothing is counted, and the report says that it is not known.
    let _ = qemu.try_execute("trace-event-set-state", json!({ "name": HANDSHAKE, "enable": true }));
    Ok(())
}

/// What was seen of the encryption that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Handshakes that the source says it completed; `None` where it does not write them down.
    pub source: Option<u64>,
    /// The same of the destination.
    pub destination: Option<u64>,
}

impl Seen {
    /// Reads both logs.
    pub fn read(places: &[Place; 2], logs: &[PathBuf; 2]) -> Seen {
        let [source, destination] = [0, 1].map(|it| handshakes(&places[it].tail(&logs[it])));
        Seen { source, destination }
    }

    /// For the report.
    pub fn to_details(self, tls: &Tls) -> Value {
        json!({
            "mode": tls.mode.to_string(),
            "handshakes_source": self.source,
            "handshakes_destination": self.destination,
        })
    }

    /// What to say about a stream of which nobody says that it was encrypted.
    pub fn warning(self) -> Option<Warning> {
        let is_seen = |it: Option<u64>| it.is_some_and(|it| it > 0);
        if is_seen(self.source) && is_seen(self.destination) {
            return None;
        }
        Some(Warning {
            code: "tls-unproven".to_owned(),
            text: "Encryption was asked for, and not both sides are known to have completed a TLS handshake".to_owned(),
            advice: Some("Take it as sent in clear, or use a QEMU that was built with tracing to its log".to_owned()),
        })
    }
}

/// A log without a word is of a QEMU that has seen none, or writes none.
fn handshakes(log: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(log);
    (!log.is_empty()).then(|| text.lines().filter(|it| it.contains(HANDSHAKE)).count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_made_come_with_a_group_and_those_that_were_given_stay_as_they_are() {
        let directory = tempfile::tempdir().unwrap();
        for (place, mode) in [("a", TlsMode::Psk), ("b", TlsMode::X509)] {
            let tls = Tls { mode, ..Tls::default() };
            let directory = directory.path().join(place);
            std::fs::create_dir(&directory).unwrap();
            let made = Keys::make(&tls, &directory, false).unwrap();
            assert!(made.folders[1].join("dh-params.pem").exists(), "{place}");
        }
        let given = directory.path().join("given");
        std::fs::create_dir(&given).unwrap();
        let credentials = Some(given.display().to_string());
        let tls = Tls { mode: TlsMode::Psk, credentials, ..Tls::default() };
        Keys::make(&tls, directory.path(), false).unwrap();
        assert_eq!(std::fs::read_dir(&given).unwrap().count(), 0);
    }

    #[test]
    fn handshakes_are_counted_on_both_sides_or_doubted() {
        let directory = tempfile::tempdir().unwrap();
        let logs = ["a", "b"].map(|it| directory.path().join(it));
        let places = [(); 2].map(|()| Place::Here(directory.path().to_owned()));
        let seen = Seen::read(&places, &logs);
        assert_eq!((seen.source, seen.destination), (None, None));
        assert_eq!(seen.warning().unwrap().code, "tls-unproven");

        let line = format!("{HANDSHAKE} TLS handshake complete ioc=0x1\n");
        std::fs::write(&logs[0], line.repeat(2)).unwrap();
        std::fs::write(&logs[1], "something else\n").unwrap();
        let seen = Seen::read(&places, &logs);
        assert_eq!((seen.source, seen.destination), (Some(2), Some(0)));
        assert!(seen.warning().is_some());

        std::fs::write(&logs[1], &line).unwrap();
        let seen = Seen::read(&places, &logs);
        assert_eq!(seen.warning(), None);
        let details = seen.to_details(&Tls::default());
        assert_eq!(details["handshakes_destination"], 1);
    }
}
