//! Texts of values, and what is wrong with those that are none.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;
use sterna_sys::region::HugePages;
use sterna_units::{Bytes, Size, Span};

/// Enough to leave every cache, and what mig_mon takes.
pub const DEFAULT_MEMORY: Size = Size::Bytes(Bytes(512 << 20));

/// Below this, telling costs more than what is told.
const SHORTEST_INTERVAL: Span = Span::from_millis(10);

/// Buckets that other tools print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Buckets {
    /// 21 buckets from 1 µs to 1 s, each twice as wide as the one before.
    #[value(name = "mig_mon", alias = "mig-mon")]
    MigMon,
}

/// A value by its own parser; clap shows only the first of a chain of errors, so they are joined here.
pub fn chain<T>(text: &str) -> Result<T, String>
where
    T: FromStr,
    T::Err: Error,
{
    text.parse().map_err(|error: T::Err| {
        let mut chain = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            chain = format!("{chain}: {error}");
            cause = error.source();
        }
        chain
    })
}

pub fn duration(text: &str) -> Result<Span, String> {
    let span: Span = chain(text)?;
    if span.is_zero() {
        Err("Nothing can be seen in no time; use for example 10s".to_owned())
    } else {
        Ok(span)
    }
}

pub fn interval(text: &str) -> Result<Span, String> {
    let span: Span = chain(text)?;
    let is_interval = span >= SHORTEST_INTERVAL;
    if is_interval {
        Ok(span)
    } else {
        Err(format!("Too short; use {SHORTEST_INTERVAL} or longer"))
    }
}

/// A time that makes a write a long one; any but zero.
pub fn threshold(text: &str) -> Result<Span, String> {
    duration(text.trim_start_matches('>').trim())
}

/// Also the names of mig_mon's `-P`.
pub fn huge_pages(text: &str) -> Result<HugePages, String> {
    match text.to_ascii_lowercase().as_str() {
        "none" | "4kib" | "4k" => Ok(HugePages::None),
        "thp" => Ok(HugePages::Thp),
        "2mib" | "2m" => Ok(HugePages::Size2MiB),
        "1gib" | "1g" => Ok(HugePages::Size1GiB),
        _ => Err("Known are none, thp, 2MiB and 1GiB".to_owned()),
    }
}

/// Names are those that OpenMetrics allows.
pub fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("Give a name and a value, as in run=7")?;
    let begins = name.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_');
    let is_name = begins && name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_');
    // These two are our own, and those that begin so are reserved by the format.
    if !is_name || ["le", "worker"].contains(&name) || name.starts_with("__") {
        return Err(format!(
            "`{name}` cannot name a label; use letters, digits and _, but not le, worker or __ at the start"
        ));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Only the loopback address, unless another is said.
pub fn listen(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = port.parse::<u16>() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_| {
        "Give a port, such as 9100, or an address and a port, such as 0.0.0.0:9100".to_owned()
    })
}

pub fn stalls_value(text: &str) -> Result<String, String> {
    if text.starts_with('>') {
        threshold(text)?;
    }
    Ok(text.to_owned())
}

/// The threshold and the file of `--stalls`, of which each may come first.
pub fn stalls(given: &[String]) -> (Option<Span>, Option<PathBuf>) {
    let is_threshold = |it: &&String| it.starts_with('>');
    let over = given.iter().find(is_threshold).and_then(|it| threshold(it).ok());
    let file = given.iter().find(|it| !is_threshold(it)).map(PathBuf::from);
    (over, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_names_and_values() {
        let check = |text: &str, is_good: bool| assert_eq!(label(text).is_ok(), is_good, "{text}");
        check("run=7", true);
        check("run=", true);
        check("a_1=x=y", true);
        check("run", false);
        check("1run=7", false);
        check("le=7", false);
        check("=7", false);
        check("ru-n=7", false);
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
    }

    #[test]
    fn addresses_are_local_unless_said() {
        let check = |text: &str, expected: &str| {
            assert_eq!(listen(text).map(|it| it.to_string()), Ok(expected.to_owned()), "{text}");
        };
        check("9100", "127.0.0.1:9100");
        check(":9100", "127.0.0.1:9100");
        check("0.0.0.0:9100", "0.0.0.0:9100");
        check("[::1]:9100", "[::1]:9100");
        assert!(listen("somewhere").is_err());
        assert!(listen("99999").is_err());
    }

    #[test]
    fn stalls_may_say_what_is_long() {
        let of =
            |texts: &[&str]| stalls(&texts.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["log.csv"]), (None, Some(PathBuf::from("log.csv"))));
        assert_eq!(
            of(&[">5ms", "log.csv"]),
            (Some(Span::from_millis(5)), Some(PathBuf::from("log.csv")))
        );
        assert_eq!(of(&[]), (None, None));
        assert!(stalls_value(">5").is_err());
    }
}
