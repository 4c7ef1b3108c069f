//! Whether anybody on a link has an address, as this machine has found when it asked.
//!
//! A datagram to an address that nobody has is dropped without a word to its sender, so a probe that hears nothing looks here.

use std::net::IpAddr;

/// What to say when this machine has asked on a link who has `address`, and nobody has answered.
pub(super) fn missing(address: IpAddr) -> Option<&'static str> {
    // A table that cannot be read says nothing.
    let table = std::fs::read_to_string("/proc/net/arp").unwrap_or_default();
    is_missing(&table, address).then_some("no machine has that address on its link")
}

/// Columns are address, type, flags, hardware address; without flags there was no answer.
fn is_missing(table: &str, address: IpAddr) -> bool {
    let address = address.to_string();
    table.lines().any(|line| {
        let mut columns = line.split_whitespace();
        columns.next() == Some(&address) && columns.nth(1) == Some("0x0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_that_was_asked_for_in_vain_is_missing() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
                     10.0.0.1         0x1         0x2         02:42:ac:11:00:01     *        eth0\n\
                     10.0.0.9         0x1         0x0         00:00:00:00:00:00     *        eth0\n";
        let check = |address: &str, expected| {
            assert_eq!(is_missing(table, address.parse().unwrap()), expected, "{address}");
        };
        check("10.0.0.9", true);
        check("10.0.0.1", false);
        check("10.0.0.90", false);
    }
}
