//! One line per second, for logs.

use std::io::Write;

use sterna_pilot::Notice;

use super::{Watcher, status_line};

/// Prints phases as they begin, events as they happen, and the status once a second.
#[derive(Default)]
pub struct Plain {
    next_seconds: f64,
}

impl Watcher for Plain {
    fn notice(&mut self, notice: &Notice) {
        match notice {
            Notice::Phase(phase) => say(phase.as_str()),
            Notice::Progress(it) => {
                let percent = it.done as f64 * 100.0 / it.total.max(1) as f64;
                say(&format!("{} {percent:.0} %", it.what));
            }
            Notice::Status { elapsed_seconds, status } => {
                let is_over = status.state.is_terminal();
                if is_over || *elapsed_seconds >= self.next_seconds {
                    self.next_seconds = elapsed_seconds.floor() + 1.0;
                    say(&status_line(*elapsed_seconds, status));
                }
            }
            // States and passes are in the status lines.
            Notice::Event { kind: "state" | "pass" | "migrate", .. } => {}
            Notice::Event { text, .. } => say(text),
        }
    }
}

fn say(text: &str) {
    // A reader that has gone away must not end the run.
    let _ = writeln!(std::io::stderr(), "{text}");
}
