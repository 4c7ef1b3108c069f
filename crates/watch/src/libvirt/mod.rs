//! A domain of libvirt, by `virsh`: one that answers questions, and two for each side that tell events.
//!
//! libvirt holds the monitors of its QEMUs and has switched their events on, so nothing has to be changed to hear them.
//! Only calls are made that do not wait for the migration's job; before QEMU migrates, libvirt's figures are zeros, which are no measurements, so QEMU itself is asked (`qemu-monitor-command`).

mod lines;
mod shell;
mod stories;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use sterna_sys::clock::monotonic_ns;

use crate::{Answer, Destination, Heard, Look, Pace, Place, Settings, WatchError, Way, Wish};

use lines::JobStatistics;
use shell::{Reply, Shell};
use stories::Stories;

/// Time between two looks. Events come by themselves, so this is how fine amounts are.
const INTERVAL: Duration = Duration::from_millis(500);

/// `virsh` stamps events in milliseconds when they arrive.
const EVENT_UNCERTAINTY_NS: u64 = 2_000_000;

/// Whose migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Name, id or UUID.
    pub name: String,
    /// Where it is; `None` for virsh's own default.
    pub uri: Option<String>,
    /// Where it goes, where that can be looked at.
    pub destination: Option<String>,
    /// The program.
    pub virsh: PathBuf,
}

/// A domain, watched.
pub struct Libvirt {
    domain: Domain,
    shell: Shell,
    destination: Option<Shell>,
    stories: Stories,
    destination_stories: Option<Stories>,
    /// Whether QEMU is asked; before a migration it is left alone.
    is_busy: bool,
    last: Value,
}

impl Libvirt {
    /// Starts the programs and listens; the domain is looked for on the source.
    ///
    /// # Errors
    /// There is no virsh, no connection, or no such domain.
    pub fn open(domain: Domain) -> Result<Libvirt, WatchError> {
        let mut shell = Shell::start(&domain.virsh, domain.uri.as_deref())?;
        // Events have names, and a domain may be given by its id or UUID.
        let info = shell.must_ask(&format!("dominfo {}", quoted(&domain.name)))?;
        let name = lines::field(&info, "Name").unwrap_or_else(|| domain.name.clone());
        let destination = domain.destination.as_deref();
        let destination_shell =
            destination.map(|it| Shell::start(&domain.virsh, Some(it))).transpose()?;
        let stories = Stories::begin(&domain.virsh, domain.uri.as_deref(), &name)?;
        let destination_stories =
            destination.map(|it| Stories::begin(&domain.virsh, Some(it), &name)).transpose()?;
        Ok(Libvirt {
            domain: Domain { name, ..domain },
            shell,
            destination: destination_shell,
            stories,
            destination_stories,
            is_busy: true,
            last: json!({}),
        })
    }

    fn monitor(&mut self, command: &str) -> Reply {
        let order = json!({ "execute": command }).to_string();
        let name = quoted(&self.domain.name);
        self.shell.ask(&format!("qemu-monitor-command {name} {}", quoted(&order)))
    }

    /// QEMU's answer; what libvirt says in its place where there is no QEMU any more.
    fn query(&mut self) -> Heard {
        if let Some(job) = self.stories.completed_job() {
            return Heard::Answer(Answer { at_ns: monotonic_ns(), query: job.to_query() });
        }
        let reply = match self.is_busy {
            true => self.monitor("query-migrate"),
            false => self.shell.ask(&format!("domstate {}", quoted(&self.domain.name))),
        };
        let at_ns = monotonic_ns();
        match reply {
            Reply::Text(text) if self.is_busy => match lines::returned(&text) {
                Some(query) => {
                    self.is_busy = is_under_way(&query);
                    self.last = query.clone();
                    Heard::Answer(Answer { at_ns, query })
                }
                None => Heard::Silence(format!("virsh says `{}`", text.trim())),
            },
            Reply::Text(text) if text.trim() == "shut off" => {
                Heard::Gone("the domain was shut off".to_owned())
            }
            Reply::Text(_) => Heard::Answer(Answer { at_ns, query: self.last.clone() }),
            Reply::Refused(words) if is_gone(&words) => Heard::Gone(words),
            Reply::Refused(words) | Reply::Silent(words) => Heard::Silence(words),
            Reply::Ended(words) => {
                self.restart();
                Heard::Silence(words)
            }
        }
    }

    /// libvirtd may have been restarted; the guest does not depend on it.
    fn restart(&mut self) {
        if let Ok(shell) = Shell::start(&self.domain.virsh, self.domain.uri.as_deref()) {
            self.shell = shell;
        }
    }

    fn settings(&mut self) -> Option<Settings> {
        if !self.is_busy {
            return None;
        }
        let mut ask = |command: &str| match self.monitor(command) {
            Reply::Text(text) => lines::returned(&text),
            _ => None,
        };
        let parameters = ask("query-migrate-parameters")?;
        let capabilities = ask("query-migrate-capabilities")?;
        let memory = ask("query-memory-size-summary").unwrap_or_default();
        Some(Settings::new(parameters, &capabilities, &memory))
    }

    fn arrival(&mut self) -> Destination {
        let Some(shell) = &mut self.destination else { return Destination::Unknown };
        match shell.ask(&format!("domstate --reason {}", quoted(&self.domain.name))) {
            Reply::Text(text) if text.contains("migrating") || text.contains("starting up") => {
                Destination::Incoming
            }
            Reply::Text(text) if text.trim_start().starts_with("shut off") => {
                Destination::Gone(text.trim().to_owned())
            }
            Reply::Text(_) => Destination::Arrived,
            Reply::Refused(words) if is_gone(&words) => Destination::Gone(words),
            _ => Destination::Unknown,
        }
    }
}

impl Way for Libvirt {
    fn place(&mut self) -> Result<Place, WatchError> {
        self.stories.forget_job();
        let name = quoted(&self.domain.name);
        let state = self.shell.must_ask(&format!("domstate {name}"))?;
        if state.trim() == "shut off" {
            let what = format!("The domain {}", self.domain.name);
            return Err(WatchError::Ended(format!("{what} is shut off")));
        }
        let version = |shell: &mut Shell| match shell.ask("version") {
            Reply::Text(text) => lines::version(&text),
            _ => None,
        };
        let uri = self.domain.uri.clone();
        Ok(Place {
            way: "libvirt",
            guest: self.domain.name.clone(),
            facts: vec![
                ("source", json!(uri.unwrap_or_else(|| "virsh's default".to_owned()))),
                ("destination", json!(self.domain.destination)),
                ("interval_seconds", json!(INTERVAL.as_secs_f64())),
            ],
            source_version: version(&mut self.shell),
            destination_version: self.destination.as_mut().and_then(version),
            run_state: Some(state.trim().to_owned()),
            hears_source: true,
            hears_destination: self.destination.is_some(),
            asks_destination: self.destination.is_some(),
            // The stamps are those of virsh, which runs here.
            source_clock_is_ours: true,
            destination_clock_is_ours: self.destination.is_some(),
            event_uncertainty_ns: EVENT_UNCERTAINTY_NS,
        })
    }

    fn pace(&self) -> Pace {
        Pace { idle: INTERVAL, busy: INTERVAL }
    }

    fn look(&mut self, wish: Wish) -> Look {
        let source_events = self.stories.take();
        self.is_busy |= source_events.iter().any(|it| it.name == "MIGRATION");
        let settings = wish.settings.then(|| self.settings()).flatten();
        let source = self.query();
        let destination = if wish.destination { self.arrival() } else { Destination::Unknown };
        Look {
            source_events,
            destination_events: self
                .destination_stories
                .as_mut()
                .map(Stories::take)
                .unwrap_or_default(),
            source,
            settings,
            destination,
        }
    }

    fn claims(&mut self) -> Vec<(&'static str, Value)> {
        let claim = self.stories.completed_job().map(JobStatistics::to_details);
        let mut claims: Vec<_> = claim.map(|it| ("libvirt_claims", it)).into_iter().collect();
        claims.push(("events_were_cut_off", json!(self.stories.is_cut_off())));
        claims
    }
}

fn is_under_way(query: &Value) -> bool {
    let word = query["status"].as_str().unwrap_or("none");
    !["none", "completed", "failed", "cancelled"].contains(&word)
}

fn is_gone(words: &str) -> bool {
    let gone = ["failed to get domain", "Domain not found", "domain is not running"];
    gone.iter().any(|it| words.contains(it))
}

/// As one word of virsh's command line.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
