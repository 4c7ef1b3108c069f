//! What the guest's memory takes from this machine beyond its size, and clear words where there is not enough of it.

use std::path::Path;

use sterna_pilot::EngineError;
use sterna_report::Side;
use sterna_scenario::{HugePages, Scenario};
use sterna_sys::numa;

use crate::command_line::placement;
use crate::place::Place;

/// Where the kernel tells how many huge pages there are, one folder for each size.
const HUGE_PAGES: &str = "/sys/kernel/mm/hugepages";

/// Refuses what can be known to be missing before a QEMU is started.
///
/// Without that it would end by SIGBUS or with a word about memory that names neither side nor cure.
///
/// That is looked up for the sides on this machine; another machine's kernel tells by itself.
pub(crate) fn check(scenario: &Scenario, places: &[Place; 2]) -> Result<(), EngineError> {
    let is_here = |side: Side| matches!(places[side as usize], Place::Here(_));
    let sides: Vec<Side> =
        [Side::Source, Side::Destination].into_iter().filter(|it| is_here(*it)).collect();
    let there: Vec<usize> = numa::nodes().iter().map(|it| it.id).collect();
    for &side in &sides {
        nodes(side, scenario, &there).map_err(EngineError::Unsupported)?;
    }
    huge_pages(scenario, sides.len() as u64, Path::new(HUGE_PAGES))
        .map_err(EngineError::Unsupported)
}

/// A QEMU that ended at once where something was asked of this machine's memory is refused with these fields; its words say which.
pub(crate) fn explain(error: EngineError, side: Side, scenario: &Scenario) -> EngineError {
    let EngineError::SideGone { reason, .. } = &error else { return error };
    let guest = &scenario.guest;
    let asked = [
        // Transparent ones are not reserved, so no start can fail for them.
        (!matches!(guest.huge_pages, HugePages::None | HugePages::Thp), "guest.huge-pages"),
        (guest.locked, "guest.locked"),
        (placement(side, scenario).numa_nodes.is_some(), nodes_field(side)),
    ];
    let fields: Vec<&str> = asked.iter().filter(|it| it.0).map(|it| it.1).collect();
    // An accelerator that does not start is no matter of memory.
    if fields.is_empty() || reason.to_lowercase().contains("kvm") {
        return error;
    }
    let way_out = if guest.locked {
        "; locking takes a high enough `ulimit -l`, or the capability CAP_IPC_LOCK"
    } else {
        ""
    };
    EngineError::Unsupported(format!("{}: {reason}{way_out}", fields.join(", ")))
}

/// The kernel leaves out nodes that do not exist as long as one does.
fn nodes(side: Side, scenario: &Scenario, there: &[usize]) -> Result<(), String> {
    let Some(asked) = &placement(side, scenario).numa_nodes else { return Ok(()) };
    let Some(missing) = asked.iter().find(|id| !there.contains(&(*id as usize))) else {
        return Ok(());
    };
    let field = nodes_field(side);
    Err(format!("{field}: there is no node {missing} here; this machine has {there:?}"))
}

fn nodes_field(side: Side) -> &'static str {
    match side {
        Side::Source => "guest.source.numa-nodes",
        Side::Destination => "guest.destination.numa-nodes",
    }
}

fn huge_pages(scenario: &Scenario, sides: u64, folder: &Path) -> Result<(), String> {
    if sides == 0 {
        return Ok(());
    }
    let (name, kib) = match scenario.guest.huge_pages {
        HugePages::None | HugePages::Thp => return Ok(()),
        HugePages::Size2Mib => ("2MiB", 2048),
        HugePages::Size1Gib => ("1GiB", 1 << 20),
    };
    let folder = folder.join(format!("hugepages-{kib}kB"));
    let number = |file: &str| -> Option<u64> {
        std::fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
    };
    // Both sides have the guest's memory at once; pages that others have reserved are counted as free.
    let needed = sides * scenario.guest.memory.0.div_ceil(kib << 10);
    // The kernel may be allowed to make more than are reserved.
    let more = number("nr_overcommit_hugepages")
        .zip(number("surplus_hugepages"))
        .map_or(0, |(most, made)| most.saturating_sub(made));
    let there = number("free_hugepages")
        .map(|it| it.saturating_sub(number("resv_hugepages").unwrap_or(0)) + more);
    match there {
        None => Err(format!("guest.huge-pages: this kernel has no pages of {name}")),
        Some(there) if there < needed => Err(format!(
            "guest.huge-pages: the sides on this machine together need {needed} free pages of {name}, and there are {there}; reserve them: `echo N > {}`, with N higher by {} than it is",
            folder.join("nr_hugepages").display(),
            needed - there
        )),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(toml: &str) -> Scenario {
        Scenario::from_toml(toml, "test.toml").unwrap()
    }

    #[test]
    fn huge_pages_are_counted_for_both_sides() {
        let root = tempfile::tempdir().unwrap();
        let wish = scenario("guest = { memory = \"64MiB\", huge-pages = \"2MiB\" }");
        let missing = huge_pages(&wish, 2, root.path()).unwrap_err();
        assert!(missing.contains("no pages of 2MiB"), "{missing}");

        let folder = root.path().join("hugepages-2048kB");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("free_hugepages"), "70\n").unwrap();
        std::fs::write(folder.join("resv_hugepages"), "10\n").unwrap();
        let few = huge_pages(&wish, 2, root.path()).unwrap_err();
        assert!(few.contains("need 64 free pages of 2MiB, and there are 60"), "{few}");
        std::fs::write(folder.join("resv_hugepages"), "6\n").unwrap();
        assert_eq!(huge_pages(&wish, 2, root.path()), Ok(()));
        assert_eq!(huge_pages(&scenario("guest.huge-pages = \"thp\""), 2, root.path()), Ok(()));
        std::fs::write(folder.join("resv_hugepages"), "10\n").unwrap();
        std::fs::write(folder.join("nr_overcommit_hugepages"), "4\n").unwrap();
        std::fs::write(folder.join("surplus_hugepages"), "0\n").unwrap();
        assert_eq!(huge_pages(&wish, 2, root.path()), Ok(()));
    }

    #[test]
    fn every_node_must_be_there() {
        let wish = scenario("guest.source.numa-nodes = \"0,9\"");
        let missing = nodes(Side::Source, &wish, &[0, 1]).unwrap_err();
        assert!(missing.contains("guest.source.numa-nodes: there is no node 9"), "{missing}");
        assert_eq!(nodes(Side::Source, &wish, &[0, 9]), Ok(()));
        assert_eq!(nodes(Side::Destination, &wish, &[]), Ok(()));
    }

    #[test]
    fn a_qemu_that_does_not_start_names_what_was_asked_of_the_machine() {
        let gone = || EngineError::SideGone { side: "source", reason: "mlockall: no".to_owned() };
        let explained = |toml: &str| explain(gone(), Side::Source, &scenario(toml)).to_string();
        assert!(explained("guest.locked = true").contains("guest.locked: mlockall: no; locking"));
        assert!(explained("guest.source.numa-nodes = \"9\"").contains("guest.source.numa-nodes: "));
        assert_eq!(explained("guest.destination.numa-nodes = \"9\""), gone().to_string());
        let reason = "Could not access KVM kernel module: Permission denied".to_owned();
        let kvm = EngineError::SideGone { side: "source", reason };
        let words = kvm.to_string();
        let locked = scenario("guest.locked = true");
        assert_eq!(explain(kvm, Side::Source, &locked).to_string(), words);
    }
}
