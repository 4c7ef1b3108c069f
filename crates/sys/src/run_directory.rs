//! Directories of one run: for this user alone, locked while the run lives, removed after it was killed.
//!
//! ```text
//! new:   mkdir, mode 0700 ── is it ours? ── lock file ── lock ── mark ──► in use until dropped
//! sweep: name ── ours, mode 0700, no link ── marked lock file ── lock is free ──► removed
//! ```
//!
//! A process that is killed cannot remove anything, and its children die with it. The kernel frees its lock, though, so
//! the next run can tell a directory that is left from one in use, without guessing from ages or process numbers.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{FileType, FlockOperation, Mode, OFlags},
    io::Errno,
};

/// How each directory's name begins; 16 hexadecimal digits follow.
const PREFIX: &str = "sterna-run-";

/// The file whose lock says that the run lives.
const LOCK: &str = "lock";

/// What that file holds; nothing is removed that was not marked so.
const MARK: &[u8] =
    b"A directory of one run of Sterna; it may be removed when this file is not locked.\n";

/// A directory without a mark is one whose run was killed while it made it, once it is as old as this.
const TIME_TO_MARK: Duration = Duration::from_secs(60);

/// The longest path of a Unix socket has 107 bytes; the name of the directory and of a socket in it take this many.
const LONGEST_PLACE: usize = 107 - PREFIX.len() - 16 - 32;

/// A directory of this run, which nobody else can look into; dropping it removes it with all that is in it.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    /// Kept for its lock.
    _lock: File,
}

impl RunDirectory {
    /// A new directory in [`usual_place`], after those that killed runs have left there are removed.
    ///
    /// # Errors
    /// As [`RunDirectory::new_in`].
    pub fn new() -> io::Result<RunDirectory> {
        RunDirectory::new_in(&usual_place())
    }

    /// A new directory in `place`, after those that killed runs have left there are removed.
    ///
    /// # Errors
    /// The file system refuses, or what was made does not belong to this user.
    pub fn new_in(place: &Path) -> io::Result<RunDirectory> {
        sweep(place);
        loop {
            let path = place.join(format!("{PREFIX}{:016x}", random()?));
            match rustix::fs::mkdir(&path, Mode::RWXU) {
                Ok(()) => {}
                // Another run has the same name, or somebody guesses names: take the next one.
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(named(&path, error.into())),
            }
            let lock = lock_new(&path).map_err(|error| {
                let _ = fs::remove_dir_all(&path);
                named(&path, error)
            })?;
            return Ok(RunDirectory { path, _lock: lock });
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        // The lock is freed after that, so that no sweep can come in between.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Where directories of runs are made: the directory for temporary files, unless sockets in it would have too long
/// names.
#[must_use]
pub fn usual_place() -> PathBuf {
    let usual = std::env::temp_dir();
    if usual.as_os_str().len() > LONGEST_PLACE { PathBuf::from("/tmp") } else { usual }
}

/// Removes the directories in `place` whose runs were killed, and gives their paths. What belongs to others, is in use
/// or was not made here stays as it is, and so does what cannot be removed.
pub fn sweep(place: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(place) else { return Vec::new() };
    let candidates = entries.flatten().filter(|it| is_name(&it.file_name()));
    candidates.map(|it| it.path()).filter(|it| sweep_one(it).is_ok()).collect()
}

/// Removes one directory, or says why not.
fn sweep_one(path: &Path) -> io::Result<()> {
    let folder = open_private(path)?;
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let lock = match rustix::fs::openat(&folder, LOCK, flags, Mode::empty()) {
        Ok(lock) => File::from(lock),
        Err(Errno::NOENT) => {
            is_old(&folder)?;
            // Refused by the kernel unless the directory is empty.
            return fs::remove_dir(path);
        }
        Err(error) => return Err(error.into()),
    };
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    let mut mark = Vec::new();
    (&lock).take(MARK.len() as u64 + 1).read_to_end(&mut mark)?;
    if mark != MARK {
        // The file is the first thing in it, so a run that was killed before the mark has left nothing else.
        is_old(&folder)?;
        if !mark.is_empty() || fs::read_dir(path)?.count() != 1 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    fs::remove_dir_all(path)
}

/// Opens a directory that belongs to this user, and to which others have no access.
fn open_private(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(path, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&folder)?;
    let is_ours = found.st_uid == rustix::process::geteuid().as_raw();
    let is_private = found.st_mode & 0o077 == 0;
    if is_ours && is_private && FileType::from_raw_mode(found.st_mode).is_dir() {
        return Ok(folder.into());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        "It is not a directory of this user alone; set TMPDIR to a directory that others cannot change",
    ))
}

/// Locks a directory that was just made.
fn lock_new(path: &Path) -> io::Result<File> {
    let folder = open_private(path)?;
    // A umask can only take from the mode; what is left must be enough for us.
    rustix::fs::fchmod(&folder, Mode::RWXU)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = rustix::fs::openat(&folder, LOCK, flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    let mut lock = File::from(lock);
    lock.write_all(MARK)?;
    Ok(lock)
}

fn is_old(folder: &File) -> io::Result<()> {
    let age = SystemTime::now().duration_since(folder.metadata()?.modified()?);
    match age {
        Ok(age) if age > TIME_TO_MARK => Ok(()),
        _ => Err(io::ErrorKind::ResourceBusy.into()),
    }
}

fn is_name(name: &OsStr) -> bool {
    let digits = name.as_bytes().strip_prefix(PREFIX.as_bytes());
    digits.is_some_and(|it| it.len() == 16 && it.iter().all(u8::is_ascii_hexdigit))
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(bytes))
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};

    use super::*;

    /// A place of this test's own, and nothing else in it.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Place {
            let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Place(path)
        }

        /// A directory as a run that was killed leaves it.
        fn left(&self, digit: char) -> PathBuf {
            let path = self.0.join(format!("{PREFIX}{}", String::from(digit).repeat(16)));
            fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
            fs::write(path.join(LOCK), MARK).unwrap();
            fs::write(path.join("key.pem"), "secret").unwrap();
            path
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_directory_has_mode_0700_whatever_the_umask_is_and_goes_when_dropped() {
        let place = Place::new("sterna-mode");
        // A umask belongs to the process, and other tests run in this one; so a child sets it.
        let child = std::process::Command::new("sh")
            .args(["-c", "umask 000; \"$0\" --exact run_directory::tests::in_a_child --nocapture"])
            .arg(std::env::current_exe().unwrap())
            .env("STERNA_TEST_PLACE", &place.0)
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&child.stdout).into_owned();
        assert!(child.status.success() && words.contains("mode 40700 lock 100600"), "{words}");
        assert_eq!(fs::read_dir(&place.0).unwrap().count(), 0);
    }

    /// What the test above starts; by itself it does nothing.
    #[test]
    fn in_a_child() {
        let Some(place) = std::env::var_os("STERNA_TEST_PLACE") else { return };
        let directory = RunDirectory::new_in(Path::new(&place)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        let (own, lock) = (mode(directory.path()), mode(&directory.path().join(LOCK)));
        println!("mode {own:o} lock {lock:o}");
    }

    #[test]
    fn a_directory_in_use_stays_and_one_that_was_left_goes() {
        let place = Place::new("sterna-sweep");
        let used = RunDirectory::new_in(&place.0).unwrap();
        let left = place.left('a');
        assert_eq!(sweep(&place.0), vec![left.clone()]);
        assert!(used.path().exists() && !left.exists());
        let left = place.left('b');
        drop(RunDirectory::new_in(&place.0).unwrap());
        assert!(!left.exists(), "the next run removes it");
    }

    #[test]
    fn what_was_not_made_here_is_never_removed() {
        let place = Place::new("sterna-foreign");
        let keep = |path: &Path| {
            assert_eq!(sweep(&place.0), Vec::<PathBuf>::new(), "{}", path.display());
            assert!(fs::symlink_metadata(path).is_ok(), "{}", path.display());
            let _ = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
        };
        let unmarked = place.left('c');
        fs::write(unmarked.join(LOCK), "mine").unwrap();
        keep(&unmarked);
        let open = place.left('d');
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        keep(&open);
        let link = place.0.join(format!("{PREFIX}{}", "e".repeat(16)));
        let target = place.0.join("target");
        fs::create_dir(&target).unwrap();
        fs::write(target.join(LOCK), MARK).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        keep(&link);
        let young = place.0.join(format!("{PREFIX}{}", "f".repeat(16)));
        fs::DirBuilder::new().mode(0o700).create(&young).unwrap();
        keep(&young);
        let other = place.0.join("sterna-run-results");
        fs::create_dir(&other).unwrap();
        keep(&other);
    }
}
