//! The lines of `virsh`, read.

use serde_json::{Map, Value, json};

/// An event of QEMU as `virsh qemu-monitor-event --timestamp` prints it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Heard {
    pub epoch_ns: u64,
    pub name: String,
    pub domain: String,
    pub data: Value,
}

/// `2026-12-01 05:46:03.548+0000: event MIGRATION for domain 'tern': {"status":"setup"}`; libvirt's own events have their names in quotes, and are none of QEMU's.
pub(super) fn qemu_event(line: &str) -> Option<Heard> {
    let (stamp, rest) = line.split_once(": event ")?;
    let (name, rest) = rest.split_once(" for domain '")?;
    let (domain, data) = rest.split_once("': ")?;
    if name.is_empty() || name.contains('\'') {
        return None;
    }
    let data = serde_json::from_str(data.trim()).unwrap_or_default();
    Some(Heard {
        epoch_ns: epoch_ns(stamp)?,
        name: name.to_owned(),
        domain: domain.to_owned(),
        data,
    })
}

/// `2026-12-01 05:46:03.548+0000`
fn epoch_ns(stamp: &str) -> Option<u64> {
    let (date, time) = stamp.trim().split_once(' ')?;
    let at: jiff::Timestamp = format!("{date}T{time}").parse().ok()?;
    u64::try_from(at.as_nanosecond()).ok()
}

/// A line of statistics: a tab, a name, a value, as in `memory_total: 135659520`.
pub(super) fn job_line(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.strip_prefix('\t')?.split_once(": ")?;
    Some((name.trim(), value.trim()))
}

/// QEMU's answer, as `qemu-monitor-command` prints it.
pub(super) fn returned(text: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(text.trim()).ok()?;
    value.get("return").cloned()
}

/// A field of `dominfo`: `Name:           tern`
pub(super) fn field(text: &str, name: &str) -> Option<String> {
    let of = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned());
    text.lines().find_map(of).filter(|it| !it.is_empty())
}

/// `Running hypervisor: QEMU 7.2.22`, and the library's version beside it.
pub(super) fn version(text: &str) -> Option<String> {
    let of =
        |key: &str| text.lines().find_map(|it| it.trim().strip_prefix(key)?.strip_prefix(": "));
    let qemu = of("Running hypervisor").map(|it| it.trim_start_matches("QEMU ").to_owned())?;
    Some(match of("Using library") {
        Some(library) => format!("{qemu} ({library})"),
        None => qemu,
    })
}

/// What libvirt says of a migration that has completed: typed parameters by their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct JobStatistics {
    values: Map<String, Value>,
}

impl JobStatistics {
    pub fn set(&mut self, name: &str, value: &str) {
        let value = value.parse::<u64>().map_or_else(|_| value.into(), Value::from);
        self.values.insert(name.to_owned(), value);
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.values.get(name)?.as_u64()
    }

    /// As QEMU would answer. `time_elapsed` counts from the call of libvirt, with the start of the destination's QEMU in it, so it is no total time.
    pub fn to_query(&self) -> Value {
        let mut ram = Map::new();
        for (name, theirs) in [
            ("total", "memory_total"),
            ("transferred", "memory_processed"),
            ("remaining", "memory_remaining"),
            ("duplicate", "memory_constant"),
            ("normal", "memory_normal"),
            ("normal-bytes", "memory_normal_bytes"),
            ("page-size", "memory_page_size"),
            ("dirty-sync-count", "memory_iteration"),
            ("postcopy-requests", "memory_postcopy_requests"),
        ] {
            ram.extend(self.number(theirs).map(|it| (name.to_owned(), it.into())));
        }
        let mut query = json!({ "status": "completed" });
        for (name, theirs) in [("downtime", "downtime"), ("setup-time", "setup_time")] {
            if let Some(value) = self.number(theirs) {
                query[name] = value.into();
            }
        }
        // Zeros of a job that never came to QEMU are no measurements.
        if self.number("memory_total").is_some_and(|it| it > 0) {
            query["ram"] = ram.into();
        }
        query
    }

    /// For the report, in seconds.
    pub fn to_details(&self) -> Value {
        let seconds = |name: &str| self.number(name).map(|it| it as f64 / 1e3);
        json!({
            "time_elapsed_seconds": seconds("time_elapsed"),
            "time_elapsed_net_seconds": seconds("time_elapsed_net"),
            "downtime_seconds": seconds("downtime"),
            "downtime_net_seconds": seconds("downtime_net"),
            "statistics": self.values,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_qemu_are_read_and_all_else_is_left() {
        let line =
            "2026-12-01 05:46:03.548+0000: event MIGRATION_PASS for domain 'a tern': {\"pass\":1}";
        let heard = qemu_event(line).unwrap();
        assert_eq!((heard.name.as_str(), heard.domain.as_str()), ("MIGRATION_PASS", "a tern"));
        assert_eq!(heard.data, json!({"pass": 1}));
        assert_eq!(heard.epoch_ns, 1_796_103_963_548_000_000);
        let stop = qemu_event("2026-12-01 05:46:03.848+0000: event STOP for domain 'tern': <null>");
        assert_eq!(stop.unwrap().data, Value::Null);
        for other in [
            "2026-12-01 05:46:03.848+0000: event 'lifecycle' for domain 'tern': Suspended Migrated",
            "\toperation: 5",
            "yesterday: event STOP for domain 'tern': <null>",
            "events received: 3",
            "",
        ] {
            assert_eq!(qemu_event(other), None, "{other}");
        }
    }

    #[test]
    fn statistics_become_an_answer_and_elapsed_time_stays_a_claim() {
        let mut job = JobStatistics::default();
        for line in [
            "\ttime_elapsed: 1263",
            "\tdowntime: 9",
            "\tmemory_total: 135659520",
            "\tmemory_iteration: 3",
            "\tmemory_normal: 369",
        ] {
            let (name, value) = job_line(line).unwrap();
            job.set(name, value);
        }
        let query = job.to_query();
        assert_eq!(query["downtime"], 9);
        assert_eq!(
            query["ram"],
            json!({"total": 135_659_520, "dirty-sync-count": 3, "normal": 369})
        );
        assert!(query.get("total-time").is_none());
        assert_eq!(job.to_details()["time_elapsed_seconds"], 1.263);
        let mut idle = JobStatistics::default();
        idle.set("memory_total", "0");
        assert!(idle.to_query().get("ram").is_none());
    }

    #[test]
    fn answers_and_versions_are_read() {
        let text = r#"{"return":{"status":"active"},"id":"libvirt-422"}"#;
        assert_eq!(returned(text), Some(json!({"status": "active"})));
        assert_eq!(returned("error: x"), None);
        let info = "Id:             1\nName:           a tern\nState:          running";
        assert_eq!(field(info, "Name").as_deref(), Some("a tern"));
        let text = "Compiled against library: libvirt 9.0.0\nUsing library: libvirt 9.0.0\nUsing API: QEMU 9.0.0\nRunning hypervisor: QEMU 7.2.22";
        assert_eq!(version(text).as_deref(), Some("7.2.22 (libvirt 9.0.0)"));
    }
}
