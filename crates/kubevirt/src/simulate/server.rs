//! What the API server asks of us over TLS: logs, as of a kubelet, and whether a request is admitted, as of virt-api.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

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
    let thread = std::thread::Builder::new().name("simulated-kubelet".to_owned());
    thread.spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, shared) = (Arc::clone(&config), Arc::clone(&ours));
            std::thread::spawn(move || drop(serve(stream, config, &shared)));
        }
    })?;
    Ok(Server { port, certificate: made.cert.pem(), shared })
}

/// One connection, with as many requests as the other side likes.
fn serve(stream: TcpStream, config: Arc<ServerConfig>, shared: &Mutex<Shared>) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let (_, path) = (words.next(), words.next().unwrap_or("/").to_owned());
        let mut length = 0;
        loop {
            let mut header = String::new();
            stream.read_line(&mut header)?;
            if header.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; usize::min(length, 8 << 20)];
        stream.read_exact(&mut body)?;
        let (status, kind, answer) = answer(&path, &body, shared);
        write!(
            stream.get_mut(),
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        )?;
        stream.get_mut().flush()?;
    }
}

fn answer(path: &str, body: &[u8], shared: &Mutex<Shared>) -> (&'static str, &'static str, String) {
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let place = path.split('?').next().unwrap_or(path);
    let words: Vec<&str> = place.trim_matches('/').split('/').collect();
    match words[..] {
        ["containerLogs", namespace, pod, _] => {
            let lines = shared.logs.get(&(namespace.to_owned(), pod.to_owned()));
            let file = shared.directory.as_ref().map(|it| it.join(format!("{pod}.log")));
            let text = match (lines, file) {
                (Some(lines), _) => lines.join("\n"),
                (None, Some(file)) => std::fs::read_to_string(file).unwrap_or_default(),
                (None, None) => String::new(),
            };
            ("200 OK", "text/plain", text)
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
            ("200 OK", "application/json", answer.to_string())
        }
        _ => ("404 Not Found", "text/plain", "there is nothing here\n".to_owned()),
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
