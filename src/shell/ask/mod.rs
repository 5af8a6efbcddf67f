//! Talks to pods: asks whether they may be ended, asks them to take no new work, and tells them that they may again.

pub mod credentials;
pub mod http;

use std::{collections::HashMap, sync::Arc};

use hyper::{
    HeaderMap, Method,
    header::{HeaderName, HeaderValue},
};
use kube::Client;
use tokio::sync::{Semaphore, mpsc, watch};

use self::{
    credentials::{Allowed, Credentials},
    http::{Channel, Silence},
};
use super::{
    clock,
    executor::{Completion, Outcome},
    lease::Term,
};
use crate::{
    api::AppGate,
    core::{
        gates::{
            answer::{self, Answer},
            conversation::{Call, Errand, LEASE, Report, Visit},
        },
        world::Uid,
    },
    telemetry::metrics::Metrics,
};

/// Requests at once.
const CONCURRENT: usize = 64;
/// Of these, for one policy: one whose pods hang must not take the others' places.
const CONCURRENT_OF_POLICY: usize = 8;

/// Which change is asked about.
const HOLD_HEADER: HeaderName = HeaderName::from_static("lockkeeper-hold");
/// For how many seconds a pod is to take no new work.
const TTL_HEADER: HeaderName = HeaderName::from_static("lockkeeper-prepare-ttl");

/// Makes calls, each in a task of its own.
pub struct Asker {
    context: Arc<Context>,
    done: mpsc::UnboundedSender<Completion>,
    all: Arc<Semaphore>,
    of_policies: HashMap<(Uid, bool), Arc<Semaphore>>,
}

struct Context {
    client: Client,
    term: watch::Receiver<Term>,
    metrics: Arc<Metrics>,
    allowed: Allowed,
}

impl Asker {
    /// Nobody is being asked. Nobody is, outside of `term`.
    pub fn new(
        client: Client,
        done: mpsc::UnboundedSender<Completion>,
        term: watch::Receiver<Term>,
        metrics: Arc<Metrics>,
        allowed: Allowed,
    ) -> Self {
        let context = Arc::new(Context { client, term, metrics, allowed });
        Self { context, done, all: Arc::new(Semaphore::new(CONCURRENT)), of_policies: HashMap::new() }
    }

    /// Makes a call. What comes of it is told in any case.
    pub fn call(&mut self, namespace: &str, call: Call) {
        self.of_policies.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        // What must be said in time does not wait behind pods that hang when they are asked.
        let lane = (call.policy.clone(), matches!(call.errand, Errand::Ask | Errand::Verify));
        let of_policy = self.of_policies.entry(lane).or_insert_with(|| Arc::new(Semaphore::new(CONCURRENT_OF_POLICY)));
        let places = (of_policy.clone(), self.all.clone());
        let (context, done, namespace) = (self.context.clone(), self.done.clone(), namespace.to_owned());
        tokio::spawn(async move {
            let uid = call.uid.clone();
            let report = talk(&context, places, &namespace, call).await;
            // Nobody listens any more when the operator stops.
            let _ = done.send(Completion { namespace, uid, outcome: Outcome::Heard(Box::new(report)) });
        });
    }
}

async fn talk(context: &Context, (of_policy, all): (Arc<Semaphore>, Arc<Semaphore>), namespace: &str, call: Call) -> Report {
    let begun = clock::now();
    let credentials = Credentials::read(&context.client, namespace, &call.gate, context.allowed).await;
    let answers = match credentials {
        Ok(credentials) => {
            let visits = call.visits.iter().map(|visit| async {
                let (_of_policy, _of_all) = (of_policy.acquire().await, all.acquire().await);
                let answer = match context.term.borrow().may_act(clock::moment()) {
                    true => None,
                    false => Some(Answer::NotAsked("this replica of the operator no longer leads".to_owned())),
                };
                let answer = match answer {
                    Some(answer) => answer,
                    None => visit_one(&credentials, &call, visit).await.without(&credentials.hidden),
                };
                context.metrics.asked(call.errand, answer.as_str());
                answer
            });
            futures::future::join_all(visits).await
        }
        Err(why) => vec![Answer::NotAsked(why); call.visits.len()],
    };
    tracing::debug!(namespace, workload = %call.workload, errand = call.errand.as_str(), pods = call.visits.len(), "asked");
    Report { call, begun, ended: clock::now(), answers }
}

async fn visit_one(credentials: &Credentials, call: &Call, visit: &Visit) -> Answer {
    let gate = &call.gate;
    let Some((method, path)) = how(gate, call.errand) else { return Answer::Yes };
    let mut headers = credentials.headers.clone();
    // Where pods go one by one, whose turn it is comes after the id.
    let id = call.change.split(' ').next().filter(|_| call.errand != Errand::Verify);
    if let Some(id) = id.and_then(|id| HeaderValue::from_str(id).ok()) {
        headers.insert(HOLD_HEADER, id);
    }
    if call.errand == Errand::Prepare {
        headers.insert(TTL_HEADER, HeaderValue::from(LEASE.as_secs()));
    }
    ask(&credentials.channel, gate, (method, visit, path), &headers, matches!(call.errand, Errand::Ask | Errand::Verify)).await
}

async fn ask(channel: &Channel, gate: &AppGate, (method, visit, path): (Method, &Visit, &str), headers: &HeaderMap, asks: bool) -> Answer {
    match http::send(channel, (method, visit.address, path), headers, gate.timeout.length()).await {
        Ok(reply) if asks => answer::read(&gate.open_when, reply.status.as_u16(), &reply.body),
        Ok(reply) if reply.status.is_success() => Answer::Yes,
        Ok(reply) if answer::is_missing(reply.status.as_u16()) => Answer::Missing(reply.status.as_u16()),
        Ok(reply) => Answer::Unusable(format!("it answers {}", reply.status.as_u16())),
        Err(Silence::Timeout) => Answer::Hangs(format!("no answer from {} within {}", visit.address, gate.timeout)),
        Err(Silence::Failed(why)) => Answer::Unusable(format!("no answer from {}: {why}", visit.address)),
    }
}

fn how(gate: &AppGate, errand: Errand) -> Option<(Method, &str)> {
    let prepare = gate.prepare.as_ref().map(|prepare| prepare.path.as_str());
    match errand {
        Errand::Ask | Errand::Verify => Some((Method::GET, &gate.path)),
        Errand::Prepare => Some((Method::POST, prepare?)),
        Errand::Withdraw => Some((Method::DELETE, prepare?)),
    }
}
