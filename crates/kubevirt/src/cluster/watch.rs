//! Watching objects of one kind without losing any.
//!
//! ```text
//!   list ──► watch from its version ──► ended, or connection lost ──► watch on from the last version seen
//!     ▲                                             │
//!     └──── 410 Gone: that version is forgotten ◄───┘
//! ```
//!
//! After each new list, what is not in it any more is told as gone, so the consumer need not know that there was one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kube::Resource;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use super::{Cluster, is_worth_another_try};
use crate::error::KubevirtError;

/// A watch ends by itself after so many seconds, and is begun again; it is how a connection that died silently is found.
const WATCH_SECONDS: u32 = 240;
/// The longest pause before a watch is begun again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Objects of one piece of a list.
const PIECE: u32 = 250;

/// What happened to an object.
#[derive(Clone, Debug)]
pub enum Seen<K> {
    /// It is there, new or changed.
    There(K),
    /// It is not there any more; the last that was seen of it.
    Gone(K),
}

type Events<K> = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<K>>> + Send>>;

/// A watch that goes on in the background.
pub struct Watching<K> {
    /// What is watched.
    pub api: Api<K>,
    events: UnboundedReceiver<Result<Seen<K>, KubevirtError>>,
    counts: Arc<Interruptions>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Interruptions {
    /// How often a watch was begun again.
    resumes: AtomicU64,
    /// How often a list had to be made anew because a version was forgotten.
    relists: AtomicU64,
}

impl<K> Watching<K> {
    /// What happened next. It may be dropped while it waits.
    pub async fn next(&mut self) -> Result<Seen<K>, KubevirtError> {
        match self.events.recv().await {
            Some(seen) => seen,
            // It has said why before.
            None => std::future::pending().await,
        }
    }

    /// Watches begun again, and lists made anew.
    pub fn interruptions(&self) -> (u64, u64) {
        let count = |it: &AtomicU64| it.load(Ordering::Relaxed);
        (count(&self.counts.resumes), count(&self.counts.relists))
    }
}

impl<K> Drop for Watching<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A watch over objects of one kind.
pub struct Watch<K> {
    cluster: Cluster,
    api: Api<K>,
    what: String,
    selector: Option<String>,
    /// What to go on from; None asks for a list.
    version: Option<String>,
    events: Option<Events<K>>,
    ready: VecDeque<Seen<K>>,
    /// The objects that are there, by UID: name enough to tell that they are gone.
    known: HashMap<String, K>,
    pause: Duration,
    counts: Arc<Interruptions>,
}

impl<K> Watch<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    /// Begins with a list when first asked.
    pub fn new(cluster: &Cluster, what: &str, api: Api<K>, selector: Option<String>) -> Watch<K> {
        Watch {
            cluster: cluster.clone(),
            api,
            what: what.to_owned(),
            selector,
            version: None,
            events: None,
            ready: VecDeque::new(),
            known: HashMap::new(),
            pause: Duration::ZERO,
            counts: Arc::default(),
        }
    }

    /// Watches in the background, so that a busy consumer misses nothing; it ends when the result is dropped.
    pub fn spawn(mut self) -> Watching<K> {
        let (to_consumer, events) = unbounded_channel();
        let (api, counts) = (self.api.clone(), Arc::clone(&self.counts));
        let task = tokio::spawn(async move {
            loop {
                let seen = self.next().await;
                let is_over = seen.is_err();
                if to_consumer.send(seen).is_err() || is_over {
                    return;
                }
            }
        });
        Watching { api, events, counts, task }
    }

    /// What happened next. It may be dropped while it waits; nothing is lost then.
    pub async fn next(&mut self) -> Result<Seen<K>, KubevirtError> {
        loop {
            if let Some(seen) = self.ready.pop_front() {
                return Ok(seen);
            }
            if self.version.is_none() {
                self.list().await?;
                continue;
            }
            if self.events.is_none() {
                self.begin().await?;
                continue;
            }
            let event = match &mut self.events {
                Some(events) => events.next().await,
                None => None,
            };
            self.take(event)?;
        }
    }

    async fn list(&mut self) -> Result<(), KubevirtError> {
        let mut parameters = ListParams::default().limit(PIECE);
        parameters.label_selector.clone_from(&self.selector);
        let (api, what) = (&self.api, format!("list {}", self.what));
        let (mut there, mut version) = (Vec::new(), None);
        loop {
            let piece = self.cluster.call(&what, || api.list(&parameters)).await;
            let piece = match piece {
                Err(KubevirtError::Refused { code: 410, .. })
                    if parameters.continue_token.take().is_some() =>
                {
                    there.clear();
                    continue;
                }
                piece => piece?,
            };
            version = piece.metadata.resource_version.or(version);
            there.extend(piece.items);
            parameters.continue_token = piece.metadata.continue_.filter(|it| !it.is_empty());
            if parameters.continue_token.is_none() {
                break;
            }
        }
        let uids: HashSet<String> = there.iter().map(uid).collect();
        let gone: Vec<String> =
            self.known.keys().filter(|it| !uids.contains(*it)).cloned().collect();
        for uid in gone {
            self.ready.extend(self.known.remove(&uid).map(Seen::Gone));
        }
        for object in there {
            self.known.insert(uid(&object), object.clone());
            self.ready.push_back(Seen::There(object));
        }
        self.version = Some(version.unwrap_or_default());
        Ok(())
    }

    async fn begin(&mut self) -> Result<(), KubevirtError> {
        if !self.pause.is_zero() {
            tokio::time::sleep(self.pause).await;
        }
        let mut parameters = WatchParams::default().timeout(WATCH_SECONDS);
        parameters.label_selector.clone_from(&self.selector);
        let version = self.version.clone().unwrap_or_default();
        let (api, what) = (&self.api, format!("watch {}", self.what));
        let begun = self.cluster.call(&what, || api.watch(&parameters, &version)).await;
        match begun {
            Ok(events) => self.events = Some(events.boxed()),
            Err(KubevirtError::Refused { code: 410, .. }) => self.forget(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn take(&mut self, event: Option<kube::Result<WatchEvent<K>>>) -> Result<(), KubevirtError> {
        match event {
            Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                self.saw(&object);
                self.known.insert(uid(&object), object.clone());
                self.ready.push_back(Seen::There(object));
            }
            Some(Ok(WatchEvent::Deleted(object))) => {
                self.saw(&object);
                self.known.remove(&uid(&object));
                self.ready.push_back(Seen::Gone(object));
            }
            Some(Ok(WatchEvent::Bookmark(bookmark))) => {
                self.version = Some(bookmark.metadata.resource_version);
            }
            Some(Ok(WatchEvent::Error(status))) if status.code == 410 => self.forget(),
            Some(Ok(WatchEvent::Error(_))) => self.resume(true),
            Some(Err(error)) => {
                let is_lost = matches!(error, kube::Error::SerdeError(_));
                if !is_lost && !is_worth_another_try(&error) {
                    return Err(KubevirtError::of(&format!("watch {}", self.what), 1, &error));
                }
                self.resume(true);
            }
            None => self.resume(false),
        }
        Ok(())
    }

    fn saw(&mut self, object: &K) {
        self.pause = Duration::ZERO;
        if let Some(version) = &object.meta().resource_version {
            self.version = Some(version.clone());
        }
    }

    /// The version is not known any more.
    fn forget(&mut self) {
        self.counts.relists.fetch_add(1, Ordering::Relaxed);
        self.version = None;
        self.events = None;
    }

    fn resume(&mut self, is_failure: bool) {
        self.counts.resumes.fetch_add(1, Ordering::Relaxed);
        self.events = None;
        let longer = (self.pause * 2).max(Duration::from_millis(50)).min(LONGEST_PAUSE);
        self.pause = if is_failure { longer } else { Duration::from_millis(10) };
    }
}

fn uid<K: Resource>(object: &K) -> String {
    object.meta().uid.clone().unwrap_or_default()
}
