//! An app that speaks the upgrade protocol, and can be told to misbehave.
//!
//! It listens on `POD_IP` (or `ADDRESS`) and `PORT` (8080). It keeps lines in `DATA_FILE`, and in
//! `DATA_FILE.journal` who had that open: a test sees there whether two had it at once. If it is
//! ended with work in flight it logs `killed while busy`: the tests' oracle. With `END_AFTER` (8s,
//! 500ms) it takes that long to end after SIGTERM, and answers until then.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

/// A prepare lease without a TTL of its own lasts this long.
const DEFAULT_LEASE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Facts {
    /// When each piece of work ends.
    work: Vec<Instant>,
    /// Until when no new work is taken.
    prepared_until: Option<Instant>,
    switches: Switches,
    environment: BTreeMap<String, String>,
    files_at_start: BTreeMap<String, String>,
    data: Option<Data>,
}

/// A file on a volume.
#[derive(Clone)]
struct Data {
    file: PathBuf,
    journal: PathBuf,
    who: String,
}

impl Data {
    fn named(environment: &BTreeMap<String, String>) -> Option<Self> {
        let named = environment.get("DATA_FILE")?;
        // A process has no mount namespace: its mounts are below a folder.
        let file = match environment.get("LOCKKEEPER_POD_ROOT") {
            Some(root) => Path::new(root).join(named.trim_start_matches('/')),
            None => named.into(),
        };
        let who = environment.get("HOSTNAME").map_or("?", String::as_str).to_owned();
        let mut journal = file.clone().into_os_string();
        journal.push(".journal");
        Some(Self { file, journal: journal.into(), who })
    }

    fn note(&self, what: &str) -> std::io::Result<()> {
        append(&self.journal, &format!("{what} by {}", self.who))
    }
}

/// One write a line, so that lines of two processes do not mix.
fn append(file: &Path, line: &str) -> std::io::Result<()> {
    std::fs::File::options()
        .create(true)
        .append(true)
        .open(file)?
        .write_all(format!("{line}\n").as_bytes())
}

/// How it misbehaves.
#[derive(Default, Clone, Serialize, Deserialize)]
#[serde(default)]
struct Switches {
    /// Answers `/upgradeable` this many milliseconds late.
    slow: u64,
    /// Answers 500.
    broken: bool,
    /// Says that it may be ended although it works.
    lying: bool,
    /// Does not know the protocol: 404.
    deaf: bool,
    /// Fails its health check.
    unready: bool,
    /// Fails its health check while it takes no new work.
    unready_when_prepared: bool,
    /// Answers `/upgradeable` with this status, 302 with a place to go to, and this body.
    says: Option<(u16, String)>,
    /// Answers `/upgradeable` with so many bytes.
    long: usize,
    /// Takes this many milliseconds to end after SIGTERM, instead of `END_AFTER`, and answers until
    /// then.
    ends_after: Option<u64>,
}

type Shared = Arc<Mutex<Facts>>;

fn facts(shared: &Shared) -> MutexGuard<'_, Facts> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Facts {
    fn in_flight(&mut self) -> usize {
        let now = Instant::now();
        self.work.retain(|end| *end > now);
        self.work.len()
    }

    fn time_to_end(&self) -> Duration {
        let named =
            self.environment.get("END_AFTER").and_then(|text| local_cluster::duration(text));
        self.switches.ends_after.map(Duration::from_millis).or(named).unwrap_or_default()
    }

    fn prepared(&self) -> bool {
        self.prepared_until.is_some_and(|until| until > Instant::now())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sample-app: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> std::io::Result<()> {
    let environment: BTreeMap<_, _> = std::env::vars().collect();
    let files_at_start = files(&environment);
    let address = environment
        .get("ADDRESS")
        .or_else(|| environment.get("POD_IP"))
        .cloned()
        .unwrap_or_else(|| "127.0.0.1".into());
    let port: u16 = environment.get("PORT").and_then(|port| port.parse().ok()).unwrap_or(8080);
    let listener = tokio::net::TcpListener::bind((address.as_str(), port)).await?;
    let data = Data::named(&environment);
    if let Some(data) = &data {
        data.note("opened")?;
        append(&data.file, &format!("started as {}", data.who))?;
    }
    let shared = Arc::new(Mutex::new(Facts {
        environment,
        files_at_start,
        data: data.clone(),
        ..Facts::default()
    }));
    let routes = Router::new()
        .route("/start", post(start))
        .route("/finish", post(finish))
        .route("/upgradeable", get(upgradeable))
        .route("/prepare-upgrade", post(prepare).delete(withdraw))
        .route("/healthz", get(health))
        .route("/env", get(environment_read))
        .route("/switch", post(switch))
        .route("/data", get(data_read).post(data_write))
        .route("/journal", get(journal_read))
        .with_state(shared.clone());
    println!("listening on {address}:{port}");
    println!("started {}", moment());
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let ended = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let time = facts(&shared).time_to_end();
        if !time.is_zero() {
            println!("told to end: takes {time:?}");
            tokio::time::sleep(time).await;
        }
    };
    tokio::select! {
        served = async { axum::serve(listener, routes).await } => served?,
        () = ended => {}
    }
    if let Some(data) = &data {
        data.note("closed")?;
    }
    println!("stopped {}", moment());
    match facts(&shared).in_flight() {
        0 => println!("ended idle"),
        pieces => println!("killed while busy: {pieces} in flight"),
    }
    Ok(())
}

/// Which version this is, as `VERSION` says, and the time in milliseconds: what ran when is seen in
/// the logs.
fn moment() -> String {
    let version = std::env::var("VERSION").unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{version} at {}", now.as_millis())
}

#[derive(Deserialize)]
struct Work {
    seconds: f64,
}

async fn start(State(shared): State<Shared>, Query(work): Query<Work>) -> Response {
    let mut facts = facts(&shared);
    if facts.prepared() {
        return (StatusCode::SERVICE_UNAVAILABLE, "prepared for an upgrade: no new work\n")
            .into_response();
    }
    let Ok(time) = Duration::try_from_secs_f64(work.seconds) else {
        return (StatusCode::BAD_REQUEST, "seconds: a positive number\n").into_response();
    };
    facts.work.push(Instant::now() + time);
    Json(json!({"inFlight": facts.in_flight()})).into_response()
}

/// Ends all work at once, as done.
async fn finish(State(shared): State<Shared>) -> StatusCode {
    facts(&shared).work.clear();
    StatusCode::NO_CONTENT
}

async fn upgradeable(State(shared): State<Shared>) -> Response {
    let switches = facts(&shared).switches.clone();
    if switches.slow > 0 {
        tokio::time::sleep(Duration::from_millis(switches.slow)).await;
    }
    if switches.deaf {
        return StatusCode::NOT_FOUND.into_response();
    }
    if switches.broken {
        return (StatusCode::INTERNAL_SERVER_ERROR, "broken, as told\n").into_response();
    }
    if let Some((status, body)) = switches.says {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return (status, [(axum::http::header::LOCATION, "/env")], body).into_response();
    }
    if switches.long > 0 {
        return format!(
            "{{\"isUpgradeable\": true, \"padding\": \"{}\"}}",
            "x".repeat(switches.long)
        )
        .into_response();
    }
    let in_flight = facts(&shared).in_flight();
    let idle = in_flight == 0 || switches.lying;
    let reason = match in_flight {
        _ if idle => "idle".to_owned(),
        1 => "1 piece of work is in flight".to_owned(),
        several => format!("{several} pieces of work are in flight"),
    };
    Json(json!({"isUpgradeable": idle, "reason": reason, "inFlight": in_flight})).into_response()
}

async fn prepare(State(shared): State<Shared>, headers: HeaderMap) -> Json<Value> {
    let ttl = headers
        .get("Lockkeeper-Prepare-Ttl")
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map_or(DEFAULT_LEASE, Duration::from_secs);
    facts(&shared).prepared_until = Some(Instant::now() + ttl);
    Json(json!({"preparedForSeconds": ttl.as_secs()}))
}

async fn withdraw(State(shared): State<Shared>) -> StatusCode {
    facts(&shared).prepared_until = None;
    StatusCode::NO_CONTENT
}

async fn health(State(shared): State<Shared>) -> StatusCode {
    let facts = facts(&shared);
    let unready =
        facts.switches.unready || (facts.switches.unready_when_prepared && facts.prepared());
    if unready { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

/// What the process really read.
async fn environment_read(State(shared): State<Shared>) -> Json<Value> {
    let facts = facts(&shared);
    let now = files(&facts.environment);
    Json(json!({"env": facts.environment, "filesAtStart": facts.files_at_start, "files": now}))
}

async fn data_read(State(shared): State<Shared>) -> Response {
    read(&shared, |data| &data.file)
}

async fn journal_read(State(shared): State<Shared>) -> Response {
    read(&shared, |data| &data.journal)
}

fn read(shared: &Shared, which: impl Fn(&Data) -> &PathBuf) -> Response {
    let Some(data) = facts(shared).data.clone() else { return no_data() };
    match std::fs::read_to_string(which(&data)) {
        Ok(text) => text.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn no_data() -> Response {
    (StatusCode::NOT_FOUND, "there is no DATA_FILE\n").into_response()
}

#[derive(Deserialize)]
struct Line {
    line: String,
}

async fn data_write(State(shared): State<Shared>, Query(Line { line }): Query<Line>) -> Response {
    let Some(data) = facts(&shared).data.clone() else { return no_data() };
    match append(&data.file, &line).and_then(|()| data.note("written")) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn switch(State(shared): State<Shared>, Json(switches): Json<Switches>) -> Json<Switches> {
    facts(&shared).switches = switches.clone();
    Json(switches)
}

/// The files that were mounted, by path, as text; a kubeconfig is not shown. `FILES` names a folder
/// of them; without it they are all that is below the folder of a process without a mount namespace.
fn files(environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let (pod, named) = (environment.get("LOCKKEEPER_POD_ROOT"), environment.get("FILES"));
    if pod.is_none() && named.is_none() {
        return found;
    }
    let root = Path::new(pod.map_or("/", String::as_str));
    let below = named.map_or("", |named| named.trim_start_matches('/'));
    let mut folders = vec![root.join(below)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let (Ok(inside), false) =
                (path.strip_prefix(root), path.ends_with("kubeconfig"))
            {
                let bytes = std::fs::read(&path).unwrap_or_default();
                found.insert(
                    format!("/{}", inside.display()),
                    String::from_utf8_lossy(&bytes).into_owned(),
                );
            }
        }
    }
    found
}
