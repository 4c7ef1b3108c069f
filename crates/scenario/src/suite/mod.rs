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

mod sweep;

use toml::{Table, Value};

use crate::builder::Builder;
use crate::error::{Origin, ScenarioError};
use crate::types::Scenario;
use sweep::{Axis, points};

/// The suites that come with Sterna: name and text.
const STANDARD: &[(&str, &str)] = &[
    ("techniques", include_str!("../../suites/techniques.toml")),
    ("fleet", include_str!("../../suites/fleet.toml")),
];

/// Most runs of a suite; more is a slip of the pen that would run for days.
const MOST: usize = 10_000;

/// Scenarios that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Suite {
    /// What it is called.
    pub name: String,
    /// What it is for, in a sentence.
    pub about: String,
    /// Its runs: for each variant those of the matrix, in the order in which they were written.
    pub runs: Vec<SuiteRun>,
}

/// One scenario of a suite.
#[derive(Debug, Clone, PartialEq)]
pub struct SuiteRun {
    /// Unique within the suite, and fit for a file name.
    pub name: String,
    /// The variant's name; empty in a suite without variants.
    pub variant: String,
    /// The values of the matrix, as in `link.bandwidth=1Gbit/s`; empty in a suite without matrix.
    pub point: String,
    /// What to run.
    pub scenario: Scenario,
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

/// A variant: its name, and its fields as a file of their own.
struct Variant {
    name: String,
    text: String,
}

impl Suite {
    /// The names of the suites that come with Sterna.
    pub fn names() -> impl Iterator<Item = &'static str> {
        STANDARD.iter().map(|(name, _)| *name)
    }

    /// The text of a suite that comes with Sterna.
    pub fn text_of(name: &str) -> Option<&'static str> {
        STANDARD.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
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
        let axes = sweep::axes(table.remove("matrix")).map_err(shape)?;
        let count = axes.iter().fold(variants.len(), |runs, axis| runs * axis.values.len());
        if count > MOST {
            return Err(shape(format!("It has {count} runs; at most {MOST} can be had")));
        }
        let common = toml::to_string(&table).map_err(|error| shape(error.to_string()))?;
        let mut suite = Suite { name: name.to_owned(), about, runs: Vec::with_capacity(count) };
        for variant in &variants {
            for point in points(&axes) {
                suite.add(&common, variant, &point)?;
            }
        }
        Ok(suite)
    }

    fn add(
        &mut self,
        common: &str,
        variant: &Variant,
        point: &[(&Axis, &String)],
    ) -> Result<(), SuiteError> {
        let words = point.iter().map(|(axis, value)| format!("{}={value}", axis.path));
        let point_text = words.collect::<Vec<_>>().join(" ");
        let name = run_name(&variant.name, point);
        let scenario = self.scenario(&name, common, variant, point).map_err(|source| {
            let (name, run) = (self.name.clone(), name.clone());
            SuiteError::Scenario { name, run, source: Box::new(source) }
        })?;
        if self.runs.iter().any(|run| run.name == name) {
            let problem = format!("Two runs are called {name}; give the variants other names");
            return Err(SuiteError::Shape { name: self.name.clone(), problem });
        }
        let variant = variant.name.clone();
        self.runs.push(SuiteRun { name, variant, point: point_text, scenario });
        Ok(())
    }

    fn scenario(
        &self,
        run: &str,
        common: &str,
        variant: &Variant,
        point: &[(&Axis, &String)],
    ) -> Result<Scenario, ScenarioError> {
        let mut builder = Builder::new()
            .file("the common part", common)?
            .file(&format!("variant {}", variant.name), &variant.text)?;
        for (axis, value) in point {
            builder = builder.set(&axis.path, value, Origin::Flag("[matrix]".to_owned()))?;
        }
        let name = format!("{} {run}", self.name);
        builder.set("name", &name, Origin::Flag("the suite".to_owned()))?.build()
    }
}

fn variants(value: Option<Value>) -> Result<Vec<Variant>, String> {
    let tables = match value {
        None => return Ok(vec![Variant { name: String::new(), text: String::new() }]),
        Some(Value::Array(tables)) if !tables.is_empty() => tables,
        Some(_) => return Err("`variant` must be tables, written [[variant]]".to_owned()),
    };
    tables.into_iter().map(variant).collect()
}

fn variant(value: Value) -> Result<Variant, String> {
    let Value::Table(mut fields) = value else {
        return Err("`variant` must be tables, written [[variant]]".to_owned());
    };
    match fields.remove("name") {
        Some(Value::String(name)) if !name.trim().is_empty() => {
            let text = toml::to_string(&fields).map_err(|error| error.to_string())?;
            Ok(Variant { name, text })
        }
        _ => Err("Each [[variant]] needs a name, as in name = \"precopy\"".to_owned()),
    }
}

/// `precopy,bandwidth=1Gbit-s`: what tells the run from the others, without what files cannot be called.
fn run_name(variant: &str, point: &[(&Axis, &String)]) -> String {
    let parts = point.iter().map(|(axis, value)| format!("{}={value}", axis.key()));
    let parts: Vec<String> =
        std::iter::once(variant.to_owned()).filter(|it| !it.is_empty()).chain(parts).collect();
    let name = if parts.is_empty() { "run".to_owned() } else { parts.join(",") };
    let fits = |c: char| c.is_alphanumeric() || "-_.,=%".contains(c);
    let name: String = name.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    // A leading dot would hide the file, or climb out of the directory.
    name.trim_start_matches('.').to_owned()
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
    fn a_scenario_is_a_suite_of_one() {
        let suite = Suite::from_toml("s", "guest.vcpus = 3").unwrap();
        assert_eq!((suite.runs.len(), suite.runs[0].name.as_str()), (1, "run"));
        assert_eq!(suite.runs[0].scenario.guest.vcpus, 3);
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
        check("[[variant]]\nname = \"a\"\nguest.vcpu = 1", "at variant a:");
        check("guest.vcpus = 0", "run run: ");
        check(
            "[[variant]]\nname = \"a/b\"\n[[variant]]\nname = \"a-b\"",
            "Two runs are called a-b",
        );
        check("x =", "not valid TOML");
        let many = (0..101).map(|it| it.to_string()).collect::<Vec<_>>().join(",");
        let two = format!("[matrix]\n\"workload.seed\" = [{many}]\n\"guest.vcpus\" = [{many}]");
        check(&two, "It has 10201 runs");
    }

    #[test]
    fn the_standard_suites_are_sound() {
        for name in Suite::names() {
            let suite = Suite::from_toml(name, Suite::text_of(name).unwrap()).unwrap();
            assert!(!suite.about.is_empty() && suite.runs.len() > 1, "{name}");
        }
    }
}
