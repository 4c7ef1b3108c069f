//! Files without a name, which are gone with the last process that holds them.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{MemfdFlags, Mode},
    io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd},
};

/// Descriptors that children inherit under numbers of their own are below this; see [`crate::process::inherit`].
pub(crate) const FIRST_OF_OURS: i32 = 100;

/// A file in memory that has no name in any directory, so that nothing is left of it however its process ends.
///
/// This process and every child that it starts from then on find it under the same path, whoever opens it gets
/// the same content, and it is gone when all of them are.
#[derive(Debug)]
pub struct NamelessFile {
    file: File,
    path: PathBuf,
}

impl NamelessFile {
    /// An empty file; `label` is what `/proc` shows of it.
    ///
    /// # Errors
    /// No descriptors or no memory are left.
    pub fn new(label: &str) -> io::Result<NamelessFile> {
        let low = rustix::fs::memfd_create(label, MemfdFlags::CLOEXEC)?;
        rustix::fs::fchmod(&low, Mode::RUSR | Mode::WUSR)?;
        let file = fcntl_dupfd_cloexec(&low, FIRST_OF_OURS)?;
        // Children open the file by its number, so the number must reach them.
        fcntl_setfd(&file, FdFlags::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Ok(NamelessFile { file: file.into(), path })
    }

    /// A file with this content, which a link at `path` leads to.
    ///
    /// For programs that take a directory and look for files of certain names in it: what is in the directory is the
    /// link alone, and the content is on no disk.
    ///
    /// # Errors
    /// No descriptors or no memory are left, or there is a file of that name.
    pub fn linked_at(path: &Path, content: &[u8]) -> io::Result<NamelessFile> {
        let file = NamelessFile::new("sterna")?;
        (&file.file).write_all(content)?;
        std::os::unix::fs::symlink(&file.path, path)?;
        Ok(file)
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where this process and its children find it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    #[test]
    fn a_child_reads_and_writes_the_file_by_its_path() {
        let file = NamelessFile::new("test").unwrap();
        file.file().write_all(b"from the parent\n").unwrap();
        let child = Command::new("sh")
            .args(["-c", "cat \"$0\"; echo from the child >\"$0\""])
            .arg(file.path())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&child.stdout), "from the parent\n");
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "from the child\n");
        let path = file.path().to_owned();
        let number = file.file().as_raw_fd();
        assert!(number >= FIRST_OF_OURS, "{number}");
        drop(file);
        // Another test may have the number by now, but not with this content.
        assert!(fs::read_to_string(path).map_or(true, |it| it != "from the child\n"));
    }
}
