//! How much of a region the kernel really backs with huge pages.

use std::fs;

use super::{HugePages, Region};

impl Region {
    /// Bytes that are in huge pages now; None where the kernel does not say.
    ///
    /// Transparent huge pages are a wish: the kernel grants it page by page, or not at all.
    #[must_use]
    pub fn huge_bytes(&self) -> Option<u64> {
        match self.huge_pages {
            HugePages::None => Some(0),
            HugePages::Size2MiB | HugePages::Size1GiB => Some(self.bytes()),
            HugePages::Thp => {
                let start = self.mapping.start().as_ptr().addr() as u64;
                let maps = fs::read_to_string("/proc/self/smaps").ok()?;
                huge_bytes_between(&maps, start, start + self.bytes())
            }
        }
    }
}

/// The huge pages of all mappings that lie within a range; None when none does.
fn huge_bytes_between(maps: &str, start: u64, end: u64) -> Option<u64> {
    let (mut is_within, mut sum) = (false, None);
    for line in maps.lines() {
        if let Some((first, last)) = range(line) {
            is_within = first >= start && last <= end;
        } else if let Some(kib) = line.strip_prefix("AnonHugePages:").filter(|_| is_within) {
            let kib: u64 = kib.trim().strip_suffix(" kB")?.parse().ok()?;
            *sum.get_or_insert(0) += kib << 10;
        }
    }
    sum
}

/// The range in the first line of a mapping, `start-end perms …` in hexadecimal digits.
fn range(line: &str) -> Option<(u64, u64)> {
    let (first, last) = line.split_once(' ')?.0.split_once('-')?;
    Some((u64::from_str_radix(first, 16).ok()?, u64::from_str_radix(last, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
1000-3000 rw-p 00000000 00:00 0\n\
Size:                  8 kB\n\
AnonHugePages:      2048 kB\n\
VmFlags: rd wr\n\
3000-4000 rw-p 00000000 00:00 0 [anon: a-b c]\n\
AnonHugePages:      4096 kB\n\
9000-a000 r--p 00000000 08:01 77 /lib/x\n\
AnonHugePages:         0 kB\n";

    #[test]
    fn huge_pages_of_the_range_are_added_up() {
        let check = |start, end, expected| {
            assert_eq!(huge_bytes_between(MAPS, start, end), expected, "{start:x} to {end:x}");
        };
        check(0x1000, 0x4000, Some(6 << 20));
        check(0x1000, 0x3000, Some(2 << 20));
        check(0x3000, 0x4000, Some(4 << 20));
        check(0x9000, 0xa000, Some(0));
        check(0x5000, 0x6000, None);
    }
}
