//! `sterna stream`: what a link carries of a migration.

mod json;
mod serve;
mod tell;
mod text;

use anyhow::{Result, anyhow};
use sterna_emulator::available_bytes;
use sterna_emulator::stream::client::{self, ClientError};
use sterna_emulator::stream::{ClientOptions, Event};
use sterna_report::stream::{StreamDirection, StreamEnding, StreamMode};
use sterna_sys::PAGE_BYTES;
use sterna_units::{Bytes, Size};
use sterna_wire::trial::VERSION;
use sterna_wire::trial::ask::Test;

use super::{check_writable, interrupt_on_signals, token, warn_of_open_keys};
use crate::args::{ClientCommand, StreamCommand, dirty_text};
use crate::output::Output;
use crate::usage;

use tell::Teller;

/// Where a machine does not tell what is available.
const UNKNOWN_AVAILABLE: Bytes = Bytes(1 << 30);

/// What broke after it had begun.
const FAILED: u8 = 3;

const INTERRUPTED: u8 = 130;

/// Listens, or tries the way to one who does.
pub fn run(command: StreamCommand, output: Output) -> Result<u8> {
    match command {
        StreamCommand::Serve(command) => serve::run(command, output),
        StreamCommand::Client(command) => try_link(*command, output),
    }
}

fn try_link(command: ClientCommand, output: Output) -> Result<u8> {
    command.report.as_deref().map(check_writable).transpose()?;
    warn_of_open_keys(command.tls_directory.as_deref(), output);
    let options = ClientOptions {
        server: command.server.clone(),
        family: command.family,
        bind: command.bind,
        token: token(command.token_file.as_deref(), output)?,
        tls_directory: command.tls_directory.clone(),
        tls: command.tls,
        test: test(&command)?,
        most_memory_bytes: available(),
    };
    let interrupt = interrupt_on_signals()?;
    let mut teller = Teller::new(&command, &options.test, output);
    let (mut lost, mut is_read) = (Ok(()), true);
    let outcome = client::run(options, &interrupt, &mut |event| {
        let told = match &event {
            Event::Begin { address, release } => teller.begin(address, release.as_deref()),
            Event::Interval(interval) => teller.interval(interval),
        };
        match told {
            // Nobody reads any more, so nobody waits for the end.
            Ok(false) => {
                is_read = false;
                interrupt.request();
            }
            Ok(true) => {}
            Err(error) => lost = Err(error),
        }
    });
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(ClientError::Interrupted) if !is_read => return Ok(0),
        Err(ClientError::Interrupted) => {
            output.error(&ClientError::Interrupted.to_string());
            return Ok(INTERRUPTED);
        }
        Err(error) if error.is_usage() => return Err(usage(error)),
        Err(error) => return Err(error.into()),
    };
    lost?;
    let (ending, error) = (outcome.ending, outcome.error.clone());
    let code = match ending {
        StreamEnding::Interrupted if !is_read => 0,
        StreamEnding::Interrupted => INTERRUPTED,
        StreamEnding::Failed => FAILED,
        StreamEnding::Duration | StreamEnding::Bytes | StreamEnding::Signal => 0,
    };
    let code = teller.end(outcome, code)?;
    if let Some(error) = error.filter(|_| ending != StreamEnding::Interrupted || is_read) {
        output.error(&error);
    }
    Ok(code)
}

/// Memory that can be had here.
fn available() -> u64 {
    available_bytes().unwrap_or(UNKNOWN_AVAILABLE.0)
}

/// A size in whole pages.
fn pages(size: Size) -> Bytes {
    let bytes = match size {
        Size::Bytes(bytes) => return bytes,
        share @ Size::Percent(_) => share.of(Bytes(available())),
    };
    Bytes(bytes.0 - bytes.0 % PAGE_BYTES as u64)
}

fn test(command: &ClientCommand) -> Result<Test> {
    let memory = command.memory.map(pages);
    let dirty = match (&command.dirty, memory) {
        (None, _) => None,
        (Some(dirty), Some(memory)) => Some(dirty_text(dirty, memory)),
        (Some(_), None) => {
            return Err(usage(anyhow!("--dirty writes real memory: give --memory, too")));
        }
    };
    let nanoseconds = |it: std::time::Duration| u64::try_from(it.as_nanos()).unwrap_or(u64::MAX);
    let bytes = |it: Option<Bytes>| it.map(|it| it.0);
    Ok(Test {
        version: VERSION,
        bulk: command.mode != StreamMode::Postcopy,
        requests: command.mode != StreamMode::Precopy,
        preempt: command.preempt,
        up: command.direction != StreamDirection::Receive,
        down: command.direction != StreamDirection::Send,
        channels: command.channels,
        block_bytes: command.block.0,
        memory_bytes: bytes(memory),
        place: command.place,
        dirty,
        max_bytes_per_second: command.bandwidth.map(|it| it.bytes_per_second_f64() as u64),
        duration_ns: command.duration.map(|it| nanoseconds(it.0)),
        bytes: bytes(command.bytes),
        interval_ns: nanoseconds(command.interval.0),
        vcpus: command.vcpus,
        prefetch: command.prefetch,
        zero_copy: command.zero_copy,
        compression: command.compression.clone(),
        level: command.level,
        congestion: command.congestion.clone(),
        dscp: command.dscp,
        send_buffer_bytes: bytes(command.send_buffer),
        receive_buffer_bytes: bytes(command.receive_buffer),
    })
}
