//! What others want of a dirtier that runs.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use anyhow::Result;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Say how it goes, and go on.
    Summary,
    /// End in good order.
    End,
}

/// The exit code of a run that was interrupted.
pub const INTERRUPTED: u8 = 130;

/// Turns signals into wishes from now on; a second signal to end ends at once.
pub fn wishes() -> Result<Receiver<Wish>> {
    let is_ending = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let (code, flag) = (i32::from(INTERRUPTED), Arc::clone(&is_ending));
        signal_hook::flag::register_conditional_shutdown(signal, code, flag)?;
        signal_hook::flag::register(signal, Arc::clone(&is_ending))?;
    }
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR2])?;
    let (sender, receiver) = channel();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let wish = if signal == SIGUSR2 { Wish::Summary } else { Wish::End };
            if sender.send(wish).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}
