//! An initramfs in the "newc" form of cpio, as the kernel's document on it (`buffer-format`) tells.

/// Collects entries; a directory comes before what is in it.
#[derive(Debug, Default)]
pub(crate) struct Initramfs {
    bytes: Vec<u8>,
    entries: u32,
}

/// One entry's header, apart from its name and its size.
#[derive(Clone, Copy, Debug, Default)]
struct Header {
    mode: u32,
    links: u32,
    device: (u32, u32),
}

const DIRECTORY: u32 = 0o040_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const REGULAR: u32 = 0o100_000;

impl Initramfs {
    pub(crate) fn directory(&mut self, name: &str) {
        self.add(name, Header { mode: DIRECTORY | 0o755, links: 2, device: (0, 0) }, &[]);
    }

    pub(crate) fn file(&mut self, name: &str, permissions: u32, content: &[u8]) {
        self.add(name, Header { mode: REGULAR | permissions, links: 1, device: (0, 0) }, content);
    }

    /// `/dev/console`, which the kernel opens for the first process before that can mount anything.
    pub(crate) fn console(&mut self) {
        let header = Header { mode: CHARACTER_DEVICE | 0o600, links: 1, device: (5, 1) };
        self.add("dev/console", header, &[]);
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", Header { links: 1, ..Header::default() }, &[]);
        self.bytes
    }

    fn add(&mut self, name: &str, header: Header, content: &[u8]) {
        self.entries += 1;
        let (major, minor) = header.device;
        // Inode, mode, owner, group, links, time, size, device, device of the node, length of the name, checksum (unused).
        let fields = [
            self.entries,
            header.mode,
            0,
            0,
            header.links,
            0,
            content.len() as u32,
            0,
            0,
            major,
            minor,
            name.len() as u32 + 1,
            0,
        ];
        self.bytes.extend(b"070701");
        fields.iter().for_each(|it| self.bytes.extend(format!("{it:08X}").bytes()));
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_laid_out_as_the_kernel_reads_it() {
        let mut archive = Initramfs::default();
        archive.file("init", 0o755, b"hello");
        let bytes = archive.finish();
        let expected = "07070100000001000081ED000000000000000000000001000000000000000500000000000000000000000000000000\
            0000000500000000init\0";
        let (head, rest) = bytes.split_at(expected.len());
        assert_eq!(String::from_utf8_lossy(head), expected);
        // 115 bytes so far, then the content begins at a multiple of four and ends at one.
        assert_eq!(rest[..9], *b"\0hello\0\0\0");
        assert!(rest[9..].starts_with(b"070701"));
        assert!(String::from_utf8_lossy(rest).contains("TRAILER!!!\0"));
        assert_eq!(bytes.len() % 4, 0);
    }
}
