//! A kernel to boot guests with, among those of this machine.

use std::cmp::Reverse;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A kernel image that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The file.
    pub path: PathBuf,
    /// As `uname -r` shows it; its modules are found by that.
    pub release: String,
}

/// Why there is no kernel.
#[derive(Debug, Error)]
pub enum KernelError {
    /// The file, often only for root to read.
    #[error(
        "Kernel {path} cannot be read; make it readable (`sudo chmod a+r {path}`) or give another with --kernel"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Something else.
    #[error("{path} is not a kernel: {reason}; give a bzImage or the like with --kernel")]
    NotAKernel {
        /// The file.
        path: PathBuf,
        /// What it lacks.
        reason: &'static str,
    },
    /// Nothing on this machine suits.
    #[error(
        "No kernel to boot a guest with was found; tried: {}. {}",
        listed(.tried),
        way_out(.tried)
    )]
    None {
        /// What was looked at, and why it does not suit.
        tried: Vec<(PathBuf, String)>,
    },
}

impl KernelError {
    /// The reason in a few words, for a list that names the file itself.
    pub(crate) fn reason(&self) -> String {
        match self {
            KernelError::Unreadable { source, .. } => format!("{UNREADABLE}: {source}"),
            KernelError::NotAKernel { reason, .. } => (*reason).to_owned(),
            KernelError::None { .. } => self.to_string(),
        }
    }
}

/// How the reason of a kernel that only root may read begins.
const UNREADABLE: &str = "it cannot be read";

/// Enough for the header and the version of a bzImage.
const HEAD_BYTES: u64 = 128 << 10;

/// Kernels differ in how they round the length in their header.
const SLACK_BYTES: u64 = 4096;

impl Kernel {
    /// Reads which release the kernel at `path` is.
    ///
    /// # Errors
    /// The file cannot be read or is no kernel.
    pub fn open(path: &Path) -> Result<Kernel, KernelError> {
        let (head, length) = head(path)
            .map_err(|source| KernelError::Unreadable { path: path.to_owned(), source })?;
        let release = release_of(&head, length)
            .map_err(|reason| KernelError::NotAKernel { path: path.to_owned(), reason })?
            .or_else(|| named_release(path))
            .unwrap_or_default();
        Ok(Kernel { path: path.to_owned(), release })
    }
}

/// The beginning of a file, and its length.
fn head(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    let mut head = Vec::new();
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    file.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok((head, length))
}

/// The kernels of this machine, the likeliest first: that which runs, then the newest.
pub(crate) fn candidates() -> Vec<PathBuf> {
    let running = rustix::system::uname().release().to_string_lossy().into_owned();
    let boot = entries("/boot")
        .into_iter()
        .filter(|it| it.file_name().is_some_and(|it| it.to_string_lossy().starts_with("vmlinuz")));
    let installed = entries("/lib/modules").into_iter().map(|it| it.join("vmlinuz"));
    let mut found: Vec<PathBuf> =
        boot.chain(installed).chain(["/vmlinuz".into()]).filter(|it| it.exists()).collect();
    found.sort_by_cached_key(|path| {
        let release = named_release(path).unwrap_or_default();
        Reverse((release == running, version(&release)))
    });
    found
}

fn entries(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|it| it.path()).collect();
    paths.sort();
    paths
}

/// The release a kernel says itself, if it can be asked; an error for what is no kernel.
fn release_of(head: &[u8], length: u64) -> Result<Option<String>, &'static str> {
    // The x86 boot protocol: a magic word, and where the version text stands, less 0x200.
    if head.get(0x202..0x206) == Some(b"HdrS") {
        // A guest would hang in a kernel of which a part is missing.
        return match bzimage_bytes(head) > length + SLACK_BYTES {
            true => Err("the file ends before the kernel does"),
            false => Ok(bzimage_release(head)),
        };
    }
    // A kernel stands where it was linked to be; what can be moved is a program or a library.
    if head.starts_with(b"\x7FELF") && head.get(16..18) != Some(&[2, 0]) {
        return Err("it is a program or a library");
    }
    // The arm64 and riscv boot protocols have a magic word each, and no version; both may come packed.
    let is_image = matches!(head.get(0x38..0x3C), Some(b"ARM\x64" | b"RSC\x05"));
    let is_packed = head.starts_with(&[0x1F, 0x8B]) || head.starts_with(b"MZ");
    let is_elf = head.starts_with(b"\x7FELF");
    match is_image || is_packed || is_elf {
        true => Ok(None),
        false => Err("it has none of the marks of a kernel image"),
    }
}

/// The length of a bzImage by its own header: sectors of the part that sets up, and paragraphs of the rest.
fn bzimage_bytes(head: &[u8]) -> u64 {
    let sectors = head.get(0x1F1).map_or(0, |it| if *it == 0 { 4 } else { u64::from(*it) });
    let paragraphs = head.get(0x1F4..0x1F8).and_then(|it| it.try_into().ok());
    (sectors + 1) * 512 + u64::from(paragraphs.map_or(0, u32::from_le_bytes)) * 16
}

fn bzimage_release(head: &[u8]) -> Option<String> {
    let offset = u16::from_le_bytes([*head.get(0x20E)?, *head.get(0x20F)?]);
    let text = head.get(usize::from(offset) + 0x200..).filter(|_| offset != 0)?;
    let text = text.split(|it| *it == 0).next()?;
    let release = String::from_utf8_lossy(text).split_whitespace().next()?.to_owned();
    Some(release)
}

/// The release in the name of the file, or of its directory.
fn named_release(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy();
    if let Some(release) = name.split_once('-').filter(|(it, _)| it.starts_with("vmlinu")) {
        return Some(release.1.to_owned());
    }
    let directory = path.parent()?.file_name()?.to_string_lossy();
    directory.starts_with(|it: char| it.is_ascii_digit()).then(|| directory.into_owned())
}

/// The numbers of a release, to compare 6.10 with 6.9.
fn version(release: &str) -> Vec<u64> {
    release.split(|it: char| !it.is_ascii_digit()).filter_map(|it| it.parse().ok()).collect()
}

/// A kernel that is there and only for root to read needs no other one.
fn way_out(tried: &[(PathBuf, String)]) -> String {
    let unreadable = tried.iter().find(|it| it.1.starts_with(UNREADABLE));
    match unreadable {
        Some((path, _)) => {
            format!("`sudo chmod a+r {}` makes it readable; or give another one with --kernel", path.display())
        }
        None => "Install a distribution's kernel (Debian: linux-image-cloud-amd64, Fedora: kernel-core) or give one with --kernel".to_owned(),
    }
}

fn listed(tried: &[(PathBuf, String)]) -> String {
    if tried.is_empty() {
        return "/boot/vmlinuz*, /lib/modules/*/vmlinuz and /vmlinuz, where there is nothing"
            .to_owned();
    }
    let tried: Vec<String> =
        tried.iter().map(|(path, reason)| format!("{} ({reason})", path.display())).collect();
    tried.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bzimage(version: &str) -> Vec<u8> {
        let mut head = vec![0; 0x800];
        head[0x202..0x206].copy_from_slice(b"HdrS");
        head[0x20E..0x210].copy_from_slice(&0x300u16.to_le_bytes());
        head[0x500..0x500 + version.len()].copy_from_slice(version.as_bytes());
        head
    }

    #[test]
    fn a_kernel_says_its_release() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("anything");
        fs::write(&path, bzimage("6.1.0-9-amd64 (somebody@somewhere) #1 SMP")).unwrap();
        assert_eq!(Kernel::open(&path).unwrap().release, "6.1.0-9-amd64");
        fs::write(&path, bzimage("")).unwrap();
        assert_eq!(Kernel::open(&path).unwrap().release, "");
    }

    #[test]
    fn what_is_no_kernel_is_refused_with_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("note");
        let mut cut = bzimage("6.1.0");
        cut[0x1F4..0x1F8].copy_from_slice(&1000u32.to_le_bytes());
        let library = [b"\x7FELF\x02\x01\x01".as_slice(), &[0; 9], &[3, 0]].concat();
        for (bytes, reason) in [
            (b"not a kernel".as_slice(), "it has none of the marks"),
            (&cut, "the file ends before the kernel does"),
            (&library, "it is a program or a library"),
        ] {
            fs::write(&path, bytes).unwrap();
            let error = Kernel::open(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("note is not a kernel: {reason}")), "{error}");
        }
        let error = Kernel::open(&directory.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("none cannot be read"), "{error}");
    }

    #[test]
    fn releases_are_found_in_names() {
        let check = |path: &str, expected: Option<&str>| {
            assert_eq!(named_release(Path::new(path)).as_deref(), expected, "{path}");
        };
        check("/boot/vmlinuz-6.1.0-9-amd64", Some("6.1.0-9-amd64"));
        check("/lib/modules/6.12.1/vmlinuz", Some("6.12.1"));
        check("/boot/vmlinuz", None);
        check("/tmp/bzImage", None);
    }

    #[test]
    fn newer_is_compared_by_number() {
        assert!(version("6.10.0-1") > version("6.9.12-3"));
        assert!(version("6.1.0-56-cloud-amd64") > version("6.1.0-9-cloud-amd64"));
    }

    #[test]
    fn a_search_in_vain_lists_what_was_seen() {
        let tried = vec![("/boot/vmlinuz-1".into(), "it cannot be read: denied".to_owned())];
        let text = KernelError::None { tried }.to_string();
        assert!(text.contains("/boot/vmlinuz-1 (it cannot be read: denied)"), "{text}");
        assert!(text.contains("`sudo chmod a+r /boot/vmlinuz-1`"), "{text}");
        let text = KernelError::None { tried: Vec::new() }.to_string();
        assert!(text.contains("/lib/modules/*/vmlinuz"), "{text}");
    }
}
