//! Who is told what, when, and in which form.

use std::path::PathBuf;

use anyhow::Result;
use sterna_emulator::stream::Outcome;
use sterna_report::stream::{StreamEvent, StreamInterval, StreamStart};
use sterna_wire::trial::ask::Test;

use super::super::kept;
use super::{json, text};
use crate::args::{ClientCommand, Format};
use crate::output::Output;

/// Tells in the form that was asked for.
pub struct Teller<'a> {
    command: &'a ClientCommand,
    test: Test,
    output: Output,
    form: Form,
    start: StreamStart,
    report: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json,
    Stream,
}

impl<'a> Teller<'a> {
    /// As the options say.
    pub fn new(command: &'a ClientCommand, test: &Test, output: Output) -> Teller<'a> {
        let form = match command.format {
            _ if command.json_stream => Form::Stream,
            Format::Json => Form::Json,
            Format::Text => Form::Text,
        };
        let start = json::start(command, test, "", None);
        let report = command.report.clone();
        Teller { command, test: test.clone(), output, form, start, report }
    }

    /// It is about to begin; says whether anybody reads.
    pub fn begin(&mut self, address: &str, release: Option<&str>) -> Result<bool> {
        self.start = json::start(self.command, &self.test, address, release);
        match self.form {
            Form::Text => Ok(self.output.line(&text::start(&self.start))?),
            Form::Json => Ok(true),
            Form::Stream => self.event(&StreamEvent::Start(Box::new(self.start.clone()))),
        }
    }

    /// An interval of one side is over; says whether anybody still reads.
    pub fn interval(&self, interval: &StreamInterval) -> Result<bool> {
        match self.form {
            Form::Text => Ok(self.output.line(&text::interval(interval, &self.start.spec))?),
            Form::Json => Ok(self.output.is_read()),
            Form::Stream => self.event(&StreamEvent::Interval(Box::new(interval.clone()))),
        }
    }

    /// It is over.
    pub fn end(self, outcome: Outcome, code: u8) -> Result<u8> {
        let document = json::report(self.start.clone(), outcome);
        let warnings = document.warnings.clone();
        let whole = json::pretty(&document)?;
        let printed = match self.form {
            Form::Text => self.output.line(&text::summary(&document)).map_err(Into::into),
            Form::Json => self.output.line(&whole).map_err(Into::into),
            Form::Stream => self.event(&StreamEvent::Report(Box::new(document))),
        };
        warnings.iter().for_each(|it| self.output.warn(it));
        let code = match &self.report {
            Some(path) => kept::report(path, &whole, code, self.output),
            None => code,
        };
        printed.map(|_| code)
    }

    fn event(&self, event: &StreamEvent) -> Result<bool> {
        let event = serde_json::to_value(event)?;
        Ok(self.output.line(&format!("{event}\n"))?)
    }
}
