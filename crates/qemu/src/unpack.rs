//! Undoing the compressions that distributions use for kernel modules.

use std::io::{self, Read, Write};

/// No module is larger; what unpacks to more is not one.
const MOST_BYTES: u64 = 256 << 20;

const TOO_LARGE: &str = "it unpacks to more than any kernel module";

/// The content of a compressed file, told by its first bytes, or the bytes themselves when they are not compressed.
pub(crate) fn unpack(packed: Vec<u8>) -> io::Result<Vec<u8>> {
    match packed.as_slice() {
        [0x1F, 0x8B, ..] => read_all(flate2::read::GzDecoder::new(packed.as_slice())),
        [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => unpack_xz(&packed),
        [0x28, 0xB5, 0x2F, 0xFD, ..] => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(packed.as_slice());
            read_all(decoder.map_err(|error| io::Error::other(error.to_string()))?)
        }
        _ => Ok(packed),
    }
}

fn unpack_xz(mut packed: &[u8]) -> io::Result<Vec<u8>> {
    let mut plain = Bounded(Vec::new());
    lzma_rs::xz_decompress(&mut packed, &mut plain)
        .map_err(|error| io::Error::other(format!("{error:?}")))?;
    Ok(plain.0)
}

/// What takes at most [`MOST_BYTES`].
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.0.len() + bytes.len()) as u64 >= MOST_BYTES {
            return Err(io::Error::other(TOO_LARGE));
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn read_all(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    if reader.take(MOST_BYTES).read_to_end(&mut plain)? as u64 == MOST_BYTES {
        return Err(io::Error::other(TOO_LARGE));
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// `bytes` as a program packs them; None where there is no such program.
    fn packed(program: &str, arguments: &[&str], bytes: &[u8]) -> Option<Vec<u8>> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        child.stdin.take()?.write_all(bytes).ok()?;
        let output = child.wait_with_output().ok()?;
        output.status.success().then_some(output.stdout)
    }

    #[test]
    fn each_compression_is_undone() {
        let plain: Vec<u8> = (0..60_000u32).flat_map(|it| (it / 7).to_le_bytes()).collect();
        assert_eq!(unpack(plain.clone()).unwrap(), plain);
        let programs: [(&str, &[&str]); 4] = [
            ("gzip", &["-c"]),
            // As the kernel's own build calls it.
            ("xz", &["-c", "--check=crc32", "--lzma2=dict=1MiB"]),
            ("xz", &["-c"]),
            ("zstd", &["-c", "-q"]),
        ];
        for (program, arguments) in programs {
            match packed(program, arguments, &plain) {
                Some(packed) => assert_eq!(unpack(packed).unwrap(), plain, "{program}"),
                None => eprintln!("skipped: {program} is not installed"),
            }
        }
    }

    #[test]
    fn broken_files_are_refused() {
        for magic in
            [&[0x1F, 0x8B][..], &[0xFD, b'7', b'z', b'X', b'Z', 0], &[0x28, 0xB5, 0x2F, 0xFD]]
        {
            assert!(unpack([magic, &[7; 50]].concat()).is_err(), "{magic:x?}");
        }
    }
}
