//! What the API server asks of us over TLS: logs, as of a kubelet, and whether a request is admitted, as of virt-api.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use sterna_probe::serve::pages::{Page, PageServer};
use sterna_probe::serve::places::Places;

/// Most bytes of an object that an API server asks about.
const MOST_BODY_BYTES: usize = 8 << 20;

/// Most questions of it at a time.
const MOST_CONNECTIONS: usize = 1024;

/// What both sides know.
#[derive(Default)]
pub struct Shared {
    /// Lines of each virt-launcher Pod, by namespace and name.
    pub logs: HashMap<(String, String), Vec<String>>,
    /// Guests that can be migrated: the node of each, by namespace and name.
    pub guests: HashMap<(String, String), String>,
    /// Guests that cannot be migrated, and why.
    pub stuck: HashMap<(String, String), String>,
    /// Guests with an unfinished migration.
    pub busy: HashSet<(String, String)>,
    /// The guest of each virt-launcher Pod, by namespace and name.
    pub pods: HashMap<(String, String), String>,
    /// Guests that a drain wants away, and from where.
    pub evacuations: Vec<((String, String), String)>,
    /// Refuse every new migration with these words.
    pub reject: Option<String>,
    /// Where the logs of other Pods are.
    pub directory: Option<PathBuf>,
}

/// A listening server.
pub struct Server {
    /// Its port.
    pub port: u16,
    /// Its certificate, as PEM.
    pub certificate: String,
    /// What it knows.
    pub shared: Arc<Mutex<Shared>>,
}

/// Listens on a free port of the loopback, until the process ends.
pub fn listen() -> io::Result<Server> {
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .map_err(io::Error::other)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let shared: Arc<Mutex<Shared>> = Arc::default();
    let (config, ours) = (Arc::new(config), Arc::clone(&shared));
    let server = PageServer {
        name: "simulated-kube",
        most_body_bytes: MOST_BODY_BYTES,
        // An API server asks about many objects at the same time, all of them from one address.
        places: Places::new(MOST_CONNECTIONS, MOST_CONNECTIONS),
    };
    let open = move |connection| {
        let session = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
        Ok(StreamOwned::new(session, connection))
    };
    server
        .serve_over(listener, open, move |request| answer(&request.path, &request.body, &ours))?;
    Ok(Server { port, certificate: made.cert.pem(), shared })
}

fn answer(path: &str, body: &[u8], shared: &Mutex<Shared>) -> Page {
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let words: Vec<&str> = path.trim_matches('/').split('/').collect();
    match words[..] {
        ["containerLogs", namespace, pod, _] => {
            let lines = shared.logs.get(&(namespace.to_owned(), pod.to_owned()));
            let file = shared.directory.as_ref().map(|it| it.join(format!("{pod}.log")));
            let text = match (lines, file) {
                (Some(lines), _) => lines.join("\n"),
                (None, Some(file)) => std::fs::read_to_string(file).unwrap_or_default(),
                (None, None) => String::new(),
            };
            Page::found("text/plain", text)
        }
        ["admit"] => {
            let review: Value = serde_json::from_slice(body).unwrap_or_default();
            let response = match admit(&review["request"], &mut shared) {
                Ok(()) => json!({"uid": review["request"]["uid"], "allowed": true}),
                Err((code, message)) => json!({
                    "uid": review["request"]["uid"],
                    "allowed": false,
                    "status": {"code": code, "message": message},
                }),
            };
            let answer = json!({
                "apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response,
            });
            Page::found("application/json", answer.to_string())
        }
        _ => Page::refused(404, "there is nothing here"),
    }
}

/// virt-api's rules for new migrations and for evictions.
fn admit(request: &Value, shared: &mut Shared) -> Result<(), (u16, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let namespace = text(&request["namespace"]);
    if request["resource"]["resource"] == "virtualmachineinstancemigrations" {
        let guest = text(&request["object"]["spec"]["vmiName"]);
        let key = (namespace, guest.clone());
        if let Some(words) = &shared.reject {
            return Err((422, words.clone()));
        }
        if let Some(reason) = shared.stuck.get(&key) {
            return Err((422, format!("Cannot migrate VMI, Reason: {reason}")));
        }
        if !shared.guests.contains_key(&key) {
            return Err((422, format!("the VMI {guest} does not exist under the cluster")));
        }
        if shared.busy.contains(&key) {
            return Err((409, format!("in-flight migration detected for VMI {guest}")));
        }
        return Ok(());
    }
    let pod = (namespace.clone(), text(&request["name"]));
    let Some(guest) = shared.pods.get(&pod).cloned() else { return Ok(()) };
    let key = (namespace, guest.clone());
    if let Some(reason) = shared.stuck.get(&key) {
        return Err((
            429,
            format!(
                "VMI {guest} is configured with an eviction strategy but is not live-migratable: {reason}"
            ),
        ));
    }
    let Some(node) = shared.guests.get(&key).cloned() else { return Ok(()) };
    if request["dryRun"] != true {
        shared.evacuations.push((key, node));
    }
    Err((429, format!("Eviction triggered evacuation of VMI \"{}/{guest}\"", pod.0)))
}
