//! What guestperf was asked for, in the words of our scenarios.

use serde_json::{Map, Value};

use super::shape::{File, Hardware, Scenario, is_true};
use crate::readers::foreign::set;

/// It gives its guest half a GiB beyond what the guest writes to.
pub(super) fn guest_bytes(hardware: &Hardware) -> Option<u64> {
    Some(guest_mebibytes(hardware)?.saturating_mul(1 << 20))
}

fn guest_mebibytes(hardware: &Hardware) -> Option<u64> {
    Some(hardware.mem?.saturating_mul(1024).saturating_add(512))
}

pub(super) fn scenario(file: &File) -> Map<String, Value> {
    let mut map = Map::new();
    if let Some(name) = &file.scenario.name {
        set(&mut map, "name", name.as_str());
    }
    guest(&file.hardware, &mut map);
    migration(&file.scenario, &mut map);
    map
}

fn guest(hardware: &Hardware, map: &mut Map<String, Value>) {
    if let Some(cpus) = hardware.cpus {
        set(map, "guest.vcpus", cpus);
        set(map, "workload.workers", cpus);
    }
    if let Some(memory) = guest_mebibytes(hardware) {
        set(map, "guest.memory", format!("{memory}MiB"));
    }
    set(map, "guest.prealloc", is_true(&hardware.prealloc_pages));
    set(map, "guest.locked", is_true(&hardware.locked_pages));
    let sides = [
        ("guest.source", &hardware.src_cpu_bind, &hardware.src_mem_bind),
        ("guest.destination", &hardware.dst_cpu_bind, &hardware.dst_mem_bind),
    ];
    for (side, cpus, nodes) in sides {
        for (name, list) in [("cpus", cpus), ("numa-nodes", nodes)] {
            let words: Vec<String> = list.iter().flatten().filter_map(word).collect();
            if !words.is_empty() {
                set(map, &format!("{side}.{name}"), words.join(","));
            }
        }
    }
    // Its guest has one program, and that does one thing.
    if let Some(memory) = hardware.mem {
        set(map, "workload.memory", format!("{memory}GiB"));
    }
    set(map, "workload.pattern", "sequential");
    set(map, "workload.method", "xor-random");
    set(map, "workload.rate", "unlimited");
}

fn migration(scenario: &Scenario, map: &mut Map<String, Value>) {
    let mut put = |path: &str, value: Option<Value>| {
        if let Some(value) = value {
            set(map, path, value);
        }
    };
    let number = |value: Option<u64>| value.map(Value::from);
    let text = |value: Option<u64>, unit: &str| value.map(|it| format!("{it}{unit}").into());
    // The first synchronisation is that of the setup.
    let passes = |iterations: Option<u64>| iterations.map(|it| it.saturating_sub(1).into());
    put("migration.max-bandwidth", text(scenario.bandwidth, "MiB/s"));
    put("migration.downtime-limit", text(scenario.downtime, "ms"));
    put("limits.max-time", text(scenario.max_time, "s"));
    // It cancels at the first iteration beyond.
    put("limits.max-passes", number(scenario.max_iters));
    if scenario.pause {
        put("migration.pause.after-passes", passes(scenario.pause_iters));
    }
    if scenario.post_copy {
        put("migration.postcopy.after-passes", passes(scenario.post_copy_iters));
    }
    if scenario.auto_converge {
        put("migration.auto-converge.increment", number(scenario.auto_converge_step));
    }
    if scenario.compression_xbzrle {
        put("migration.xbzrle.cache", text(scenario.compression_xbzrle_cache, "%"));
    }
    if scenario.compression_mt {
        put("migration.compress.threads", number(scenario.compression_mt_threads));
    }
    if scenario.multifd {
        put("migration.multifd.channels", number(scenario.multifd_channels));
        let how = scenario.multifd_compression.as_ref().and_then(Value::as_str);
        put("migration.multifd.compression", how.filter(|it| !it.is_empty()).map(Value::from));
    }
    if scenario.dirty_limit {
        put("migration.dirty-limit.per-vcpu", text(scenario.vcpu_dirty_limit, "MB/s"));
        put("migration.dirty-limit.period", text(scenario.x_vcpu_dirty_limit_period, "ms"));
    }
}

/// What was set and has no counterpart.
pub(super) fn unmapped(file: &File) -> Vec<String> {
    let mut names = Vec::new();
    if is_true(&file.hardware.huge_pages) {
        // It does not say how large they were, and its flag never did anything.
        names.push("hardware.huge_pages".to_owned());
    }
    let ram = || file.progress_history.iter().map(|it| &it.ram);
    if ram().any(|it| it.skipped_pages.is_some_and(|pages| pages > 0)) {
        names.push("progress_history.ram.skipped_pages".to_owned());
    }
    let is_other_size =
        |(pages, bytes): (u64, u64)| pages > 0 && bytes / pages != crate::PAGE_BYTES;
    if ram().any(|it| it.normal_pages.zip(it.normal_bytes).is_some_and(is_other_size)) {
        names.push("progress_history.ram.normal_bytes (pages are not of 4 KiB)".to_owned());
    }
    names
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
