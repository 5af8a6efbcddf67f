//! The programs of docs/upgradeable.md do what it says of them: they are taken from the page, run,
//! and spoken to as the operator does.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use serde_json::Value;

use crate::pages::{in_repository, page};

/// A folder for one program.
fn folder(language: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("upgradeable-{language}"));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The program of the page in a language.
fn program(language: &str) -> String {
    let mut blocks =
        page("docs/upgradeable.md").blocks().into_iter().filter(|block| block.info == language);
    let block = blocks.next().unwrap_or_else(|| panic!("the page has a program in {language}"));
    assert!(blocks.next().is_none(), "the page has one program in {language}");
    block.text
}

/// Writes the program of a language into a file of its own.
fn written(language: &str, file: &str) -> PathBuf {
    let path = folder(language).join(file);
    fs::write(&path, program(language)).unwrap();
    path
}

/// Whether a program of the machine can be run; a language that is not installed is not tried.
fn installed(program: &str, version: &str) -> bool {
    let there =
        Command::new(program).arg(version).output().is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("{program} is not installed here: the program for it is not tried");
    }
    there
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A program that runs; it ends with this.
struct App {
    child: Child,
    port: u16,
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl App {
    fn start(mut command: Command) -> Self {
        let port =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let child = command.env("PORT", port.to_string()).stdout(Stdio::piped()).spawn().unwrap();
        let app = Self { child, port };
        eventually("it listens", || app.answer("GET", "/upgradeable", None).is_some());
        app
    }

    /// The status and the body of an answer; none, if nobody answers.
    fn answer(&self, method: &str, path: &str, ttl: Option<u32>) -> Option<(u16, String)> {
        let mut stream =
            TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        let ttl = ttl.map_or_else(String::new, |ttl| {
            format!("Lockkeeper-Hold: 7\r\nLockkeeper-Prepare-Ttl: {ttl}\r\n")
        });
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\nContent-Length: 0\r\n{ttl}\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        // One that is sent in chunks is a JSON object between their lengths.
        let body = body.find('{').zip(body.rfind('}')).map_or("", |(from, to)| &body[from..=to]);
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    fn status(&self, method: &str, path: &str, ttl: Option<u32>) -> u16 {
        self.answer(method, path, ttl).unwrap_or_else(|| panic!("{method} {path} is answered")).0
    }

    fn is_upgradeable(&self) -> bool {
        let (status, body) = self.answer("GET", "/upgradeable", None).unwrap();
        let body: Value = serde_json::from_str(&body).unwrap();
        assert!(status == 200 && body["reason"].is_string(), "{status} {body}");
        body["isUpgradeable"].as_bool().unwrap()
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1200 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("{what}: not within a minute");
}

/// What the page promises of each program.
fn speaks_the_protocol(command: Command) {
    let mut app = App::start(command);
    assert!(app.is_upgradeable());
    // Until the operator asks otherwise it works, and says so.
    assert_eq!(app.status("POST", "/jobs?seconds=3", None), 202);
    assert!(!app.is_upgradeable(), "a job is running");
    // Asked to rest it takes none, ends what it has, and says yes.
    assert_eq!(app.status("POST", "/prepare-upgrade", Some(60)) / 100, 2);
    assert_eq!(app.status("POST", "/jobs?seconds=1", None), 503);
    eventually("the job ends", || app.is_upgradeable());
    assert_eq!(app.status("POST", "/jobs?seconds=1", None), 503, "it rests still");
    // Told to, it works again at once.
    assert_eq!(app.status("DELETE", "/prepare-upgrade", None) / 100, 2);
    assert_eq!(app.status("POST", "/jobs?seconds=0", None), 202);
    // And by itself, when nobody asks any more.
    assert_eq!(app.status("POST", "/prepare-upgrade", Some(2)) / 100, 2);
    assert_eq!(app.status("POST", "/jobs?seconds=1", None), 503);
    eventually("the lease lapses", || app.status("POST", "/jobs?seconds=0", None) == 202);
    // Ended in the middle of a job, it ends that first.
    assert_eq!(app.status("POST", "/jobs?seconds=2", None), 202);
    assert!(!app.is_upgradeable());
    succeeds(Command::new("kill").args(["-TERM", &app.child.id().to_string()]));
    let exit = app.child.wait().unwrap();
    let mut said = String::new();
    app.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(exit.success() && said.contains("stopped with 0 jobs"), "{exit}: {said}");
}

#[test]
fn upgradeable_in_rust() {
    let source = fs::read_to_string(in_repository("examples/upgradeable.rs")).unwrap();
    assert!(
        source.ends_with(&program("rust")),
        "docs/upgradeable.md shows examples/upgradeable.rs"
    );
    let target = folder("rust");
    let target = target.ancestors().nth(2).unwrap();
    let mut build = Command::new(env!("CARGO"));
    build
        .args(["build", "--quiet", "--workspace", "--example", "upgradeable", "--target-dir"])
        .arg(target);
    // What cargo says to a test about its package would make build scripts run again, that look at
    // it.
    for (name, _) in std::env::vars()
        .filter(|(name, _)| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
    {
        build.env_remove(name);
    }
    succeeds(&mut build);
    speaks_the_protocol(Command::new(target.join("debug/examples/upgradeable")));
}

#[test]
fn upgradeable_in_go() {
    let source = written("go", "main.go");
    let binary = source.with_file_name("app");
    let mut build = Command::new("go");
    succeeds(build.args(["build", "-o"]).args([&binary, &source]).env("GOFLAGS", ""));
    speaks_the_protocol(Command::new(binary));
}

#[test]
fn upgradeable_in_python() {
    if installed("python3", "--version") {
        let mut command = Command::new("python3");
        command.arg(written("python", "app.py"));
        speaks_the_protocol(command);
    }
}

#[test]
fn upgradeable_in_java() {
    if installed("javac", "-version") {
        let source = written("java", "Upgradeable.java");
        succeeds(Command::new("javac").arg("-d").arg(folder("java")).arg(source));
        let mut command = Command::new("java");
        command.arg("-cp").arg(folder("java")).arg("Upgradeable");
        speaks_the_protocol(command);
    }
}

#[test]
fn upgradeable_in_node() {
    if installed("node", "--version") {
        let mut command = Command::new("node");
        command.arg(written("javascript", "app.js"));
        speaks_the_protocol(command);
    }
}
