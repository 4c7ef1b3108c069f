//! One side's copy of the page in which the agent raises a beat.

use serde_json::json;
use sterna_pilot::EngineError;
use sterna_wire::guest_line::Marker;

use super::{GuestMemory, GuestMemoryError, HostAddress};
use crate::place::Place;
use crate::process::QemuProcess;
use crate::qmp::QmpError;

/// How much of the page is used.
const BYTES: usize = Marker::WORDS * 8;

/// The marker page on one side, and how it is looked at.
#[derive(Debug)]
pub(crate) struct MarkerPage {
    guest_address: u64,
    nonce: u64,
    /// QEMU writes the page to a file where it cannot be read from outside.
    from_outside: Result<(GuestMemory, HostAddress), GuestMemoryError>,
}

impl MarkerPage {
    /// The page at this address of the guest in this QEMU.
    pub fn new(qemu: &mut QemuProcess, guest_address: u64, nonce: u64) -> MarkerPage {
        let from_outside = GuestMemory::open(qemu)
            .and_then(|memory| Ok((memory, HostAddress::of(qemu, guest_address)?)));
        MarkerPage { guest_address, nonce, from_outside }
    }

    /// Whether a look costs QEMU nothing.
    pub fn is_free(&self) -> bool {
        self.from_outside.is_ok()
    }

    /// How it is looked at, for the report.
    pub fn way(&self) -> String {
        match &self.from_outside {
            Ok((memory, _)) => format!("/proc/{}/mem", memory.pid()),
            Err(reason) => format!("pmemsave, since {reason}"),
        }
    }

    /// The marker of this run, if the page has come and holds it.
    pub fn read(
        &self,
        qemu: &mut QemuProcess,
        place: &Place,
    ) -> Result<Option<Marker>, EngineError> {
        let page = match self.page_from_outside() {
            Some(page) => page,
            None => self.saved(qemu, place)?,
        };
        Ok(Marker::read(&page).filter(|it| it.nonce == self.nonce))
    }

    /// `None` where it cannot be read so; an empty page where there is none yet.
    fn page_from_outside(&self) -> Option<Vec<u8>> {
        let (memory, at) = self.from_outside.as_ref().ok()?;
        let mut page = vec![0; BYTES];
        let is_there = memory.read(*at, &mut page).ok()?;
        Some(is_there.map(|()| page).unwrap_or_default())
    }

    fn saved(&self, qemu: &mut QemuProcess, place: &Place) -> Result<Vec<u8>, EngineError> {
        let file = place.directory().join("marker");
        let name = file.to_string_lossy();
        let arguments = json!({ "val": self.guest_address, "size": 4096, "filename": name });
        match qemu.try_execute("pmemsave", arguments) {
            Ok(_) => {}
            // A destination that has no memory yet, for one.
            Err(QmpError::Refused { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(qemu.explain(error)),
        }
        let page = place.tail(&file);
        place.remove(&file);
        Ok(page)
    }
}
