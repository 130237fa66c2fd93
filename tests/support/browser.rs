//! How do tests open a page in a browser? They control a headless Chromium through
//! its DevTools protocol.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

/// How long a test waits for the browser: machines that run tests can be slow.
const PATIENCE: Duration = Duration::from_secs(90);

/// A page in its own browser, which is closed when the page is dropped.
pub struct Page {
    browser: Browser,
    session: String,
    url: String,
}

/// What a page reports about one of its figures.
#[derive(Debug, serde::Deserialize)]
pub struct Drawn {
    /// Its accessible name.
    pub label: String,
    /// Width on the screen, in pixels.
    pub width: f64,
    /// Height on the screen, in pixels.
    pub height: f64,
    /// The number of its marks.
    pub marks: usize,
    /// The texts of marks that extend beyond the drawing.
    pub outside: Vec<String>,
    /// Text elements that extend beyond the drawing.
    pub cut: Vec<String>,
}

/// Opens the page of a report and waits until it is loaded.
///
/// # Panics
/// Where there is no browser, or it does not answer.
pub fn open_report(path: &Path) -> Page {
    let mut browser = Browser::start();
    let target = browser.call(None, "Target.createTarget", &json!({"url": "about:blank"}));
    let attach = json!({"targetId": target["targetId"], "flatten": true});
    let session = browser.call(None, "Target.attachToTarget", &attach);
    let session = session["sessionId"].as_str().expect("a session").to_string();
    let mut page = Page {
        browser,
        session,
        url: file_url(path),
    };
    for domain in ["Page", "Runtime", "Log", "Network"] {
        page.call(&format!("{domain}.enable"), &json!({}));
    }
    let navigation = json!({"url": page.url.clone()});
    let answer = page.call("Page.navigate", &navigation);
    assert!(answer.get("errorText").is_none(), "{}: {answer}", page.url);
    page.browser.wait_for("Page.loadEventFired");
    page
}

impl Page {
    /// The value of an expression in the page.
    pub fn eval(&mut self, expression: &str) -> Value {
        let answer = self.call(
            "Runtime.evaluate",
            &json!({"expression": expression, "returnByValue": true, "awaitPromise": true}),
        );
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// The value of an expression in the page, as text.
    pub fn text(&mut self, expression: &str) -> String {
        let value = self.eval(expression);
        value.as_str().map_or_else(|| value.to_string(), str::to_string)
    }

    /// Shows the page to a reader who prefers a dark ground or a light one, in a
    /// window of `width` pixels.
    pub fn emulate(&mut self, dark: bool, width: u32) {
        let scheme = if dark { "dark" } else { "light" };
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.call("Emulation.setEmulatedMedia", &json!({"features": [feature]}));
        let size = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", &size);
        // Layout and its observers run before the second frame.
        self.eval("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))");
    }

    /// The figures of the page, in order.
    pub fn figures(&mut self) -> Vec<Drawn> {
        let found = self.eval(
            r#"[...document.querySelectorAll(".plot")].map((plot) => {
                const svg = plot.querySelector("svg");
                const box = svg.getBoundingClientRect();
                const out = (element) => {
                    const own = element.getBoundingClientRect();
                    return own.left < box.left - 0.5 || own.right > box.right + 0.5 ||
                        own.top < box.top - 0.5 || own.bottom > box.bottom + 0.5;
                };
                const marks = [...svg.querySelectorAll(".mark")];
                return {
                    label: plot.getAttribute("aria-label"),
                    width: box.width,
                    height: box.height,
                    marks: marks.length,
                    outside: marks.filter(out).map((mark) => mark.dataset.text),
                    cut: [...svg.querySelectorAll("text")].filter(out).map((text) => text.textContent),
                };
            })"#,
        );
        serde_json::from_value(found).expect("figures")
    }

    /// For each series, moves the mouse over the first mark that nothing covers.
    /// Returns the mark's text and the tooltip's text in pairs.
    pub fn hover_each_series(&mut self, figure: usize) -> Vec<(String, String)> {
        let script = format!(
            r#"(() => {{
                const plot = document.querySelectorAll(".plot")[{figure}];
                plot.scrollIntoView({{ block: "center" }});
                const seen = new Map();
                for (const mark of plot.querySelectorAll(".mark")) {{
                    const box = (mark.querySelector(".shape") ?? mark).getBoundingClientRect();
                    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
                    const top = document.elementFromPoint(x, y)?.closest(".mark");
                    if (top === mark && !seen.has(mark.dataset.series)) {{
                        seen.set(mark.dataset.series, {{ x, y, text: mark.dataset.text }});
                    }}
                }}
                return [...seen.values()];
            }})()"#
        );
        let marks = self.eval(&script);
        let mut pairs = Vec::new();
        for mark in marks.as_array().expect("marks") {
            self.move_mouse(mark["x"].as_f64().expect("x"), mark["y"].as_f64().expect("y"));
            let words = mark["text"].as_str().expect("text").to_string();
            pairs.push((words, self.tooltip()));
        }
        pairs
    }

    /// The text of the tooltip; empty while it is hidden.
    pub fn tooltip(&mut self) -> String {
        self.text(
            r#"(() => {
                const tooltip = document.getElementById("tooltip");
                return tooltip.checkVisibility() ? tooltip.textContent : "";
            })()"#,
        )
    }

    /// The last text that was announced to screen readers.
    pub fn announced(&mut self) -> String {
        self.text(r#"document.getElementById("live").textContent"#)
    }

    /// Moves the mouse to a point of the window, in pixels.
    pub fn move_mouse(&mut self, x: f64, y: f64) {
        self.mouse("mouseMoved", x, y);
    }

    /// Clicks the middle of the first element that `selector` finds.
    pub fn click(&mut self, selector: &str) {
        let selector = Value::String(selector.to_string());
        let place = self.eval(&format!(
            r#"(() => {{
                const element = document.querySelector({selector});
                element.scrollIntoView({{ block: "center" }});
                const box = element.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"#
        ));
        let (x, y) = (place[0].as_f64().expect("x"), place[1].as_f64().expect("y"));
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            self.mouse(kind, x, y);
        }
    }

    fn mouse(&mut self, kind: &str, x: f64, y: f64) {
        let button = if kind == "mouseMoved" { "none" } else { "left" };
        self.call(
            "Input.dispatchMouseEvent",
            &json!({"type": kind, "x": x, "y": y, "button": button, "clickCount": 1}),
        );
    }

    /// Presses and releases a key, such as "Tab", "ArrowRight" or " ".
    pub fn press(&mut self, key: &str) {
        let (code, number, text) = match key {
            "Tab" => ("Tab", 9, None),
            "Enter" => ("Enter", 13, Some("\r")),
            "Escape" => ("Escape", 27, None),
            " " => ("Space", 32, Some(" ")),
            "End" => ("End", 35, None),
            "Home" => ("Home", 36, None),
            "ArrowLeft" => ("ArrowLeft", 37, None),
            "ArrowUp" => ("ArrowUp", 38, None),
            "ArrowRight" => ("ArrowRight", 39, None),
            "ArrowDown" => ("ArrowDown", 40, None),
            other => panic!("no key is called '{other}' here"),
        };
        let mut event = json!({
            "type": if text.is_some() { "keyDown" } else { "rawKeyDown" },
            "key": key,
            "code": code,
            "windowsVirtualKeyCode": number,
        });
        if let Some(text) = text {
            event["text"] = json!(text);
        }
        self.call("Input.dispatchKeyEvent", &event);
        event["type"] = json!("keyUp");
        self.call("Input.dispatchKeyEvent", &event);
    }

    /// Presses Tab until an element that `selector` finds has the focus.
    pub fn tab_to(&mut self, selector: &str) {
        let wanted = Value::String(selector.to_string());
        for _ in 0..100 {
            self.press("Tab");
            if self.eval(&format!("document.activeElement.matches({wanted})")) == json!(true) {
                return;
            }
        }
        panic!("Tab does not reach {selector}");
    }

    /// Asserts that the page threw no exception, wrote nothing to the console, and
    /// fetched nothing except itself.
    pub fn assert_quiet(&mut self) {
        // All earlier events have arrived when this call returns.
        self.eval("new Promise((done) => setTimeout(done, 100))");
        for event in &self.browser.events {
            let method = event["method"].as_str().unwrap_or_default();
            let loud = ["Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"];
            assert!(!loud.contains(&method), "the page is not quiet: {event}");
            if method == "Network.requestWillBeSent" {
                let url = event["params"]["request"]["url"].as_str().unwrap_or_default();
                assert!(url == self.url || url.starts_with("data:"), "the page asks for {url}");
            }
        }
        let asked = |event: &&Value| event["method"] == "Network.requestWillBeSent";
        assert!(
            self.browser.events.iter().any(|event| asked(&event)),
            "requests are not seen"
        );
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.browser.call(Some(&self.session), method, params)
    }
}

/// A browser process and the connection to it.
struct Browser {
    child: Child,
    socket: Option<WebSocket<TcpStream>>,
    next: u64,
    events: Vec<Value>,
    profile: TempDir,
}

impl Browser {
    fn start() -> Browser {
        let program = find();
        let profile = tempfile::tempdir().expect("a folder for the browser's profile");
        let child = Command::new(&program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"])
            .args(["--disable-dev-shm-usage", "--disable-background-networking"])
            .args(["--window-size=1000,900", "--force-device-scale-factor=1"])
            .arg("--remote-debugging-port=0")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        let mut browser = Browser {
            child,
            socket: None,
            next: 0,
            events: Vec::new(),
            profile,
        };
        let (port, path) = browser.address();
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the browser's port");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        let (socket, _) = tungstenite::client(format!("ws://127.0.0.1:{port}{path}"), stream).expect("a WebSocket");
        browser.socket = Some(socket);
        browser
    }

    /// The port and path that the browser writes to a file when it is ready.
    fn address(&mut self) -> (u16, String) {
        let file = self.profile.path().join("DevToolsActivePort");
        let begin = Instant::now();
        loop {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if let Some((port, path)) = text.split_once('\n')
                && let (Ok(port), true) = (port.parse(), path.starts_with('/'))
            {
                return (port, path.trim().to_string());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the browser ended before it was ready: {status}");
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "the browser is not ready after {PATIENCE:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn call(&mut self, session: Option<&str>, method: &str, params: &Value) -> Value {
        self.next += 1;
        let id = self.next;
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let socket = self.socket.as_mut().expect("an open line");
        socket
            .send(Message::text(message.to_string()))
            .expect("the browser listens");
        loop {
            let answer = self.read();
            if answer["id"] == json!(id) {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    fn wait_for(&mut self, event: &str) {
        while !self.events.iter().any(|seen| seen["method"] == event) {
            let message = self.read();
            self.events.push(message);
        }
    }

    fn read(&mut self) -> Value {
        let socket = self.socket.as_mut().expect("an open line");
        loop {
            let message = socket.read().expect("the browser answers");
            if let Message::Text(text) = message {
                return serde_json::from_str(&text).expect("JSON");
            }
        }
    }
}

impl Drop for Browser {
    /// Runs also when a test panics. Asks the browser to close before killing the
    /// process, because the process may be a script that started the browser.
    fn drop(&mut self) {
        if let Some(socket) = &mut self.socket {
            let close = json!({"id": self.next + 1, "method": "Browser.close"});
            let _ = socket.send(Message::text(close.to_string()));
            let begin = Instant::now();
            while matches!(self.child.try_wait(), Ok(None)) && begin.elapsed() < Duration::from_secs(5) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The path of this machine's browser.
fn find() -> PathBuf {
    if let Some(named) = std::env::var_os("RESIDUA_BROWSER") {
        return PathBuf::from(named);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    let on_path = names.iter().flat_map(|name| {
        let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        std::env::split_paths(&path)
            .map(move |folder| folder.join(&file))
            .collect::<Vec<_>>()
    });
    let apps = [
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    ];
    on_path
        .chain(apps.map(PathBuf::from))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| {
            panic!(
                "these tests open pages in Chromium, which was not found: `make browser` installs it, \
                 or name one in RESIDUA_BROWSER"
            )
        })
}

fn file_url(path: &Path) -> String {
    let path = path.canonicalize().expect("the page's path");
    let text = path
        .to_str()
        .expect("a path in UTF-8")
        .trim_start_matches(r"\\?\")
        .replace('\\', "/");
    let mut url = "file://".to_string();
    if !text.starts_with('/') {
        url.push('/');
    }
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~:".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}
