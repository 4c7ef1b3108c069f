//! Which runs belong together, and which of them can be compared.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Metric, Side, Span, types::SettingDifference};
use crate::{Report, Verdict};

/// Runs of one scenario on one engine.
pub(super) struct Group<'a> {
    /// The scenario's name, or all of it where it has none.
    key: String,
    pub(super) engine: String,
    pub(super) reports: Vec<&'a Report>,
}

impl Group<'_> {
    pub(super) fn title(&self) -> String {
        let name = self.reports.first().and_then(|it| it.scenario.get("name")?.as_str());
        name.map_or_else(|| "scenario without a name".to_owned(), str::to_owned)
    }

    /// The values of the runs that ended so; of all where no outcome is given.
    pub(super) fn values(&self, metric: &Metric, outcome: Option<Verdict>) -> Vec<Span> {
        let same = |it: &&&Report| outcome.is_none_or(|outcome| it.summary.verdict == outcome);
        self.reports.iter().filter(same).filter_map(|it| metric.span(it)).collect()
    }

    /// How many runs ended so.
    pub(super) fn ended(&self, outcome: Verdict) -> usize {
        self.reports.iter().filter(|it| it.summary.verdict == outcome).count()
    }
}

/// The runs of a side, in the order in which their scenarios come first.
pub(super) fn groups<'a>(side: &'a Side, notes: &mut Vec<String>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group> = Vec::new();
    let mut left_out = 0;
    for report in &side.reports {
        // Foreign results that saw no migration are compared all the same.
        let is_cut = report.summary.verdict == Verdict::Interrupted && report.tool.name == "sterna";
        if is_cut || report.summary.verdict == Verdict::Unsupported {
            left_out += 1;
            continue;
        }
        let (key, engine) = (key(report), &report.engine.name);
        match groups.iter_mut().find(|it| it.key == key && it.engine == *engine) {
            Some(group) => group.reports.push(report),
            None => groups.push(Group { key, engine: engine.clone(), reports: vec![report] }),
        }
    }
    if left_out > 0 {
        notes.push(format!(
            "{}: {left_out} of {} runs left out, for they were interrupted or are not supported there",
            side.label,
            side.reports.len()
        ));
    }
    groups
}

fn key(report: &Report) -> String {
    match report.scenario.get("name").and_then(Value::as_str) {
        Some(name) => name.to_owned(),
        None => serde_json::to_string(&without_seed(&report.scenario)).unwrap_or_default(),
    }
}

/// Repeats may have seeds of their own.
fn without_seed(scenario: &Map<String, Value>) -> Map<String, Value> {
    let mut scenario = scenario.clone();
    if let Some(workload) = scenario.get_mut("workload").and_then(Value::as_object_mut) {
        workload.remove("seed");
    }
    scenario
}

type Pairs<'a, 'b> = Vec<(&'b Group<'a>, &'b Group<'a>)>;

/// Groups of the same scenario and engine; then of the same scenario, where each side has it once;
/// and where each side has one scenario in all, these. The rest is named, with whose it is.
pub(super) fn matches<'a, 'b>(
    a: &'b [Group<'a>],
    b: &'b [Group<'a>],
) -> (Pairs<'a, 'b>, Vec<(bool, String)>) {
    if let ([one], [other]) = (a, b) {
        return (vec![(one, other)], Vec::new());
    }
    let mut pairs: Pairs = Vec::new();
    let mut taken = vec![false; b.len()];
    let mut rest = Vec::new();
    for group in a {
        let same = |it: &Group| it.key == group.key && it.engine == group.engine;
        match b.iter().position(same) {
            Some(index) => {
                taken[index] = true;
                pairs.push((group, &b[index]));
            }
            None => rest.push(group),
        }
    }
    let mut unmatched = Vec::new();
    for group in rest {
        let count = |groups: &[Group]| groups.iter().filter(|it| it.key == group.key).count();
        let other = (0..b.len()).find(|it| !taken[*it] && b[*it].key == group.key);
        match other.filter(|_| count(a) == 1 && count(b) == 1) {
            Some(index) => {
                taken[index] = true;
                pairs.push((group, &b[index]));
            }
            None => unmatched.push((true, name(group))),
        }
    }
    let left = b.iter().zip(taken).filter(|(_, taken)| !taken);
    unmatched.extend(left.map(|(group, _)| (false, name(group))));
    (pairs, unmatched)
}

fn name(group: &Group) -> String {
    format!("{} ({})", group.title(), group.engine)
}

/// The settings in which the first runs of both differ, the name and the seed left out.
pub(super) fn differences(a: &Group, b: &Group) -> Vec<SettingDifference> {
    let flat = |group: &Group| {
        let mut found = BTreeMap::new();
        if let Some(report) = group.reports.first() {
            flatten("", &Value::Object(without_seed(&report.scenario)), &mut found);
        }
        found.remove("name");
        found
    };
    let (a, b) = (flat(a), flat(b));
    let mut paths: Vec<&String> = a.keys().chain(b.keys()).collect();
    paths.sort();
    paths.dedup();
    let differing = paths.into_iter().filter(|it| a.get(*it) != b.get(*it));
    differing
        .map(|path| SettingDifference {
            path: path.clone(),
            reference: a.get(path).cloned(),
            candidate: b.get(path).cloned(),
        })
        .collect()
}

fn flatten(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, found);
            }
        }
        Value::Null => {}
        Value::String(text) => {
            found.insert(path.to_owned(), text.clone());
        }
        other => {
            found.insert(path.to_owned(), other.to_string());
        }
    }
}
