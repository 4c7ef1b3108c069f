//! Showing a flight while it goes on.

mod bar;
mod plain;
mod stream;

use sterna_pilot::{Notice, State, Status};
use sterna_report::Side;
use sterna_units::{human_bits_per_second, human_bytes};

pub use stream::stream_report;

use crate::args::ProgressKind;
use crate::output::Output;

/// Somebody who is told what happens.
pub trait Watcher {
    /// One thing happened, to this guest of a fleet.
    fn notice(&mut self, guest: Option<u32>, notice: &Notice);
    /// Nothing more will happen.
    fn finish(&mut self) {}
}

/// The watcher that the options ask for.
pub fn watcher(
    progress: ProgressKind,
    json_stream: bool,
    output: Output,
) -> Box<dyn Watcher + Send> {
    if json_stream {
        return Box::new(stream::Stream::new(output));
    }
    match progress {
        _ if output.is_quiet() => Box::new(Silent),
        ProgressKind::None => Box::new(Silent),
        ProgressKind::Plain => Box::new(plain::Plain::new(output)),
        ProgressKind::Auto if output.is_noted_on_terminal() => Box::new(bar::Bar::new()),
        ProgressKind::Auto => Box::new(Silent),
    }
}

/// The same for several guests at once, for which one live line is not enough.
pub fn fleet_watcher(
    progress: ProgressKind,
    json_stream: bool,
    output: Output,
) -> Box<dyn Watcher + Send> {
    let is_live = progress == ProgressKind::Auto && output.is_noted_on_terminal();
    watcher(if is_live { ProgressKind::Plain } else { progress }, json_stream, output)
}

/// A migration in which nothing is sent for so long is said to send nothing.
const STALLED_SECONDS: f64 = 1.0;

struct Silent;

impl Watcher for Silent {
    fn notice(&mut self, _: Option<u32>, _: &Notice) {}
}

/// In place of a status: the side that does not answer.
fn silence_line(elapsed_seconds: f64, side: Side, silent_seconds: f64) -> String {
    format!("{elapsed_seconds:6.1} s  the {side} host has not answered for {silent_seconds:.1} s")
}

/// A status in one line: what a person wants to follow.
fn status_line(elapsed_seconds: f64, status: &Status, stalled_seconds: f64) -> String {
    let bytes = |value: Option<u64>| value.map_or("–".to_owned(), |it| human_bytes(it as f64));
    let rate = |value: Option<f64>| value.map_or("–".to_owned(), human_bits_per_second);
    let expected = status
        .expected_downtime_seconds
        .map_or("–".to_owned(), |seconds| format!("{:.0} ms", seconds * 1e3));
    format!(
        "{elapsed_seconds:6.1} s  {state}  pass {pass}  remaining {remaining}  transferred {transferred}  sending {sending}  dirtying {dirtying}  expected downtime {expected}",
        state = status.state.as_str(),
        pass = status.pass.map_or("–".to_owned(), |it| it.to_string()),
        remaining = remaining(status),
        transferred = bytes(status.transferred_bytes),
        // The estimate of the engine covers a time in which something was sent.
        sending = match stalled_seconds {
            stalled if stalled < STALLED_SECONDS => rate(status.bandwidth_bytes_per_second),
            stalled => format!("nothing for {stalled:.0} s"),
        },
        dirtying = rate(status.dirty_rate_bytes_per_second),
    )
}

/// What is not yet at the destination. In post-copy the guest waits for single pages, so these are counted too.
fn remaining(status: &Status) -> String {
    let Some(bytes) = status.remaining_bytes else { return "–".to_owned() };
    let text = human_bytes(bytes as f64);
    match status.state {
        State::Postcopy | State::PostcopyPaused => {
            format!("{text} ({} pages)", bytes.div_ceil(sterna_report::PAGE_BYTES))
        }
        _ => text,
    }
}
