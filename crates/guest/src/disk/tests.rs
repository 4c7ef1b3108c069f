use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Instant;

use super::*;

struct Place {
    directory: tempfile::TempDir,
    disk: Disk,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let disk = disk(directory.path().to_str(), false);
    Place { directory, disk }
}

fn disk(directory: Option<&str>, disk_is_mount: bool) -> Disk {
    let disk = directory.map(str::to_owned);
    Disk::of(&GuestConfig { disk, disk_is_mount, ..GuestConfig::of("memory=1MiB") })
}

impl Place {
    fn file(&self) -> PathBuf {
        self.directory.path().join("sterna-migration.records")
    }

    /// Records for a while, something done to the file, and what is told of that.
    fn told(&self, change: impl FnOnce(&Place)) -> DiskEnded {
        assert!(matches!(self.disk.begin(), DiskPage::Begun { .. }));
        self.wait_for(20);
        change(self);
        // Whatever was done, it goes on.
        std::thread::sleep(Duration::from_millis(50));
        self.end()
    }

    fn wait_for(&self, records: u64) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while fs::metadata(self.file()).unwrap().len() < 512 * records {
            assert!(Instant::now() < deadline, "nothing is written");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    fn end(&self) -> DiskEnded {
        match self.disk.end() {
            DiskPage::Ended(ended) => *ended,
            other => panic!("{other:?}"),
        }
    }
}

#[track_caller]
fn refuses(page: DiskPage, why: DiskRefused, words: &str) {
    match page {
        DiskPage::Refused(it) => {
            assert!(it.why == why && it.text.contains(words), "{it:?}, wanted {words:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_record_that_came_due_is_proved_and_the_file_is_gone_afterwards() {
    let place = place();
    let DiskPage::Begun { run } = place.disk.begin() else { panic!() };
    refuses(place.disk.begin(), DiskRefused::Runs, "/disk/end");
    place.wait_for(30);
    let told = place.end();
    assert_eq!((told.run, told.interval_ns, told.record_bytes), (run, 10_000_000, 512));
    assert!(told.due >= 30 && told.due == told.acknowledged, "{told:?}");
    assert_eq!((told.proof.as_ref(), &told.error), (Ok(&Default::default()), &None));
    assert!(told.times.unwrap().max_ns > 0 && told.longest_stall_ns > 0, "{told:?}");
    assert_eq!(fs::read_dir(place.directory.path()).unwrap().count(), 0);
    assert_eq!(place.end(), told, "who did not hear it hears it again");
    let DiskPage::Begun { run: next } = place.disk.begin() else { panic!() };
    assert_ne!(next, run);
    assert!(place.end().proof.unwrap().is_sound());
}

#[test]
fn what_is_done_to_acknowledged_records_is_found() {
    let defects = |change: fn(&Place)| {
        let told = place().told(change);
        let proof = told.proof.unwrap();
        assert_eq!(proof.is_sound(), proof.first.is_empty(), "{proof:?}");
        (proof.missing, proof.torn, proof.out_of_order, told.acknowledged)
    };
    let change = |place: &Place| OpenOptions::new().write(true).open(place.file()).unwrap();
    let found = defects(|_| ());
    assert_eq!((found.0, found.1, found.2), (0, 0, 0));
    let found = defects(|it| {
        let file = OpenOptions::new().write(true).open(it.file()).unwrap();
        file.write_all_at(b"torn", 5 * 512 + 100).unwrap();
    });
    assert_eq!((found.0, found.1, found.2), (0, 1, 0));
    // The writer goes on behind the hole.
    let found = defects(|it| {
        OpenOptions::new().write(true).open(it.file()).unwrap().set_len(4 * 512).unwrap();
    });
    assert!(found.0 >= 16 && found.0 < found.3 - 4 && found.1 == 0, "{found:?}");
    let found = defects(|it| {
        let old = fs::read(it.file()).unwrap();
        let file = OpenOptions::new().write(true).open(it.file()).unwrap();
        file.write_all_at(&old[..512], 7 * 512).unwrap();
    });
    assert_eq!((found.0, found.1, found.2), (0, 0, 1));
    let found = defects(|it| fs::remove_file(it.file()).unwrap());
    assert_eq!((found.0, found.1, found.2), (found.3, 0, 0), "the whole file");
    // At the end, where nothing is written any more.
    let place = place();
    assert!(matches!(place.disk.begin(), DiskPage::Begun { .. }));
    place.wait_for(20);
    let file = change(&place);
    file.set_len(0).unwrap();
    assert!(!place.end().proof.unwrap().is_sound());
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let none = disk(None, false);
    refuses(none.begin(), DiskRefused::NoDisk, "disk=DIRECTORY");
    refuses(none.end(), DiskRefused::NoDisk, "disk=DIRECTORY");
    let place = place();
    refuses(place.disk.end(), DiskRefused::NotBegun, "/disk/begin");
    let absent = place.directory.path().join("absent");
    let absent = disk(absent.to_str(), false);
    refuses(absent.begin(), DiskRefused::Broken, "absent: No such file");
    refuses(absent.end(), DiskRefused::NotBegun, "");
    let no_mount = disk(place.directory.path().to_str(), true);
    refuses(no_mount.begin(), DiskRefused::Broken, "No disk is mounted at");
    assert_eq!(fs::read_dir(place.directory.path()).unwrap().count(), 0);
    // A directory in the place of the file is not ours to remove.
    fs::create_dir(place.file()).unwrap();
    refuses(place.disk.begin(), DiskRefused::Broken, "left over");
}

#[test]
fn a_file_that_was_left_over_is_replaced() {
    let place = place();
    fs::write(place.file(), vec![1; 1 << 20]).unwrap();
    let told = place.told(|it| assert!(fs::metadata(it.file()).unwrap().len() < 1 << 20));
    assert!(told.proof.unwrap().is_sound());
}

#[test]
fn nobody_waits_for_ever_for_a_disk_that_hangs() {
    let mut place = place();
    place.disk.begin_patience = Duration::ZERO;
    refuses(place.disk.begin(), DiskRefused::Broken, "did not take a record within 0 s");
    // The writer was told to end, and until then another cannot begin.
    place.disk.begin_patience = BEGIN_PATIENCE;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !matches!(place.disk.begin(), DiskPage::Begun { .. }) {
        assert!(Instant::now() < deadline, "the first never ends");
        std::thread::sleep(Duration::from_millis(5));
    }
    place.wait_for(5);
    place.disk.end_patience = Duration::ZERO;
    let told = place.end();
    assert!(told.proof.unwrap_err().contains("had not answered 0 s after the end"));
    assert!(told.acknowledged >= 5 && told.due >= told.acknowledged);
    place.disk.end_patience = END_PATIENCE;
    let told = place.end();
    assert!(told.proof.unwrap().is_sound());
    assert_eq!(told.due, told.acknowledged);
}
