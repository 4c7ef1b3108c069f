//! For programs: from what was seen to the documents of the `report` crate.

use anyhow::Result;
use sterna_emulator::stream::Outcome;
use sterna_report::stream::{StreamReport, StreamSpec, StreamStart, StreamSummary};
use sterna_wire::trial::ask::Test;

use crate::args::ClientCommand;
use crate::machine;

/// What is about to begin.
pub fn start(
    command: &ClientCommand,
    test: &Test,
    address: &str,
    release: Option<&str>,
) -> StreamStart {
    let started_at = jiff::Timestamp::now().to_string();
    let start = StreamStart::new(machine::tool(), machine::host(), started_at, spec(command, test));
    StreamStart {
        server_address: address.to_owned(),
        server_release: release.map(str::to_owned),
        ..start
    }
}

/// All that is known.
pub fn report(start: StreamStart, outcome: Outcome) -> StreamReport {
    StreamReport {
        start,
        summary: StreamSummary {
            ended_by: outcome.ending,
            error: outcome.error,
            duration_seconds: outcome.duration_seconds,
            client: outcome.client,
            server: outcome.server,
            estimate: outcome.estimate,
        },
        intervals: outcome.intervals,
        warnings: outcome.warnings,
    }
}

/// Over several lines, with one at the end.
///
/// # Errors
/// None that is known; numbers, texts and lists always have a form in JSON.
pub fn pretty(document: &StreamReport) -> Result<String> {
    // By way of a value, so that fields stand in the order of their names in every document.
    Ok(format!("{:#}\n", serde_json::to_value(document)?))
}

fn spec(command: &ClientCommand, test: &Test) -> StreamSpec {
    StreamSpec {
        mode: command.mode,
        preempt: command.preempt,
        direction: command.direction,
        channels: test.channels,
        block_bytes: test.block_bytes,
        memory_bytes: test.memory_bytes,
        place: test.place,
        dirty: test.dirty.clone(),
        bandwidth_bytes_per_second: command.bandwidth.map(|it| it.bytes_per_second_f64()),
        duration_seconds: command.duration.map(|it| it.seconds()),
        bytes: test.bytes,
        interval_seconds: command.interval.seconds(),
        vcpus: test.vcpus,
        prefetch: test.prefetch,
        zero_copy: test.zero_copy,
        tls: command.tls,
        compression: test.compression.clone(),
        compression_level: test.level,
        congestion: test.congestion.clone(),
        dscp: test.dscp,
        send_buffer_bytes: test.send_buffer_bytes,
        receive_buffer_bytes: test.receive_buffer_bytes,
        bind: command.bind.map(|it| it.to_string()),
    }
}
