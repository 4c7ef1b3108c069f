//! Speaking to the user: the result to stdout, everything else to stderr.
//!
//! Only this file writes to them, and a test holds that: peers, programs and files choose parts of most texts, so
//! every text loses here what could steer the terminal. Lines that replace each other are in `live.rs`.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sterna_units::{printable_lines, printable_page};

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR or TERM=dumb say otherwise.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How to speak.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    color: ColorChoice,
    quiet: bool,
}

impl Output {
    /// As the flags say.
    pub fn new(color: ColorChoice, quiet: bool) -> Output {
        Output { color, quiet }
    }

    /// Whether only errors and results are wanted.
    pub fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Whether stdout may be coloured.
    pub fn colour(self) -> bool {
        self.colour_on(&io::stdout())
    }

    /// Columns that a text may use.
    pub fn width(self) -> usize {
        std::env::var("COLUMNS").ok().and_then(|it| it.parse().ok()).unwrap_or(100)
    }

    /// Prints the result; a reader that has gone away is no error.
    pub fn result(self, text: &str) -> io::Result<()> {
        self.line(text).map(|_| ())
    }

    /// Prints a file that the user asked for, byte for byte, since programs read it; only on a terminal it loses what
    /// would steer that.
    pub fn document(self, text: &str) -> io::Result<()> {
        if self.is_terminal() { self.result(text) } else { write_result(text).map(|_| ()) }
    }

    /// Whether the result goes to a terminal.
    pub fn is_terminal(self) -> bool {
        IsTerminal::is_terminal(&io::stdout())
    }

    /// Whether progress and warnings go to a terminal.
    pub fn is_noted_on_terminal(self) -> bool {
        IsTerminal::is_terminal(&io::stderr())
    }

    /// Makes room on the terminal for a result that replaces the one before.
    pub fn clear(self) -> io::Result<bool> {
        write_result("\u{1b}[H\u{1b}[2J")
    }

    /// Prints a part of a result that may go on for ever, and says whether anybody still reads.
    pub fn line(self, text: &str) -> io::Result<bool> {
        write_result(&printable_page(text))
    }

    /// Whether somebody may still read the result: a pipe or a socket tells when its other end is gone, also before anything is written.
    pub fn is_read(self) -> bool {
        let stdout = io::stdout();
        let mut found = [PollFd::new(&stdout, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let gone = PollFlags::ERR | PollFlags::HUP;
        poll(&mut found, Some(&at_once)).is_err() || !found[0].revents().intersects(gone)
    }

    /// Tells what was asked for where the result must not be disturbed.
    pub fn note(self, text: &str) {
        // Nothing can be said any more when stderr is gone.
        let _ = io::stderr().write_all(printable_lines(text).as_bytes());
    }

    /// Tells how it goes, unless only errors and results are wanted.
    pub fn progress(self, text: &str) {
        if !self.quiet {
            self.note(text);
        }
    }

    /// Tells something that is not an error.
    pub fn warn(self, text: &str) {
        if !self.quiet {
            self.say("warning", anstyle::AnsiColor::Yellow, text);
        }
    }

    /// Tells why it does not go on.
    pub fn error(self, text: &str) {
        self.say("error", anstyle::AnsiColor::Red, text);
    }

    fn say(self, word: &str, colour: anstyle::AnsiColor, text: &str) {
        let style = match self.colour_on(&io::stderr()) {
            true => anstyle::Style::new().fg_color(Some(colour.into())).bold(),
            false => anstyle::Style::new(),
        };
        // Nothing can be said any more when stderr is gone.
        let _ = writeln!(io::stderr(), "{style}{word}:{style:#} {}", printable_lines(text));
    }

    fn colour_on(self, stream: &dyn Terminal) -> bool {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|it| !it.is_empty());
        match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto if is_set("NO_COLOR") => false,
            ColorChoice::Auto if std::env::var_os("CLICOLOR_FORCE").is_some_and(|it| it != "0") => {
                true
            }
            ColorChoice::Auto => {
                stream.is_terminal() && std::env::var_os("TERM").is_none_or(|it| it != "dumb")
            }
        }
    }
}

/// Writes to stdout, and says whether anybody still reads.
fn write_result(text: &str) -> io::Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true),
    }
}

/// [`IsTerminal`] as an object.
trait Terminal {
    fn is_terminal(&self) -> bool;
}

impl<T: IsTerminal> Terminal for T {
    fn is_terminal(&self) -> bool {
        IsTerminal::is_terminal(self)
    }
}
