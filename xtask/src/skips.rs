//! Which tests could not run here, and why.
//!
//! A test that needs a feature this machine lacks must neither fail nor pass in silence. It
//! appends one line, `test-name: reason`, to the file that `STERNA_SKIP_LOG` names, and returns.
//! Tests run in processes of their own, which is why this is a file and not a counter.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

const VARIABLE: &str = "STERNA_SKIP_LOG";

/// The file in which tests say why they were skipped; it goes away with this value.
pub struct SkipLog {
    path: PathBuf,
}

impl SkipLog {
    /// Begins an empty log.
    pub fn create() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("sterna-skips-{}", std::process::id()));
        std::fs::write(&path, "").with_context(|| format!("Cannot write {}", path.display()))?;
        Ok(Self { path })
    }

    /// Tells a command's tests where to write.
    pub fn pass_to<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env(VARIABLE, &self.path)
    }

    /// The count and the reasons, ready to print.
    pub fn summary(&self) -> Result<String> {
        let text = std::fs::read(&self.path)
            .with_context(|| format!("Cannot read {}", self.path.display()))?;
        Ok(summary(&String::from_utf8_lossy(&text)))
    }
}

impl Drop for SkipLog {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Sorted, and each line once: a test that the runner tries again writes its reason again.
fn summary(log: &str) -> String {
    let mut lines: Vec<&str> = log.lines().map(str::trim).filter(|it| !it.is_empty()).collect();
    lines.sort_unstable();
    lines.dedup();
    let heading = format!("Skipped for want of a feature: {}", lines.len());
    std::iter::once(heading)
        .chain(lines.iter().map(|it| format!("  {it}")))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_and_names_each_skip_once() {
        assert_eq!(summary(""), "Skipped for want of a feature: 0");
        assert_eq!(
            summary("b: no KVM\na: no userfaultfd\n\nb: no KVM\n"),
            "Skipped for want of a feature: 2\n  a: no userfaultfd\n  b: no KVM"
        );
    }

    #[test]
    fn what_a_test_process_writes_is_reported_and_the_file_goes_away() {
        let log = SkipLog::create().unwrap();
        let mut test = Command::new("sh");
        test.args(["-c", "echo 'x: no huge pages' >> \"$STERNA_SKIP_LOG\""]);
        assert!(log.pass_to(&mut test).status().unwrap().success());
        assert!(log.summary().unwrap().ends_with("1\n  x: no huge pages"));
        let path = log.path.clone();
        drop(log);
        assert!(!path.exists());
    }
}
