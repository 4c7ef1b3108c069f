//! Lines on a terminal that replace each other.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sterna_units::printable;

/// A line below all others that shows how it goes; what is set or printed loses what could steer the terminal.
pub struct LiveLine(ProgressBar);

impl LiveLine {
    /// A spinner in this style.
    pub fn spinner(template: &str, tick: Duration) -> LiveLine {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(tick);
        LiveLine(bar)
    }

    /// A bar for this many steps.
    pub fn bar(steps: usize, style: ProgressStyle, tick: Duration) -> LiveLine {
        let bar = ProgressBar::new(steps as u64);
        bar.set_style(style);
        bar.enable_steady_tick(tick);
        LiveLine(bar)
    }

    /// Sets what stands before the message.
    pub fn set_prefix(&self, text: &str) {
        self.0.set_prefix(printable(text).into_owned());
    }

    /// Sets what is shown now.
    pub fn set_message(&self, text: &str) {
        self.0.set_message(printable(text).into_owned());
    }

    /// Prints a line that stays, above the live one.
    pub fn print_above(&self, text: &str) {
        self.0.println(printable(text));
    }

    /// Shows that this many steps are done.
    pub fn set_position(&self, steps: usize) {
        self.0.set_position(steps as u64);
    }

    /// Takes the line away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}
