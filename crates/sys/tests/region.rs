//! Regions through their public interface.

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        os::{fd::AsFd, unix::net::UnixStream},
        panic::{AssertUnwindSafe, catch_unwind},
        sync::{
            Arc,
            atomic::{
                AtomicBool, AtomicU64,
                Ordering::{Relaxed, Release},
            },
        },
        thread,
    };

    use sterna_sys::{
        PAGE_BYTES, WORDS_PER_PAGE, crc32c, process,
        region::{HugePages, Region, RegionError, RegionOptions},
    };

    fn options(bytes: u64, huge_pages: HugePages) -> RegionOptions {
        RegionOptions { bytes, huge_pages, locked: false }
    }

    fn region(pages: usize) -> Region {
        Region::new(&options((pages * PAGE_BYTES) as u64, HugePages::None)).unwrap()
    }

    fn numbered(pages: usize) -> Region {
        let region = region(pages);
        for (index, word) in region.words().iter().enumerate() {
            word.store(index as u64 + 1, Relaxed);
        }
        region
    }

    fn bytes_of(words: &[AtomicU64]) -> Vec<u8> {
        words.iter().flat_map(|it| it.load(Relaxed).to_ne_bytes()).collect()
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let check = |bytes, huge_pages: HugePages, expected: &str| {
            let error = Region::new(&options(bytes, huge_pages)).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        let none = HugePages::None;
        check(
            0,
            none,
            "Region size 0 is not a positive multiple of its page size 4096: round it up",
        );
        check(
            100,
            none,
            "Region size 100 is not a positive multiple of its page size 4096: round it up",
        );
        check(
            4096,
            HugePages::Size2MiB,
            "Region size 4096 is not a positive multiple of its page size 2097152: round it up",
        );
        check(
            1 << 60,
            none,
            "Cannot map 1152921504606846976 bytes of memory: use less memory or raise RLIMIT_AS (`ulimit -v`)",
        );
        assert!(Region::new(&options(u64::MAX - 4095, none)).is_err());
        assert!(Region::new(&options(u64::MAX - 4095, HugePages::Thp)).is_err());
    }

    #[test]
    fn a_shortage_of_huge_pages_names_the_way_out() {
        let terabyte = 1 << 40;
        let error = Region::new(&options(terabyte, HugePages::Size1GiB)).unwrap_err();
        let sysctl = "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages";
        assert!(matches!(error, RegionError::HugePages { needed_pages: 1024, .. }), "{error}");
        assert!(error.to_string().contains(&format!("write at least 1024 to {sysctl}")), "{error}");
    }

    #[test]
    fn locking_over_the_limit_names_it() {
        let bytes = 1 << 32;
        match Region::new(&RegionOptions { bytes, huge_pages: HugePages::None, locked: true }) {
            Ok(_) => eprintln!("skipped: this user may lock 4 GiB"),
            Err(error) => {
                assert!(matches!(error, RegionError::Lock { .. }), "{error}");
                assert!(error.to_string().contains("RLIMIT_MEMLOCK is "), "{error}");
            }
        }
    }

    #[test]
    fn a_new_region_is_zero_and_addressed_by_page() {
        let region = region(3);
        assert_eq!((region.pages(), region.bytes(), region.page_bytes()), (3, 12_288, 4096));
        assert_eq!(region.words().len(), 3 * WORDS_PER_PAGE);
        assert!((0..3).all(|page| region.is_zero(page)));
        region.page(1)[7].store(5, Relaxed);
        assert_eq!(region.words()[WORDS_PER_PAGE + 7].load(Relaxed), 5);
        assert_eq!([0, 1, 2].map(|page| region.is_zero(page)), [true, false, true]);
    }

    #[test]
    fn pages_outside_panic() {
        let region = region(2);
        let mut page = vec![0; PAGE_BYTES];
        assert!(!panics(|| region.copy_out(1, &mut page)));
        assert!(panics(|| region.copy_out(2, &mut page)));
        assert!(panics(|| region.copy_out(0, &mut page[1..])));
        assert!(panics(|| region.copy_out_run(1, 2, &mut [0; 2 * PAGE_BYTES])));
        assert!(panics(|| region.copy_in(1, &[0; 2 * PAGE_BYTES])));
        assert!(panics(|| region.copy_in(0, &[0; 100])));
        assert!(panics(|| region.zero(2)));
        assert!(panics(|| region.is_zero(usize::MAX)));
        assert!(panics(|| region.crc32c(usize::MAX, 2, 0)));
        assert!(panics(|| region.discard(1, usize::MAX)));
    }

    fn panics<R>(work: impl FnOnce() -> R) -> bool {
        catch_unwind(AssertUnwindSafe(work)).is_err()
    }

    #[test]
    fn pages_go_out_and_in() {
        let region = numbered(4);
        let mut page = vec![0; PAGE_BYTES];
        assert!(!region.copy_out(2, &mut page));
        assert_eq!(page, bytes_of(region.page(2)));
        let mut run = vec![0; 3 * PAGE_BYTES];
        region.copy_out_run(1, 3, &mut run);
        assert_eq!(run, bytes_of(&region.words()[WORDS_PER_PAGE..]));
        region.copy_in(0, &run);
        assert_eq!(bytes_of(&region.words()[..3 * WORDS_PER_PAGE]), run);
        region.zero(3);
        assert!(region.copy_out(3, &mut page));
        assert_eq!(page, vec![0; PAGE_BYTES]);
    }

    #[test]
    fn the_sum_of_live_pages_is_that_of_their_bytes() {
        let region = numbered(5);
        let bytes = bytes_of(region.words());
        assert_eq!(region.crc32c(0, 5, 0), crc32c(0, &bytes));
        assert_eq!(region.crc32c(1, 1, 7), crc32c(7, &bytes[PAGE_BYTES..2 * PAGE_BYTES]));
        assert_eq!(region.crc32c(2, 3, region.crc32c(0, 2, 0)), region.crc32c(0, 5, 0));
        assert_eq!(region.crc32c(5, 0, 9), 9, "nothing changes nothing");
    }

    /// A writer counts all words of a page up together; a copy may mix old and new words, but never
    /// invent one.
    #[test]
    fn copies_of_a_page_being_written_hold_whole_words() {
        let region = region(1);
        let stop = AtomicBool::new(false);
        let pattern = |count: u64| count << 32 | count & 0xFFFF_FFFF;
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut count = 1;
                while !stop.load(Relaxed) {
                    region.page(0).iter().for_each(|it| it.store(pattern(count), Release));
                    count += 1;
                }
            });
            let mut copy = vec![0; PAGE_BYTES];
            for _ in 0..20_000 {
                region.copy_out(0, &mut copy);
                for word in copy.chunks_exact(8) {
                    let word = u64::from_ne_bytes(word.try_into().unwrap());
                    assert_eq!(word, pattern(word >> 32), "a torn word");
                }
            }
            stop.store(true, Relaxed);
        });
    }

    #[test]
    fn looking_at_untouched_pages_takes_no_memory() {
        let region = region(64 << 10);
        let before = process::resident_bytes(std::process::id()).unwrap();
        let mut page = vec![1; PAGE_BYTES];
        for index in 0..region.pages() {
            region.zero(index);
            assert!(region.is_zero(index) && region.copy_out(index, &mut page));
        }
        let after = process::resident_bytes(std::process::id()).unwrap();
        // Other tests run beside this one; touching would have taken 256 MiB.
        assert!(after < before + (192 << 20), "{before} to {after}");
    }

    #[test]
    fn prealloc_makes_pages_exist_and_changes_none() {
        let kinds = [
            (0, HugePages::None),
            (3, HugePages::None),
            (2, HugePages::Thp),
            (2, HugePages::Size2MiB),
        ];
        for (threads, huge_pages) in kinds {
            let region = Region::new(&options(40 << 20, huge_pages));
            let Ok(region) = region.inspect_err(|error| eprintln!("skipped: {error}")) else {
                continue;
            };
            region.words()[12_345].store(6, Relaxed);
            let progress = AtomicU64::new(0);
            region.prealloc(threads, &progress).unwrap();
            assert_eq!(progress.into_inner(), 40 << 20);
            let before = minor_faults();
            region.words().iter().step_by(WORDS_PER_PAGE).for_each(|it| it.store(1, Relaxed));
            assert!(minor_faults() - before < 100, "pages existed");
            assert_eq!(region.words()[12_345].load(Relaxed), 6);
        }
    }

    /// Of the calling thread.
    fn minor_faults() -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let after_name = stat.rsplit(')').next().unwrap();
        after_name.split_whitespace().nth(7).unwrap().parse().unwrap()
    }

    #[test]
    fn transparent_huge_pages_start_on_their_boundary() {
        for megabytes in [2, 3, 8] {
            let region = Region::new(&options(megabytes << 20, HugePages::Thp));
            let Ok(region) = region.inspect_err(|error| eprintln!("skipped: {error}")) else {
                return;
            };
            assert_eq!(region.words().as_ptr().addr() % (2 << 20), 0);
            assert_eq!((region.bytes(), region.page_bytes()), (megabytes << 20, 4096));
            region.words().iter().step_by(WORDS_PER_PAGE).for_each(|it| it.store(1, Relaxed));
        }
    }

    #[test]
    fn plain_bytes_only_for_the_only_holder() {
        let mut region = Arc::new(numbered(1));
        let other = Arc::clone(&region);
        assert!(region.exclusive().is_none());
        drop(other);
        let bytes = region.exclusive().unwrap();
        assert_eq!(bytes[..8], 1_u64.to_ne_bytes());
        bytes[..8].fill(0);
        assert_eq!(region.page(0)[0].load(Relaxed), 0);
    }

    #[test]
    fn discarded_pages_are_zero() {
        let region = numbered(4);
        region.discard(1, 2).unwrap();
        assert_eq!([0, 1, 2, 3].map(|page| region.is_zero(page)), [false, true, true, false]);
    }

    /// Feeds a stream in odd pieces, as a socket would, and receives it to scattered runs.
    #[test]
    fn a_stream_lands_in_its_runs() {
        let region = region(8);
        let runs = [(5, 2), (0, 1), (7, 1)];
        let total = 4 * PAGE_BYTES;
        let stream: Vec<u8> = (0..total).map(|it| (it * 7 % 251) as u8).collect();
        let (mut sender, receiver) = UnixStream::pair().unwrap();
        let feed = stream.clone();
        let feeder = thread::spawn(move || {
            feed.chunks(1_777).for_each(|it| sender.write_all(it).unwrap());
        });
        let mut done = 0;
        while done < total {
            let count = region.recv_pages(receiver.as_fd(), &runs, done).unwrap();
            assert!(count > 0);
            done += count;
        }
        feeder.join().unwrap();
        let mut received = Vec::new();
        for (first, count) in runs {
            let range = first * WORDS_PER_PAGE..(first + count) * WORDS_PER_PAGE;
            received.extend(bytes_of(&region.words()[range]));
        }
        assert!(received == stream);
        assert!((1..5).all(|page| region.is_zero(page)), "nothing landed elsewhere");
        assert_eq!(region.recv_pages(receiver.as_fd(), &runs, 0).unwrap(), 0, "end of stream");
    }

    #[test]
    fn receiving_nothing_or_too_much() {
        let region = region(4_000);
        let (mut sender, receiver) = UnixStream::pair().unwrap();
        receiver.set_nonblocking(true).unwrap();
        let kind = |runs: &[(usize, usize)], skip| {
            region.recv_pages(receiver.as_fd(), runs, skip).unwrap_err().kind()
        };
        assert_eq!(kind(&[], 0), io::ErrorKind::InvalidInput);
        assert_eq!(kind(&[(0, 1)], PAGE_BYTES), io::ErrorKind::InvalidInput);
        assert_eq!(kind(&[(0, 1)], 0), io::ErrorKind::WouldBlock);
        // More runs than the kernel takes at once, and an empty one among them.
        let runs: Vec<_> = (0..2_000).map(|it| (it * 2, usize::from(it != 1))).collect();
        sender.write_all(&[1; 100]).unwrap();
        assert_eq!(region.recv_pages(receiver.as_fd(), &runs, 0).unwrap(), 100);
        assert_eq!(region.page(0)[0].load(Relaxed), u64::from_ne_bytes([1; 8]));
    }
}
