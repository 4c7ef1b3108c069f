//! Which tests could not run here, and why.
//!
//! A test that needs a feature this machine lacks must neither fail nor pass in silence: it prints
//! `skipped: <reason>` to stderr and returns. That is all it has to do, for every runner keeps
//! what a test prints; here it is found again and shown at the end, where it is read.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::process::root;

const SIGN: &str = "skipped:";

/// Where nextest writes its report in the profile `ci`; see `.config/nextest.toml`.
pub fn nextest_report() -> PathBuf {
    root().join("target/nextest/ci/tests.xml")
}

/// Removes the report of an earlier run, so that it cannot be taken for this one's.
pub fn forget_nextest_report() -> Result<()> {
    let path = nextest_report();
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("Cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// `test: reason` for every skip that a nextest report (JUnit's XML) tells of.
pub fn in_nextest_report(xml: &str) -> Vec<String> {
    let mut skips = Vec::new();
    for case in xml.split("<testcase ").skip(1) {
        let package = attribute(case, "classname").unwrap_or_default();
        let test = attribute(case, "name").unwrap_or_default();
        let Some((_, errors)) = case.split_once("<system-err>") else { continue };
        let errors = unescaped(errors.split("</system-err>").next().unwrap_or_default());
        skips.extend(errors.lines().filter_map(reason).map(|it| format!("{package} {test}: {it}")));
    }
    skips
}

/// The same from the output of `cargo test -- --show-output`, seen line by line.
#[derive(Default)]
pub struct CargoOutput {
    test: String,
    skips: Vec<String>,
}

impl CargoOutput {
    /// Looks at the next line.
    pub fn see(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(test) =
            line.strip_prefix("---- ").and_then(|it| it.strip_suffix(" stdout ----"))
        {
            test.clone_into(&mut self.test);
        } else if let Some(reason) = reason(line) {
            self.skips.push(format!("{}: {reason}", self.test));
        }
    }

    /// What was found.
    pub fn skips(self) -> Vec<String> {
        self.skips
    }
}

/// The count and the reasons, ready to print.
pub fn summary(mut skips: Vec<String>) -> String {
    skips.sort_unstable();
    skips.insert(0, format!("Skipped for want of a feature: {}", skips.len()));
    skips.join("\n  ")
}

fn reason(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix(SIGN).map(str::trim)
}

fn attribute(case: &str, name: &str) -> Option<String> {
    let tag = case.split('>').next()?;
    let found = tag.split("\" ").find_map(|it| it.trim().strip_prefix(name)?.strip_prefix("=\""));
    found.map(|it| unescaped(it.trim_end_matches('"')))
}

/// `&amp;` comes last, so that an escaped ampersand begins no other escape.
fn unescaped(xml: &str) -> String {
    xml.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_and_names_each_skip() {
        assert_eq!(summary(vec![]), "Skipped for want of a feature: 0");
        assert_eq!(
            summary(vec!["b: no KVM".to_owned(), "a: no userfaultfd".to_owned()]),
            "Skipped for want of a feature: 2\n  a: no userfaultfd\n  b: no KVM"
        );
    }

    #[test]
    fn nextest_s_report_is_understood() {
        let xml = r#"<testsuites name="nextest-run" tests="3">
            <testsuite name="sterna-sys" tests="3">
                <testcase name="a::one" classname="sterna-sys" time="0.1">
                    <system-out>skipped: only stderr counts</system-out>
                    <system-err></system-err>
                </testcase>
                <testcase name="a::two" classname="sterna-sys::tracking" time="0.1">
                    <system-err>skipped: 2 MiB &amp;lt; 1 GiB
it was not skipped: a line that begins otherwise
skipped: &quot;no&quot; pages
</system-err>
                </testcase>
                <testcase name="a::three" classname="sterna-sys" time="0.1">
                </testcase>"#;
        assert_eq!(
            in_nextest_report(xml),
            [
                "sterna-sys::tracking a::two: 2 MiB &lt; 1 GiB",
                "sterna-sys::tracking a::two: \"no\" pages"
            ]
        );
    }

    #[test]
    fn cargo_s_output_is_understood() {
        let mut output = CargoOutput::default();
        for line in [
            "test a::one ... ok\n",
            "---- a::one stdout ----\n",
            "skipped: no KVM\n",
            "test result: ok. 1 passed\n",
        ] {
            output.see(line);
        }
        assert_eq!(output.skips(), ["a::one: no KVM"]);
    }
}
