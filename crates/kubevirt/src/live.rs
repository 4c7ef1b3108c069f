//! Migrations as they happen: rows for a terminal, and the same for Prometheus.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use sterna_pilot::Interrupt;
use sterna_units::{human_bytes, human_bytes_per_second, pad_right};

use crate::apply::LOOK;
use crate::cluster::Cluster;
use crate::error::KubevirtError;
use crate::follow::{Follower, Step};
use crate::launcher::{self, LauncherLine};
use crate::migrate::log;
use crate::record::MigrationRecord;
use crate::views::MigrationState;

/// What to watch.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// In all namespaces.
    pub all_namespaces: bool,
    /// Only once.
    pub once: bool,
    /// At most so long.
    pub length: Option<Duration>,
    /// Whether virt-launcher's account is read.
    pub read_logs: bool,
}

/// One migration, as of now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Where.
    pub namespace: String,
    /// The guest.
    pub guest: String,
    /// The migration.
    pub migration: String,
    /// Its phase.
    pub phase: String,
    /// From where.
    pub source: Option<String>,
    /// To where.
    pub target: Option<String>,
    /// The policy.
    pub policy: Option<String>,
    /// How it ended.
    pub verdict: Option<String>,
    /// Since when, in seconds.
    pub age_seconds: f64,
    /// virt-launcher's last line.
    pub line: Option<LauncherLine>,
    /// Why there is no such line although its log was read.
    pub log_problem: Option<String>,
}

/// What a log said when it was read last.
#[derive(Clone, Debug, PartialEq)]
struct LogSeen {
    line: Option<LauncherLine>,
    problem: Option<String>,
}

impl Row {
    fn of(record: &MigrationRecord, log: Option<&LogSeen>, now_ns: u64) -> Row {
        let state = record.state.clone().unwrap_or_default();
        let until = record.ended_ns.unwrap_or(now_ns);
        Row {
            namespace: record.namespace.clone(),
            guest: record.vmi.clone(),
            migration: record.name.clone(),
            phase: record.current_phase().to_owned(),
            source: state.leaves_node().or_else(|| record.node_before.clone()),
            target: state.enters_node(),
            policy: state.migration_policy_name,
            verdict: record.is_ended().then(|| record.verdict().0.to_string()),
            age_seconds: until.saturating_sub(record.began_ns) as f64 / 1e9,
            line: log.and_then(|it| it.line.clone()),
            log_problem: log.and_then(|it| it.problem.clone()),
        }
    }

    /// How long the rest takes if nothing changes; None where it is not known or the guest is faster.
    pub fn seconds_left(&self) -> Option<f64> {
        let line = self.line.as_ref()?;
        let (bandwidth, dirty) =
            (line.bandwidth_bytes_per_second?, line.dirty_rate_bytes_per_second.unwrap_or(0.0));
        let net = bandwidth - dirty;
        (net > 0.0).then(|| line.remaining_bytes.unwrap_or(0) as f64 / net)
    }
}

/// Watches; `tell` gets all rows whenever something changed, and says whether to go on.
pub async fn watch(
    cluster: &Cluster,
    options: &WatchOptions,
    interrupt: &Interrupt,
    tell: &mut dyn FnMut(&[Row]) -> bool,
) -> Result<(), KubevirtError> {
    let namespace = (!options.all_namespaces).then_some(cluster.namespace.as_str());
    let mut follower = Follower::new(cluster, namespace, None);
    let mut lines: HashMap<String, LogSeen> = HashMap::new();
    let began = Instant::now();
    let (mut quiet_since, mut last_lines, mut is_new) = (Instant::now(), None::<Instant>, true);
    loop {
        if interrupt.requested() || options.length.is_some_and(|it| began.elapsed() >= it) {
            return Ok(());
        }
        match follower.step(LOOK).await? {
            Step::Nothing => {}
            _ => {
                is_new = true;
                quiet_since = Instant::now();
            }
        }
        let has_settled = quiet_since.elapsed() >= Duration::from_millis(400);
        if options.once && !has_settled {
            continue;
        }
        // Before anything is known of the migrations there is no Pod whose log could be read.
        if options.read_logs && last_lines.is_none_or(|it| it.elapsed() >= Duration::from_secs(4)) {
            is_new |= read_lines(cluster, &follower, &mut lines).await;
            last_lines = has_settled.then(Instant::now);
        }
        if !is_new && !options.once {
            continue;
        }
        is_new = false;
        let rows = rows(&follower, &lines);
        if !tell(&rows) || options.once {
            return Ok(());
        }
    }
}

fn rows(follower: &Follower, lines: &HashMap<String, LogSeen>) -> Vec<Row> {
    let now_ns = follower.now_ns();
    let mut rows: Vec<Row> = follower
        .records
        .iter()
        .map(|(uid, record)| Row::of(record, lines.get(uid), now_ns))
        .collect();
    rows.sort_by(|a, b| {
        (&a.namespace, &a.guest, &a.migration).cmp(&(&b.namespace, &b.guest, &b.migration))
    });
    rows
}

/// The last line of each migration that moves memory; what cannot be read is left as it was.
async fn read_lines(
    cluster: &Cluster,
    follower: &Follower,
    lines: &mut HashMap<String, LogSeen>,
) -> bool {
    let mut is_new = false;
    for (uid, record) in follower.records.iter().filter(|it| !it.1.is_ended()) {
        let Some(pod) = record.state.as_ref().and_then(MigrationState::leaves_pod) else {
            continue;
        };
        let Ok(text) = log(cluster, &record.namespace, &pod).await else { continue };
        let mut found = launcher::read_log(&text, &record.log_uid());
        let seen = LogSeen { problem: found.problem(), line: found.lines.pop() };
        is_new |= lines.insert(uid.clone(), seen.clone()).as_ref() != Some(&seen);
    }
    is_new
}

const HEADINGS: [&str; 10] = [
    "GUEST",
    "PHASE",
    "SOURCE",
    "TARGET",
    "ITERATION",
    "REMAINING",
    "DIRTY RATE",
    "BANDWIDTH",
    "LEFT",
    "POLICY",
];

/// The rows as a table.
pub fn table(rows: &[Row]) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    for row in rows {
        let line = row.line.clone().unwrap_or_default();
        let phase = row
            .verdict
            .as_ref()
            .map_or_else(|| row.phase.clone(), |verdict| format!("{} ({verdict})", row.phase));
        lines.push([
            row.guest.clone(),
            phase,
            or_dash(row.source.clone()),
            or_dash(row.target.clone()),
            or_dash(line.iteration.map(|it| it.to_string())),
            or_dash(line.remaining_bytes.map(|it| human_bytes(it as f64))),
            or_dash(line.dirty_rate_bytes_per_second.map(human_bytes_per_second)),
            or_dash(line.bandwidth_bytes_per_second.map(human_bytes_per_second)),
            or_dash(row.seconds_left().map(|it| format!("{it:.0} s"))),
            or_dash(row.policy.clone()),
        ]);
    }
    let mut widths = [0; HEADINGS.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in &lines {
        let cells: Vec<String> =
            line.iter().zip(widths).map(|(cell, width)| pad_right(cell, width)).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    for row in rows {
        if let Some(problem) = &row.log_problem {
            let _ = writeln!(text, "{}: {problem}", row.guest);
        }
    }
    text
}

/// What a metric is, and its samples by their labels.
type Family = (&'static str, Vec<(String, f64)>);

/// The rows as OpenMetrics.
pub fn open_metrics(rows: &[Row]) -> String {
    let mut families: BTreeMap<&str, Family> = BTreeMap::new();
    let mut add = |name: &'static str, help: &'static str, labels: &str, value: Option<f64>| {
        let family = families.entry(name).or_insert((help, Vec::new()));
        family.1.extend(value.map(|it| (labels.to_owned(), it)));
    };
    for row in rows {
        let labels = labels(row);
        let line = row.line.clone().unwrap_or_default();
        add(
            "sterna_migration_age_seconds",
            "Since the migration was first seen, until now or its end.",
            &labels,
            Some(row.age_seconds),
        );
        add(
            "sterna_migration_iteration",
            "Number of the iteration that virt-launcher tells.",
            &labels,
            line.iteration.map(|it| it as f64),
        );
        add(
            "sterna_migration_remaining_bytes",
            "Data still to be moved.",
            &labels,
            line.remaining_bytes.map(|it| it as f64),
        );
        add(
            "sterna_migration_processed_bytes",
            "Data moved so far.",
            &labels,
            line.processed_bytes.map(|it| it as f64),
        );
        add(
            "sterna_migration_dirty_rate_bytes_per_second",
            "Distinct pages written in the last iteration x 4 KiB / its length.",
            &labels,
            line.dirty_rate_bytes_per_second,
        );
        add(
            "sterna_migration_bandwidth_bytes_per_second",
            "How fast memory moves.",
            &labels,
            line.bandwidth_bytes_per_second,
        );
        let phase = format!("{labels},phase=\"{}\"", escape(&row.phase));
        add("sterna_migration_phase", "1 for the phase that it is in.", &phase, Some(1.0));
        if let Some(verdict) = &row.verdict {
            let ended = format!("{labels},verdict=\"{}\"", escape(verdict));
            add(
                "sterna_migration_ended",
                "1 when it is over, with its verdict.",
                &ended,
                Some(1.0),
            );
        }
    }
    let mut text = String::new();
    for (name, (help, samples)) in families {
        if samples.is_empty() {
            continue;
        }
        let unit = name.rsplit('_').next().filter(|it| ["seconds", "bytes"].contains(it));
        let _ = writeln!(text, "# TYPE {name} gauge");
        if let Some(unit) = unit {
            let _ = writeln!(text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(text, "# HELP {name} {help}");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{{{labels}}} {value}");
        }
    }
    text.push_str("# EOF\n");
    text
}

fn labels(row: &Row) -> String {
    let none = String::new();
    format!(
        "namespace=\"{}\",name=\"{}\",migration=\"{}\",source=\"{}\",target=\"{}\",policy=\"{}\"",
        escape(&row.namespace),
        escape(&row.guest),
        escape(&row.migration),
        escape(row.source.as_ref().unwrap_or(&none)),
        escape(row.target.as_ref().unwrap_or(&none)),
        escape(row.policy.as_ref().unwrap_or(&none)),
    )
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
