//! Whether guests can be plugged into a bridge of this machine.

use std::io;

use sterna_pilot::{Availability, Finding};
use sterna_sys::interface::Tap;

use super::GROUP;
use crate::network::bridges;

/// The right to make tap devices, and the bridges that there are.
pub fn findings() -> Vec<Finding> {
    let tap = Tap::open("sterna%d").map(drop);
    let bridges = bridges();
    vec![judge_tap(tap.err().as_ref()), judge_bridges(&bridges)]
}

fn judge_tap(error: Option<&io::Error>) -> Finding {
    let (value, availability) = match error {
        None => ("can be made".to_owned(), Availability::Ok),
        Some(error) => (
            format!("cannot be made: {error}"),
            Availability::limited(
                "`--network tap=BRIDGE` is refused; the switch inside Sterna needs no right",
                "Run as root or with CAP_NET_ADMIN, with /dev/net/tun (modprobe tun)",
            ),
        ),
    };
    Finding::new(GROUP, "tap_devices", value, availability).fact("can_be_made", error.is_none())
}

fn judge_bridges(bridges: &[String]) -> Finding {
    let value = match bridges {
        [] => "none".to_owned(),
        some => some.join(", "),
    };
    // No bridge is no shortfall: nobody needs one who does not know which.
    Finding::new(GROUP, "bridges", value, Availability::Ok).fact("names", bridges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_and_bridges_are_told_as_they_are() {
        assert_eq!(judge_tap(None).availability.as_str(), "ok");
        let error = io::Error::from(io::ErrorKind::PermissionDenied);
        let finding = judge_tap(Some(&error));
        assert_eq!(finding.value.as_deref(), Some("cannot be made: permission denied"));
        assert_eq!(finding.facts["can_be_made"], false);
        assert_eq!(judge_bridges(&[]).value.as_deref(), Some("none"));
        let both = ["br0".to_owned(), "virbr0".to_owned()];
        assert_eq!(judge_bridges(&both).value.as_deref(), Some("br0, virbr0"));
    }
}
