//! How much memory QEMU is given for a guest: what was asked for, and in one case a little more.

use sterna_report::Warning;
use sterna_scenario::{HugePages, Scenario};

use crate::settings::major;
use crate::warnings::warning;

/// As many pages as one word of the bitmap of dirty pages stands for.
const WORD_BYTES: u64 = 64 * 4096;

/// The least step in which QEMU's memory sizes go.
const STEP_BYTES: u64 = 8192;

/// The first version that loses nothing.
const MENDED_IN: u32 = 9;

/// A guest's memory, and whether its writes are safe in it.
///
/// Under TCG a write sets a page's dirty bit only while a flag in the translator's table of pages says so; whoever clears the bit has to raise that flag again.
/// Before 9.0 (QEMU's commit 03bfc2188f) a synchronisation does so when it goes page by page, but forgets it when it takes whole words of the bitmap, which it does where the memory's length is a multiple of 64 pages.
/// Later writes to those pages go unnoticed then, and the guest arrives damaged.
///
/// The obvious answers cost more than they bring: a single pass forgets nothing, but then no technique that needs several can be tried; one thread for all processors leaves the flag as it is.
/// So the guest gets two pages more than a multiple of 64, which takes the slow and careful way.
/// Pages of 2 MiB leave no room for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemorySize {
    /// What QEMU is given, on both sides.
    pub bytes: u64,
    pub writes: Writes,
}

/// What becomes of what an emulated guest writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    /// Nothing is lost.
    Kept,
    /// Nothing is lost, since this version was given a little more memory.
    KeptBy { version: String, added_bytes: u64 },
    /// This version may lose some, once memory is synchronised twice.
    MayBeLost { version: String },
}

impl MemorySize {
    /// For a guest that leaves from a source of this version.
    pub fn choose(
        scenario: &Scenario,
        accelerator: &str,
        source_version: &str,
        is_careful: bool,
    ) -> MemorySize {
        let asked = scenario.guest.memory.0;
        let version = source_version.to_owned();
        let is_forgetful = accelerator == "tcg"
            && major(source_version).is_some_and(|it| it < MENDED_IN)
            && asked.is_multiple_of(WORD_BYTES);
        let has_room = matches!(scenario.guest.huge_pages, HugePages::None | HugePages::Thp);
        if !is_forgetful {
            return MemorySize { bytes: asked, writes: Writes::Kept };
        }
        if !has_room || !is_careful {
            return MemorySize { bytes: asked, writes: Writes::MayBeLost { version } };
        }
        let writes = Writes::KeptBy { version, added_bytes: STEP_BYTES };
        MemorySize { bytes: asked + STEP_BYTES, writes }
    }

    /// What has to be said of it after so many passes.
    pub fn warning(&self, passes: usize) -> Option<Warning> {
        match &self.writes {
            Writes::Kept => None,
            Writes::KeptBy { version, added_bytes } => Some(warning(
                "memory-size-odd",
                format!(
                    "Both QEMUs gave the guest {} KiB more memory than was asked for: under TCG QEMU {version} loses writes of a guest whose memory is a multiple of {} KiB once it is synchronised twice, and of no other",
                    added_bytes >> 10,
                    WORD_BYTES >> 10
                ),
                Some("Use QEMU 9.0 or later, or KVM, for exactly what was asked for"),
            )),
            Writes::MayBeLost { version } => (passes >= 2).then(|| {
                warning(
                    "emulation-forgets-writes",
                    format!("QEMU {version} may lose writes of an emulated guest once memory is synchronised more than once; a guest that was damaged by that is no fault of the settings"),
                    Some("Leave out guest.huge-pages under TCG, or use QEMU 9.0 or later, or KVM"),
                )
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(toml: &str, accelerator: &str, version: &str, bytes: u64, codes: [Option<&str>; 2]) {
        let scenario = Scenario::from_toml(toml, "test.toml").unwrap();
        let size = MemorySize::choose(&scenario, accelerator, version, true);
        assert_eq!(size.bytes, bytes, "{size:?}");
        let found = [1, 2].map(|passes| size.warning(passes).map(|it| it.code));
        assert_eq!(found, codes.map(|it| it.map(str::to_owned)), "{size:?}");
    }

    #[test]
    fn only_an_old_emulator_with_whole_words_gets_more() {
        let usual = 256 << 20;
        let odd = [Some("memory-size-odd"); 2];
        check("", "tcg", "7.2.22", usual + 8192, odd);
        check("", "tcg", "8.2.2", usual + 8192, odd);
        check("guest.huge-pages = \"thp\"", "tcg", "7.2.22", usual + 8192, odd);
        check("", "tcg", "9.0.0", usual, [None; 2]);
        check("", "tcg", "10.0.2", usual, [None; 2]);
        check("", "tcg", "unheard of", usual, [None; 2]);
        check("", "kvm", "7.2.22", usual, [None; 2]);
        // What is odd already stays as it is.
        check("guest.memory = \"163968KiB\"", "tcg", "7.2.22", 163_968 << 10, [None; 2]);
        let lost = [None, Some("emulation-forgets-writes")];
        check("guest.huge-pages = \"2MiB\"", "tcg", "7.2.22", usual, lost);
    }

    #[test]
    fn carelessness_is_told() {
        let careless = MemorySize::choose(&Scenario::default(), "tcg", "7.2.22", false);
        assert_eq!(careless.bytes, 256 << 20);
        assert!(careless.warning(2).is_some_and(|it| it.code == "emulation-forgets-writes"));
    }
}
