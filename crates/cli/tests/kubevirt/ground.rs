//! A real API server on the loopback, with KubeVirt's kinds, for one test.

use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use serde_json::{Value, json};
use sterna_kubevirt::simulate::{SimulateOptions, Simulation};
use sterna_kubevirt::{Cluster, ConnectOptions, Session};
use sterna_pilot::Interrupt;

/// Which API server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// All of Kubernetes 1.20.
    Full,
    /// The engine of custom resources of a current Kubernetes.
    Current,
}

/// A running API server.
pub struct Ground {
    pub directory: tempfile::TempDir,
    kind: Kind,
    program: PathBuf,
    port: u16,
    etcd_port: u16,
    etcd: Option<Child>,
    server: Option<Child>,
}

const NAMESPACE: &str = "default";

/// Starts one, or says why not.
pub fn ground(kind: Kind) -> Option<Ground> {
    match start(kind) {
        Ok(ground) => Some(ground),
        Err(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
    }
}

fn start(kind: Kind) -> Result<Ground, String> {
    let name = match kind {
        Kind::Full => "kube-apiserver",
        Kind::Current => "apiextensions-apiserver",
    };
    let program = cache()
        .map(|it| it.join("sterna/kube-apiserver").join(name))
        .filter(|it| it.exists())
        .ok_or_else(|| format!("{name} is not built; `cargo xtask kube-apiserver` builds it"))?;
    let crds = crds().ok_or("STERNA_KUBEVIRT_CRDS names no folder with KubeVirt's kinds")?;
    let etcd = Command::new("etcd").arg("--version").output();
    etcd.map_err(|_| "there is no etcd; Debian's package is etcd-server")?;
    let directory = tempfile::tempdir().expect("a directory");
    certificates(directory.path());
    let mut ground = Ground {
        directory,
        kind,
        program,
        port: free_port(),
        etcd_port: free_port(),
        etcd: None,
        server: None,
    };
    ground.start_etcd();
    ground.start_server();
    ground.kubeconfig("admin", None);
    ground.install(&crds);
    Ok(ground)
}

pub fn cache() -> Option<PathBuf> {
    let usual = || Some(Path::new(&std::env::var_os("HOME")?).join(".cache"));
    std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(usual)
}

pub fn crds() -> Option<PathBuf> {
    std::env::var_os("STERNA_KUBEVIRT_CRDS").map(PathBuf::from).filter(|it| it.is_dir())
}

pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl Ground {
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn start_etcd(&mut self) {
        let peer = free_port();
        let mut command = Command::new("etcd");
        command
            .arg("--data-dir")
            .arg(self.path("etcd"))
            .args(["--listen-client-urls", &format!("http://127.0.0.1:{}", self.etcd_port)])
            .args(["--advertise-client-urls", &format!("http://127.0.0.1:{}", self.etcd_port)])
            .args(["--listen-peer-urls", &format!("http://127.0.0.1:{peer}")])
            .args(["--initial-advertise-peer-urls", &format!("http://127.0.0.1:{peer}")])
            .args(["--initial-cluster", &format!("default=http://127.0.0.1:{peer}")])
            // A data set that lives a minute needs no disk that is sure.
            .arg("--unsafe-no-fsync");
        self.etcd = Some(spawn(command, &self.path("etcd.log")));
        wait_for(self.etcd_port, "etcd", &self.path("etcd.log"));
    }

    /// Starts the API server, also again after [`Ground::kill_server`].
    pub fn start_server(&mut self) {
        let mut command = Command::new(&self.program);
        let file = |name: &str| self.path(name).display().to_string();
        let etcd = format!("http://127.0.0.1:{}", self.etcd_port);
        let port = self.port.to_string();
        command.args(["--etcd-servers", &etcd, "--bind-address", "127.0.0.1"]);
        command.args(["--secure-port", &port, "--tls-cert-file", &file("server.pem")]);
        command.args(["--tls-private-key-file", &file("server.key")]);
        command.args(["--client-ca-file", &file("ca.pem")]);
        match self.kind {
            Kind::Full => {
                command.args(["--advertise-address", "127.0.0.1", "--insecure-port=0"]);
                command.args(["--token-auth-file", &file("tokens"), "--authorization-mode=RBAC"]);
                command.args(["--service-account-issuer", "https://sterna.test"]);
                command.args(["--service-account-key-file", &file("server.pub")]);
                command.args(["--service-account-signing-key-file", &file("server.key")]);
                command.args(["--service-cluster-ip-range", "10.0.0.0/24"]);
                command.args(["--disable-admission-plugins=ServiceAccount", "--allow-privileged"]);
                command.args([
                    "--max-requests-inflight=2000",
                    "--max-mutating-requests-inflight=1000",
                ]);
            }
            Kind::Current => {
                command
                    .args(["--authentication-skip-lookup", "--enable-priority-and-fairness=false"]);
                for flag in
                    ["--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig"]
                {
                    command.args([flag, &file("self.kubeconfig")]);
                }
                command.args(["--disable-admission-plugins", "NamespaceLifecycle,MutatingAdmissionWebhook,ValidatingAdmissionWebhook,ValidatingAdmissionPolicy,MutatingAdmissionPolicy"]);
                self.kubeconfig("self", None);
            }
        }
        self.server = Some(spawn(command, &self.path("server.log")));
        wait_for(self.port, "the API server", &self.path("server.log"));
        let deadline = Instant::now() + Duration::from_secs(90);
        while Instant::now() < deadline {
            self.kubeconfig("admin", None);
            let session = Session::connect(&self.options("admin")).unwrap();
            let answers = session.block_on(async {
                let crds = sterna_kubevirt::views::resource(
                    "apiextensions.k8s.io",
                    "v1",
                    "CustomResourceDefinition",
                    "customresourcedefinitions",
                );
                let api = session.cluster().api::<kube_object::Object>(&crds, None);
                api.list(&Default::default()).await.is_ok()
            });
            if answers && (self.kind == Kind::Current || self.is_ready()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("The API server is not ready: {}", tail(&self.path("server.log")));
    }

    /// Roles and priorities are there only when its hooks ran.
    fn is_ready(&self) -> bool {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(self.path("admin.kubeconfig"));
        command.args(["get", "--raw", "/readyz"]).stderr(Stdio::null());
        command.output().map_or(true, |it| it.status.success())
    }

    /// Kills it, as a node that fails does.
    pub fn kill_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// A kubeconfig for a user, perhaps by way of another address.
    pub fn kubeconfig(&self, user: &str, by: Option<u16>) -> PathBuf {
        let file = |name: &str| self.path(name).display().to_string();
        let server = match by {
            Some(port) => format!("http://127.0.0.1:{port}"),
            None => format!("https://127.0.0.1:{}", self.port),
        };
        let account = match self.kind {
            Kind::Full => json!({"token": format!("token-of-{user}")}),
            Kind::Current => json!({
                "client-certificate": file("admin.pem"), "client-key": file("admin.key"),
            }),
        };
        let mut cluster = json!({"server": server});
        if by.is_none() {
            cluster["certificate-authority"] = file("ca.pem").into();
        }
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": account}],
            "contexts": [{"name": "test", "context": {
                "cluster": "test", "user": user, "namespace": NAMESPACE,
            }}],
        });
        let path = self.path(&format!("{user}.kubeconfig"));
        fs::write(&path, config.to_string()).unwrap();
        path
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn options(&self, user: &str) -> ConnectOptions {
        ConnectOptions {
            kubeconfig: Some(self.path(&format!("{user}.kubeconfig"))),
            qps: 2000.0,
            burst: 2000,
            ..ConnectOptions::default()
        }
    }

    pub fn session(&self) -> Session {
        Session::connect(&self.options("admin")).unwrap()
    }

    fn install(&self, crds: &Path) {
        let session = self.session();
        let mut names = Vec::new();
        for entry in fs::read_dir(crds).unwrap().flatten() {
            let text = fs::read_to_string(entry.path()).unwrap();
            let mut crd: Value = serde_json::from_str(&text).unwrap();
            crd.as_object_mut().unwrap().remove("status");
            names.push(crd["metadata"]["name"].as_str().unwrap().to_owned());
            // Not server-side: an older server would refuse fields that it does not know.
            let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
            session.block_on(session.cluster().post_once(path, &crd)).unwrap();
        }
        // Each has to be served before a test may use it.
        let deadline = Instant::now() + Duration::from_secs(60);
        for name in names {
            let (plural, group) = name.split_once('.').unwrap();
            let version = if plural == "migrationpolicies" { "v1alpha1" } else { "v1" };
            let resource = sterna_kubevirt::views::resource(group, version, plural, plural);
            while session.block_on(async {
                let api = session.cluster().api::<kube_object::Object>(&resource, None);
                api.list(&Default::default()).await.is_err()
            }) {
                assert!(Instant::now() < deadline, "{name} is not served");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    /// Runs `sterna kubevirt …` as a user, to its end.
    pub fn sterna(&self, user: &str, arguments: &[&str]) -> Ran {
        Ran::of(
            self.command(user, arguments)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .output()
                .unwrap(),
        )
    }

    pub fn command(&self, user: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
        command.arg("kubevirt").arg("--kubeconfig").arg(self.path(&format!("{user}.kubeconfig")));
        if !arguments.contains(&"--qps") {
            command.args(["--qps", "1000"]);
        }
        command.args(arguments).current_dir(self.directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        sterna_sys::process::die_with_parent(&mut command);
        command
    }

    /// Runs kubectl; None where there is none.
    pub fn kubectl(&self, arguments: &[&str]) -> Option<Ran> {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(self.path("admin.kubeconfig")).args(arguments);
        command.output().ok().map(Ran::of)
    }

    /// Simulated controllers on a thread of their own.
    pub fn simulate(&self, options: SimulateOptions) -> Simulated {
        let interrupt = Interrupt::default();
        let ours = interrupt.clone();
        let connect = self.options("admin");
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let session = Session::connect(&connect).unwrap();
            session.block_on(async {
                let cluster: &Cluster = session.cluster();
                let simulation = Simulation::begin(cluster, options).await.unwrap();
                ready.send(()).unwrap();
                let ended = simulation.run(&ours).await;
                // Nobody looks at it before the test ends, and without controllers the test waits for long.
                if let Err(error) = &ended {
                    eprintln!("the simulation ended: {error}");
                }
                ended
            })
        });
        if is_ready.recv_timeout(Duration::from_secs(60)).is_err() {
            panic!("The simulation did not begin: {:?}", thread.join());
        }
        Simulated { interrupt, thread: Some(thread) }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for mut child in self.server.take().into_iter().chain(self.etcd.take()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Simulated controllers; they end with it.
pub struct Simulated {
    interrupt: Interrupt,
    thread: Option<std::thread::JoinHandle<Result<(), sterna_kubevirt::KubevirtError>>>,
}

impl Simulated {
    pub fn end(mut self) {
        self.interrupt.request();
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.interrupt.request();
        if let Some(thread) = self.thread.take() {
            let result = thread.join();
            if !std::thread::panicking() {
                result.unwrap().unwrap();
            }
        }
    }
}

/// What a program said.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn ok(self) -> Ran {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub fn fails(self, code: i32, words: &str) -> Ran {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        assert!(self.err.contains(words), "{words:?} is not in {}", self.err);
        self
    }
}

/// Objects of any kind, in all namespaces, of the first version of their group.
pub fn api(session: &Session, group: &str, kind: &str, plural: &str) -> kube_object::Api {
    let resource = sterna_kubevirt::views::resource(group, "v1", kind, plural);
    session.cluster().api(&resource, None)
}

/// The reports in a directory, by number.
pub fn records(ground: &Ground, directory: &str) -> Vec<Value> {
    let Ok(entries) = fs::read_dir(ground.path(directory)) else { return Vec::new() };
    let mut files: Vec<_> = entries.flatten().map(|it| it.path()).collect();
    files.sort();
    let read = |path| serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    files.iter().map(read).collect()
}

/// Any object, with nothing but its metadata looked at.
pub mod kube_object {
    pub type Object = sterna_kubevirt::AnyObject;
    pub type Api = sterna_kubevirt::AnyApi;
}

fn spawn(mut command: Command, log: &Path) -> Child {
    let file = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    sterna_sys::process::die_with_parent(&mut command);
    command.spawn().unwrap()
}

fn wait_for(port: u16, what: &str, log: &Path) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(Instant::now() < deadline, "{what} does not listen: {}", tail(log));
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn tail(log: &Path) -> String {
    let mut text = String::new();
    let _ = fs::File::open(log).and_then(|mut it| it.read_to_string(&mut text));
    text.lines().rev().take(15).collect::<Vec<_>>().join("\n")
}

/// An authority, the server's certificate, and one for an administrator; and the tokens.
fn certificates(directory: &Path) {
    let write = |name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "sterna-test-ca");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    write("ca.pem", &ca_certificate.pem());
    let issuer = Issuer::new(ca, ca_key);
    let mut server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    server.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
    let key = KeyPair::generate().unwrap();
    write("server.pem", &server.signed_by(&key, &issuer).unwrap().pem());
    write("server.key", &key.serialize_pem());
    write("server.pub", &key.public_key_pem());
    let mut admin = CertificateParams::default();
    admin.distinguished_name = rcgen::DistinguishedName::new();
    admin.distinguished_name.push(DnType::CommonName, "admin");
    admin.distinguished_name.push(DnType::OrganizationName, "system:masters");
    let key = KeyPair::generate().unwrap();
    write("admin.pem", &admin.signed_by(&key, &issuer).unwrap().pem());
    write("admin.key", &key.serialize_pem());
    write(
        "tokens",
        "token-of-admin,admin,1,\"system:masters\"\ntoken-of-tester,tester,2\ntoken-of-proxied,proxied,3,\"system:masters\"\n",
    );
}
