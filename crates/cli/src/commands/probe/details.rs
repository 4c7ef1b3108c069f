//! What only one kind of probe sees, for the document.

use std::time::Duration;

use sterna_probe::watch::{Extra, Look, Task};
use sterna_probe::{ClockTrack, Jump};
use sterna_report::probing::{
    ArpDetail, ClockDetail, ClockJump, ClockRun, DiskDetail, GapDetail, HttpDetail,
    LabelChangeDetail, MetricsDetail, PlayoutDetail, ProbeOutage, ProbeResult, Reconnection,
    ResetDetail, TcpDetail, TimelineKind,
};

use super::convert::Scale;

pub fn playout(
    task: &Task,
    interval: &Duration,
    look: &Look,
    freezes: &[ProbeOutage],
) -> Option<PlayoutDetail> {
    let Task::Playout { buffer, .. } = task else { return None };
    let seen = look.playout.as_ref()?;
    let lengths = || freezes.iter().map(|it| it.length_seconds);
    Some(PlayoutDetail {
        frames_per_second: 1.0 / interval.as_secs_f64(),
        buffer_seconds: buffer.as_secs_f64(),
        freezes: freezes.len() as u64,
        frozen_seconds: lengths().sum(),
        longest_freeze_seconds: lengths().fold(0.0, f64::max),
        late_frames: seen.late,
        dropped_frames: seen.dropped,
    })
}

pub fn tcp(look: &Look, scale: Scale) -> Option<TcpDetail> {
    let Extra::Tcp(seen) = &look.extra else { return None };
    let reconnections = seen.broken.iter().map(|it| Reconnection {
        broken_seconds: scale.at(it.broken_ns),
        reason: it.reason.clone(),
        reestablish_seconds: it
            .established_ns
            .map(|established_ns| established_ns.saturating_sub(it.broken_ns) as f64 / 1e9),
        attempts: it.attempts,
    });
    Some(TcpDetail {
        established: seen.established,
        first_connect_seconds: seen.first_ns.map(|it| it as f64 / 1e9),
        reconnections: reconnections.collect(),
    })
}

pub fn arp(look: &Look) -> Option<ArpDetail> {
    let Extra::Arp(seen) = &look.extra else { return None };
    let mac = seen.mac.map(|it| it.map(|byte| format!("{byte:02x}")).join(":"));
    Some(ArpDetail { mac, mac_changes: seen.changes, announcements: seen.announcements })
}

pub fn http(look: &Look) -> Option<HttpDetail> {
    let Extra::Http(seen) = &look.extra else { return None };
    Some(HttpDetail {
        statuses: seen
            .statuses
            .iter()
            .map(|(status, count)| (status.to_string(), *count))
            .collect(),
        errors: seen.errors.clone(),
        body_bytes: seen.body_bytes,
    })
}

pub fn disk(look: &Look) -> Option<DiskDetail> {
    let Extra::Disk(seen) = &look.extra else { return None };
    let round_trip = look.seen.as_ref().and_then(|it| it.round_trip);
    Some(DiskDetail {
        acknowledged: seen.acknowledged,
        last_acknowledged: seen.last,
        longest_stall_seconds: round_trip.map(|it| it.max_ns as f64 / 1e9),
        files: seen.files.clone(),
    })
}

pub fn clock(task: &Task, look: &Look, scale: Scale) -> Option<ClockDetail> {
    if !matches!(task, Task::Clock { .. } | Task::Udp { .. }) || look.is_counted != Some(true) {
        return None;
    }
    let ahead = look.clocks.realtime.offset().map(|(offset_ns, uncertainty_ns)| {
        let monotonic_ns = sterna_sys::clock::monotonic_ns();
        let ours = i128::from(sterna_sys::datagram::realtime_ns()) - i128::from(monotonic_ns);
        ((i128::from(offset_ns) - ours) as f64 / 1e9, uncertainty_ns as f64 / 1e9)
    });
    Some(ClockDetail {
        monotonic: run(&look.clocks.monotonic, scale),
        realtime: run(&look.clocks.realtime, scale),
        realtime_ahead_seconds: ahead.map(|it| it.0),
        realtime_ahead_uncertainty_seconds: ahead.map(|it| it.1),
    })
}

fn run(track: &ClockTrack, scale: Scale) -> ClockRun {
    let drift = track.drift();
    let jump = |it: &Jump| ClockJump {
        t_seconds: scale.at(it.at_ns),
        by_seconds: it.by_ns as f64 / 1e9,
        uncertainty_seconds: it.uncertainty_ns as f64 / 1e9,
    };
    ClockRun {
        drift_per_million: drift.map(|it| it.per_million),
        drift_uncertainty_per_million: drift.map(|it| it.uncertainty_per_million),
        backwards: track.backwards(),
        uncertainty_ns: track.sharpest_ns(),
        jumps: track.jumps().iter().map(jump).collect(),
    }
}

pub fn metrics(look: &Look, scale: Scale) -> Option<MetricsDetail> {
    let Extra::Metrics(seen) = &look.extra else { return None };
    let finite = |it: f64| it.is_finite().then_some(it);
    let resets = seen.resets.iter().map(|it| ResetDetail {
        t_seconds: scale.at(it.at_ns),
        series: it.series.clone(),
        from: finite(it.from),
        to: finite(it.to),
    });
    let gaps = seen.gaps.iter().map(|it| GapDetail {
        t_seconds: scale.at(it.at_ns),
        series: it.series.clone(),
        back_seconds: it.back_ns.map(|it| scale.at(it)),
    });
    let changes = seen.label_changes.iter().map(|it| LabelChangeDetail {
        t_seconds: scale.at(it.at_ns),
        name: it.name.clone(),
        before: it.before.clone(),
        after: it.after.clone(),
    });
    Some(MetricsDetail {
        scrapes: seen.scrapes,
        series: seen.series,
        duplicate_samples: seen.duplicates,
        unreadable_lines: seen.unreadable,
        reset_count: seen.reset_count,
        resets: resets.collect(),
        gap_count: seen.gap_count,
        gaps: gaps.collect(),
        label_change_count: seen.label_change_count,
        label_changes: changes.collect(),
        errors: seen.errors.clone(),
    })
}

/// What happened, beside outages.
pub fn events(result: &ProbeResult, add: &mut impl FnMut(f64, TimelineKind, String)) {
    let ms = sterna_render::number::seconds;
    for it in result.tcp.iter().flat_map(|it| &it.reconnections) {
        let broken = format!("the connection broke: {}", it.reason);
        add(it.broken_seconds, TimelineKind::ConnectionBroken, broken);
        if let Some(seconds) = it.reestablish_seconds {
            let text = format!("a new connection after {}", ms(seconds));
            add(it.broken_seconds + seconds, TimelineKind::ConnectionEstablished, text);
        }
    }
    let clocks = result.clock.iter().filter(|_| result.kind == "clock");
    let jumps = clocks.flat_map(|it| {
        let named = |name, run: &ClockRun| -> Vec<(&str, ClockJump)> {
            run.jumps.iter().map(|it| (name, it.clone())).collect()
        };
        [named("monotonic", &it.monotonic), named("realtime", &it.realtime)].concat()
    });
    for (name, jump) in jumps {
        let by = ms(jump.by_seconds);
        let text =
            format!("the other {name} clock jumped by {by} ± {}", ms(jump.uncertainty_seconds));
        add(jump.t_seconds, TimelineKind::ClockJump, text);
    }
    let Some(metrics) = &result.metrics else { return };
    for it in &metrics.resets {
        add(it.t_seconds, TimelineKind::CounterReset, format!("{} restarted", it.series));
    }
    for it in &metrics.gaps {
        add(it.t_seconds, TimelineKind::SeriesGap, format!("{} is missing", it.series));
    }
    for it in &metrics.label_changes {
        let text = format!("{} became {}", it.before, it.after);
        add(it.t_seconds, TimelineKind::LabelChange, text);
    }
}
