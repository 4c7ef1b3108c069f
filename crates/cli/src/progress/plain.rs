//! One line per second, for logs.

use std::collections::BTreeMap;
use std::io::Write;

use sterna_pilot::Notice;

use super::{Watcher, status_line};

/// Prints phases as they begin, events as they happen, and the status once a second, for each guest.
#[derive(Default)]
pub struct Plain {
    next_seconds: BTreeMap<Option<u32>, f64>,
}

impl Watcher for Plain {
    fn notice(&mut self, guest: Option<u32>, notice: &Notice) {
        match notice {
            Notice::Phase(phase) => say(guest, phase.as_str()),
            Notice::Progress(it) => {
                let percent = it.done as f64 * 100.0 / it.total.max(1) as f64;
                say(guest, &format!("{} {percent:.0} %", it.what));
            }
            Notice::Status { elapsed_seconds, status } => {
                let next_seconds = self.next_seconds.entry(guest).or_default();
                let is_over = status.state.is_terminal();
                if is_over || *elapsed_seconds >= *next_seconds {
                    *next_seconds = elapsed_seconds.floor() + 1.0;
                    say(guest, &status_line(*elapsed_seconds, status));
                }
            }
            // States and passes are in the status lines.
            Notice::Event { kind: "state" | "pass" | "migrate", .. } => {}
            Notice::Event { text, .. } => say(guest, text),
        }
    }
}

fn say(guest: Option<u32>, text: &str) {
    let whose = guest.map(|it| format!("guest {it}: ")).unwrap_or_default();
    // A reader that has gone away must not end the run.
    let _ = writeln!(std::io::stderr(), "{whose}{text}");
}
