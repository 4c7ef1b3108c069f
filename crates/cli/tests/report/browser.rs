//! A headless Chromium, spoken to over its pipe: no port, and it ends when we do.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

/// Longer than any answer takes on a machine that others use as well.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Browser {
    child: Child,
    to: Option<ChildStdin>,
    from: Receiver<Value>,
    next_id: u64,
    session: String,
    events: VecDeque<Value>,
    _profile: tempfile::TempDir,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub width: u32,
    pub height: u32,
    pub dark: bool,
    pub phone: bool,
}

impl View {
    pub const DESK: View = View { width: 1280, height: 900, dark: false, phone: false };
    pub const NIGHT: View = View { dark: true, ..View::DESK };
    pub const PHONE: View = View { width: 400, height: 800, dark: false, phone: true };
}

impl Browser {
    /// `None`, and a line that says so, where there is no Chromium.
    pub fn start() -> Option<Browser> {
        let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
        let Some(program) = names.into_iter().find(|it| is_there(it)) else {
            eprintln!(
                "skipped: no Chromium is installed, so no page can be opened; apt-get install chromium"
            );
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        // The pipe's two ends have fixed numbers; a shell gives them those.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", program])
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .args(["--no-first-run", "--no-default-browser-check", "--disable-extensions"])
            .args(["--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, out) = (child.stdin.take(), child.stdout.take().unwrap());
        let (sender, from) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(out).split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { return };
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Browser {
            child,
            to,
            from,
            next_id: 1,
            session: String::new(),
            events: VecDeque::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        let offline = json!({ "offline": true, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0 });
        browser.call("Network.emulateNetworkConditions", offline);
        Some(browser)
    }

    /// Opens a file and waits until it is drawn; says how long that took.
    pub fn open(&mut self, path: &Path, view: View) -> Duration {
        self.view(view);
        self.events.clear();
        let begin = Instant::now();
        let url = format!("file://{}", path.canonicalize().unwrap().display());
        let answer = self.call("Page.navigate", json!({ "url": url }));
        assert!(answer["errorText"].is_null(), "{answer}");
        self.wait_for("Page.loadEventFired");
        begin.elapsed()
    }

    pub fn view(&mut self, view: View) {
        let metrics = json!({ "width": view.width, "height": view.height, "deviceScaleFactor": 1, "mobile": view.phone });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        self.call("Emulation.setTouchEmulationEnabled", json!({ "enabled": view.phone }));
        let scheme = if view.dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", media);
    }

    /// The value of an expression, which may be a promise.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", parameters);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Everything that the page complained of, and every address it asked for but its own files.
    pub fn complaints(&mut self, own_directory: &Path) -> Vec<String> {
        // What the page has said until now has come when this is answered.
        self.value("new Promise((done) => setTimeout(done, 50))");
        let own = format!("file://{}/", own_directory.canonicalize().unwrap().display());
        let mut complaints = Vec::new();
        for event in &self.events {
            let what = &event["params"];
            match event["method"].as_str().unwrap_or_default() {
                "Runtime.exceptionThrown" => complaints.push(what.to_string()),
                "Runtime.consoleAPICalled" if what["type"] != "log" => {
                    complaints.push(what.to_string());
                }
                "Log.entryAdded" => complaints.push(what["entry"].to_string()),
                "Network.requestWillBeSent" => {
                    let url = what["request"]["url"].as_str().unwrap_or_default();
                    if !url.starts_with(&own)
                        && !url.starts_with("data:")
                        && !url.starts_with("blob:")
                    {
                        complaints.push(format!("asked for {url}"));
                    }
                }
                _ => {}
            }
        }
        complaints
    }

    pub fn move_mouse(&mut self, x: f64, y: f64) {
        let event = json!({ "type": "mouseMoved", "x": x, "y": y });
        self.call("Input.dispatchMouseEvent", event);
    }

    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Tab" => (9, ""),
            _ => (32, " "),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event =
                json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// The pixels of a part of the page.
    pub fn pixels(&mut self, selector: &str) -> Pixels {
        let expression = format!(
            "(() => {{ const r = document.querySelector({selector:?}).getBoundingClientRect(); \
             return {{ x: r.x + scrollX, y: r.y + scrollY, width: r.width, height: r.height, scale: 1 }}; }})()"
        );
        let clip = self.value(&expression);
        let shot = json!({ "format": "png", "clip": clip, "captureBeyondViewport": true });
        let answer = self.call("Page.captureScreenshot", shot);
        Pixels::of_png(&BASE64_STANDARD.decode(answer["data"].as_str().unwrap()).unwrap())
    }

    pub fn print(&mut self) -> usize {
        let answer = self.call("Page.printToPDF", json!({ "printBackground": false }));
        BASE64_STANDARD.decode(answer["data"].as_str().unwrap()).unwrap().len()
    }

    #[track_caller]
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        let id = self.next_id;
        self.next_id += 1;
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let pipe = self.to.as_mut().unwrap();
        pipe.write_all(message.to_string().as_bytes()).unwrap();
        pipe.write_all(&[0]).unwrap();
        loop {
            let message =
                self.from.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{method}: no answer"));
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.events.push_back(message);
        }
    }

    fn wait_for(&mut self, method: &str) {
        while !self.events.iter().any(|it| it["method"] == method) {
            let event = self.from.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {method}"));
            self.events.push_back(event);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // When the pipe closes the browser and all its processes end.
        drop(self.to.take());
        let end = Instant::now() + Duration::from_secs(10);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An image.
pub struct Pixels {
    bytes: Vec<u8>,
    channels: usize,
}

impl Pixels {
    fn of_png(bytes: &[u8]) -> Pixels {
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let channels =
            reader.next_frame(&mut bytes).map(|_| reader.info().color_type.samples()).unwrap();
        Pixels { bytes, channels }
    }

    /// How many have about this colour.
    pub fn count(&self, colour: [u8; 3]) -> usize {
        let near = |pixel: &&[u8]| pixel.iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 26);
        self.bytes.chunks(self.channels).filter(|it| it.len() >= 3).filter(near).count()
    }
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|it| it.join(program).is_file())
}
