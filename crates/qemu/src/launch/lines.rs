//! What a side leaves behind while it runs: files without a name on this machine, files in its directory on another.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use sterna_report::Side;
use sterna_sys::nameless::NamelessFile;

use crate::command_line::Files;
use crate::place::Place;

/// The files of one side and its guest line.
///
/// On this machine nothing of it has a name, so nothing is left of it when this process is killed.
pub(super) struct Lines {
    pub files: Files,
    /// Those without a name, as long as QEMU and the report need them.
    pub held: Vec<NamelessFile>,
    /// Our end of the guest line, and QEMU's until that has inherited it.
    line: Option<UnixStream>,
    pub inherited: Option<OwnedFd>,
}

impl Lines {
    /// Those of a side in this place.
    pub fn new(place: &Place, side: Side) -> io::Result<Lines> {
        if place.keeper().is_some() {
            let files = Files::within(place.directory(), side);
            return Ok(Lines { files, held: Vec::new(), line: None, inherited: None });
        }
        let [console, log] =
            [NamelessFile::new("sterna-console")?, NamelessFile::new("sterna-log")?];
        let path = |it: &NamelessFile| -> PathBuf { it.path().to_owned() };
        let files = Files { guest_line: None, console: path(&console), log: path(&log) };
        let (ours, theirs) = UnixStream::pair()?;
        Ok(Lines {
            files,
            held: vec![console, log],
            line: Some(ours),
            inherited: Some(theirs.into()),
        })
    }

    /// Our end of the guest line, once QEMU is there.
    pub fn connect(&mut self, place: &Place) -> io::Result<UnixStream> {
        match (self.line.take(), &self.files.guest_line) {
            (Some(line), _) => Ok(line),
            (None, Some(path)) => place.connect(path),
            (None, None) => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}
