//! Leader election against an API server that hangs.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use lockkeeper::{
    core::lease::Timing,
    shell::lease::{Leadership, Term, identity},
};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};

/// Long enough that a busy machine does not make a term lapse.
const TIMING: Timing = Timing {
    lease: Duration::from_millis(1500),
    deadline: Duration::from_millis(1000),
    retry: Duration::from_millis(100),
    look: Duration::from_millis(100),
    call: Duration::from_millis(300),
};

/// A way to the one Lease. While it hangs, requests by it are never answered.
#[derive(Clone, Default)]
struct Server {
    lease: Arc<Mutex<Option<Value>>>,
    hangs: Arc<AtomicBool>,
    looks: Arc<AtomicUsize>,
}

impl Server {
    fn client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let server = server.clone();
            async move {
                if server.hangs.load(Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                Ok::<_, std::io::Error>(server.answer(
                    parts.method.as_str(),
                    serde_json::from_slice(&body).unwrap_or_default(),
                ))
            }
        });
        kube::Client::new(service, "default")
    }

    /// The same Lease by another way, which works.
    fn another_way(&self) -> Self {
        Self { lease: self.lease.clone(), hangs: Arc::default(), looks: self.looks.clone() }
    }

    fn answer(&self, method: &str, mut body: Value) -> Response<Body> {
        body["metadata"]["managedFields"] = json!([{"manager": "lockkeeper", "operation": "Update", "fieldsV1": {"f:spec": {"f:holderIdentity": {}}}}]);
        let mut lease = self.lease.lock().unwrap();
        let version = |lease: &Value| {
            lease["metadata"]["resourceVersion"]
                .as_str()
                .map_or(0, |text| text.parse::<u64>().unwrap())
        };
        let known = lease.as_ref().map(version);
        match (method, known) {
            ("GET", Some(_)) => drop(self.looks.fetch_add(1, Ordering::SeqCst)),
            ("GET", None) => return status(404),
            ("POST", None) => {
                body["metadata"]["resourceVersion"] = json!("1");
                *lease = Some(body);
            }
            ("PUT", Some(known)) if version(&body) == known => {
                body["metadata"]["resourceVersion"] = json!((known + 1).to_string());
                *lease = Some(body);
            }
            _ => return status(409),
        }
        Response::new(Body::from(lease.as_ref().unwrap().to_string()))
    }

    fn holder(&self) -> String {
        self.lease.lock().unwrap().as_ref().unwrap()["spec"]["holderIdentity"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn candidate(&self, pod: &str) -> Candidate {
        self.candidate_in(pod, "", TIMING)
    }

    /// In a pod of this uid.
    fn candidate_in(&self, pod: &str, uid: &str, timing: Timing) -> Candidate {
        let leadership = Leadership {
            client: self.client(),
            namespace: "lockkeeper-system".to_owned(),
            name: "lockkeeper",
            identity: identity(pod, uid),
            timing,
        };
        let (tell, told) = watch::channel(Term::default());
        let (stop, stopped) = watch::channel(false);
        Candidate { told, stop, task: tokio::spawn(leadership.lead(tell, stopped)) }
    }
}

fn status(code: u16) -> Response<Body> {
    let reason = if code == 404 { "NotFound" } else { "Conflict" };
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason, "message": "as told"});
    Response::builder().status(code).body(Body::from(body.to_string())).unwrap()
}

struct Candidate {
    told: watch::Receiver<Term>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Candidate {
    async fn leads(&mut self) -> Term {
        let wait = self.told.wait_for(|term| term.may_act(Instant::now()));
        *tokio::time::timeout(Duration::from_secs(10), wait)
            .await
            .expect("it leads within 10 s")
            .unwrap()
    }
}

#[tokio::test]
async fn a_term_lapses_while_a_call_hangs_and_another_follows_and_hands_back() {
    let server = Server::default();
    let mut first = server.candidate("a");
    assert_eq!(first.leads().await.number, 1);
    let mut second = server.another_way().candidate("b");
    tokio::time::sleep(TIMING.deadline).await;
    assert!(first.told.borrow().may_act(Instant::now()), "it is renewed");

    server.hangs.store(true, Ordering::SeqCst);
    tokio::time::sleep(TIMING.call).await;
    let last = *first.told.borrow();
    assert!(
        last.until.unwrap() <= Instant::now() + TIMING.deadline - TIMING.call / 2,
        "calls that hang extend nothing"
    );
    let after = second.leads().await;
    assert!(!last.may_act(Instant::now()));
    assert_eq!(first.told.borrow().until, None, "and the end of it is told");
    assert!(after.until.unwrap() > last.until.unwrap());

    server.hangs.store(false, Ordering::SeqCst);
    tokio::time::sleep(TIMING.retry * 3).await;
    assert!(!first.told.borrow().may_act(Instant::now()));
    second.stop.send(true).unwrap();
    second.task.await.unwrap();
    assert_eq!(second.told.borrow().until, None);
    assert_eq!(first.leads().await.number, 2, "another term: somebody else led between");
}

#[tokio::test]
async fn who_is_told_to_stop_lets_go_and_what_others_put_on_the_lease_stays() {
    let server = Server::default();
    let labels = json!({"team": "shop"});
    *server.lease.lock().unwrap() =
        Some(json!({"metadata": {"name": "lockkeeper", "resourceVersion": "7", "labels": labels},
        "spec": {"holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": 3}}));
    let mut one = server.candidate("a");
    one.leads().await;
    assert!(server.holder().starts_with("a_"));
    drop(one.stop);
    one.task.await.unwrap();
    assert_eq!(server.holder(), "");
    let lease = server.lease.lock().unwrap().clone().unwrap();
    assert_eq!(
        (&lease["spec"]["leaseDurationSeconds"], &lease["spec"]["leaseTransitions"]),
        (&json!(1), &json!(4))
    );
    assert_eq!(lease["metadata"]["labels"], labels);
}

#[tokio::test]
async fn a_container_that_starts_again_takes_back_what_its_last_process_held_unless_a_person_wrote_it()
 {
    // Nobody waits for the end of this one.
    let patient = Timing { lease: Duration::from_secs(3600), ..TIMING };
    let server = Server::default();
    *server.lease.lock().unwrap() =
        Some(json!({"metadata": {"name": "lockkeeper", "resourceVersion": "7"},
        "spec": {"holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": 3}}));
    let mut first = server.candidate_in("a", "uid-1", patient);
    first.leads().await;
    first.task.abort();
    let held = server.holder();
    let mut again = server.candidate_in("a", "uid-1", patient);
    again.leads().await;
    assert!(server.holder().starts_with("a_uid-1_") && server.holder() != held);

    // A person restores what was there.
    again.task.abort();
    let by_hand = json!([{"manager": "kubectl-replace", "operation": "Update", "fieldsV1": {"f:spec": {"f:holderIdentity": {}}}}]);
    server.lease.lock().unwrap().as_mut().unwrap()["metadata"]["managedFields"] = by_hand;
    let (seen, looks) = (server.holder(), server.looks.load(Ordering::SeqCst));
    let third = server.candidate_in("a", "uid-1", patient);
    while server.looks.load(Ordering::SeqCst) < looks + 3 {
        tokio::time::sleep(TIMING.look).await;
    }
    assert_eq!(
        (server.holder(), third.told.borrow().until),
        (seen, None),
        "it waits as for any other holder"
    );
}
