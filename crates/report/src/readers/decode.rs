//! From the bytes of a file to its text: gzip, byte order marks, and the UTF-16 that PowerShell's `>` writes.

use std::{borrow::Cow, io::Read};

use flate2::read::MultiGzDecoder;

/// What is packed is refused when it is larger than this after unpacking.
pub const MOST_UNPACKED_BYTES: u64 = 64 * 1024 * 1024;

/// Why bytes are no text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is a small file that becomes a very large one.
    #[error("it is larger than {} MiB when it is unpacked", MOST_UNPACKED_BYTES >> 20)]
    TooLarge,
    /// It begins as gzip does and does not go on so.
    #[error("it cannot be unpacked: {0}")]
    Broken(String),
}

/// The text in a file. What is no text in any of these ways is replaced letter by letter.
pub(super) fn text(bytes: &[u8]) -> Result<Cow<'_, str>, DecodeError> {
    match bytes {
        [0x1f, 0x8b, ..] => {
            let unpacked = unpacked(bytes, MOST_UNPACKED_BYTES)?;
            Ok(Cow::Owned(plain(&unpacked).into_owned()))
        }
        _ => Ok(plain(bytes)),
    }
}

fn unpacked(bytes: &[u8], most: u64) -> Result<Vec<u8>, DecodeError> {
    let mut unpacked = Vec::new();
    let mut limited = MultiGzDecoder::new(bytes).take(most + 1);
    limited.read_to_end(&mut unpacked).map_err(|error| DecodeError::Broken(error.to_string()))?;
    if unpacked.len() as u64 > most {
        return Err(DecodeError::TooLarge);
    }
    Ok(unpacked)
}

fn plain(bytes: &[u8]) -> Cow<'_, str> {
    match bytes {
        [0xff, 0xfe, rest @ ..] => Cow::Owned(utf16(rest, u16::from_le_bytes)),
        [0xfe, 0xff, rest @ ..] => Cow::Owned(utf16(rest, u16::from_be_bytes)),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest),
        // Without a mark: our formats begin with a letter of ASCII, whose other half is 0.
        [first, 0, ..] if first.is_ascii_graphic() => Cow::Owned(utf16(bytes, u16::from_le_bytes)),
        [0, second, ..] if second.is_ascii_graphic() => {
            Cow::Owned(utf16(bytes, u16::from_be_bytes))
        }
        _ => String::from_utf8_lossy(bytes),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units = bytes.chunks_exact(2).map(|it| unit([it[0], it[1]]));
    char::decode_utf16(units).map(|it| it.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn marks_utf16_and_gzip_give_the_same_text() {
        let wide = |unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
            "{\"a\": \"ä\"}".encode_utf16().flat_map(unit).collect()
        };
        let (little, big) = (wide(u16::to_le_bytes), wide(u16::to_be_bytes));
        let text_of = "{\"a\": \"ä\"}";
        let table = [
            text_of.as_bytes().to_vec(),
            [&[0xef, 0xbb, 0xbf], text_of.as_bytes()].concat(),
            [&[0xff, 0xfe], &little[..]].concat(),
            [&[0xfe, 0xff], &big[..]].concat(),
            little,
            big,
            packed(text_of.as_bytes()),
            packed(&[&[0xef, 0xbb, 0xbf], text_of.as_bytes()].concat()),
        ];
        for bytes in table {
            assert_eq!(text(&bytes).unwrap(), text_of, "{bytes:?}");
        }
    }

    #[test]
    fn what_grows_too_large_or_breaks_off_is_refused() {
        let zeros = packed(&[0; 4096]);
        assert_eq!(unpacked(&zeros, 4095), Err(DecodeError::TooLarge));
        assert_eq!(unpacked(&zeros, 4096).unwrap().len(), 4096);
        assert!(matches!(text(&zeros[..zeros.len() / 2]), Err(DecodeError::Broken(_))));
        let bomb = packed(&vec![b' '; MOST_UNPACKED_BYTES as usize + 1]);
        assert_eq!(text(&bomb), Err(DecodeError::TooLarge));
    }

    #[test]
    fn what_is_no_text_is_replaced_and_does_not_panic() {
        for bytes in [&[0xff, 0xfe, 0x00][..], &[0xff, 0xfe, 0x00, 0xd8], &[0xc3], &[], &[0xff]] {
            assert!(text(bytes).is_ok());
        }
    }
}
