//! Reports that are written after their result was printed, so that a full disk never loses a run.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use sterna_report::write_atomically;

use crate::output::Output;

/// The exit code of a run that ended well and whose report could not be written.
const NOT_WRITTEN: u8 = 1;

/// Writes a report whose result was printed, and returns the exit code. A report that cannot be written goes to the
/// directory for temporary files, and the error says where; the code is then never 0.
pub fn report(path: &Path, text: &str, code: u8, output: Output) -> u8 {
    let Err(error) = write_atomically(path, text.as_bytes()) else { return code };
    let elsewhere = match to_temporary(text) {
        Ok(path) => format!("it is in {} instead", path.display()),
        Err(error) => format!("and it cannot be kept elsewhere: {error}"),
    };
    output.error(&format!("{error}: {}; {elsewhere}", error.source));
    if code == 0 { NOT_WRITTEN } else { code }
}

fn to_temporary(text: &str) -> std::io::Result<PathBuf> {
    let mut file = tempfile::Builder::new().prefix("sterna-report-").suffix(".json").tempfile()?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    Ok(file.keep()?.1)
}
