//! A value after a flag that takes none, which is then read as the scenario file: `--multifd 8`.

use std::ffi::OsString;
use std::path::Path;

use sterna_scenario::{Kind, settings, tables};

/// What to say where a file that is not there follows such a flag.
pub fn value(file: &Path, arguments: impl Iterator<Item = OsString>) -> Option<String> {
    let arguments: Vec<String> = arguments.map(|it| it.to_string_lossy().into_owned()).collect();
    let value = file.to_string_lossy();
    let at = arguments.iter().position(|it| *it == value)?;
    let flag = arguments.get(at.checked_sub(1)?)?.strip_prefix("--")?;
    let found = |way_out: String| {
        Some(format!(
            "`{value}` after --{flag} is read as the scenario file, and there is no such file: {way_out}"
        ))
    };
    if let Some(table) = tables().iter().find(|it| it.is_optional() && it.flag() == flag) {
        let mut flags = settings().iter().filter(|it| it.table() == table.path());
        let is_number = value.parse::<f64>().is_ok();
        let named = flags.find(|it| !is_number || it.kind() == Kind::Integer);
        let example =
            named.map_or_else(String::new, |it| format!("; write --{} {value}", it.flag()));
        return found(format!("--{flag} takes only =on or =off{example}"));
    }
    let setting = settings().iter().find(|it| it.flag() == flag)?;
    if setting.kind() != Kind::Boolean {
        return None;
    }
    found(format!("write --{flag}={}", if value == "false" { "false" } else { "true" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_after_a_flag_that_takes_none_is_answered_with_the_right_flag() {
        let hint = |arguments: &[&str], file: &str| {
            value(Path::new(file), arguments.iter().map(OsString::from))
        };
        let table = [
            (&["sterna", "run", "--multifd", "8"][..], "8", "write --multifd-channels 8"),
            (&["sterna", "run", "--postcopy", "3"], "3", "write --postcopy-after-passes 3"),
            (&["sterna", "run", "--auto-converge", "30"], "30", "--auto-converge-initial 30"),
            (&["sterna", "run", "--xbzrle", "64MiB"], "64MiB", "write --xbzrle-cache 64MiB"),
            (&["sterna", "run", "--locked", "true"], "true", "write --locked=true"),
            (&["sterna", "run", "--zero-copy", "false"], "false", "write --zero-copy=false"),
        ];
        for (arguments, file, words) in table {
            let hint = hint(arguments, file).unwrap_or_else(|| panic!("{arguments:?}"));
            assert!(hint.contains(words), "{arguments:?}: {hint}");
            assert!(!hint.contains("Cannot read scenario"), "{hint}");
        }
        assert_eq!(hint(&["sterna", "run", "a.toml"], "a.toml"), None);
        assert_eq!(hint(&["sterna", "run", "--memory", "8"], "8"), None);
        assert_eq!(hint(&["sterna", "run", "--multifd", "on", "a"], "a"), None);
    }
}
