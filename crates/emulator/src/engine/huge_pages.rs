//! Reserved huge pages for both sides on this machine, counted before either takes its own.
//!
//! Each side by itself asks for half of what is needed, and its error would name that half.

use std::path::Path;

use sterna_pilot::EngineError;
use sterna_scenario::{HugePages, Scenario};

/// Where the kernel says how many there are, a folder for each size.
pub(super) const FOLDER: &str = "/sys/kernel/mm/hugepages";

/// Refuses a scenario for whose sides on this machine, of all guests, there are too few.
pub(super) fn check(scenario: &Scenario, sides: u64, folder: &Path) -> Result<(), EngineError> {
    let (name, kib) = match scenario.guest.huge_pages {
        HugePages::None | HugePages::Thp => return Ok(()),
        HugePages::Size2Mib => ("2MiB", 2048),
        HugePages::Size1Gib => ("1GiB", 1 << 20),
    };
    let folder = folder.join(format!("hugepages-{kib}kB"));
    let number = |file: &str| -> Option<u64> {
        std::fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
    };
    // A size that the kernel does not know is refused by the side that asks for it.
    let Some(free) = number("free_hugepages") else { return Ok(()) };
    // Some of the free ones are promised to others, and the kernel may be allowed to make more.
    let claimed = number("resv_hugepages").unwrap_or(0);
    let more = number("nr_overcommit_hugepages")
        .zip(number("surplus_hugepages"))
        .map_or(0, |(most, made)| most.saturating_sub(made));
    let there = free.saturating_sub(claimed).saturating_add(more);
    let needed = sides.saturating_mul(scenario.guest.memory.0.div_ceil(kib << 10));
    if there >= needed {
        return Ok(());
    }
    let wanted = number("nr_hugepages").unwrap_or(0).saturating_add(needed - there);
    Err(EngineError::Unsupported(format!(
        "guest.huge-pages: the processes on this machine together need {needed} free pages of {name}, and there are {there}; write {wanted} to {}, or use \"none\" or \"thp\"",
        folder.join("nr_hugepages").display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a machine with these numbers says to a guest of 64 MiB.
    fn check_with(toml: &str, sides: u64, numbers: &[(&str, u64)]) -> Result<(), String> {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("hugepages-2048kB");
        std::fs::create_dir(&folder).unwrap();
        for (file, number) in numbers {
            std::fs::write(folder.join(file), format!("{number}\n")).unwrap();
        }
        let toml = format!("guest = {{ memory = \"64MiB\", {toml} }}");
        let scenario = Scenario::from_toml(&toml, "test.toml").unwrap();
        check(&scenario, sides, root.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn both_processes_are_counted_and_the_number_to_write_is_named() {
        let large = "huge-pages = \"2MiB\"";
        let few = [("nr_hugepages", 50), ("free_hugepages", 40), ("resv_hugepages", 8)];
        let error = check_with(large, 2, &few).unwrap_err();
        assert!(error.contains("need 64 free pages of 2MiB, and there are 32"), "{error}");
        assert!(error.contains("write 82 to "), "{error}");
        assert_eq!(check_with(large, 1, &few), Ok(()));
        assert_eq!(check_with("huge-pages = \"thp\"", 2, &few), Ok(()));
        let error = check_with(large, 20, &few).unwrap_err();
        assert!(error.contains("need 640 free pages"), "{error}");
    }

    #[test]
    fn pages_that_the_kernel_may_make_count_as_free() {
        let large = "huge-pages = \"2MiB\"";
        let numbers = |most| {
            let more = [("nr_overcommit_hugepages", most), ("surplus_hugepages", 4)];
            [("free_hugepages", 0), more[0], more[1]]
        };
        assert_eq!(check_with(large, 2, &numbers(68)), Ok(()));
        assert!(check_with(large, 2, &numbers(67)).is_err());
        // Unknown to this kernel, which the side says itself.
        assert_eq!(check_with(large, 2, &[]), Ok(()));
    }
}
