//! What libvirt tells by itself: QEMU's events, and its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sterna_qemu::qmp::Event;
use sterna_sys::clock::monotonic_ns;

use super::lines::{JobStatistics, job_line, qemu_event};
use super::shell::{command, spawn};
use crate::WatchError;

/// The events of QEMU, and those of libvirt.
const TELLERS: [&[&str]; 2] = [
    &["qemu-monitor-event", "--loop", "--timestamp"],
    &["event", "--all", "--loop", "--timestamp"],
];

/// A virsh that listens takes a moment before it hears.
const WARM_UP: Duration = Duration::from_millis(300);

/// Time between two attempts to listen again.
const RETRY: Duration = Duration::from_secs(1);

/// Two virsh that listen to one libvirt, and what they have said of one domain.
pub(super) struct Stories {
    virsh: PathBuf,
    uri: Option<String>,
    domain: String,
    children: Vec<Child>,
    lines: Receiver<Line>,
    job: Option<JobStatistics>,
    is_job_open: bool,
    /// When the last event of QEMU was.
    last_ns: u64,
    next_attempt: Instant,
    is_cut_off: bool,
}

struct Line {
    text: String,
    received_ns: u64,
    received_epoch_ns: u64,
}

impl Stories {
    pub fn begin(virsh: &Path, uri: Option<&str>, domain: &str) -> Result<Stories, WatchError> {
        let (children, lines) = listen(virsh, uri)?;
        std::thread::sleep(WARM_UP);
        Ok(Stories {
            virsh: virsh.to_owned(),
            uri: uri.map(str::to_owned),
            domain: domain.to_owned(),
            children,
            lines,
            job: None,
            is_job_open: false,
            last_ns: 0,
            next_attempt: Instant::now(),
            is_cut_off: false,
        })
    }

    /// QEMU's events since the last time, by the moments at which virsh heard them.
    pub fn take(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            match self.lines.try_recv() {
                Ok(line) => events.extend(self.line(&line)),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.listen_again();
                    break;
                }
            }
        }
        events
    }

    /// The statistics of a job that has ended well, which libvirt tells when the domain may be gone already.
    pub fn completed_job(&self) -> Option<&JobStatistics> {
        self.job.as_ref().filter(|it| !it.is_empty())
    }

    /// What is over is no part of the next migration.
    pub fn forget_job(&mut self) {
        self.job = None;
    }

    /// Whether virsh ended while it listened, so that events may be missing.
    pub fn is_cut_off(&self) -> bool {
        self.is_cut_off
    }

    fn line(&mut self, line: &Line) -> Option<Event> {
        if let (true, Some((name, value))) = (self.is_job_open, job_line(&line.text)) {
            self.job.get_or_insert_default().set(name, value);
            return None;
        }
        let event = qemu_event(&line.text);
        let is_job = line.text.contains("event 'job-completed' for domain");
        self.is_job_open = is_job && line.text.contains(&format!("'{}'", self.domain));
        let event = event.filter(|it| it.domain == self.domain)?;
        let passed_ns = line.received_epoch_ns.saturating_sub(event.epoch_ns);
        // Stamps are whole milliseconds, and the order of those within one is that of the lines.
        let at_ns = line.received_ns.saturating_sub(passed_ns).max(self.last_ns + 1);
        self.last_ns = at_ns;
        Some(Event { name: event.name, data: event.data, at_ns, received_ns: line.received_ns })
    }

    /// libvirtd was restarted, or the way there is gone.
    fn listen_again(&mut self) {
        self.is_cut_off = true;
        if Instant::now() < self.next_attempt {
            return;
        }
        self.next_attempt = Instant::now() + RETRY;
        if let Ok((children, lines)) = listen(&self.virsh, self.uri.as_deref()) {
            self.end();
            (self.children, self.lines) = (children, lines);
        }
    }

    fn end(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Stories {
    fn drop(&mut self) {
        self.end();
    }
}

fn listen(virsh: &Path, uri: Option<&str>) -> Result<(Vec<Child>, Receiver<Line>), WatchError> {
    let (sender, lines) = channel();
    let mut children = Vec::new();
    for arguments in TELLERS {
        let mut teller = command(virsh, uri);
        teller.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = spawn(&mut teller)?;
        if let Some(stdout) = child.stdout.take() {
            let sender = sender.clone();
            std::thread::spawn(move || read(BufReader::new(stdout), &sender));
        }
        children.push(child);
    }
    Ok((children, lines))
}

fn read(mut reader: impl BufRead, sender: &Sender<Line>) {
    const LONGEST_BYTES: u64 = 1 << 20;
    let mut line = Vec::new();
    loop {
        line.clear();
        match std::io::Read::take(&mut reader, LONGEST_BYTES).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = Line {
            text: String::from_utf8_lossy(&line).trim_end().to_owned(),
            received_ns: monotonic_ns(),
            received_epoch_ns: now.as_nanos() as u64,
        };
        if sender.send(line).is_err() {
            return;
        }
    }
}
