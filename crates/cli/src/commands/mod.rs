//! One file for each subcommand.

mod baseline;
mod batch;
mod certs;
mod compare;
mod completions;
mod dirty;
mod doctor;
mod foresight;
mod host;
mod keep_qemu;
mod kept;
#[cfg(feature = "kubevirt")]
pub mod kubevirt;
mod man;
mod probe;
mod refusals;
mod repeat;
mod report;
mod run;
mod schema;
mod stream;
mod suites;
mod watch;

use std::fs::OpenOptions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Result, anyhow};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use sterna_pilot::Interrupt;
use sterna_sys::run_directory;
use sterna_wire::tls::{CLIENT_KEY, SERVER_KEY};

use crate::args::{Action, Invocation};
use crate::output::Output;
use crate::usage;

/// The exit code of what the user has interrupted.
const INTERRUPTED: i32 = 130;

/// How long a second signal leaves for a report and for removing what was made; by then the process ends.
const URGENT_END: Duration = Duration::from_millis(900);

/// Does what was asked; returns the exit code.
pub fn run(invocation: Invocation) -> Result<u8> {
    // Without a handler the kernel kills whoever writes beyond the limit of `ulimit -f`, and says nothing; with one,
    // the write fails, and the error names the file.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    let Invocation { output, action } = invocation;
    match action {
        Action::Run(options) => run::run(*options, output),
        Action::Batch(options) => batch::run(*options, output),
        Action::Watch(options) => watch::run(&options, output),
        Action::Compare(options) => compare::run(*options, output),
        Action::Suites(show) => suites::run(show.as_deref(), output),
        Action::Report(options) => report::run(&options, output),
        Action::Reproduce(options) => foresight::run_reproduce(&options, output),
        Action::Predict(known) => foresight::run_predict(&known, output),
        Action::Advise(options) => foresight::run_advise(&options, output),
        Action::Diagnose(options) => foresight::run_diagnose(&options, output),
        Action::Dirty(options) => dirty::run(*options, output),
        Action::Probe(command) => probe::run(*command, output),
        Action::Stream(command) => stream::run(command, output),
        Action::Host(options) => host::run(options, output),
        Action::Certs(options) => certs::run(&options, output),
        Action::KeepQemu => keep_qemu::run(),
        #[cfg(feature = "kubevirt")]
        Action::Kubevirt(command) => kubevirt::run(*command, output),
        Action::Doctor { format, qemus } => doctor::run(format, &qemus, output),
        Action::Schema(document) => schema::run(document, output),
        Action::Completions(shell) => completions::run(shell, output),
        Action::Man { directory } => man::run(directory.as_deref(), output),
    }
}

/// The secret of hosts that listen: from a file, or from the environment; never from the command line, which everybody can read.
fn token(file: Option<&Path>, output: Output) -> Result<Option<String>> {
    let Some(file) = file else {
        let token = std::env::var("STERNA_HOST_TOKEN").ok();
        return Ok(token.map(|it| it.trim().to_owned()).filter(|it| !it.is_empty()));
    };
    let text = std::fs::read_to_string(file).map_err(|error| {
        usage(anyhow!("--token-file {} cannot be read: {error}", file.display()))
    })?;
    warn_of_readers("--token-file ", file, output);
    match text.trim() {
        "" => Err(usage(anyhow!("--token-file {} is empty", file.display()))),
        token => Ok(Some(token.to_owned())),
    }
}

/// Private keys are secrets as tokens are.
fn warn_of_open_keys(directory: Option<&Path>, output: Output) {
    for key in directory.into_iter().flat_map(|it| [SERVER_KEY, CLIENT_KEY].map(|key| it.join(key)))
    {
        warn_of_readers("", &key, output);
    }
}

/// Warns of a secret that is no secret on this machine.
fn warn_of_readers(flag: &str, file: &Path, output: Output) {
    let Ok(metadata) = std::fs::metadata(file) else { return };
    // A pipe of the caller's own has no mode that matters, and belongs to this user.
    if metadata.is_file() && metadata.permissions().mode() & 0o044 != 0 {
        output.warn(&format!(
            "{flag}{0} can be read by other users of this machine, who may then use what it protects; `chmod 600 {0}` prevents it",
            file.display()
        ));
    }
}

/// A report that cannot be written shall be known before the run, not after it. Nothing is left of the attempt.
fn check_writable(path: &Path) -> Result<()> {
    let fail = |error: std::io::Error| {
        usage(anyhow!("Cannot write the report to {}: {error}", path.display()))
    };
    match std::fs::metadata(path) {
        Ok(it) if it.is_dir() => return Err(fail(std::io::ErrorKind::IsADirectory.into())),
        Ok(_) => return OpenOptions::new().append(true).open(path).map(|_| ()).map_err(fail),
        Err(_) => {}
    }
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    tempfile::tempfile_in(directory).map(|_| ()).map_err(fail)
}

/// Removes what runs left that were killed, and says so.
fn remove_leftovers(output: Output) {
    let removed = run_directory::sweep(&run_directory::usual_place());
    for path in removed {
        output.progress(&format!("Removed {}, left by a run that was killed\n", path.display()));
    }
}

/// The first signal ends the run in good order, the second at once.
///
/// Every wait hears both. If one does not, the process ends all the same a moment after the second; what it has
/// started ends with it, and nothing else does.
fn interrupt_on_signals() -> Result<Interrupt> {
    let interrupt = Interrupt::default();
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let ours = interrupt.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            ours.request();
            if ours.urgent() {
                std::thread::sleep(URGENT_END);
                std::process::exit(INTERRUPTED);
            }
        }
    })?;
    Ok(interrupt)
}
