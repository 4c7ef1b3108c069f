//! Who is told what, when, and in which form.

use std::net::SocketAddr;

use anyhow::Result;
use sterna_report::dirty::DirtyEvent;

use super::super::kept;
use super::begin::Begin;
use super::look::Stretch;
use super::report::Report;
use super::{json, text};
use crate::args::{DirtyOptions, Format, Telling};
use crate::output::Output;

/// Tells in the form that was asked for.
pub struct Teller {
    output: Output,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json,
    Stream,
}

impl Teller {
    /// As the options say.
    pub fn new(telling: &Telling, output: Output) -> Teller {
        let form = match telling.format {
            _ if telling.json_stream => Form::Stream,
            Format::Json => Form::Json,
            Format::Text => Form::Text,
        };
        Teller { output, form }
    }

    /// Metrics are served; the port may have been left to the kernel.
    pub fn metrics(&self, address: SocketAddr) {
        self.output.progress(&format!("Metrics at http://{address}/metrics\n"));
    }

    /// The workers are about to be released.
    pub fn start(&self, begin: &Begin<'_>, options: &DirtyOptions) -> Result<()> {
        match self.form {
            Form::Text => self.output.result(&text::start(begin, options))?,
            Form::Json => {}
            Form::Stream => {
                self.event(&DirtyEvent::Start(Box::new(json::start(begin, options))))?;
            }
        }
        Ok(())
    }

    /// An interval is over; says whether anybody still reads.
    pub fn interval(&self, stretch: &Stretch) -> Result<bool> {
        match self.form {
            Form::Text => Ok(self.output.line(&text::interval(stretch))?),
            Form::Json => Ok(self.output.is_read()),
            Form::Stream => self.event(&DirtyEvent::Interval(Box::new(json::interval(stretch)))),
        }
    }

    /// Somebody asked how it goes.
    pub fn summary(&self, report: &Report<'_>) -> Result<()> {
        match self.form {
            Form::Text => self.output.result(&text::summary(report, None))?,
            // The result is one document, so what comes before it goes elsewhere.
            Form::Json => self.output.note(&text::summary(report, None)),
            Form::Stream => {
                self.event(&DirtyEvent::Summary(Box::new(json::summary(report))))?;
            }
        }
        Ok(())
    }

    /// It is over.
    pub fn end(&self, report: &Report<'_>, options: &DirtyOptions, code: u8) -> Result<u8> {
        let document = json::report(report, options);
        let whole = json::pretty(&document)?;
        let printed = match self.form {
            Form::Text => self
                .output
                .line(&text::summary(report, options.telling.buckets))
                .map_err(Into::into),
            Form::Json => self.output.line(&whole).map_err(Into::into),
            Form::Stream => self.event(&DirtyEvent::Report(Box::new(document))),
        };
        report.warnings.iter().for_each(|it| self.output.warn(it));
        let code = match &options.telling.report {
            Some(path) => kept::report(path, &whole, code, self.output),
            None => code,
        };
        printed.map(|_| code)
    }

    fn event(&self, event: &DirtyEvent) -> Result<bool> {
        let event = serde_json::to_value(event)?;
        Ok(self.output.line(&format!("{event}\n"))?)
    }
}
