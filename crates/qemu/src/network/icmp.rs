//! Pings.

use super::packet::checksum;

const REQUEST: u8 = 8;
const REPLY: u8 = 0;
const HEADER: usize = 8;

/// An echo request with what it shall carry.
pub(super) fn request(identifier: u16, number: u16, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![REQUEST, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend(number.to_be_bytes());
    message.extend(payload);
    let checksum = checksum(&message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// What an echo reply carries.
pub(super) fn reply(message: &[u8]) -> Option<&[u8]> {
    let is_reply = message.first() == Some(&REPLY) && checksum(message) == 0;
    is_reply.then(|| message.get(HEADER..)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_laid_out_as_rfc_792_says() {
        let request = request(0x1234, 5, b"ab");
        assert_eq!(request[..2], [8, 0]);
        assert_eq!(request[4..], [0x12, 0x34, 0, 5, b'a', b'b']);
        assert_eq!(checksum(&request), 0);
        assert_eq!(reply(&request), None, "a request is no reply");
    }

    #[test]
    fn a_reply_with_an_error_in_it_is_none() {
        let mut message = request(1, 2, b"payload");
        message[0] = REPLY;
        message[2] = message[2].wrapping_add(8);
        assert_eq!(reply(&message), Some(&b"payload"[..]));
        message[10] ^= 1;
        assert_eq!(reply(&message), None);
        assert_eq!(reply(&[]), None);
    }
}
