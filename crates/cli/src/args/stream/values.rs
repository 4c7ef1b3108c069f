//! Texts of values, and what is wrong with those that are none.

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use sterna_report::stream::{StreamDirection, StreamMode};
use sterna_sys::interface;
use sterna_units::{Rate, Size, Span};
use sterna_wire::control::Endpoint;
use sterna_workload::Pace;

pub(super) use crate::args::dirty::chain;

/// Below this, telling costs more than what is told.
const SHORTEST_INTERVAL: Span = Span::from_millis(10);

/// Names of classes of service beside csN and afXY.
const CLASSES: [(&str, u8); 4] = [("ef", 46), ("va", 44), ("le", 1), ("be", 0)];

/// What dirties memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dirty {
    /// All of it, in any order.
    Rate(Pace),
    /// As a workload's short text has it, of which the memory may be left out.
    Workload(String),
}

/// `-t` is a time for those who come from iperf3, and a test for those from mig_mon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeOrMode {
    /// How long; None without an end.
    Time(Option<Span>),
    /// What travels.
    Mode(StreamMode),
}

/// Half of the available memory.
pub fn half() -> Size {
    "50%".parse().unwrap_or(Size::Bytes(sterna_units::Bytes(1 << 30)))
}

pub fn mode(text: &str) -> Result<StreamMode, String> {
    match text {
        "precopy" | "pre-copy" => Ok(StreamMode::Precopy),
        "postcopy" | "post-copy" => Ok(StreamMode::Postcopy),
        "both" => Ok(StreamMode::Both),
        _ => Err("Known are precopy, postcopy and both".to_owned()),
    }
}

pub fn direction(text: &str) -> Result<StreamDirection, String> {
    match text {
        "send" => Ok(StreamDirection::Send),
        "receive" => Ok(StreamDirection::Receive),
        "both" => Ok(StreamDirection::Both),
        _ => Err("Known are send, receive and both".to_owned()),
    }
}

pub fn time_or_mode(text: &str) -> Result<TimeOrMode, String> {
    if let Ok(mode) = mode(text) {
        return Ok(TimeOrMode::Mode(mode));
    }
    let time = match text.parse::<u64>() {
        Ok(0) => None,
        Ok(seconds) => Some(Span::from_secs(seconds)),
        Err(_) => duration(text)?,
    };
    Ok(TimeOrMode::Time(time))
}

/// mig_mon takes its flag once for each test.
pub fn mode_of(given: &[TimeOrMode]) -> Option<StreamMode> {
    let modes = given.iter().filter_map(|it| match it {
        TimeOrMode::Mode(mode) => Some(*mode),
        TimeOrMode::Time(_) => None,
    });
    modes.reduce(|a, b| if a == b { a } else { StreamMode::Both })
}

pub fn duration_of(given: &[TimeOrMode]) -> Option<Option<Span>> {
    given.iter().rev().find_map(|it| match it {
        TimeOrMode::Time(time) => Some(*time),
        TimeOrMode::Mode(_) => None,
    })
}

pub fn duration(text: &str) -> Result<Option<Span>, String> {
    if ["unlimited", "none"].contains(&text) {
        return Ok(None);
    }
    let span: Span = chain(text)?;
    match span.is_zero() {
        true => Err("Nothing can be seen in no time; use for example 10s, or unlimited".to_owned()),
        false => Ok(Some(span)),
    }
}

pub fn interval(text: &str) -> Result<Span, String> {
    let span: Span = chain(text)?;
    match span >= SHORTEST_INTERVAL {
        true => Ok(span),
        false => Err(format!("Too short; use {SHORTEST_INTERVAL} or longer")),
    }
}

pub fn iperf_interval(text: &str) -> Result<Span, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.01..=3600.0).contains(&seconds) => {
            Ok(Span(std::time::Duration::from_secs_f64(seconds)))
        }
        Ok(_) => Err("Use 0.01 to 3600 seconds".to_owned()),
        Err(_) => interval(text),
    }
}

pub fn bandwidth(text: &str) -> Result<Option<Rate>, String> {
    match text {
        "unlimited" | "none" | "0" => Ok(None),
        _ => chain(text).map(Some),
    }
}

pub fn dirty(text: &str) -> Result<Dirty, String> {
    if text.contains('=') {
        return Ok(Dirty::Workload(text.to_owned()));
    }
    chain(text).map(Dirty::Rate)
}

pub fn dscp(text: &str) -> Result<u8, String> {
    let lower = text.to_ascii_lowercase();
    if let Some((_, class)) = CLASSES.iter().find(|it| it.0 == lower) {
        return Ok(*class);
    }
    let digits = |prefix: &str| -> Option<Vec<u8>> {
        let rest = lower.strip_prefix(prefix)?;
        rest.chars().map(|it| it.to_digit(10).map(|it| it as u8)).collect()
    };
    let class = match (digits("cs").as_deref(), digits("af").as_deref(), lower.parse::<u8>()) {
        (Some([class @ 0..=7]), _, _) => Some(class * 8),
        (_, Some([class @ 1..=4, drop @ 1..=3]), _) => Some(class * 8 + drop * 2),
        (_, _, Ok(number @ 0..=63)) => Some(number),
        _ => None,
    };
    class.ok_or_else(|| "Use 0 to 63, ef, va, le, be, cs0 to cs7, or af11 to af43".to_owned())
}

pub fn bind(text: &str) -> Result<IpAddr, String> {
    let plain = text.trim_start_matches('[').trim_end_matches(']');
    plain.parse().or_else(|_| {
        interface::address(text).map_err(|_| {
            "Neither an address nor an interface of this machine that has one".to_owned()
        })
    })
}

/// Looked at, but kept as text: the port may come from another flag.
pub fn server_text(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("Give a host, an address, or the path of a Unix socket".to_owned());
    }
    if text.contains('/') || text.parse::<Ipv6Addr>().is_ok() {
        return Ok(text.to_owned());
    }
    let rest = match text.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some((address, rest)) if address.parse::<Ipv6Addr>().is_ok() => rest,
            _ => return Err("In brackets stands an address of IPv6, as in [::1]:7000".to_owned()),
        },
        None => text.find(':').map_or("", |at| &text[at..]),
    };
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Ok(text.to_owned()),
        Some(port) if port.contains(':') => {
            Err("Write an address of IPv6 in brackets before a port, as in [::1]:7000".to_owned())
        }
        Some(port) if port.parse::<u16>().is_ok_and(|it| it > 0) && !text.starts_with(':') => {
            Ok(text.to_owned())
        }
        _ => Err("After the host stands a port from 1 to 65535, as in host:7000".to_owned()),
    }
}

/// Where that is.
pub fn server(text: &str, port: u16) -> Endpoint {
    if text.contains('/') {
        return Endpoint::Unix(text.to_owned());
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Endpoint::Tcp(format!("[{text}]:{port}"));
    }
    let has_port = match text.rsplit_once(']') {
        Some((_, rest)) => rest.starts_with(':'),
        None => text.contains(':'),
    };
    Endpoint::Tcp(if has_port { text.to_owned() } else { format!("{text}:{port}") })
}

/// `HOST:PORT`, a port on loopback, or a path.
pub fn listen(text: &str) -> Result<Endpoint, String> {
    if text.contains('/') {
        let path = std::path::absolute(Path::new(text)).map_err(|it| it.to_string())?;
        return Ok(Endpoint::Unix(path.to_string_lossy().into_owned()));
    }
    if text.parse::<u16>().is_ok() {
        return Ok(Endpoint::Tcp(format!("127.0.0.1:{text}")));
    }
    let is_good = text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_host = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
        port.parse::<u16>().is_ok() && !host.is_empty() && is_host
    });
    match is_good {
        true => Ok(Endpoint::Tcp(text.to_owned())),
        false => Err("Write HOST:PORT (with an IPv6 address as [::]:PORT), PORT, or the path of a Unix socket, which has a slash in it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_a_port_of_their_own_or_the_usual_one() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            server_text(text).unwrap();
            let (Endpoint::Tcp(found) | Endpoint::Unix(found)) = server(text, 99);
            assert_eq!(found, expected);
        }
        check("box", "box:99");
        check("box:7000", "box:7000");
        check("10.0.0.1", "10.0.0.1:99");
        check("::1", "[::1]:99");
        check("[::1]", "[::1]:99");
        check("[::1]:7000", "[::1]:7000");
        check("/run/x.sock", "/run/x.sock");
        for text in ["", "box:", ":7000", "box:70000", "[box]:1", "[::1", "a:1:2"] {
            assert!(server_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn classes_have_names_and_numbers() {
        let check = |text: &str, expected: u8| assert_eq!(dscp(text), Ok(expected), "{text}");
        check("46", 46);
        check("EF", 46);
        check("cs1", 8);
        check("af41", 34);
        check("le", 1);
        for text in ["64", "cs8", "af14", "af5", "fast", "-1"] {
            assert!(dscp(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_alone_dirties_and_so_does_a_workload() {
        assert!(matches!(dirty("500MB/s"), Ok(Dirty::Rate(Pace::BytesPerSecond(_)))));
        assert!(matches!(dirty("rate=1MB/s workers=2"), Ok(Dirty::Workload(_))));
        assert!(dirty("quickly").is_err());
    }
}
