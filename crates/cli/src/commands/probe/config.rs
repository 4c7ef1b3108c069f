//! The file of `sterna probe all`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;
use sterna_probe::http::Url;
use sterna_probe::watch::Task;
use sterna_probe::{DEFAULT_PORT, Target, disk};
use sterna_units::Span;

use crate::args::{
    DEFAULT_BUFFER, DEFAULT_FRAME_BYTES, DEFAULT_TIMEOUT, FRAME_BYTES, FRAME_RATES, Looking,
    RECORD_SIZES, SIZES, is_record_size,
};
use crate::usage;

/// So many probes run at once.
const MOST_PROBES: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    probe: Vec<Entry>,
}

/// One probe. What its kind has no use for is refused.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Entry {
    kind: String,
    name: Option<String>,
    interval: Option<Span>,
    follow: Option<bool>,
    target: Option<String>,
    port: Option<u16>,
    path: Option<String>,
    size: Option<u64>,
    interface: Option<String>,
    timeout: Option<Span>,
    frames_per_second: Option<u64>,
    frame_bytes: Option<u64>,
    buffer: Option<Span>,
    file: Option<PathBuf>,
    record_bytes: Option<u64>,
    acknowledged: Option<PathBuf>,
}

/// Reads it; what has no target of its own looks at `host`.
pub fn read(path: &Path, host: &str) -> Result<Vec<(Task, Looking)>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("--config {} cannot be read", path.display()))
        .map_err(usage)?;
    probes(&text, host).with_context(|| format!("In {}", path.display())).map_err(usage)
}

fn probes(text: &str, host: &str) -> Result<Vec<(Task, Looking)>> {
    let file: File = toml::from_str(text)?;
    if file.probe.is_empty() {
        return Err(anyhow!(
            "There is no probe; add a [[probe]] table with a kind, as in kind = \"udp\""
        ));
    }
    if file.probe.len() > MOST_PROBES {
        return Err(anyhow!(
            "{} probes are too many; at most {MOST_PROBES} run at once",
            file.probe.len()
        ));
    }
    let entries = file.probe.into_iter().enumerate();
    entries
        .map(|(index, entry)| {
            let kind = entry.kind.clone();
            entry.read(host).with_context(|| format!("Probe {} ({kind})", index + 1))
        })
        .collect()
}

const COMMON: &[&str] = &["kind", "name", "interval"];

impl Entry {
    /// Fields that are given.
    fn given(&self) -> Vec<&'static str> {
        let all = [
            ("follow", self.follow.is_some()),
            ("target", self.target.is_some()),
            ("port", self.port.is_some()),
            ("path", self.path.is_some()),
            ("size", self.size.is_some()),
            ("interface", self.interface.is_some()),
            ("timeout", self.timeout.is_some()),
            ("frames-per-second", self.frames_per_second.is_some()),
            ("frame-bytes", self.frame_bytes.is_some()),
            ("buffer", self.buffer.is_some()),
            ("file", self.file.is_some()),
            ("record-bytes", self.record_bytes.is_some()),
            ("acknowledged", self.acknowledged.is_some()),
        ];
        all.into_iter().filter(|it| it.1).map(|it| it.0).collect()
    }

    fn read(self, host: &str) -> Result<(Task, Looking)> {
        let fields: &[&str] = match self.kind.as_str() {
            "udp" => &["target", "port", "size", "follow"],
            "tcp" | "clock" => &["target", "port", "follow"],
            "icmp" => &["target", "size", "follow"],
            "arp" => &["target", "interface"],
            "http" | "metrics" => &["target", "port", "path", "timeout"],
            "playout" => &["target", "port", "frames-per-second", "frame-bytes", "buffer"],
            "disk" if self.file.is_some() => &["file", "record-bytes", "acknowledged"],
            "disk" => &["target", "port", "record-bytes", "follow"],
            "" => return Err(anyhow!("It has no kind; known are {}", KINDS.join(", "))),
            other => return Err(anyhow!("Unknown kind `{other}`; known are {}", KINDS.join(", "))),
        };
        if let Some(field) = self.given().iter().find(|it| !fields.contains(it)) {
            let known = [COMMON, fields].concat().join(", ");
            return Err(anyhow!("`{field}` means nothing here; known are {known}"));
        }
        self.check_values()?;
        let looking = Looking {
            name: self.name.clone(),
            interval: self.interval.or_else(|| self.frame_interval()),
            follow: self.follow.unwrap_or(false),
        };
        Ok((self.task(host)?, looking))
    }

    /// As the flags of the same names do.
    fn check_values(&self) -> Result<()> {
        let ranges = [
            ("size", self.size, SIZES),
            ("frames-per-second", self.frames_per_second, FRAME_RATES),
            ("frame-bytes", self.frame_bytes, FRAME_BYTES),
            ("port", self.port.map(u64::from), 1..=65_535),
        ];
        for (field, value, range) in ranges {
            if let Some(value) = value.filter(|it| !range.contains(it)) {
                let (least, most) = range.into_inner();
                return Err(anyhow!("{field} = {value}: use {least} to {most}"));
            }
        }
        if let Some(bytes) = self.record_bytes.filter(|it| !is_record_size(*it)) {
            return Err(anyhow!("record-bytes = {bytes}: {RECORD_SIZES}"));
        }
        if self.timeout.is_some_and(|it| it.0.is_zero()) {
            return Err(anyhow!("timeout = 0s: nothing answers in no time; use for example 5s"));
        }
        Ok(())
    }

    fn frame_interval(&self) -> Option<Span> {
        let frames = self.frames_per_second?;
        Some(Span(Duration::from_nanos(1_000_000_000 / frames)))
    }

    fn task(self, host: &str) -> Result<Task> {
        let target = Target::parse(
            self.target.as_deref().unwrap_or(host),
            self.port.unwrap_or(DEFAULT_PORT),
        )?;
        let size = self.size.map(|it| it as usize);
        let timeout = self.timeout.map_or(DEFAULT_TIMEOUT, |it| it.0);
        let record_bytes = self.record_bytes.map_or(disk::DEFAULT_RECORD_BYTES, |it| it as usize);
        Ok(match self.kind.as_str() {
            "udp" => Task::Udp { target, size },
            "tcp" => Task::Tcp { target },
            "clock" => Task::Clock { target },
            "icmp" => Task::Icmp { target, size },
            "arp" => Task::Arp { target, interface: self.interface },
            "http" => Task::Http { url: self.url(host, "/")?, timeout },
            "metrics" => Task::Metrics { url: self.url(host, "/metrics")?, timeout },
            "playout" => Task::Playout {
                target,
                frame_bytes: self.frame_bytes.map_or(DEFAULT_FRAME_BYTES, |it| it as usize),
                buffer: self.buffer.map_or(DEFAULT_BUFFER, |it| it.0),
            },
            _ => match self.file {
                Some(path) => Task::Disk { path, record_bytes, acknowledged: self.acknowledged },
                None => Task::RemoteDisk { target, record_bytes },
            },
        })
    }

    fn url(&self, host: &str, path: &str) -> Result<Url> {
        let host = match (&self.target, host.contains(':')) {
            (Some(target), _) => target.clone(),
            (None, true) => format!("[{host}]"),
            (None, false) => host.to_owned(),
        };
        let port = self.port.map(|it| format!(":{it}")).unwrap_or_default();
        Ok(format!("http://{host}{port}{}", self.path.as_deref().unwrap_or(path)).parse()?)
    }
}

const KINDS: [&str; 9] =
    ["udp", "icmp", "tcp", "arp", "http", "playout", "disk", "clock", "metrics"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_look_at_the_host_unless_they_say_whom() {
        let text = r#"
            [[probe]]
            kind = "udp"
            interval = "1ms"
            [[probe]]
            kind = "icmp"
            target = "other"
            [[probe]]
            kind = "metrics"
            port = 9100
            [[probe]]
            kind = "disk"
            file = "/tmp/records"
        "#;
        let all = probes(text, "guest").unwrap();
        let targets: Vec<String> = all.iter().map(|it| it.0.target()).collect();
        assert_eq!(targets, ["guest:12323", "other", "http://guest:9100/metrics", "/tmp/records"]);
        assert_eq!(all[0].1.interval, Some(Span::from_millis(1)));
    }

    #[test]
    fn mistakes_name_the_probe_and_the_way_out() {
        let check = |text: &str, expected: &[&str]| {
            let error = format!("{:#}", probes(text, "guest").err().unwrap());
            expected.iter().for_each(|it| assert!(error.contains(it), "{error}"));
        };
        check("", &["no probe", "[[probe]]"]);
        check("[[probe]]\nkind = \"udb\"", &["Probe 1 (udb)", "Unknown kind `udb`", "udp, icmp"]);
        check("[[probe]]\nkind = \"tcp\"\nsize = 7", &["`size` means nothing here", "port"]);
        check("[[probe]]\nkind = \"tcp\"\ninterwal = \"1ms\"", &["interwal", "line 3"]);
        check("[[probe]]\nkind = \"tcp\"\ninterval = \"1\"", &["no unit"]);
        check("[[probe]]\nkind = \"tcp\"\nport = 0", &["port = 0", "1 to 65535"]);
        check("[[probe]]\nkind = \"udp\"\nsize = 10", &["size = 10", "48 to 65000"]);
        check("[[probe]]\nkind = \"playout\"\nframes-per-second = 0", &["1 to 1000"]);
        check("[[probe]]\nkind = \"playout\"\nframe-bytes = 100000000", &["frame-bytes = 1"]);
        check("[[probe]]\nkind = \"disk\"\nfile = \"x\"\nrecord-bytes = 100", &["of 64 bytes"]);
        check("[[probe]]\nkind = \"http\"\ntimeout = \"0s\"", &["timeout = 0s"]);
        check("[[probe]]\ninterval = \"1s\"", &["no kind", "playout"]);
    }
}
