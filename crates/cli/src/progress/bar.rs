//! A live line on a terminal.

use std::time::Duration;

use sterna_pilot::Notice;

use super::{Watcher, silence_line, status_line};
use crate::live::LiveLine;

/// A spinner with the phase and the latest status.
pub struct Bar {
    bar: LiveLine,
}

impl Bar {
    /// Begins to spin.
    pub fn new() -> Bar {
        let template = "{spinner} {prefix:<10} {wide_msg}";
        Bar { bar: LiveLine::spinner(template, Duration::from_millis(100)) }
    }
}

impl Watcher for Bar {
    fn notice(&mut self, _: Option<u32>, notice: &Notice) {
        match notice {
            Notice::Phase(phase) => {
                self.bar.set_prefix(phase.as_str());
                self.bar.set_message("");
            }
            Notice::Progress(it) => {
                let percent = it.done as f64 * 100.0 / it.total.max(1) as f64;
                self.bar.set_message(&format!("{} {percent:.0} %", it.what));
            }
            Notice::Status { elapsed_seconds, status, stalled_seconds } => {
                self.bar.set_message(&status_line(*elapsed_seconds, status, *stalled_seconds));
            }
            Notice::Silence { elapsed_seconds, side, silent_seconds } => {
                self.bar.set_message(&silence_line(*elapsed_seconds, *side, *silent_seconds));
            }
            Notice::Event { kind: "state" | "pass" | "migrate", .. } => {}
            Notice::Event { text, .. } => self.bar.print_above(text),
        }
    }

    fn finish(&mut self) {
        self.bar.finish();
    }
}
