//! One line per second, for logs.

use std::collections::BTreeMap;

use sterna_pilot::Notice;
use sterna_units::printable;

use super::{Watcher, silence_line, status_line};
use crate::output::Output;

/// Prints phases as they begin, events as they happen, and the status once a second, for each guest.
pub struct Plain {
    output: Output,
    next_seconds: BTreeMap<Option<u32>, f64>,
}

impl Plain {
    /// Nothing is shown yet.
    pub fn new(output: Output) -> Plain {
        Plain { output, next_seconds: BTreeMap::new() }
    }

    /// Once a second for each guest.
    fn is_due(&mut self, guest: Option<u32>, elapsed_seconds: f64) -> bool {
        let next_seconds = self.next_seconds.entry(guest).or_default();
        let is_due = elapsed_seconds >= *next_seconds;
        if is_due {
            *next_seconds = elapsed_seconds.floor() + 1.0;
        }
        is_due
    }

    fn say(&self, guest: Option<u32>, text: &str) {
        let whose = guest.map(|it| format!("guest {it}: ")).unwrap_or_default();
        // A note that nobody can read any more must not end the run.
        self.output.note(&format!("{whose}{}\n", printable(text)));
    }
}

impl Watcher for Plain {
    fn notice(&mut self, guest: Option<u32>, notice: &Notice) {
        match notice {
            Notice::Phase(phase) => self.say(guest, phase.as_str()),
            Notice::Progress(it) => {
                let percent = it.done as f64 * 100.0 / it.total.max(1) as f64;
                self.say(guest, &format!("{} {percent:.0} %", it.what));
            }
            Notice::Status { elapsed_seconds, status, stalled_seconds } => {
                if self.is_due(guest, *elapsed_seconds) || status.state.is_terminal() {
                    self.say(guest, &status_line(*elapsed_seconds, status, *stalled_seconds));
                }
            }
            Notice::Silence { elapsed_seconds, side, silent_seconds } => {
                if self.is_due(guest, *elapsed_seconds) {
                    self.say(guest, &silence_line(*elapsed_seconds, *side, *silent_seconds));
                }
            }
            // States and passes are in the status lines.
            Notice::Event { kind: "state" | "pass" | "migrate", .. } => {}
            Notice::Event { text, .. } => self.say(guest, text),
        }
    }
}
