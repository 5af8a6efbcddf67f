//! The webhook by a real TLS client, against an API server that is slow, refuses and has
//! certificates changed.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use lockkeeper::{
    core::judge::{Judgement, Right},
    shell::{
        streams::Pending,
        webhook::{
            Judge, LARGEST, Webhook,
            certificate::Pair,
            secrets::{AUTHORITY_SECRET, LEAF_SECRET, Source},
            setup::{CONFIGURATION, set_up},
        },
    },
    telemetry::metrics::Metrics,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use crate::{
    api_server::{ApiServer, Review},
    until,
};

const NAMESPACE: &str = "lockkeeper-system";
const HOST: &str = "127.0.0.1";

struct Served {
    server: ApiServer,
    webhook: Webhook,
    metrics: Arc<Metrics>,
    unready: Pending,
}

impl Served {
    /// The webhook, with this judge, that makes its own certificate.
    async fn by(judge: Judge) -> Self {
        Self::with(ApiServer::new(), judge, &[HOST]).await
    }

    async fn with(server: ApiServer, judge: Judge, names: &[&str]) -> Self {
        let (metrics, unready) = (Arc::new(Metrics::default()), Pending::default());
        let source = Source {
            namespace: NAMESPACE.to_owned(),
            secret: LEAF_SECRET.to_owned(),
            names: names.iter().map(ToString::to_string).collect(),
        };
        let served = (metrics.clone(), unready.clone());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let webhook = Webhook::start(any, source, judge, server.client(), served).await.unwrap();
        Self { server, webhook, metrics, unready }
    }

    async fn ready(self) -> Self {
        self.unready.nothing().await;
        self
    }

    /// What verifies it.
    fn authority(&self) -> String {
        field(&self.server, AUTHORITY_SECRET, "tls.crt")
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        connect(self.webhook.address(), &self.authority()).await.unwrap()
    }

    /// The status and the text of an answer.
    async fn send(&self, path: &str, body: impl Into<Bytes>) -> (StatusCode, String) {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(self.connect().await)).await.unwrap();
        tokio::spawn(connection);
        post(&mut sender, path, body.into()).await
    }

    /// What is answered to this review.
    async fn review(&self, policy: &str, review: &Value) -> Value {
        let (status, text) =
            self.send(&format!("/mutate/{}", policy.to_lowercase()), review.to_string()).await;
        assert_eq!(status, 200, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&answer["apiVersion"], &answer["kind"], &answer["response"]["uid"]),
            (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"), &json!("u-1"))
        );
        answer["response"].clone()
    }

    fn counted(&self, outcome: &str) -> bool {
        let text = self.metrics.text().unwrap();
        text.contains(&format!("lockkeeper_webhook_reviews_total{{outcome=\"{outcome}\"}}"))
    }
}

async fn post(
    sender: &mut http1::SendRequest<Full<Bytes>>,
    path: &str,
    body: Bytes,
) -> (StatusCode, String) {
    let request = Request::builder().method(Method::POST).uri(path).header("host", HOST);
    let answer = sender.send_request(request.body(Full::new(body)).unwrap()).await.unwrap();
    let status = answer.status();
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(text.to_vec()).unwrap())
}

async fn connect(to: SocketAddr, authority: &str) -> Result<TlsStream<TcpStream>, String> {
    let mut roots = RootCertStore::empty();
    for one in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(one.unwrap()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(to).await.map_err(|error| error.to_string())?;
    let name = ServerName::try_from(HOST).unwrap();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    connected.map_err(|error| error.to_string())
}

fn field(server: &ApiServer, secret: &str, key: &str) -> String {
    let text = server.get("secrets", secret)["data"][key].as_str().unwrap_or_default().to_owned();
    String::from_utf8(BASE64_STANDARD.decode(text).unwrap()).unwrap()
}

/// A Secret with this pair.
fn secret(name: &str, pair: &Pair, authority: &str) -> Value {
    let data = |text: &str| BASE64_STANDARD.encode(text);
    json!({"metadata": {"name": name, "namespace": NAMESPACE}, "type": "kubernetes.io/tls",
        "data": {"tls.crt": data(&pair.certificate), "tls.key": data(&pair.key), "ca.crt": data(authority)}})
}

fn days(from_now: i64) -> Timestamp {
    Timestamp::now() + jiff::SignedDuration::from_hours(24 * from_now)
}

fn names() -> Vec<String> {
    vec![HOST.to_owned()]
}

/// Somebody changes the image of shop/web.
fn change() -> Value {
    let web = |image: &str| {
        json!({"metadata": {"name": "web", "namespace": "shop"},
            "spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}})
    };
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u-1", "operation": "UPDATE", "name": "web", "namespace": "shop", "dryRun": false,
        "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
        "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
        "userInfo": {"username": "ann", "uid": "7", "groups": ["dev"], "extra": {"scopes": ["a", "b"]}},
        "object": web("app:2"), "oldObject": web("app:1"), "options": null}})
}

fn judge(judge: impl Fn(&Right, Option<bool>) -> Judgement + Send + Sync + 'static) -> Judge {
    let right = Right {
        verb: "bypass".to_owned(),
        group: "lockkeeper.dev".to_owned(),
        resource: "upgradepolicies".to_owned(),
        namespace: "shop".to_owned(),
        name: String::new(),
    };
    Arc::new(move |_, rights| judge(&right, rights.get(&right).copied()))
}

fn hold() -> Vec<Value> {
    vec![json!({"op": "add", "path": "/spec/paused", "value": true})]
}

/// Holds what a writer without the right changes.
fn rules() -> Judge {
    judge(|right, answer| match answer {
        None => Judgement::Ask(vec![right.clone()]),
        Some(true) => Judgement::Untouched,
        Some(false) => Judgement::Patch(hold()),
    })
}

#[tokio::test]
async fn a_write_is_judged_and_its_writers_rights_are_asked_for_with_all_that_is_known_of_them() {
    let served = Served::by(rules()).await.ready().await;
    served.server.review_access(Review::Denied);
    let held = served.review("Fail", &change()).await;
    assert_eq!((&held["allowed"], &held["patchType"]), (&json!(true), &json!("JSONPatch")));
    let patch = BASE64_STANDARD.decode(held["patch"].as_str().unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&patch).unwrap(), json!(hold()));
    served.server.review_access(Review::Allowed);
    let untouched = served.review("Fail", &change()).await;
    assert_eq!(untouched, json!({"uid": "u-1", "allowed": true}));
    let asked = served.server.access_reviews();
    assert_eq!(asked.len(), 2);
    assert_eq!(
        asked[0]["spec"],
        json!({"user": "ann", "uid": "7", "groups": ["dev"], "extra": {"scopes": ["a", "b"]},
            "resourceAttributes": {"verb": "bypass", "group": "lockkeeper.dev", "version": "*",
                "resource": "upgradepolicies", "namespace": "shop"}})
    );
    assert!(served.counted("Patched") && served.counted("Untouched"));
}

/// P6 below Kubernetes 1.36: what cannot be judged is refused, with a sentence, or let through with
/// a warning where the configuration says so.
#[tokio::test]
async fn p6_what_cannot_be_judged_is_refused_or_let_through_as_the_configuration_says() {
    let rows: [(&str, Judge, Review, &str); 5] = [
        (
            "broken",
            judge(|_, _| Judgement::Broken("its variable x fails".to_owned())),
            Review::Denied,
            "its variable x fails",
        ),
        ("panic", judge(|_, _| panic!("as told")), Review::Denied, "a defect of Lockkeeper"),
        ("rights cannot be asked for", rules(), Review::Failed, "rights of ann: as told"),
        ("rights come late", rules(), Review::Slow, "longer than 1800 ms"),
        (
            "asks again and again",
            judge(|right, _| Judgement::Ask(vec![right.clone()])),
            Review::Denied,
            "right after the other",
        ),
    ];
    for (what, judge, access, why) in rows {
        let served = Served::by(judge).await.ready().await;
        served.server.review_access(access);
        let refused = served.review("Fail", &change()).await;
        let message = refused["status"]["message"].as_str().unwrap_or_default();
        assert_eq!(refused["allowed"], false, "{what}");
        assert!(message.contains("so it is refused") && message.contains(why), "{what}: {message}");
        let through = served.review("Ignore", &change()).await;
        assert_eq!(
            (&through["allowed"], &through["patch"]),
            (&json!(true), &Value::Null),
            "{what}"
        );
        assert!(through["warnings"][0].as_str().unwrap().contains(why), "{what}: {through}");
        assert!(served.counted("Refused") && served.counted("LetThrough"));
    }
}

/// The API server says how long it waits, and gets an answer within that time.
#[tokio::test]
async fn p6_an_answer_comes_while_the_api_server_waits_for_it() {
    let served = Served::by(rules()).await.ready().await;
    served.server.review_access(Review::Slow);
    for (waits, within) in [("1s", 900), ("3s", 2700), ("0s", 1800), ("soon", 1800)] {
        let refused = served.review(&format!("Fail?timeout={waits}"), &change()).await;
        let message = refused["status"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(&format!("longer than {within} ms")), "{waits}: {message}");
    }
}

#[tokio::test]
async fn garbage_is_answered_and_nothing_of_it_is_quoted() {
    let served = Served::by(judge(|_, _| Judgement::Untouched)).await.ready().await;
    let secret = "hunter2";
    let typed = |pointer: &str, value: Value| {
        let mut review = change();
        *review.pointer_mut(pointer).unwrap() = value;
        review.to_string()
    };
    let rows = [
        ("/mutate/fail", String::new(), 400),
        ("/mutate/fail", format!("{{\"{secret}"), 400),
        ("/mutate/fail", "{}".to_owned(), 400),
        ("/mutate/fail", typed("/request/userInfo/groups", json!(secret)), 400),
        ("/mutate/fail", typed("/request/operation", json!(secret)), 400),
        ("/mutate/fail", typed("/apiVersion", json!("admission.k8s.io/v1beta1")), 400),
        ("/mutate/fail", "x".repeat(LARGEST + 1), 413),
        ("/mutate", change().to_string(), 404),
        ("/mutate/never", change().to_string(), 404),
    ];
    for (path, body, status) in rows {
        let begin: String = body.chars().take(60).collect();
        let (answered, text) = served.send(path, body).await;
        assert_eq!(answered, status, "{path} {begin}: {text}");
        assert!(!text.contains(secret) && text.len() < 200, "{text}");
    }
    assert!(served.counted("Unreadable"));
    // Large ones are read, many at once, which takes seconds where nothing is optimised.
    let mut large = change();
    large["request"]["object"]["metadata"]["annotations"] =
        json!({"a": "x".repeat(LARGEST - 2000)});
    let served = Arc::new(served);
    let mut all = JoinSet::new();
    for _ in 0..24 {
        let (served, large) = (served.clone(), large.clone());
        all.spawn(async move { served.review("Fail?timeout=10s", &large).await });
    }
    for answer in all.join_all().await {
        assert_eq!(answer["allowed"], true);
    }
}

#[tokio::test]
async fn slow_clients_keep_nobody_waiting_and_are_closed() {
    let served = Served::by(judge(|_, _| Judgement::Untouched)).await.ready().await;
    let mut slow = Vec::new();
    for head in [
        "",
        "POST /mutate/fail HTTP/1.1\r\n",
        "POST /mutate/fail HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n{",
    ] {
        for _ in 0..20 {
            let mut connection = served.connect().await;
            connection.write_all(head.as_bytes()).await.unwrap();
            slow.push(connection);
        }
        // Some that do not even speak TLS.
        slow.push(served.connect().await);
        drop(TcpStream::connect(served.webhook.address()).await.unwrap());
    }
    assert_eq!(served.review("Fail", &change()).await["allowed"], true);
    for mut connection in slow {
        let mut text = Vec::new();
        // An end without a farewell is one too.
        let _ = connection.read_to_end(&mut text).await;
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.is_empty() || text.contains("408"), "{text}");
    }
    assert_eq!(served.review("Fail", &change()).await["allowed"], true);
}

/// Two replicas start at once where nothing is there.
#[tokio::test]
async fn the_first_replica_makes_authority_and_certificate_and_the_others_take_them() {
    let server = ApiServer::new();
    let untouched = || judge(|_, _| Judgement::Untouched);
    let one = Served::with(server.clone(), untouched(), &[HOST]).await;
    let other = Served::with(server.clone(), untouched(), &[HOST]).await;
    assert_eq!(one.unready.list(), ["the certificate of the webhook"]);
    let (one, other) = (one.ready().await, other.ready().await);
    for served in [&one, &other] {
        assert_eq!(served.review("Fail", &change()).await["allowed"], true);
    }
    assert_eq!(server.get("secrets", LEAF_SECRET)["type"], "kubernetes.io/tls");
}

#[tokio::test]
async fn an_expired_certificate_is_renewed_and_one_that_somebody_else_makes_is_left_alone() {
    for ours in [true, false] {
        let server = ApiServer::new();
        let authority = Pair::authority(days(-200)).unwrap();
        let expired = authority.sign(&names(), days(-100)).unwrap();
        server.put("secrets", secret(AUTHORITY_SECRET, &authority, &authority.certificate));
        server.put("secrets", secret(LEAF_SECRET, &expired, &authority.certificate));
        let called: &[&str] = if ours { &[HOST] } else { &[] };
        let judge = judge(|_, _| Judgement::Untouched);
        let served = Served::with(server.clone(), judge, called).await.ready().await;
        if ours {
            let renewed = || field(&server, LEAF_SECRET, "tls.crt") != expired.certificate;
            until("it is renewed", renewed).await;
            let to = served.webhook.address();
            let accepted = || async { connect(to, &authority.certificate).await.is_ok() };
            while !accepted().await {}
            assert_eq!(served.review("Fail", &change()).await["allowed"], true);
        } else {
            let refused = connect(served.webhook.address(), &authority.certificate).await;
            assert!(refused.unwrap_err().contains("expired"));
            assert_eq!(field(&server, LEAF_SECRET, "tls.crt"), expired.certificate);
        }
        assert_eq!(field(&server, AUTHORITY_SECRET, "tls.crt"), authority.certificate);
    }
}

#[tokio::test]
async fn a_certificate_is_exchanged_under_load_without_an_error() {
    let served = Served::by(judge(|_, _| Judgement::Untouched)).await.ready().await;
    let (server, to) = (served.server.clone(), served.webhook.address());
    let first = field(&server, LEAF_SECRET, "tls.crt");
    let both = Pair::authority(days(0)).unwrap();
    let next = both.sign(&names(), days(0)).unwrap();
    let bundle = format!("{}{}", served.authority(), both.certificate);
    let served = Arc::new(served);
    let mut load = JoinSet::new();
    for _ in 0..4 {
        let (served, bundle, next) = (served.clone(), bundle.clone(), next.certificate.clone());
        load.spawn(async move {
            // One connection that is kept all the time, and new ones.
            let kept = connect(to, &bundle).await.unwrap();
            let (mut kept, connection) = http1::handshake(TokioIo::new(kept)).await.unwrap();
            tokio::spawn(connection);
            loop {
                let (status, _) =
                    post(&mut kept, "/mutate/fail", change().to_string().into()).await;
                assert_eq!(status, 200);
                let stream = connect(to, &bundle).await.unwrap();
                let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
                let (mut sender, connection) =
                    http1::handshake(TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                let (status, _) =
                    post(&mut sender, "/mutate/fail", change().to_string().into()).await;
                assert_eq!(status, 200);
                if shown == CertificateDer::from_pem_slice(next.as_bytes()).unwrap() {
                    return served;
                }
            }
        });
    }
    server.put("secrets", secret(LEAF_SECRET, &next, &both.certificate));
    let done = tokio::time::timeout(Duration::from_secs(120), load.join_all()).await;
    assert!(done.is_ok(), "the new one is shown");
    assert_ne!(first, next.certificate);
}

/// As the chart's hook does it, at the installation and at each upgrade.
#[tokio::test]
async fn the_hook_makes_the_authority_once_and_makes_it_known() {
    let server = ApiServer::new();
    let webhook = |name: &str| {
        json!({"name": name, "clientConfig": {"url": "https://127.0.0.1/"},
        "admissionReviewVersions": ["v1"], "sideEffects": "None"})
    };
    server.put(
        "mutatingwebhookconfigurations",
        json!({"metadata": {"name": CONFIGURATION}, "webhooks": [webhook("a.lockkeeper.dev"), webhook("b.lockkeeper.dev")]}),
    );
    let run = || set_up(server.client(), NAMESPACE.to_owned(), names());
    let known = || {
        let all = server.get("mutatingwebhookconfigurations", CONFIGURATION)["webhooks"].clone();
        let all = all.as_array().unwrap().iter().map(|one| {
            let text = one["clientConfig"]["caBundle"].as_str().unwrap().to_owned();
            String::from_utf8(BASE64_STANDARD.decode(text).unwrap()).unwrap()
        });
        all.collect::<Vec<_>>()
    };
    run().await.unwrap();
    let authority = field(&server, AUTHORITY_SECRET, "tls.crt");
    assert_eq!(known(), [authority.clone(), authority.clone()]);
    let writes = server.writes();
    run().await.unwrap();
    assert_eq!(server.writes(), writes, "nothing is left to do");
    let leaf = field(&server, LEAF_SECRET, "tls.crt");
    let pair = |certificate| Pair { certificate, key: String::new() };
    pair(leaf.clone()).verifies(&authority, &names(), Timestamp::now()).unwrap();
    // It is lost: what replicas still show counts until they show another.
    server.delete("secrets", AUTHORITY_SECRET);
    run().await.unwrap();
    let (both, next) = (known(), field(&server, LEAF_SECRET, "tls.crt"));
    assert_ne!(next, leaf);
    for shown in [leaf, next.clone()] {
        pair(shown).verifies(&both[0], &names(), Timestamp::now()).unwrap();
    }
    run().await.unwrap();
    assert_eq!(known()[1], field(&server, AUTHORITY_SECRET, "tls.crt"));
    pair(next).verifies(&known()[0], &names(), Timestamp::now()).unwrap();
    server.delete("mutatingwebhookconfigurations", CONFIGURATION);
    assert!(run().await.unwrap_err().contains("zz-lockkeeper cannot be read"));
}
