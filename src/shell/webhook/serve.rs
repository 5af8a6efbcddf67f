//! Connections and requests: how long one may take, how large it may be, and how many there are.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, api::ListParams};
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use super::{
    review::{self, Answer, Otherwise},
    rights,
    secrets::Proof,
};
use crate::{
    core::judge::{self, Judgement, Rights},
    shell::{clock, errors::within},
    telemetry::metrics::Metrics,
};

/// The largest review. Kubernetes stores objects of at most 1.5 MiB, and a review has two.
pub const LARGEST: usize = 8 * 1024 * 1024;
/// The reviews that are judged at once; further ones wait.
const AT_ONCE: u32 = 16;
/// The bytes of all reviews that are being read, in KiB.
const READING_KIB: usize = 64 * 1024;
/// The connections at once; further ones wait to be accepted.
const CONNECTIONS: usize = 256;
/// How long the API server waits for an answer, if it does not say so.
const WAITED_FOR: Duration = Duration::from_secs(2);
/// No answer takes longer, so that a replica that is to stop has none under way when it is killed.
const ANSWERED_WITHIN: Duration = Duration::from_secs(9);
/// A client proves within this time that it speaks TLS.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// A connection on which no review came in this time is closed.
const FIRST_REVIEW_WITHIN: Duration = Duration::from_secs(10);
/// A connection on which no further review came in this time is closed. The API server closes its
/// own after 90 seconds, so it meets none that is being closed.
const IDLE: Duration = Duration::from_secs(120);
/// Rounds of questions about the rights of one writer. The rules ask at most twice.
const ROUNDS: usize = 4;
/// After an error of the listener, for example when there are too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Judges a write by the rules, which may want to know rights of the writer.
pub type Judge = Arc<dyn Fn(&judge::Request, &Rights) -> Judgement + Send + Sync>;

/// What all connections share.
pub struct Server {
    judge: Judge,
    /// Asks for rights.
    client: Client,
    metrics: Arc<Metrics>,
    /// One for each review that is judged.
    judging: Semaphore,
    /// One for each KiB that is read.
    reading: Semaphore,
}

impl Server {
    /// One that judges so.
    pub fn new(judge: Judge, client: Client, metrics: Arc<Metrics>) -> Self {
        let (judging, reading) = (Semaphore::new(AT_ONCE as usize), Semaphore::new(READING_KIB));
        Self { judge, client, metrics, judging, reading }
    }

    /// Accepts connections until the process ends.
    pub async fn listen(self: Arc<Self>, listener: TcpListener, proof: Proof) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    // Without a certificate nothing can be answered.
                    let Some(config) = proof.borrow().clone() else { continue };
                    tokio::spawn(self.clone().connected(stream, config, place));
                }
                Err(error) => {
                    tracing::warn!(%error, "the webhook cannot accept a connection; it is tried again");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Waits until no review is being judged, but not for long.
    pub async fn finish(&self) {
        let _ = timeout(ANSWERED_WITHIN, self.judging.acquire_many(AT_ONCE)).await;
    }

    async fn connected(
        self: Arc<Self>,
        stream: TcpStream,
        config: Arc<ServerConfig>,
        _place: OwnedSemaphorePermit,
    ) {
        // An answer is small; it must not wait for more.
        let _ = stream.set_nodelay(true);
        let accepted = timeout(HANDSHAKE_WITHIN, TlsAcceptor::from(config).accept(stream)).await;
        let Ok(Ok(stream)) = accepted else { return };
        let answered = AtomicBool::new(false);
        let service = service_fn(async |request| {
            let response = self.answer(request).await;
            answered.fetch_or(response.status() == StatusCode::OK, Ordering::Relaxed);
            Ok::<_, Infallible>(response)
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(IDLE);
        let mut connection =
            std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            _ = &mut connection => return,
            () = sleep(FIRST_REVIEW_WITHIN) => {}
        }
        if answered.load(Ordering::Relaxed) {
            let _ = connection.await;
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let begun = clock::moment();
        let within = answered_within(request.uri().query());
        let (response, outcome) = match self.review(request, begun, within).await {
            Ok((uid, answer)) => {
                let outcome = answer.as_str();
                (
                    reply(StatusCode::OK, "application/json", answer.review(&uid).to_string()),
                    outcome,
                )
            }
            Err((status, why)) => (reply(status, "text/plain", format!("{why}\n")), "Unreadable"),
        };
        self.metrics.reviews.answered(outcome, begun.elapsed());
        response
    }

    /// The uid of the review, and what is answered.
    async fn review(
        &self,
        request: Request<Incoming>,
        begun: std::time::Instant,
        within: Duration,
    ) -> Result<(String, Answer), (StatusCode, String)> {
        let deadline = Instant::from_std(begun) + within;
        let otherwise = Otherwise::of(request.uri().path())
            .ok_or_else(|| (StatusCode::NOT_FOUND, "there is nothing at this path".to_owned()))?;
        if request.method() != Method::POST {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "POST an AdmissionReview".to_owned()));
        }
        let body = timeout_at(deadline, self.read(request)).await.map_err(|_| {
            (StatusCode::REQUEST_TIMEOUT, "the review did not come in time".to_owned())
        })??;
        let unreadable = |why| (StatusCode::BAD_REQUEST, why);
        let read = apart(move || review::read(&body)).await.and_then(|read| read);
        let (uid, mut write) = read.map_err(unreadable)?;
        let late = || Err(format!("it took longer than {} ms", within.as_millis()));
        if write.concerns_namespace() {
            write.namespace_object =
                timeout_at(deadline, self.namespace(&write.namespace)).await.unwrap_or_default();
        }
        let write = Arc::new(write);
        let judged = timeout_at(deadline, self.decide(write.clone())).await;
        let answer = judged.unwrap_or_else(|_| late()).unwrap_or_else(|why| {
            tracing::warn!(
                namespace = write.namespace, resource = write.resource.plural, name = write.name, error = %why,
                "the webhook could not judge a write"
            );
            Answer::unjudged(otherwise, why)
        });
        Ok((uid, answer))
    }

    async fn read(&self, request: Request<Incoming>) -> Result<Bytes, (StatusCode, String)> {
        let too_large = || {
            let why = format!("a review has at most {} MiB", LARGEST >> 20);
            (StatusCode::PAYLOAD_TOO_LARGE, why)
        };
        let body = request.into_body();
        let size = body.size_hint().exact().and_then(|size| usize::try_from(size).ok());
        let size = size.ok_or_else(|| {
            (StatusCode::LENGTH_REQUIRED, "say by Content-Length how long it is".to_owned())
        })?;
        if size > LARGEST {
            return Err(too_large());
        }
        let room = u32::try_from(size.div_ceil(1024)).map_err(|_| too_large())?;
        let _room = self.reading.acquire_many(room).await;
        let body = Limited::new(body, LARGEST).collect().await;
        let broken = || (StatusCode::BAD_REQUEST, "the review breaks off".to_owned());
        Ok(body.map_err(|_| broken())?.to_bytes())
    }

    /// A namespace, with the names that are reserved in it. Without it none is heeded here, and the
    /// API server refuses a claim of such a name by the policy `lockkeeper-reserved`.
    async fn namespace(&self, name: &str) -> Option<Value> {
        let only = ListParams::default().fields(&format!("metadata.name={name}"));
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let found = within(namespaces.list(&only)).await;
        let found = found.map_err(|error| {
            tracing::warn!(namespace = name, error = %error.sentence(), "the webhook cannot read a namespace");
        });
        serde_json::to_value(found.ok()?.items.pop()?).ok()
    }

    /// What becomes of a write.
    async fn decide(&self, write: Arc<judge::Request>) -> Result<Answer, String> {
        let _place = self.judging.acquire().await;
        let mut rights = Rights::new();
        for _ in 0..ROUNDS {
            let (judge, asked, answers) = (self.judge.clone(), write.clone(), rights.clone());
            match apart(move || judge(&asked, &answers)).await? {
                Judgement::Untouched => return Ok(Answer::Untouched),
                Judgement::Patch(operations) => return Ok(Answer::Patched(operations)),
                Judgement::Broken(why) => return Err(why),
                Judgement::Ask(wanted) => {
                    let user = &write.user;
                    let answers =
                        rights::of(&self.client, user, wanted).await.map_err(|error| {
                            format!(
                                "it cannot ask for the rights of {}: {}",
                                user.username,
                                error.sentence()
                            )
                        })?;
                    rights.extend(answers);
                }
            }
        }
        Err("its rules ask for one right after the other".to_owned())
    }
}

/// Within which time a review is answered. The API server says in whole seconds how long it waits,
/// by `timeoutSeconds` of the webhook, and cannot know why there is no answer.
fn answered_within(query: Option<&str>) -> Duration {
    let seconds = query.into_iter().flat_map(|query| query.split('&')).find_map(|one| {
        let seconds = one.strip_prefix("timeout=")?.strip_suffix('s')?.parse().ok()?;
        (seconds > 0).then(|| Duration::from_secs(seconds))
    });
    (seconds.unwrap_or(WAITED_FOR) * 9 / 10).min(ANSWERED_WITHIN)
}

/// Computes apart from the main loop, which must not wait for it, and survives a panic.
async fn apart<T: Send + 'static>(
    compute: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let defect = "this is a defect of Lockkeeper's webhook, and its log has more";
    tokio::task::spawn_blocking(compute).await.map_err(|_| defect.to_owned())
}

fn reply(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}
