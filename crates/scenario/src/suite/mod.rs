//! Suites: many scenarios that belong together, written as one file.
//!
//! A suite is a scenario with two more parts. `[[variant]]` tables have a name and the fields in which they differ; `[matrix]` names fields and the values to try:
//!
//! ```toml
//! about = "Two techniques over three links"
//!
//! [guest]
//! memory = "512MiB"
//!
//! [matrix]
//! "link.bandwidth" = ["100Mbit/s", "1Gbit/s", "unlimited"]
//!
//! [[variant]]
//! name = "precopy"
//!
//! [[variant]]
//! name = "pause-5"
//! migration.pause.after-passes = 5
//! ```
//!
//! Each variant is run with each combination of the matrix. A variant wins over what all have in common, the matrix over both.
//!
//! `[matrix]` may have `exclude` and `include`, lists of single combinations; see `sweep`. A variant may have a `group`, under which it is found as `group/name`. `tables` lists what a batch shows of its runs, see [`SuiteTable`].

mod standard;
mod sweep;
mod variants;

use toml::{Table, Value};

use crate::builder::Builder;
use crate::error::{Origin, ScenarioError};
use crate::types::Scenario;
use sweep::{Matrix, Point};
use variants::{Variant, variants};

/// The longest name of a run. File systems take 255 bytes, and the number and the ending of a report follow.
const MOST_NAME_BYTES: usize = 200;

/// Most runs of a suite; more is a slip of the pen that would run for days.
const MOST: usize = 10_000;

/// Scenarios that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Suite {
    /// What it is called.
    pub name: String,
    /// What it is for, in a sentence.
    pub about: String,
    /// What a batch shows of its runs.
    pub tables: Vec<SuiteTable>,
    /// Its runs: for each variant those of the matrix, in the order in which they were written.
    pub runs: Vec<SuiteRun>,
}

/// One scenario of a suite.
#[derive(Debug, Clone, PartialEq)]
pub struct SuiteRun {
    /// Unique within the suite, and fit for a file name.
    pub name: String,
    /// The group of its variant; empty where that has none.
    pub group: String,
    /// The variant's name; empty in a suite without variants.
    pub variant: String,
    /// The values of the matrix, as in `link.bandwidth=1Gbit/s`, or their name; empty in a suite without matrix.
    pub point: String,
    /// What to run.
    pub scenario: Scenario,
}

/// A table that a batch shows: a row for each variant, a column for each combination of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuiteTable {
    /// How it ended, and the total time.
    Outcome,
    /// The total time.
    TotalTime,
    /// Least and greatest bandwidth.
    Bandwidth,
    /// The downtime.
    Downtime,
    /// The blackout, seen from inside.
    Blackout,
    /// Lost work.
    LostWork,
    /// How long a video would have been frozen, seen by a probe.
    FrozenVideo,
    /// Messages that a probe sent, and those that came back.
    Packets,
}

impl SuiteTable {
    /// All of them, with their names in a suite.
    pub const ALL: [(&'static str, SuiteTable); 8] = [
        ("outcome", SuiteTable::Outcome),
        ("total-time", SuiteTable::TotalTime),
        ("bandwidth", SuiteTable::Bandwidth),
        ("downtime", SuiteTable::Downtime),
        ("blackout", SuiteTable::Blackout),
        ("lost-work", SuiteTable::LostWork),
        ("frozen-video", SuiteTable::FrozenVideo),
        ("packets", SuiteTable::Packets),
    ];
}

/// Why a text is no suite.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// Not TOML.
    #[error("Suite {name} is not valid TOML: {message}")]
    Syntax {
        /// What the file is called.
        name: String,
        /// What the parser says, with the place.
        message: String,
    },
    /// A part that is not as it must be.
    #[error("Suite {name}: {problem}")]
    Shape {
        /// What the file is called.
        name: String,
        /// What is wrong, and what to write.
        problem: String,
    },
    /// One of its scenarios is not to be had.
    #[error("Suite {name}, run {run}")]
    Scenario {
        /// What the file is called.
        name: String,
        /// The run.
        run: String,
        /// What is wrong with it.
        source: Box<ScenarioError>,
    },
}

impl Suite {
    /// The names of the suites that come with Sterna.
    pub fn names() -> impl Iterator<Item = &'static str> {
        standard::STANDARD.iter().map(|(name, _)| *name)
    }

    /// The text of a suite that comes with Sterna.
    pub fn text_of(name: &str) -> Option<&'static str> {
        standard::STANDARD.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
    }

    /// Reads a suite; `name` is what it and errors are called.
    ///
    /// # Errors
    /// The text is not TOML, a part of it is not as it must be, or a scenario cannot be run.
    pub fn from_toml(name: &str, text: &str) -> Result<Suite, SuiteError> {
        let mut table: Table = toml::from_str(text).map_err(|error| SuiteError::Syntax {
            name: name.to_owned(),
            message: error.to_string().trim().replace('\n', " "),
        })?;
        let shape = |problem| SuiteError::Shape { name: name.to_owned(), problem };
        let about = match table.remove("about") {
            None => String::new(),
            Some(Value::String(about)) => about,
            Some(_) => return Err(shape("`about` must be a text".to_owned())),
        };
        let variants = variants(table.remove("variant")).map_err(shape)?;
        let tables = tables(table.remove("tables")).map_err(shape)?;
        let names: Vec<&str> = variants.iter().map(|it| it.name.as_str()).collect();
        let matrix = Matrix::read(table.remove("matrix"), &names, MOST).map_err(shape)?;
        let count: usize = names.iter().map(|it| matrix.points(it).count()).sum();
        if count > MOST {
            return Err(shape(format!("It has {count} runs; at most {MOST} can be had")));
        }
        let common = toml::to_string(&table).map_err(|error| shape(error.to_string()))?;
        let runs = Vec::with_capacity(count);
        let mut suite = Suite { name: name.to_owned(), about, tables, runs };
        for variant in &variants {
            for point in matrix.points(&variant.name) {
                suite.add(&common, variant, point)?;
            }
        }
        Ok(suite)
    }

    fn add(&mut self, common: &str, variant: &Variant, point: &Point) -> Result<(), SuiteError> {
        let name = run_name(&variant.name, point);
        if name.len() > MOST_NAME_BYTES {
            let problem = too_long(&name);
            return Err(SuiteError::Shape { name: self.name.clone(), problem });
        }
        let scenario = self.scenario(&name, common, variant, point).map_err(|source| {
            let (name, run) = (self.name.clone(), name.clone());
            SuiteError::Scenario { name, run, source: Box::new(source) }
        })?;
        if self.runs.iter().any(|run| run.name == name) {
            let problem = format!("Two runs are called {name}; give the variants other names");
            return Err(SuiteError::Shape { name: self.name.clone(), problem });
        }
        let (group, variant) = (variant.group.clone(), variant.name.clone());
        self.runs.push(SuiteRun { name, group, variant, point: point.text(), scenario });
        Ok(())
    }

    fn scenario(
        &self,
        run: &str,
        common: &str,
        variant: &Variant,
        point: &Point,
    ) -> Result<Scenario, ScenarioError> {
        let mut builder = Builder::new()
            .file("the common part", common)?
            .file(&format!("variant {}", variant.name), &variant.text)?;
        for (path, value) in &point.fields {
            builder = builder.set(path, value, Origin::Flag("[matrix]".to_owned()))?;
        }
        let name = format!("{} {run}", self.name);
        builder.set("name", &name, Origin::Flag("the suite".to_owned()))?.build()
    }
}

fn tables(value: Option<Value>) -> Result<Vec<SuiteTable>, String> {
    let known = SuiteTable::ALL;
    let table = |value: Value| {
        let name = value.as_str().map(str::to_owned).unwrap_or_else(|| value.to_string());
        let found = known.iter().find(|(known, _)| *known == name).map(|(_, table)| *table);
        found.ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            format!("`tables` has {name}; known are {}", names.join(", "))
        })
    };
    match value {
        None => Ok(vec![SuiteTable::Outcome, SuiteTable::Downtime, SuiteTable::LostWork]),
        Some(Value::Array(names)) if !names.is_empty() => names.into_iter().map(table).collect(),
        Some(_) => Err("`tables` must be a list, as in [\"outcome\", \"downtime\"]".to_owned()),
    }
}

/// `precopy,bandwidth=1Gbit-s`: what tells the run from the others, without what files cannot be called.
fn run_name(variant: &str, point: &Point) -> String {
    let variant = Some(variant.to_owned()).filter(|it| !it.is_empty());
    let parts: Vec<String> = variant.into_iter().chain(point.name_parts()).collect();
    let name = if parts.is_empty() { "run".to_owned() } else { parts.join(",") };
    let fits = |c: char| c.is_alphanumeric() || "-_.,=%".contains(c);
    let name: String = name.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    // A leading dot would hide the file, or climb out of the directory.
    name.trim_start_matches('.').to_owned()
}

fn too_long(name: &str) -> String {
    let begin: String = name.chars().take(40).collect();
    format!(
        "The name of the run that begins with `{begin}` has {} bytes; its report is a file of that name, so at most {MOST_NAME_BYTES} are allowed: give the variant a shorter name",
        name.len()
    )
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn every_variant_meets_every_point() {
        let text = "about = \"a\"\nguest.memory = \"64MiB\"\n[matrix]\n\
                    \"link.bandwidth\" = [\"1Gbit/s\", \"unlimited\"]\n\"guest.vcpus\" = [1, 2]\n\
                    [[variant]]\nname = \"plain\"\n\
                    [[variant]]\nname = \"pause 5\"\nmigration.pause.after-passes = 5\nguest.memory = \"32MiB\"\n";
        let suite = Suite::from_toml("s", text).unwrap();
        let names: Vec<&str> = suite.runs.iter().map(|run| run.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "plain,bandwidth=1Gbit-s,vcpus=1",
                "plain,bandwidth=1Gbit-s,vcpus=2",
                "plain,bandwidth=unlimited,vcpus=1",
                "plain,bandwidth=unlimited,vcpus=2",
                "pause-5,bandwidth=1Gbit-s,vcpus=1",
                "pause-5,bandwidth=1Gbit-s,vcpus=2",
                "pause-5,bandwidth=unlimited,vcpus=1",
                "pause-5,bandwidth=unlimited,vcpus=2",
            ]
        );
        assert_eq!(suite.runs[0].point, "link.bandwidth=1Gbit/s guest.vcpus=1");
        assert_eq!(suite.runs[5].scenario.guest.vcpus, 2);
        assert_eq!(suite.runs[5].scenario.guest.memory.to_string(), "32MiB");
        assert_eq!(suite.runs[0].scenario.guest.memory.to_string(), "64MiB");
        let name = suite.runs[7].scenario.name.as_deref();
        assert_eq!(name, Some("s pause-5,bandwidth=unlimited,vcpus=2"));
    }

    #[test]
    fn combinations_are_left_out_and_added() {
        let text = "[matrix]\n\"guest.vcpus\" = [1, 2]\n\"link.bandwidth\" = [\"1Gbit/s\", \"unlimited\"]\n\
                    exclude = [{ guest.vcpus = 1, link.bandwidth = \"unlimited\" }, { variant = \"b\", guest.vcpus = 2 }]\n\
                    include = [{ name = \"huge\", guest.vcpus = 16 }, { variant = \"b\", \"guest.vcpus\" = 3 }]\n\
                    [[variant]]\nname = \"a\"\ngroup = \"g\"\n[[variant]]\nname = \"b\"\n";
        let suite = Suite::from_toml("s", text).unwrap();
        let names: Vec<&str> = suite.runs.iter().map(|run| run.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "a,vcpus=1,bandwidth=1Gbit-s",
                "a,vcpus=2,bandwidth=1Gbit-s",
                "a,vcpus=2,bandwidth=unlimited",
                "a,huge",
                "b,vcpus=1,bandwidth=1Gbit-s",
                "b,huge",
                "b,vcpus=3",
            ]
        );
        assert_eq!((suite.runs[3].group.as_str(), suite.runs[3].point.as_str()), ("g", "huge"));
        assert_eq!(suite.runs[3].scenario.guest.vcpus, 16);
        let only = Suite::from_toml("s", "[matrix]\ninclude = [{ guest.vcpus = 3 }]").unwrap();
        assert_eq!(only.runs.len(), 1);
    }

    #[test]
    fn a_scenario_is_a_suite_of_one() {
        let suite = Suite::from_toml("s", "guest.vcpus = 3").unwrap();
        assert_eq!((suite.runs.len(), suite.runs[0].name.as_str()), (1, "run"));
        assert_eq!(suite.runs[0].scenario.guest.vcpus, 3);
    }

    #[test]
    fn a_run_name_of_70000_bytes_is_refused_with_its_length() {
        let text = format!("[[variant]]\nname = \"{}\"\n", "x".repeat(70_000));
        let error = Suite::from_toml("s", &text).unwrap_err().to_string();
        assert!(error.contains("has 70000 bytes") && error.len() < 400, "{error}");
    }

    #[test]
    fn mistakes_are_named() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let error = Suite::from_toml("s", text).unwrap_err();
            let source = error.source().map(|it| format!(": {it}")).unwrap_or_default();
            let found = format!("{error}{source}");
            assert!(found.contains(expected), "{found}");
        }
        check("[[variant]]", "Each [[variant]] needs a name");
        check("variant = 1", "must be tables");
        check("matrix = 1", "must be a table");
        check("[matrix]\n\"guest.vcpus\" = 1", "`guest.vcpus` must be a list of values");
        check("[matrix]\n\"guest.vcpus\" = []", "`guest.vcpus` has no values");
        check("[matrix]\n\"guest.vcpu\" = [1]", "did you mean `guest.vcpus`?");
        check("[matrix]\ninclude = 1", "`include` must be a list of tables");
        check("[matrix]\ninclude = [1]", "`include` must be a list of tables");
        check(
            "[matrix]\ninclude = [{ guest.vcpus = [1] }]",
            "`guest.vcpus` of `include` must be one value",
        );
        check("[matrix]\ninclude = [{ variant = \"x\" }]", "variant x, which there is not");
        check(
            "[matrix]\n\"guest.vcpus\" = [1]\nexclude = [{ guest.vcpus = 2 }]",
            "`exclude` has { guest.vcpus=2 }, which no combination matches",
        );
        check("[matrix]\n\"guest.vcpus\" = [1]\nexclude = [{}]", "which no combination matches");
        check("tables = [\"weather\"]", "`tables` has weather; known are outcome");
        check("tables = 1", "`tables` must be a list");
        check("[[variant]]\nname = \"a\"\ngroup = 1", "`group` of variant a must be a text");
        check("[[variant]]\nname = \"a\"\nguest.vcpu = 1", "at variant a:");
        check("guest.vcpus = 0", "run run: ");
        check(
            "[[variant]]\nname = \"a/b\"\n[[variant]]\nname = \"a-b\"",
            "Two runs are called a-b",
        );
        check("x =", "not valid TOML");
        let many = (0..101).map(|it| it.to_string()).collect::<Vec<_>>().join(",");
        let two = format!("[matrix]\n\"workload.seed\" = [{many}]\n\"guest.vcpus\" = [{many}]");
        check(&two, "[matrix] has 10201 combinations");
    }

    #[test]
    fn the_standard_suites_are_sound() {
        for name in Suite::names() {
            let suite = Suite::from_toml(name, Suite::text_of(name).unwrap()).unwrap();
            assert!(!suite.about.is_empty() && suite.runs.len() > 1, "{name}");
        }
    }
}
