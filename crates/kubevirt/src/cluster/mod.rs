//! The way to a cluster: calls with retries and a limit, and watches that go on whatever happens.

mod connect;
mod pace;
mod watch;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::KubevirtError;

pub use connect::ConnectOptions;
pub(crate) use pace::Pace;
pub use watch::{Seen, Watch, Watching};

/// Who applies what we apply server-side.
pub const FIELD_MANAGER: &str = "sterna";

/// How long a call is tried before it is given up: an API server that is being replaced is away for a minute or two.
const PATIENCE: Duration = Duration::from_secs(150);
/// The first pause between two tries; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// No pause is longer, whatever the server asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A cluster, and the namespace that is meant where none is said.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    /// The namespace that is meant where none is said.
    pub namespace: String,
    /// The address of the API server.
    pub server: String,
    pace: Arc<Pace>,
    counts: Arc<Counts>,
    dry_run: bool,
    patience: Duration,
}

#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    retries: AtomicU64,
}

impl Cluster {
    /// Finds the way, as kubectl does; asks nothing yet.
    pub async fn connect(options: &ConnectOptions) -> Result<Cluster, KubevirtError> {
        let config = connect::config(options).await?;
        let namespace = config.default_namespace.clone();
        let server = config.cluster_url.to_string();
        let client =
            Client::try_from(config).map_err(|error| KubevirtError::Config(error.to_string()))?;
        let pace = Arc::new(Pace::new(options.qps, options.burst));
        let counts = Arc::default();
        let (dry_run, patience) = (options.dry_run, PATIENCE);
        Ok(Cluster { client, namespace, server, pace, counts, dry_run, patience })
    }

    /// The same cluster, whose calls are given up after this time.
    pub fn with_patience(&self, patience: Duration) -> Cluster {
        Cluster { patience, ..self.clone() }
    }

    /// The same cluster, which is asked what it would do, and changes nothing.
    pub fn rehearsing(&self) -> Cluster {
        Cluster { dry_run: true, ..self.clone() }
    }

    /// The client, for what has no helper here.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Calls so far, retries included, and retries.
    pub fn calls(&self) -> (u64, u64) {
        let count = |it: &AtomicU64| it.load(Ordering::Relaxed);
        (count(&self.counts.calls), count(&self.counts.retries))
    }

    /// How many calls there were in the busiest second.
    pub fn busiest_second(&self) -> usize {
        self.pace.busiest_second()
    }

    /// Objects of a kind of KubeVirt in a namespace, or cluster-wide.
    pub fn api<K>(&self, resource: &ApiResource, namespace: Option<&str>) -> Api<K>
    where
        K: Resource<DynamicType = ApiResource, Scope = kube::core::DynamicResourceScope>,
    {
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client(), namespace, resource),
            None => Api::all_with(self.client(), resource),
        }
    }

    /// Objects of a core kind in our namespace.
    pub fn core<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client(), &self.namespace)
    }

    /// Makes a call, again when the server is busy, broken or away. `what` completes "cannot …".
    pub async fn call<T, F>(&self, what: &str, call: impl Fn() -> F) -> Result<T, KubevirtError>
    where
        F: Future<Output = kube::Result<T>>,
    {
        let mut pause = FIRST_PAUSE;
        let began = Instant::now();
        for tries in 1.. {
            self.pace.wait().await;
            self.counts.calls.fetch_add(1, Ordering::Relaxed);
            match call().await {
                Ok(value) => return Ok(value),
                Err(error) if began.elapsed() < self.patience && is_worth_another_try(&error) => {
                    self.counts.retries.fetch_add(1, Ordering::Relaxed);
                    let wanted = wanted_pause(&error).unwrap_or(pause);
                    tokio::time::sleep(wanted.min(LONGEST_PAUSE)).await;
                    pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                }
                Err(error) => return Err(KubevirtError::of(what, tries, &error)),
            }
        }
        unreachable!("the loop ends by its own count")
    }

    /// Applies an object server-side; what others have set on it is taken over.
    pub async fn apply(&self, object: &Value) -> Result<DynamicObject, KubevirtError> {
        let (api, name) = self.dynamic(object)?;
        let mut parameters = PatchParams::apply(FIELD_MANAGER).force();
        parameters.dry_run = self.dry_run;
        let kind = object["kind"].as_str().unwrap_or("object");
        let patch = Patch::Apply(object);
        self.call(&format!("apply {kind} {name}"), || api.patch(&name, &parameters, &patch)).await
    }

    /// Creates an object. One of its name that is there already, whoever it belongs to, is left as it is and told.
    pub async fn create(&self, object: &Value) -> Result<(), KubevirtError> {
        let retries = self.calls().1;
        let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
        match self.post(object).await {
            // The answer to an earlier try may have been lost after it was done.
            Err(KubevirtError::Refused { code: 409, .. }) if self.calls().1 > retries => Ok(()),
            Err(KubevirtError::Refused { code: 409, .. }) => Err(KubevirtError::NotReady(format!(
                "There is a {kind} {name} already, and it is left as it is: choose another --name, or remove that of an earlier run with `sterna kubevirt cleanup`"
            ))),
            other => other.map(drop),
        }
    }

    /// Creates an object; its name may be left to the server.
    pub async fn post(&self, object: &Value) -> Result<DynamicObject, KubevirtError> {
        let (api, name) = self.dynamic(object)?;
        let what = format!("create {} {name}", text(&object["kind"]));
        let typed: DynamicObject = serde_json::from_value(object.clone()).map_err(|error| {
            KubevirtError::Answer { what: what.clone(), reason: error.to_string() }
        })?;
        let parameters =
            PostParams { dry_run: self.dry_run, field_manager: Some(FIELD_MANAGER.to_owned()) };
        self.call(&what, || api.create(&parameters, &typed)).await
    }

    /// Changes some fields of an object.
    pub async fn merge<K>(
        &self,
        api: &Api<K>,
        name: &str,
        change: &Value,
    ) -> Result<(), KubevirtError>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let (what, patch) = (format!("change {name}"), Patch::Merge(change));
        let parameters = PatchParams::default();
        self.call(&what, || api.patch(name, &parameters, &patch)).await.map(drop)
    }

    /// Changes some fields of an object's status.
    pub async fn merge_status<K>(
        &self,
        api: &Api<K>,
        name: &str,
        change: &Value,
    ) -> Result<(), KubevirtError>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let (what, patch) = (format!("set the status of {name}"), Patch::Merge(change));
        let parameters = PatchParams::default();
        self.call(&what, || api.patch_status(name, &parameters, &patch)).await.map(drop)
    }

    /// The API for an object of any kind, and its name.
    fn dynamic(&self, object: &Value) -> Result<(Api<DynamicObject>, String), KubevirtError> {
        let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        let (group, version) = version.split_once('/').unwrap_or(("", &version));
        let resource = crate::views::resource(group, version, &kind, &plural(&kind));
        let namespace = object["metadata"]["namespace"].as_str();
        Ok((self.api(&resource, namespace), text(&object["metadata"]["name"])))
    }

    /// All objects of a kind that a selector fits, in pieces.
    pub async fn list<K>(
        &self,
        what: &str,
        api: &Api<K>,
        selector: Option<&str>,
    ) -> Result<Vec<K>, KubevirtError>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let mut parameters = ListParams::default().limit(250);
        parameters.label_selector = selector.map(str::to_owned);
        let mut found = Vec::new();
        loop {
            let piece = self.call(&format!("list {what}"), || api.list(&parameters)).await;
            let piece = match piece {
                // The list grew old between two pieces.
                Err(KubevirtError::Refused { code: 410, .. })
                    if parameters.continue_token.take().is_some() =>
                {
                    found.clear();
                    continue;
                }
                piece => piece?,
            };
            found.extend(piece.items);
            match piece.metadata.continue_.filter(|it| !it.is_empty()) {
                Some(token) => parameters.continue_token = Some(token),
                None => return Ok(found),
            }
        }
    }

    /// Deletes an object; one that is gone already is as good as deleted. Tells whether it was there.
    pub async fn delete<K>(
        &self,
        what: &str,
        api: &Api<K>,
        name: &str,
    ) -> Result<bool, KubevirtError>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let mut parameters = DeleteParams::background();
        parameters.dry_run = self.dry_run;
        let what = format!("delete {what} {name}");
        match self.call(&what, || api.delete(name, &parameters)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lets the API server check the creation of an object, with unknown fields as errors, and changes nothing.
    pub async fn validate_strictly(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        object: &Value,
    ) -> Result<(), KubevirtError> {
        let api = self.api::<DynamicObject>(resource, namespace);
        let path = format!("{}?dryRun=All&fieldValidation=Strict", api.resource_url());
        self.post_once(&path, object).await
    }

    /// Posts to a path; 429 is the answer here, and not a reason to try again.
    pub async fn post_once(&self, path: &str, body: &Value) -> Result<(), KubevirtError> {
        let what = format!("post to {path}");
        let text = body.to_string().into_bytes();
        let call = || async {
            let request = http::Request::post(path)
                .header(http::header::CONTENT_TYPE, "application/json")
                .body(text.clone())
                .map_err(kube::Error::HttpError)?;
            match self.client.request::<Value>(request).await {
                Err(kube::Error::Api(status)) if status.code == 429 => Ok(Err(status)),
                answer => answer.map(|_| Ok(())),
            }
        };
        match self.call(&what, call).await? {
            Ok(()) => Ok(()),
            Err(status) => Err(KubevirtError::of(&what, 1, &kube::Error::Api(status))),
        }
    }

    /// Asks for a text, once: whoever asks for what is away at times asks again by itself.
    pub async fn get_once(&self, path: &str, patience: Duration) -> Result<String, KubevirtError> {
        let what = format!("get {path}");
        let request = http::Request::get(path).body(Vec::new());
        let request =
            request.map_err(|error| KubevirtError::of(&what, 1, &kube::Error::HttpError(error)))?;
        self.pace.wait().await;
        self.counts.calls.fetch_add(1, Ordering::Relaxed);
        let answer = tokio::time::timeout(patience, self.client.request_text(request)).await;
        match answer {
            Ok(answer) => answer.map_err(|error| KubevirtError::of(&what, 1, &error)),
            Err(_) => Err(KubevirtError::Unreachable {
                what,
                tries: 1,
                reason: format!("there was no answer within {} ms", patience.as_millis()),
            }),
        }
    }

    /// Time between two calls in the long run.
    pub fn pace(&self) -> Duration {
        self.pace.every()
    }

    /// Whether nothing is to be changed.
    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The plural of the kinds that we make.
fn plural(kind: &str) -> String {
    match kind {
        "MigrationPolicy" => "migrationpolicies".to_owned(),
        kind => format!("{}s", kind.to_lowercase()),
    }
}

/// Whether the same call may fare better a little later.
fn is_worth_another_try(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 500 | 502 | 503 | 504),
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

fn wanted_pause(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else { return None };
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
}
