//! How a batch as a whole goes on: a line for each run, and on a terminal a bar below them.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressState, ProgressStyle};

use crate::live::LiveLine;
use crate::output::Output;

/// Shows the progress of a batch.
pub struct Overall {
    output: Output,
    bar: Option<LiveLine>,
    /// When all will be done, as far as can be told.
    due: Due,
    began: Instant,
    all: usize,
    /// Runs that are done, and those of them that were made now.
    done: usize,
    made: usize,
    to_make: usize,
    concurrent: usize,
}

/// Shared with the bar, which counts down between two runs, too.
type Due = Arc<Mutex<Option<Instant>>>;

impl Overall {
    /// Of `all` runs, of which `to_make` are not there yet.
    pub fn new(all: usize, to_make: usize, concurrent: usize, output: Output) -> Overall {
        let is_shown = output.is_noted_on_terminal() && !output.is_quiet();
        let due = Due::default();
        let bar = is_shown.then(|| bar(all, due.clone()));
        let began = Instant::now();
        Overall { output, bar, due, began, all, done: 0, made: 0, to_make, concurrent }
    }

    /// A run begins.
    pub fn begins(&self, name: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(name);
        }
    }

    /// A run has ended, or was there already.
    pub fn done(&mut self, line: &str, is_kept: bool) {
        self.done += 1;
        self.made += usize::from(!is_kept);
        let left = self.left();
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) =
            left.map(|it| Instant::now() + it);
        let left = left.map_or(String::new(), |it| format!(", about {} left", words(it)));
        let verb = if is_kept { "kept" } else { "ended" };
        let line = format!("[{}/{}] {line} {verb}", self.done, self.all);
        match &self.bar {
            Some(bar) => {
                bar.print_above(&line);
                bar.set_position(self.done);
            }
            None => self.output.progress(&format!("{line}{left}\n")),
        }
    }

    /// There is no more to show.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
    }

    /// What the runs to come will take if they are like those that were made.
    fn left(&self) -> Option<Duration> {
        let (made, to_make) = (u32::try_from(self.made).ok()?, u32::try_from(self.to_make).ok()?);
        // The first ones to end are the short ones, where several are under way.
        let is_known = self.made >= self.concurrent && self.made > 0;
        is_known.then(|| self.began.elapsed() / made * to_make.saturating_sub(made))
    }
}

/// A line below all others: how many are done, how long the rest will take, and what is made now.
fn bar(all: usize, due: Due) -> LiveLine {
    let left = move |_: &ProgressState, out: &mut dyn Write| {
        let due = *due.lock().unwrap_or_else(PoisonError::into_inner);
        let left = due.map(|it| it.saturating_duration_since(Instant::now()));
        let _ = match left {
            None => Ok(()),
            Some(left) if left.as_secs() == 0 => out.write_str(", nearly done"),
            Some(left) => write!(out, ", about {} left", words(left)),
        };
    };
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} runs{left}  {wide_msg}");
    let style = style.map_or_else(|_| ProgressStyle::default_bar(), |it| it.with_key("left", left));
    LiveLine::bar(all, style, Duration::from_secs(1))
}

/// `45 s`, `12 min`, `3 h 20 min`
fn words(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_times_are_not_told_in_seconds() {
        let found = [45, 119, 120, 7199, 12_000].map(|it| words(Duration::from_secs(it)));
        assert_eq!(found, ["45 s", "119 s", "2 min", "119 min", "3 h 20 min"]);
    }
}
