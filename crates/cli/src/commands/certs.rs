//! `sterna certs`: an authority and the certificates of both ends.

use std::time::Duration;

use anyhow::Result;
use sterna_wire::tls::{self, CA_KEY, TlsError};

use crate::args::CertsCommand;
use crate::output::Output;
use crate::usage;

/// Makes the files and says what to do with them.
pub fn run(options: &CertsCommand, output: Output) -> Result<u8> {
    let CertsCommand { directory, names, days } = options;
    let valid = Duration::from_secs(u64::from(*days) * 86_400);
    let issued = tls::issue(directory, names, valid).map_err(|error| match error {
        TlsError::Exists(_) | TlsError::Name(_) => usage(error),
        other => other.into(),
    })?;
    let files: String = issued.files.iter().map(|it| format!("{}\n", it.display())).collect();
    output.result(&files)?;
    output.progress(&format!(
        "Valid for {days} days; a listening machine may be reached as {}.\n\
         Copy {} without {CA_KEY} to every machine that takes part, and keep {CA_KEY} to yourself.\n",
        issued.names.join(", "),
        directory.display(),
    ));
    Ok(0)
}
