//! What the operator sends to pods, and what it hears from those that misbehave.

mod connections;
mod credentials;

use std::{
    collections::BTreeMap,
    net::{Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use lockkeeper::{
    api::WorkloadKind,
    core::{
        conversation::{Call, Errand, Report, Visit, answer::Answer},
        observed::WorkloadId,
    },
    marks::About,
    shell::{
        ask::{Asker, credentials::Allowed},
        executor::{Completion, Outcome},
        lease::Term,
    },
    telemetry::metrics::Metrics,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
    sync::{mpsc, watch},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use super::{api_server::ApiServer, until};

/// What a pod does when it has sent what it has to say.
#[derive(Clone)]
enum Then {
    Close,
    Hold,
    /// Says this again and again, with a pause between.
    Repeat(Vec<u8>, Duration),
    /// Waits for this, and then says yes.
    Wait(watch::Receiver<bool>),
}

/// A pod that treats each request in the same way.
struct Pod {
    address: SocketAddr,
    /// The heads of those it had, in small letters.
    requests: Arc<Mutex<Vec<String>>>,
    /// Connections that are no longer open.
    ended: Arc<AtomicUsize>,
}

impl Pod {
    async fn new(says: impl Into<Vec<u8>>, then: Then) -> Self {
        Self::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), None, says.into(), then)
    }

    async fn encrypted(tls: Arc<ServerConfig>, says: Vec<u8>) -> Self {
        Self::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), Some(tls), says, Then::Close)
    }

    fn start(
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        says: Vec<u8>,
        then: Then,
    ) -> Self {
        let pod = Self {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            ended: Arc::default(),
        };
        let (requests, ended) = (pod.requests.clone(), pod.ended.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, requests, ended, says, then) =
                    (tls.clone(), requests.clone(), ended.clone(), says.clone(), then.clone());
                tokio::spawn(async move {
                    // It fails when the operator hangs up, which is what some of the tests are
                    // about.
                    let _ = match tls {
                        None => serve(stream, &requests, &says, then).await,
                        Some(tls) => match TlsAcceptor::from(tls).accept(stream).await {
                            Ok(stream) => serve(stream, &requests, &says, then).await,
                            Err(error) => Err(error),
                        },
                    };
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        pod
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    requests: &Mutex<Vec<String>>,
    says: &[u8],
    then: Then,
) -> std::io::Result<()> {
    let mut heard = Vec::new();
    // What does not begin with a letter is TLS, and has no end that could be seen.
    while !heard.ends_with(b"\r\n\r\n") && heard.first().is_none_or(u8::is_ascii_uppercase) {
        if stream.read_buf(&mut heard).await? == 0 {
            return Ok(());
        }
    }
    requests.lock().unwrap().push(String::from_utf8_lossy(&heard).to_lowercase());
    stream.write_all(says).await?;
    match then {
        Then::Close => {}
        Then::Hold => while stream.read_buf(&mut heard).await? > 0 {},
        Then::Repeat(words, pause) => loop {
            stream.write_all(&words).await?;
            tokio::time::sleep(pause).await;
        },
        Then::Wait(mut released) => {
            let _ = released.wait_for(|released| *released).await;
            stream.write_all(&yes()).await?;
        }
    }
    stream.shutdown().await
}

fn reply(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} So\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn yes() -> Vec<u8> {
    reply(200, r#"{"isUpgradeable": true}"#)
}

struct Operator {
    server: ApiServer,
    asker: Asker,
    heard: mpsc::UnboundedReceiver<Completion>,
    leads: watch::Sender<Term>,
}

impl Operator {
    fn new(insecure_headers: bool) -> Self {
        let (server, (done, heard)) = (ApiServer::new(), mpsc::unbounded_channel());
        let (leads, term) = watch::channel(Term::undisputed(Duration::from_secs(3600)));
        let asker = Asker::new(
            server.client(),
            done,
            term,
            Arc::new(Metrics::default()),
            Allowed { read: true, insecure: insecure_headers },
        );
        Self { server, asker, heard, leads }
    }

    fn call(
        &mut self,
        policy: &str,
        errand: Errand,
        gate: &Value,
        address: SocketAddr,
        pods: usize,
    ) {
        let visit = Visit { pod: "a".into(), name: "web-1-a".into(), restarts: 0, address };
        let call = Call {
            workload: WorkloadId { kind: WorkloadKind::Deployment, name: "web".into() },
            uid: "web".into(),
            policy: policy.into(),
            about: (errand != Errand::Verify)
                .then(|| About { id: policy.parse().unwrap(), step: Some(2) }),
            errand,
            gate: serde_json::from_value(gate.clone()).unwrap(),
            visits: vec![visit; pods],
        };
        self.asker.call("shop", call);
    }

    async fn report(&mut self) -> Report {
        let completion = tokio::time::timeout(Duration::from_secs(60), self.heard.recv())
            .await
            .expect("a report")
            .unwrap();
        let Outcome::Heard(report) = completion.outcome else { panic!("a report") };
        *report
    }

    /// What comes of asking one pod, as it is told.
    async fn ask(&mut self, gate: &Value, address: SocketAddr) -> String {
        self.call("7", Errand::Ask, gate, address, 1);
        in_words(&self.report().await.answers[0])
    }
}

fn in_words(answer: &Answer) -> String {
    match answer {
        Answer::No(words) => format!("No: {words}"),
        other => other
            .trouble()
            .map_or_else(|| "Yes".to_owned(), |trouble| format!("{}: {trouble}", other.as_str())),
    }
}

/// Each row's name, what was said, and what must be in it; all that are wrong are shown at once.
fn compare(rows: Vec<(&str, String, &str)>) {
    let agrees = |said: &str, expected: &str| {
        if expected == "Yes" { said == expected } else { said.contains(expected) }
    };
    let wrong: Vec<_> = rows.iter().filter(|(_, said, expected)| !agrees(said, expected)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_pod_that_misbehaves_is_given_up_and_the_answer_says_why() {
    let target = Pod::new(yes(), Then::Close).await;
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://{}/upgradeable\r\ncontent-length: 0\r\n\r\n",
        target.address
    );
    let (nested, binary) = (
        "[".repeat(60_000),
        b"HTTP/1.1 200 OK\r\n\r\n{\"isUpgradeable\": true, \"reason\": \"\xff\"}".to_vec(),
    );
    let again = |words: &str, millis| {
        Then::Repeat(words.as_bytes().to_vec(), Duration::from_millis(millis))
    };
    let (ok, much) = ("HTTP/1.1 200 OK\r\n", " ".repeat(4096));
    let compressed =
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n\x1f\x8b\x08\0\0\0\0\0".to_vec();
    let (hangs, long, no_json) =
        ("within 300ms", "its answer is longer than 64 KiB", "200 without JSON that could be read");
    let rows: Vec<(&str, Vec<u8>, Then, &str)> = vec![
        ("never answers", vec![], Then::Hold, hangs),
        ("headers byte by byte", format!("{ok}x: ").into(), again("a", 5), hangs),
        (
            "body byte by byte",
            format!("{ok}content-length: 60000\r\n\r\n").into(),
            again(" ", 5),
            hangs,
        ),
        (
            "body without an end",
            format!("{ok}\r\n{{\"isUpgradeable\": true}}").into(),
            Then::Hold,
            hangs,
        ),
        ("100 without end", vec![], again("HTTP/1.1 100 Continue\r\n\r\n", 0), hangs),
        ("body without end", format!("{ok}\r\n").into(), again(&much, 0), long),
        ("10 MB", format!("{ok}content-length: 10485760\r\n\r\n").into(), again(&much, 0), long),
        (
            "chunks without end",
            format!("{ok}transfer-encoding: chunked\r\n\r\n").into(),
            again(&format!("1000\r\n{much}\r\n"), 0),
            long,
        ),
        (
            "headers without end",
            ok.into(),
            again(&"x: y\r\n".repeat(99), 0),
            "message head is too large",
        ),
        (
            "one header without end",
            format!("{ok}x: ").into(),
            again(&"a".repeat(4096), 0),
            "message head is too large",
        ),
        ("closes", vec![], Then::Close, "connection closed before message completed"),
        (
            "closes in the headers",
            format!("{ok}x: ").into(),
            Then::Close,
            "connection closed before message completed",
        ),
        (
            "closes in the body",
            format!("{ok}content-length: 99\r\n\r\n{{").into(),
            Then::Close,
            "its answer breaks off",
        ),
        (
            "redirects",
            redirect.into(),
            Then::Close,
            "Unusable: it answers 302; redirects are not followed",
        ),
        (
            "100 and then yes",
            [b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), yes()].concat(),
            Then::Close,
            "Yes",
        ),
        ("HTTP/0.9", "{\"isUpgradeable\": true}".into(), Then::Close, "invalid HTTP version"),
        (
            "garbage",
            b"\x15\x03\x01\0\x02\x02\x16\0\r\n\r\n".to_vec(),
            Then::Close,
            "invalid HTTP version",
        ),
        ("deeply nested", reply(200, &nested), Then::Close, no_json),
        ("no UTF-8", binary, Then::Close, no_json),
        ("gzip", compressed, Then::Close, no_json),
        ("kept alive", yes(), Then::Hold, "Yes"),
    ];
    let said = join_all(rows.into_iter().map(|(name, says, then, expected)| async move {
        let pod = Pod::new(says, then).await;
        let timeout = if expected == hangs { "300ms" } else { "10s" };
        let said = Operator::new(false).ask(&json!({"timeout": timeout}), pod.address).await;
        until(&format!("{name}: the operator hangs up"), || pod.ended.load(Ordering::SeqCst) == 1)
            .await;
        (name, said, expected)
    }));
    compare(said.await);
    assert_eq!(target.requests(), Vec::<String>::new(), "nobody is sent on");

    // Bound, so that nobody else gets it, and not listened at.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let refused = Operator::new(false).ask(&json!({}), closed.local_addr().unwrap()).await;
    assert!(
        refused.starts_with("Unusable: no answer from 127.0.0.1:")
            && refused.contains("Connection refused"),
        "{refused}"
    );
}

#[tokio::test]
async fn each_errand_has_its_request() {
    let (pod, mut operator) = (Pod::new(yes(), Then::Close).await, Operator::new(false));
    let gate = json!({"path": "/up?deep", "prepare": {"path": "/drain"}, "headers": [{"name": "X-Team", "value": "shop"}]});
    for (errand, line, ttl) in [
        (Errand::Ask, "get /up?deep http/1.1", false),
        (Errand::Verify, "get /up?deep http/1.1", false),
        (Errand::Prepare, "post /drain http/1.1", true),
        (Errand::Withdraw, "delete /drain http/1.1", false),
    ] {
        operator.call("7", errand, &gate, pod.address, 1);
        assert_eq!(operator.report().await.answers, [Answer::Yes]);
        let request = pod.requests().pop().unwrap();
        let has = |header: &str| request.lines().any(|line| line == header);
        assert!(request.starts_with(line) && has("x-team: shop"), "{request}");
        assert_eq!(has("lockkeeper-hold: 7"), errand != Errand::Verify, "{request}");
        assert!(
            has(&format!("host: {}", pod.address))
                && request.contains("lockkeeper-prepare-ttl: ") == ttl,
            "{request}"
        );
        assert!(has("lockkeeper-prepare-ttl: 60") == ttl, "{request}");
    }
    for (status, expected) in [
        (204, "Yes"),
        (404, "Missing: it answers 404"),
        (500, "Unusable: it answers 500"),
        (302, "Unusable: it answers 302"),
    ] {
        let pod = Pod::new(reply(status, ""), Then::Close).await;
        for errand in [Errand::Prepare, Errand::Withdraw] {
            operator.call("7", errand, &gate, pod.address, 1);
            assert_eq!(in_words(&operator.report().await.answers[0]), expected);
        }
    }
    match TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await {
        Err(error) => println!("left out: no IPv6 here: {error}"),
        Ok(listener) => {
            let pod = Pod::start(listener, None, yes(), Then::Close);
            assert_eq!(operator.ask(&gate, pod.address).await, "Yes");
            assert!(pod.requests()[0].contains(&format!("host: [::1]:{}\r\n", pod.address.port())));
        }
    }
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_not_used() {
    let proxy = Pod::new(yes(), Then::Close).await;
    // Another process, which asks a pod with proxies in its environment.
    let mut asks = tokio::process::Command::new(std::env::current_exe().unwrap());
    for variable in
        ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
    {
        asks.env(variable, format!("http://{}", proxy.address));
    }
    let output = asks
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .args(["--exact", "ask::each_errand_has_its_request"])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!(proxy.requests(), Vec::<String>::new());
}

/// How many requests of each policy were heard.
fn of_policies(pod: &Pod) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in pod.requests() {
        let policy = request
            .lines()
            .find_map(|line| line.strip_prefix("lockkeeper-hold: "))
            .unwrap_or_default();
        *counts.entry(policy.to_owned()).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn policies_whose_pods_hang_take_only_their_places() {
    let (release, released) = watch::channel(false);
    let (slow, quick, mut operator) = (
        Pod::new("", Then::Wait(released)).await,
        Pod::new(yes(), Then::Close).await,
        Operator::new(false),
    );
    let gate = json!({"timeout": "10m"});
    // Two workloads of one policy share its places.
    operator.call("policy-0", Errand::Ask, &gate, slow.address, 10);
    operator.call("policy-0", Errand::Verify, &gate, slow.address, 10);
    until("all places of a policy are taken", || slow.requests().len() >= 8).await;
    operator.call("quick", Errand::Ask, &gate, quick.address, 20);
    let first = operator.report().await;
    assert_eq!(
        (&*first.call.policy, first.answers),
        ("quick", vec![Answer::Yes; 20]),
        "it waits for nobody"
    );
    // Eight policies would fill all places, if each had as many as one alone may have.
    for number in 1..8 {
        operator.call(&format!("policy-{number}"), Errand::Ask, &gate, slow.address, 10);
    }
    until("each of them has a part of the places", || of_policies(&slow).len() == 8).await;
    operator.call("quick", Errand::Ask, &gate, quick.address, 20);
    let second = operator.report().await;
    assert_eq!(
        (&*second.call.policy, second.answers),
        ("quick", vec![Answer::Yes; 20]),
        "it waits for none of them"
    );
    // The more hang, the less each of them gets.
    for number in 8..16 {
        operator.call(&format!("policy-{number}"), Errand::Ask, &gate, slow.address, 10);
    }
    until("each of them has at least one", || of_policies(&slow).len() == 16).await;
    operator.call("quick", Errand::Ask, &gate, quick.address, 5);
    assert_eq!(&*operator.report().await.call.policy, "quick");
    let counts = of_policies(&slow);
    assert!(counts.values().sum::<usize>() <= 64, "{counts:?}");
    assert!(counts.values().all(|count| *count <= 8), "{counts:?}");
    release.send(true).unwrap();
    for _ in 0..17 {
        assert_eq!(operator.report().await.answers, [const { Answer::Yes }; 10]);
    }
    assert_eq!(slow.requests().len(), 170, "the rest had their turn");
}

#[tokio::test]
async fn outside_of_the_term_nothing_is_sent() {
    let (release, released) = watch::channel(false);
    let (slow, pod, mut operator) = (
        Pod::new("", Then::Wait(released)).await,
        Pod::new(yes(), Then::Close).await,
        Operator::new(false),
    );
    let gate = json!({"timeout": "10m", "prepare": {}});
    operator.call("7", Errand::Ask, &gate, slow.address, 9);
    until("all places of a policy are taken", || slow.requests().len() >= 8).await;
    // It has ended by the clock, or by word; who was waiting for a place then is not asked either.
    for ended in [Term { number: 1, until: Some(Instant::now()) }, Term { number: 1, until: None }]
    {
        operator.leads.send(ended).unwrap();
        for errand in [Errand::Ask, Errand::Prepare, Errand::Withdraw, Errand::Verify] {
            operator.call("8", errand, &gate, pod.address, 1);
            assert_eq!(
                in_words(&operator.report().await.answers[0]),
                "NotAsked: this replica of the operator no longer leads"
            );
        }
    }
    release.send(true).unwrap();
    let answers = operator.report().await.answers;
    assert_eq!(answers[..8], [const { Answer::Yes }; 8]);
    assert_eq!(in_words(&answers[8]), "NotAsked: this replica of the operator no longer leads");
    assert_eq!((slow.requests().len(), pod.requests().len()), (8, 0));
}
