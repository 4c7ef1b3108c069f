//! What a guest's memory takes from the machine: huge pages, locks and nodes.

use std::path::Path;

use super::techniques::number;
use super::{Bench, detail};

/// 2 MiB pages for both sides of a small guest, for as long as this lives.
struct Reserved {
    before: String,
}

const NUMBER: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
const FREE: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";

impl Reserved {
    fn new(pages: u64) -> Option<Reserved> {
        let read = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let before = read(NUMBER)?;
        let reserved = Reserved { before: before.to_string() };
        std::fs::write(NUMBER, (before + pages).to_string()).ok()?;
        (read(FREE)? >= pages).then_some(reserved)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let _ = std::fs::write(NUMBER, &self.before);
    }
}

/// Older emulators forget writes to a guest in huge pages.
#[test]
fn memory_is_in_huge_pages_locked_and_bound() {
    let Some(bench) = Bench::since(9) else { return };
    let Some(_reserved) = Reserved::new(160) else {
        eprintln!(
            "skipped: no 320 MiB of huge pages can be reserved; root can, where memory is free"
        );
        return;
    };
    let mut arguments = vec!["--huge-pages", "2MiB", "--locked"];
    let has_nodes = Path::new("/sys/devices/system/node/node0").exists();
    if has_nodes {
        arguments.extend(["--source-numa-nodes", "0", "--destination-numa-nodes", "0"]);
    }
    let outcome = bench.outcome(&arguments);
    outcome.assert_ended(0, "completed", "verified");
    for side in ["memory_source", "memory_destination"] {
        let huge = number(detail(&outcome, &format!("/{side}/huge_page_bytes")));
        assert_eq!(huge, f64::from(160 << 20), "{side}");
        assert!(number(detail(&outcome, &format!("/{side}/locked_bytes"))) > huge, "{side}");
        if has_nodes {
            assert_eq!(detail(&outcome, &format!("/{side}/numa_binding")), "0");
        }
    }
}

#[test]
fn what_the_machine_does_not_have_is_refused_by_its_field() {
    let Some(bench) = Bench::new() else { return };
    let table: [(&[&str], &str); 3] = [
        (&["--huge-pages", "1GiB", "--memory", "64GiB"], "guest.huge-pages: "),
        (&["--source-numa-nodes", "63"], "guest.source.numa-nodes: there is no node 63"),
        (&["--dirty-ring-size", "4096", "--accelerator", "tcg"], "--dirty-ring-size: only KVM"),
    ];
    for (arguments, reason) in table {
        let outcome = bench.outcome(arguments);
        outcome.assert_ended(5, "unsupported", "unchecked");
        outcome.assert_reason_has(reason);
    }
}
