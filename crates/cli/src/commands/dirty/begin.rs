//! What is known when the workers are released.

use sterna_sys::PAGE_BYTES;
use sterna_sys::region::{HugePages, Region};
use sterna_units::human_bytes;

use super::plan::Plan;

/// A run that begins.
pub struct Begin<'a> {
    /// What will be done.
    pub plan: &'a Plan,
    /// What the memory really is.
    pub pages: Pages,
    /// When, as RFC 3339.
    pub started_at: String,
}

/// In what pages the memory is.
#[derive(Clone, Copy, Debug)]
pub struct Pages {
    kind: HugePages,
    bytes: u64,
    /// How much is in huge pages; None where the kernel does not tell.
    pub huge_bytes: Option<u64>,
}

impl Pages {
    /// As the kernel has it now.
    pub fn of(region: &Region) -> Pages {
        Pages { kind: region.huge_pages(), bytes: region.bytes(), huge_bytes: region.huge_bytes() }
    }

    /// The size of the page that most of the memory is in.
    pub fn page_bytes(self) -> u64 {
        match self.kind {
            HugePages::Thp if self.huge_bytes.is_some_and(|it| it > self.bytes / 2) => {
                HugePages::Size2MiB.page_bytes()
            }
            HugePages::Thp => PAGE_BYTES as u64,
            kind => kind.page_bytes(),
        }
    }

    /// For people: the size, and who gave it.
    pub fn text(self) -> String {
        match (self.kind, self.huge_bytes) {
            (HugePages::None, _) => "4 KiB pages".to_owned(),
            (HugePages::Size2MiB, _) => "2 MiB pages".to_owned(),
            (HugePages::Size1GiB, _) => "1 GiB pages".to_owned(),
            (HugePages::Thp, None) => "transparent huge pages, as far as there are".to_owned(),
            (HugePages::Thp, Some(0)) => "4 KiB pages, none of them joined".to_owned(),
            (HugePages::Thp, Some(huge)) if huge == self.bytes => {
                "transparent 2 MiB pages".to_owned()
            }
            (HugePages::Thp, Some(huge)) => {
                format!("{} of it in transparent 2 MiB pages", human_bytes(huge as f64))
            }
        }
    }

    /// Whether not even one huge page came where some could have.
    pub fn lacks_huge(self) -> bool {
        self.bytes >= HugePages::Size2MiB.page_bytes() && self.huge_bytes == Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_gave_is_told() {
        let check = |kind, huge_bytes, text: &str, page_bytes: u64| {
            let pages = Pages { kind, bytes: 8 << 20, huge_bytes };
            assert_eq!((pages.text().as_str(), pages.page_bytes()), (text, page_bytes));
        };
        check(HugePages::None, Some(0), "4 KiB pages", 4096);
        check(HugePages::Thp, Some(8 << 20), "transparent 2 MiB pages", 2 << 20);
        check(HugePages::Thp, Some(6 << 20), "6.00 MiB of it in transparent 2 MiB pages", 2 << 20);
        check(HugePages::Thp, Some(2 << 20), "2.00 MiB of it in transparent 2 MiB pages", 4096);
        check(HugePages::Thp, Some(0), "4 KiB pages, none of them joined", 4096);
        check(HugePages::Thp, None, "transparent huge pages, as far as there are", 4096);
        check(HugePages::Size1GiB, Some(8 << 20), "1 GiB pages", 1 << 30);
    }
}
