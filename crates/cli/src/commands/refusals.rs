//! A log of refused connections that nobody can flood.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines within a window; what comes beyond is counted.
const MOST_LINES: u64 = 20;

const WINDOW: Duration = Duration::from_secs(10);

/// Turns refusals into lines, of which any number of connections makes only a few.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    lines: u64,
    left_out: u64,
}

impl Refusals {
    /// The text for one more refusal; empty when there were too many just now.
    pub fn line(&self, peer: &str, reason: &str) -> String {
        self.line_at(Instant::now(), peer, reason)
    }

    fn line_at(&self, now: Instant, peer: &str, reason: &str) -> String {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = window.began.is_none_or(|it| now.duration_since(it) >= WINDOW);
        let summary = if is_over { window.summary() } else { String::new() };
        if is_over {
            *window = Window { began: Some(now), ..Window::default() };
        }
        if window.lines >= MOST_LINES {
            window.left_out += 1;
            return summary;
        }
        window.lines += 1;
        format!("{summary}{peer}: refused: {reason}\n")
    }

    /// What is still to be reported at the end; mostly nothing.
    pub fn rest(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).summary()
    }
}

impl Window {
    fn summary(&self) -> String {
        match self.left_out {
            0 => String::new(),
            count => format!("{count} more connections were refused\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_counted_instead_of_listed() {
        let refusals = Refusals::default();
        let began = Instant::now();
        let lines = |at: Instant, count: usize| -> String {
            (0..count).map(|_| refusals.line_at(at, "192.0.2.1:9", "it said nothing")).collect()
        };
        let text = lines(began, 13_618);
        assert_eq!(text.lines().count(), 20);
        assert!(text.lines().all(|it| it == "192.0.2.1:9: refused: it said nothing"));
        assert_eq!(refusals.rest(), "13598 more connections were refused\n");
        let text = lines(began + WINDOW, 2);
        assert!(text.starts_with("13598 more connections were refused\n192.0.2.1:9: "), "{text}");
        assert_eq!(text.lines().count(), 3);
        assert_eq!(refusals.rest(), "");
    }
}
