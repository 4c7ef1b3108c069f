//! Tracking and page faults on this machine's kernel; tests of what it lacks say so and pass.

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        os::{
            fd::AsFd,
            unix::{net::UnixStream, process::CommandExt},
        },
        process::Command,
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        },
        thread,
        time::{Duration, Instant},
    };

    use sterna_sys::{
        PAGE_BYTES,
        region::{HugePages, Region, RegionError, RegionOptions},
        tracking::{
            Mode, Placed, TrackingError, WpTracker, probe, probe_kernel_faults,
            probe_missing_faults, probe_write_tracking,
        },
    };

    fn region_of(bytes: u64, huge_pages: HugePages) -> Result<Arc<Region>, RegionError> {
        Region::new(&RegionOptions { bytes, huge_pages, locked: false }).map(Arc::new)
    }

    fn region(pages: usize) -> Arc<Region> {
        region_of((pages * PAGE_BYTES) as u64, HugePages::None).unwrap()
    }

    /// A tracker, or None with a printed reason where the kernel has none.
    fn tracker(region: &Arc<Region>) -> Option<WpTracker> {
        match WpTracker::attach(region) {
            Ok(tracker) => Some(tracker),
            Err(TrackingError::AlreadyTracked) => panic!("nobody else tracks this region"),
            Err(error) => {
                eprintln!("skipped: {error}");
                None
            }
        }
    }

    fn has_missing_faults() -> bool {
        probe_missing_faults().inspect_err(|error| eprintln!("skipped: {error}")).is_ok()
    }

    /// All pages of a sync, one by one.
    fn dirty(tracker: &mut WpTracker) -> Vec<usize> {
        let mut pages = Vec::new();
        let stats = tracker.sync(&mut |first, count| pages.extend(first..first + count)).unwrap();
        assert_eq!(stats.pages, pages.len());
        pages
    }

    fn write(region: &Region, page: usize) {
        region.page(page)[page % 512].fetch_add(1, Relaxed);
    }

    /// A small generator of our own, so that a failure can be repeated.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % bound as u64) as usize
        }
    }

    #[test]
    fn exactly_the_written_pages_are_reported() {
        let region = region(10_000);
        let Some(mut tracker) = tracker(&region) else { return };
        (0..5_000).for_each(|page| write(&region, page));
        assert_eq!(dirty(&mut tracker), (0..10_000).collect::<Vec<_>>(), "first, everything");
        assert_eq!(dirty(&mut tracker), [], "then, nothing");
        let mut random = Random(0x5EED);
        for count in [1, 10, 1_000, 20_000] {
            let mut expected: Vec<_> = (0..count).map(|_| random.below(10_000)).collect();
            expected.iter().for_each(|&page| write(&region, page));
            expected.sort_unstable();
            expected.dedup();
            assert_eq!(dirty(&mut tracker), expected, "{count} writes");
        }
    }

    #[test]
    fn more_runs_than_one_call_reports() {
        let region = region(40_000);
        let Some(mut tracker) = tracker(&region) else { return };
        dirty(&mut tracker);
        let expected: Vec<_> = (0..40_000).step_by(2).collect();
        expected.iter().for_each(|&page| write(&region, page));
        let mut pages = Vec::new();
        let stats = tracker.sync(&mut |first, count| pages.push((first, count))).unwrap();
        assert_eq!(pages, expected.iter().map(|&page| (page, 1)).collect::<Vec<_>>());
        assert!(stats.calls > 1 && stats.runs == 20_000, "{stats:?}");
    }

    #[test]
    fn reading_is_not_writing() {
        let region = region(64);
        let Some(mut tracker) = tracker(&region) else { return };
        write(&region, 3);
        dirty(&mut tracker);
        // Page 3 exists, the others come to exist by being read.
        assert!((0..64).filter(|&page| region.is_zero(page)).count() == 63);
        assert_eq!(dirty(&mut tracker), []);
        region.zero(5);
        assert_eq!(dirty(&mut tracker), [], "zeroing a zero page writes nothing");
        region.zero(3);
        region.copy_in(60, &[0; PAGE_BYTES]);
        assert_eq!(dirty(&mut tracker), [3, 60]);
    }

    /// A migration in small: copy what a sync lists, while workers write; stop; copy once more;
    /// compare.
    #[test]
    fn concurrent_writers_lose_nothing() {
        const PAGES: usize = 2_000;
        for seed in 1..=6 {
            let region = region(PAGES);
            let Some(mut tracker) = tracker(&region) else { return };
            let mut copy = vec![0xAA; PAGES * PAGE_BYTES];
            let stop = AtomicBool::new(false);
            let mut copy_dirty = |tracker: &mut WpTracker| {
                let mut on_dirty = |first: usize, count: usize| {
                    let range = first * PAGE_BYTES..(first + count) * PAGE_BYTES;
                    region.copy_out_run(first, count, &mut copy[range]);
                };
                tracker.sync(&mut on_dirty).unwrap().pages
            };
            let mut resent = 0;
            thread::scope(|scope| {
                for worker in 0..3 {
                    let (region, stop) = (&region, &stop);
                    let mut random = Random(seed * 1_000 + worker);
                    scope.spawn(move || {
                        while !stop.load(Relaxed) {
                            region.page(random.below(PAGES))[random.below(512)]
                                .fetch_add(1, Relaxed);
                        }
                    });
                }
                copy_dirty(&mut tracker);
                for _ in 0..30 {
                    thread::sleep(Duration::from_micros(500));
                    resent += copy_dirty(&mut tracker);
                }
                stop.store(true, Relaxed);
            });
            copy_dirty(&mut tracker);
            assert!(resent > 0, "workers wrote while syncs ran");
            drop(tracker);
            let mut region = region;
            let memory = region.exclusive().expect("the tracker is gone");
            let lost = memory.chunks(PAGE_BYTES).zip(copy.chunks(PAGE_BYTES));
            assert_eq!(lost.filter(|(ours, theirs)| ours != theirs).count(), 0, "seed {seed}");
        }
    }

    #[test]
    fn disarming_gives_full_speed_back_and_forgets() {
        let region = region(2_000);
        let Some(mut tracker) = tracker(&region) else { return };
        (0..2_000).for_each(|page| write(&region, page));
        let faults_of = |pages: std::ops::Range<usize>| {
            let before = minor_faults();
            pages.for_each(|page| write(&region, page));
            minor_faults() - before
        };
        assert!(faults_of(0..500) < 100, "an attached tracker costs nothing");
        dirty(&mut tracker);
        assert!(faults_of(0..500) >= 500, "an armed page faults");
        assert!(faults_of(0..500) < 100, "but only once");
        tracker.disarm().unwrap();
        assert!(faults_of(500..1_000) < 100, "a disarmed page does not");
        assert_eq!(dirty(&mut tracker).len(), 2_000, "the next sync starts anew");
        assert!(faults_of(1_000..1_500) >= 500);
        drop(tracker);
        assert!(faults_of(1_500..2_000) < 100, "dropping disarms");
    }

    /// Of the calling thread.
    fn minor_faults() -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let after_name = stat.rsplit(')').next().unwrap();
        after_name.split_whitespace().nth(7).unwrap().parse().unwrap()
    }

    #[test]
    fn one_tracker_at_a_time() {
        let region = region(16);
        let Some(first) = tracker(&region) else { return };
        assert!(matches!(WpTracker::attach(&region), Err(TrackingError::AlreadyTracked)));
        drop(first);
        let mut second = WpTracker::attach(&region).unwrap();
        assert_eq!(dirty(&mut second).len(), 16);
        write(&region, 7);
        assert_eq!(dirty(&mut second), [7]);
    }

    #[test]
    fn the_kernel_writes_into_armed_pages_and_is_seen() {
        let region = region(16);
        let Some(mut tracker) = tracker(&region) else { return };
        dirty(&mut tracker);
        let (mut sender, receiver) = UnixStream::pair().unwrap();
        sender.write_all(&[9; 2 * PAGE_BYTES]).unwrap();
        let read = region.recv_pages(receiver.as_fd(), &[(4, 1), (9, 1)], 0).unwrap();
        assert_eq!(read, 2 * PAGE_BYTES);
        assert_eq!(dirty(&mut tracker), [4, 9]);
    }

    #[test]
    fn transparent_huge_pages_are_tracked_by_4_kib() {
        let region = region_of(8 << 20, HugePages::Thp);
        let Ok(region) = region.inspect_err(|error| eprintln!("skipped: {error}")) else { return };
        let Some(mut tracker) = tracker(&region) else { return };
        region.prealloc(1, &AtomicU64::new(0)).unwrap();
        assert_eq!(tracker.page_bytes(), 4096);
        dirty(&mut tracker);
        [0, 511, 512, 2_047].iter().for_each(|&page| write(&region, page));
        assert_eq!(dirty(&mut tracker), [0, 511, 512, 2_047]);
        assert_eq!(dirty(&mut tracker), []);
    }

    #[test]
    fn reserved_huge_pages_are_tracked_as_a_whole() {
        for (kind, page_bytes) in [(HugePages::Size2MiB, 2 << 20), (HugePages::Size1GiB, 1 << 30)] {
            let region = region_of(2 * page_bytes, kind);
            let Ok(region) = region.inspect_err(|error| eprintln!("skipped: {error}")) else {
                continue;
            };
            let Some(mut tracker) = tracker(&region) else { return };
            assert_eq!(tracker.page_bytes(), page_bytes);
            let per_page = page_bytes as usize / PAGE_BYTES;
            assert_eq!(dirty(&mut tracker).len(), 2 * per_page);
            assert_eq!(dirty(&mut tracker), []);
            write(&region, per_page + 5);
            assert_eq!(dirty(&mut tracker), (per_page..2 * per_page).collect::<Vec<_>>());
            assert_eq!(dirty(&mut tracker), []);
        }
    }

    #[test]
    fn a_sync_of_fully_dirty_memory_prints_its_time() {
        const BYTES: u64 = 256 << 20;
        let region = region_of(BYTES, HugePages::None).unwrap();
        let Some(mut tracker) = tracker(&region) else { return };
        let start = Instant::now();
        region.prealloc(2, &AtomicU64::new(0)).unwrap();
        eprintln!("prealloc of 256 MiB: {:?}", start.elapsed());
        let mut sync = |what| {
            let stats = tracker.sync(&mut |_, _| {}).unwrap();
            eprintln!("{what} of 256 MiB: {:.2} ms, {stats:?}", stats.elapsed_ns as f64 / 1e6);
            stats
        };
        assert_eq!(sync("first sync").pages, region.pages());
        let start = Instant::now();
        (0..region.pages()).for_each(|page| write(&region, page));
        let each_ns = start.elapsed().as_nanos() / region.pages() as u128;
        eprintln!("first write to an armed page: {each_ns} ns");
        assert_eq!(sync("sync, all dirty").pages, region.pages());
        assert_eq!(sync("sync, all clean").pages, 0);
        (0..region.pages()).step_by(2).for_each(|page| write(&region, page));
        assert_eq!(sync("sync, every second page dirty").runs, region.pages() / 2);
    }

    /// Serves every fault until `stop`, each page filled with its own number.
    fn serve(region: &Region, stop: &AtomicBool) -> usize {
        let uffd = region.uffd().unwrap();
        let mut served = 0;
        while !stop.load(Relaxed) {
            if !uffd.wait_fault(Some(Duration::from_millis(10))).unwrap() {
                continue;
            }
            while let Some(fault) = uffd.read_fault().unwrap() {
                assert!(fault.thread_id.is_none_or(|it| it > 0));
                let content = vec![fault.page as u8; region.page_bytes() as usize];
                uffd.copy_page(fault.page, &content).unwrap();
                served += 1;
            }
        }
        served
    }

    fn while_served(region: &Region, work: impl FnOnce()) -> usize {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let server = scope.spawn(|| serve(region, &stop));
            work();
            stop.store(true, Relaxed);
            server.join().unwrap()
        })
    }

    #[test]
    fn missing_pages_are_served_by_another_thread() {
        if !has_missing_faults() {
            return;
        }
        let region = region(32);
        write(&region, 2);
        let uffd = region.uffd().unwrap();
        uffd.register(Mode::Missing).unwrap();
        assert_eq!(uffd.read_fault().unwrap(), None);
        assert!(!uffd.wait_fault(Some(Duration::ZERO)).unwrap());
        let first_byte = |page: usize| region.page(page)[0].load(Relaxed) as u8;
        let served = while_served(&region, || {
            assert_eq!(first_byte(2), 0, "a page that exists does not fault");
            assert_eq!((first_byte(7), first_byte(31)), (7, 31));
            // A write waits too, and then goes to the placed page.
            region.page(9)[0].fetch_add(1, Relaxed);
            assert_eq!(first_byte(9), 10);
        });
        assert_eq!(served, 3);
        region.discard(7, 1).unwrap();
        assert_eq!(while_served(&region, || assert_eq!(first_byte(7), 7)), 1);
    }

    #[test]
    fn joined_and_locked_pages_can_be_missing_one_by_one() {
        if !has_missing_faults() {
            return;
        }
        let options = |huge_pages, locked| RegionOptions { bytes: 4 << 20, huge_pages, locked };
        for options in [options(HugePages::Thp, false), options(HugePages::None, true)] {
            let region = match Region::new(&options) {
                Ok(region) => region,
                Err(error) => {
                    eprintln!("skipped: {error}");
                    continue;
                }
            };
            region.prealloc(1, &AtomicU64::new(0)).unwrap();
            region.keep_pages_small().unwrap();
            (3..5).for_each(|page| region.discard(page, 1).unwrap());
            region.uffd().unwrap().register(Mode::Missing).unwrap();
            let first_byte = |page: usize| region.page(page)[0].load(Relaxed) as u8;
            let served = while_served(&region, || {
                assert_eq!([2, 3, 4, 5].map(first_byte), [0, 3, 4, 0], "{options:?}");
            });
            assert_eq!(served, 2);
        }
    }

    #[test]
    fn placing_twice_is_harmless() {
        if !has_missing_faults() {
            return;
        }
        let region = region(8);
        let uffd = region.uffd().unwrap();
        uffd.register(Mode::Missing).unwrap();
        assert_eq!(uffd.copy_page(1, &[1; PAGE_BYTES]).unwrap(), Placed::Now);
        assert_eq!(uffd.copy_page(1, &[2; PAGE_BYTES]).unwrap(), Placed::AlreadyPresent);
        assert_eq!(uffd.zero_page(1).unwrap(), Placed::AlreadyPresent);
        assert_eq!(uffd.zero_page(3).unwrap(), Placed::Now);
        assert_eq!(uffd.copy_pages(0, &[3; 8 * PAGE_BYTES]).unwrap(), 6, "two existed");
        let first_bytes: Vec<_> =
            (0..8).map(|page| region.page(page)[0].load(Relaxed) as u8).collect();
        assert_eq!(first_bytes, [3, 1, 3, 0, 3, 3, 3, 3]);
        uffd.wake(0, 8).unwrap();
        let kind = |result: io::Result<Placed>| result.unwrap_err().kind();
        assert_eq!(kind(uffd.copy_page(8, &[0; PAGE_BYTES])), io::ErrorKind::InvalidInput);
        assert_eq!(kind(uffd.copy_page(0, &[0; 100])), io::ErrorKind::InvalidInput);
        assert_eq!(kind(uffd.zero_page(usize::MAX)), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn the_kernel_itself_does_not_wait_for_missing_pages() {
        if !has_missing_faults() {
            return;
        }
        let region = region(8);
        region.uffd().unwrap().register(Mode::Missing).unwrap();
        let (mut sender, receiver) = UnixStream::pair().unwrap();
        sender.write_all(&[9; PAGE_BYTES]).unwrap();
        let error = region.recv_pages(receiver.as_fd(), &[(4, 1)], 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(14), "EFAULT, whoever we are");
    }

    #[test]
    fn one_descriptor_does_both() {
        if !has_missing_faults() {
            return;
        }
        let region = region(32);
        let Some(mut tracker) = tracker(&region) else { return };
        (0..8).for_each(|page| write(&region, page));
        dirty(&mut tracker);
        write(&region, 1);
        region.uffd().unwrap().register(Mode::Missing).unwrap();
        write(&region, 2);
        assert_eq!(dirty(&mut tracker), [1, 2], "gaining a mode keeps what was armed");
        region.discard(4, 1).unwrap();
        let served = while_served(&region, || write(&region, 4));
        assert_eq!(served, 1);
        assert_eq!(dirty(&mut tracker), [4]);
    }

    #[test]
    fn huge_pages_are_served_as_a_whole() {
        let region = region_of(4 << 20, HugePages::Size2MiB);
        let Ok(region) = region.inspect_err(|error| eprintln!("skipped: {error}")) else { return };
        let uffd = region.uffd().unwrap();
        if !uffd.features().missing_hugetlb {
            eprintln!("skipped: no missing faults for huge pages");
            return;
        }
        uffd.register(Mode::Missing).unwrap();
        let served = while_served(&region, || {
            assert_eq!(region.page(700)[0].load(Relaxed) as u8, 0, "page 512 % 256");
        });
        assert_eq!(served, 1);
        assert!(uffd.copy_page(0, &[0; PAGE_BYTES]).is_err());
        assert_eq!(uffd.zero_page(0).unwrap(), Placed::Now);
        assert!(region.is_zero(511));
    }

    #[test]
    fn faults_of_the_kernel_are_for_everybody_where_the_switch_is_on() {
        let switch = std::fs::read_to_string("/proc/sys/vm/unprivileged_userfaultfd");
        if switch.is_ok_and(|it| it.trim() == "1") && probe().is_ok() {
            probe_kernel_faults().unwrap();
        } else {
            eprintln!("skipped: set vm.unprivileged_userfaultfd to 1 to allow it for everybody");
        }
    }

    #[test]
    fn the_probe_agrees_with_what_works() {
        let features = match probe() {
            Ok(features) => features,
            Err(error) => return eprintln!("skipped: {error}"),
        };
        eprintln!("{features:?}");
        assert_eq!(features.wp_async, probe_write_tracking().is_ok());
        assert_eq!(features.wp_async, WpTracker::attach(&region(4)).is_ok());
    }

    /// Everything above must hold for a user without any privilege; so this runs the others again
    /// as one.
    #[test]
    fn all_of_this_needs_no_privilege() {
        const NOBODY: u32 = 65_534;
        const MARK: &str = "STERNA_TEST_UNPRIVILEGED";
        if std::env::var_os(MARK).is_some() {
            return;
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--test-threads", "1"]).env(MARK, "1").current_dir("/");
        let output = match command.uid(NOBODY).gid(NOBODY).output() {
            Ok(output) => output,
            Err(error) => {
                eprintln!(
                    "skipped: only root can become somebody else, and only somebody who can read the test: {error}"
                );
                return;
            }
        };
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}");
        assert!(text.contains("all_of_this_needs_no_privilege ... ok"), "{text}");
    }
}
