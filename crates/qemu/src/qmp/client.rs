//! One monitor connection.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};
use sterna_sys::clock::monotonic_ns;

use super::message::{Message, parse};
use super::{Event, Greeting, QmpError};

/// How long QEMU may take to answer. Its main thread can be busy for seconds with memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// No answer is longer; the schema, the longest, takes some 300 KiB.
const LONGEST_LINE_BYTES: u64 = 32 << 20;

/// A monitor, past its greeting.
///
/// A thread reads as soon as something comes, so that events carry the moment at which they were read, however rarely the owner asks for them.
pub struct Client {
    socket: UnixStream,
    incoming: Receiver<Message>,
    events: Arc<Mutex<VecDeque<Event>>>,
    has_ended: Arc<AtomicBool>,
    greeting: Greeting,
    has_oob: bool,
    next_id: u64,
    patience: Duration,
    end: Option<QmpError>,
}

impl Client {
    /// Takes the greeting from a fresh connection and negotiates.
    ///
    /// # Errors
    /// The other end is no QEMU, closes, or stays silent for `timeout`.
    pub fn connect(socket: UnixStream, timeout: Duration) -> Result<Client, QmpError> {
        Client::connect_with(socket, timeout, Stamps::default())
    }

    /// As [`Self::connect`], with a QEMU whose wall clock is not ours.
    ///
    /// # Errors
    /// As for [`Self::connect`].
    pub fn connect_with(
        socket: UnixStream,
        timeout: Duration,
        stamps: Stamps,
    ) -> Result<Client, QmpError> {
        Client::begin(socket, timeout, ANSWER_TIMEOUT, stamps)
    }

    /// As [`Self::connect_with`], where `patience` bounds each wait: that for the greeting, and that for every answer.
    ///
    /// # Errors
    /// As for [`Self::connect`].
    pub fn connect_briefly(
        socket: UnixStream,
        patience: Duration,
        stamps: Stamps,
    ) -> Result<Client, QmpError> {
        Client::begin(socket, patience, patience, stamps)
    }

    fn begin(
        socket: UnixStream,
        timeout: Duration,
        patience: Duration,
        stamps: Stamps,
    ) -> Result<Client, QmpError> {
        let reading = socket.try_clone().map_err(|_| QmpError::Closed)?;
        let (sender, incoming) = channel();
        let events = Arc::new(Mutex::new(VecDeque::new()));
        let has_ended = Arc::new(AtomicBool::new(false));
        let (theirs, ended) = (Arc::clone(&events), Arc::clone(&has_ended));
        std::thread::Builder::new()
            .name("qmp".to_owned())
            .spawn(move || {
                read_all(reading, &sender, &theirs, &stamps);
                ended.store(true, Ordering::Relaxed);
            })
            .map_err(|_| QmpError::Closed)?;
        let greeting = match incoming.recv_timeout(timeout) {
            Ok(Message::Greeting(greeting)) => greeting,
            Ok(Message::Garbled(error)) => return Err(error),
            Ok(other) => return Err(QmpError::Garbled(format!("{other:?} before a greeting"))),
            Err(RecvTimeoutError::Disconnected) => return Err(QmpError::Closed),
            Err(RecvTimeoutError::Timeout) => {
                return Err(QmpError::Silent {
                    command: "its start".to_owned(),
                    seconds: timeout.as_secs_f64(),
                });
            }
        };
        let has_oob = greeting.capabilities.iter().any(|it| it == "oob");
        let mut client = Client {
            socket,
            incoming,
            events,
            has_ended,
            greeting,
            has_oob,
            next_id: 1,
            patience,
            end: None,
        };
        let enable: &[&str] = if has_oob { &["oob"] } else { &[] };
        client.execute("qmp_capabilities", json!({ "enable": enable }))?;
        Ok(client)
    }

    /// How QEMU introduced itself.
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// Gives a command and waits for its result; `Value::Null` for no arguments.
    ///
    /// # Errors
    /// QEMU refuses, is gone, or does not answer.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        self.order("execute", command, arguments, None)
    }

    /// As [`Self::execute`], with an open file beside the command.
    ///
    /// # Errors
    /// As for [`Self::execute`].
    pub fn execute_with(
        &mut self,
        descriptor: BorrowedFd,
        command: &str,
        arguments: Value,
    ) -> Result<Value, QmpError> {
        self.order("execute", command, arguments, Some(descriptor))
    }

    /// As [`Self::execute`], past QEMU's main thread, for the few commands that it allows that for.
    ///
    /// # Errors
    /// As for [`Self::execute`].
    pub fn execute_out_of_band(
        &mut self,
        command: &str,
        arguments: Value,
    ) -> Result<Value, QmpError> {
        let how = if self.has_oob { "exec-oob" } else { "execute" };
        self.order(how, command, arguments, None)
    }

    /// Gives a command whose result is not waited for. A QEMU whose main thread waits for a page that never comes answers
    /// nothing for as long as it lives.
    ///
    /// # Errors
    /// QEMU is gone.
    pub fn tell(&mut self, command: &str) -> Result<(), QmpError> {
        self.give("execute", command, Value::Null, None).map(|_| ())
    }

    /// Whether QEMU has closed the connection, as far as that is known by now.
    pub fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// The events read since the last time, oldest first.
    pub fn take_events(&mut self) -> Vec<Event> {
        lock(&self.events).drain(..).collect()
    }

    fn order(
        &mut self,
        how: &str,
        command: &str,
        arguments: Value,
        descriptor: Option<BorrowedFd>,
    ) -> Result<Value, QmpError> {
        let id = self.give(how, command, arguments, descriptor)?;
        self.answer(id, command)
    }

    /// Sends a command; returns the number that its answer will have.
    fn give(
        &mut self,
        how: &str,
        command: &str,
        arguments: Value,
        descriptor: Option<BorrowedFd>,
    ) -> Result<u64, QmpError> {
        if let Some(end) = &self.end {
            return Err(end.clone());
        }
        let id = self.next_id;
        self.next_id += 1;
        let mut order = json!({ how: command, "id": id });
        if !arguments.is_null() {
            order["arguments"] = arguments;
        }
        let line = format!("{order}\n");
        if self.send(line.as_bytes(), descriptor).is_err() {
            return Err(self.ended(QmpError::Closed));
        }
        Ok(id)
    }

    /// A descriptor travels with the first byte.
    fn send(&mut self, line: &[u8], descriptor: Option<BorrowedFd>) -> std::io::Result<()> {
        let Some(descriptor) = descriptor else { return self.socket.write_all(line) };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        let descriptors = [descriptor];
        beside.push(SendAncillaryMessage::ScmRights(&descriptors));
        let sent = sendmsg(&self.socket, &[IoSlice::new(line)], &mut beside, SendFlags::NOSIGNAL)?;
        self.socket.write_all(&line[sent..])
    }

    /// Waits for the answer to one command; answers to commands that were given up are left aside.
    fn answer(&mut self, id: u64, command: &str) -> Result<Value, QmpError> {
        let deadline = Instant::now() + self.patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.incoming.recv_timeout(left) {
                Ok(Message::Answer { id: Some(theirs), .. }) if theirs != id => {}
                Ok(Message::Answer { outcome: Ok(value), .. }) => return Ok(value),
                Ok(Message::Answer { outcome: Err(refusal), .. }) => {
                    return Err(QmpError::Refused {
                        command: command.to_owned(),
                        class: refusal.class,
                        text: refusal.text,
                    });
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended(QmpError::Closed)),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(QmpError::Silent {
                        command: command.to_owned(),
                        seconds: self.patience.as_secs_f64(),
                    });
                }
            }
        }
    }

    fn ended(&mut self, error: QmpError) -> QmpError {
        self.end.get_or_insert(error).clone()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Wakes the reader, which then ends.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

fn read_all(
    socket: UnixStream,
    sender: &Sender<Message>,
    events: &Mutex<VecDeque<Event>>,
    stamps: &Stamps,
) {
    let mut reader = BufReader::new(socket);
    let mut line = Vec::new();
    let mut is_greeted = false;
    loop {
        line.clear();
        match (&mut reader).take(LONGEST_LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let received_ns = monotonic_ns();
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match parse(&line) {
            Ok(Message::Event { name, data, realtime_ns }) => {
                let at_ns = realtime_ns.map_or(received_ns, |it| stamps.to_ours(it, received_ns));
                lock(events).push_back(Event { name, data, at_ns, received_ns });
            }
            // One that does not even introduce itself is something else.
            Err(error) if !is_greeted => {
                let _ = sender.send(Message::Garbled(error));
                return;
            }
            // A line that is no QMP is no reason to lose those after it; a wait for an answer runs into its time limit.
            Ok(Message::Other) | Err(_) => {}
            Ok(message) => {
                is_greeted = true;
                if sender.send(message).is_err() {
                    return;
                }
            }
        }
    }
}

/// How the stamps of events, which QEMU takes from its machine's wall clock, become ours.
#[derive(Clone, Default)]
pub enum Stamps {
    /// QEMU runs on this machine.
    #[default]
    Ours,
    /// It runs on another, whose wall clock is compared with our monotonic one.
    Mapped(Arc<dyn Fn(u64) -> u64 + Send + Sync>),
}

impl Stamps {
    /// Of a QEMU whose clock is not known: what it tells happened when it was heard.
    pub fn on_arrival() -> Stamps {
        Stamps::Mapped(Arc::new(|_| u64::MAX))
    }

    /// Nothing happens after it is heard of, whatever the clocks say.
    fn to_ours(&self, realtime_ns: u64, received_ns: u64) -> u64 {
        match self {
            Stamps::Ours => to_monotonic(realtime_ns, received_ns),
            Stamps::Mapped(map) => map(realtime_ns).min(received_ns),
        }
    }
}

/// QEMU stamps events with the wall clock. How long ago that was, counted from now, is a length of time, and those are the same on both clocks unless the wall clock was set in between.
fn to_monotonic(realtime_ns: u64, received_ns: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let passed_ns = (now.as_nanos() as u64).saturating_sub(realtime_ns);
    monotonic_ns().saturating_sub(passed_ns).min(received_ns)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREETING: &str = r#"{"QMP":{"version":{"qemu":{"micro":0,"minor":0,"major":10},"package":""},"capabilities":["oob"]}}"#;

    /// A peer that says its greeting, then for each line that it gets whatever the script has.
    fn scripted(
        script: &'static [&'static str],
    ) -> (UnixStream, std::thread::JoinHandle<Vec<Value>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let peer = std::thread::spawn(move || {
            let mut heard = Vec::new();
            let mut lines = BufReader::new(theirs.try_clone().unwrap()).lines();
            let mut theirs = theirs;
            writeln!(theirs, "{GREETING}").unwrap();
            for answer in std::iter::once(&"{\"return\":{},\"id\":1}").chain(script) {
                let Some(Ok(line)) = lines.next() else { break };
                heard.push(serde_json::from_str(&line).unwrap());
                write!(theirs, "{answer}\r\n").unwrap();
            }
            heard
        });
        (ours, peer)
    }

    fn client(script: &'static [&'static str]) -> (Client, std::thread::JoinHandle<Vec<Value>>) {
        let (socket, peer) = scripted(script);
        (Client::connect(socket, Duration::from_secs(5)).unwrap(), peer)
    }

    #[test]
    fn commands_are_matched_by_id_past_events_and_stale_answers() {
        let (mut client, peer) = client(&[
            "{\"event\":\"STOP\",\"timestamp\":{\"seconds\":1,\"microseconds\":2}}\n{\"return\":\"stale\",\"id\":1}\nrubbish\n{\"later\":1}\n{\"return\":{\"status\":\"active\",\"new\":[]},\"id\":2}",
            "{\"return\":{},\"id\":3}",
        ]);
        let found = client.execute("query-migrate", Value::Null).unwrap();
        assert_eq!(found["status"], "active");
        client.execute_out_of_band("migrate-pause", Value::Null).unwrap();
        let events = client.take_events();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].name, "STOP");
        assert!(events[0].at_ns <= events[0].received_ns);
        let heard = peer.join().unwrap();
        assert_eq!(heard[0]["execute"], "qmp_capabilities");
        assert_eq!(heard[0]["arguments"]["enable"][0], "oob");
        assert_eq!(heard[1], json!({"execute": "query-migrate", "id": 2}));
        assert_eq!(heard[2], json!({"exec-oob": "migrate-pause", "id": 3}));
    }

    #[test]
    fn a_command_that_is_only_given_waits_for_nothing() {
        let (socket, theirs) = UnixStream::pair().unwrap();
        let peer = std::thread::spawn(move || {
            let mut lines = BufReader::new(theirs.try_clone().unwrap()).lines();
            writeln!(&theirs, "{GREETING}").unwrap();
            lines.next().unwrap().unwrap();
            writeln!(&theirs, "{{\"return\":{{}},\"id\":1}}").unwrap();
            // No answer comes to this one, nor does the connection end before we have been heard.
            lines.next().unwrap().unwrap()
        });
        let mut client = Client::connect(socket, Duration::from_secs(5)).unwrap();
        let begun = Instant::now();
        client.tell("quit").unwrap();
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert_eq!(peer.join().unwrap(), "{\"execute\":\"quit\",\"id\":2}");
    }

    #[test]
    fn a_refusal_keeps_qemus_words_and_the_monitor_goes_on() {
        let (mut client, _) = client(&[
            "{\"error\":{\"class\":\"GenericError\",\"desc\":\"Postcopy is not yet compatible with multifd\"},\"id\":2}",
            "{\"return\":1,\"id\":3}",
        ]);
        let error = client.execute("migrate-set-capabilities", json!({})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Postcopy is not yet compatible with multifd (QEMU's answer to migrate-set-capabilities)"
        );
        assert_eq!(client.execute("x", Value::Null).unwrap(), 1);
    }

    #[test]
    fn a_peer_that_goes_is_known_at_once_and_stays_known() {
        let (mut client, peer) = client(&[]);
        peer.join().unwrap();
        assert_eq!(client.execute("x", Value::Null), Err(QmpError::Closed));
        assert_eq!(client.execute("y", Value::Null), Err(QmpError::Closed));
    }

    #[test]
    fn a_peer_that_is_no_qemu_is_refused() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"{\"return\":{}}\n").unwrap();
        let error = Client::connect(ours, Duration::from_secs(5)).err();
        assert!(matches!(error, Some(QmpError::Garbled(_))), "{error:?}");
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"QEMU 7.2.22 monitor - type 'help'\r\n(qemu) ").unwrap();
        let error = Client::connect(ours, Duration::from_secs(5)).err();
        assert!(matches!(error, Some(QmpError::Garbled(_))), "{error:?}");
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let error = Client::connect(ours, Duration::from_millis(20)).err();
        assert!(matches!(error, Some(QmpError::Silent { .. })), "{error:?}");
    }
}
