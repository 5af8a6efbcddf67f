//! Talks to pods: asks whether they may be ended, asks them to take no new work, and tells them
//! that they may again.

mod connections;
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
    connections::{Connections, Line, Peer},
    credentials::{Allowed, Credentials},
    http::{Reply, Silence, To},
};
use super::{
    clock,
    executor::{Completion, Outcome},
    lease::Term,
};
use crate::{
    api::AppGate,
    core::{
        conversation::{
            Call, Errand, LEASE, Report, Visit,
            answer::{self, Answer},
        },
        observed::Uid,
    },
    telemetry::metrics::Metrics,
};

/// Requests at once.
const CONCURRENT: usize = 64;
/// Of these, for one policy.
const CONCURRENT_OF_POLICY: usize = 8;
/// A policy gets one more while it has fewer than this part of those that are free, and its first
/// while any is free. So policies whose pods hang leave places to the others: each gets the less,
/// the more they are, and it takes some twenty of them to fill all.
const SHARE_OF_FREE: usize = 8;

/// Which change is asked about.
const HOLD_HEADER: HeaderName = HeaderName::from_static("lockkeeper-hold");
/// For how many seconds a pod is to take no new work.
const TTL_HEADER: HeaderName = HeaderName::from_static("lockkeeper-prepare-ttl");

/// Makes calls, each in a task of its own.
pub struct Asker {
    context: Arc<Context>,
    done: mpsc::UnboundedSender<Completion>,
    all: Arc<Places>,
    of_policies: HashMap<Lane, Arc<Semaphore>>,
    connections: Connections,
}

/// A policy, and whether its pods are asked or told something: what must be said in time does not
/// wait behind pods that hang when they are asked.
type Lane = (Uid, bool);

/// The places of all requests: how many each lane has.
#[derive(Default)]
struct Places(watch::Sender<HashMap<Lane, usize>>);

/// A place of this lane, until it is dropped.
struct Place<'a>(&'a Places, Lane);

impl Places {
    async fn take(&self, lane: Lane) -> Place<'_> {
        let mut changes = self.0.subscribe();
        loop {
            let taken = self.0.send_if_modified(|places| {
                let own = places.get(&lane).copied().unwrap_or_default();
                let free = CONCURRENT.saturating_sub(places.values().sum());
                let may = own * SHARE_OF_FREE < free;
                if may {
                    places.insert(lane.clone(), own + 1);
                }
                may
            });
            if taken {
                return Place(self, lane);
            }
            // It fails only when the sender is gone, which is here.
            let _ = changes.changed().await;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|places| match places.get_mut(&self.1) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(places.remove(&self.1)),
        });
    }
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
        Self {
            context,
            done,
            all: Arc::default(),
            of_policies: HashMap::new(),
            connections: Connections::default(),
        }
    }

    /// Makes a call. What comes of it is told in any case.
    pub fn call(&mut self, namespace: &str, call: Call) {
        self.of_policies.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        let lane = (call.policy.clone(), matches!(call.errand, Errand::Ask | Errand::Verify));
        let of_policy = self
            .of_policies
            .entry(lane.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(CONCURRENT_OF_POLICY)));
        let places = (of_policy.clone(), self.all.clone(), lane);
        let line = self.connections.line(&call);
        let (context, done, namespace) =
            (self.context.clone(), self.done.clone(), namespace.to_owned());
        tokio::spawn(async move {
            let uid = call.uid.clone();
            let report = talk(&context, places, (&namespace, line), call).await;
            // Nobody listens any more when the operator stops.
            let _ =
                done.send(Completion { namespace, uid, outcome: Outcome::Heard(Box::new(report)) });
        });
    }

    /// Closes the connections to the pods of a workload: no change of it waits any longer.
    pub fn hang_up(&mut self, workload: &Uid) {
        self.connections.close(workload);
    }

    /// Closes all connections.
    pub fn hang_up_all(&mut self) {
        self.connections.close_all();
    }

    /// Closes connections that nobody has used for long.
    pub fn tidy(&mut self) {
        self.connections.tidy();
    }
}

async fn talk(
    context: &Context,
    (of_policy, all, lane): (Arc<Semaphore>, Arc<Places>, Lane),
    (namespace, line): (&str, Option<Arc<Line>>),
    call: Call,
) -> Report {
    let begun = clock::now();
    let credentials =
        Credentials::read(&context.client, namespace, &call.gate, context.allowed).await;
    let answers = match credentials {
        Ok(credentials) => {
            let visits = call.visits.iter().map(|visit| async {
                let (_of_policy, _of_all) =
                    (of_policy.acquire().await, all.take(lane.clone()).await);
                let answer = match context.term.borrow().may_act(clock::moment()) {
                    true => None,
                    false => Some(Answer::NotAsked(
                        "this replica of the operator no longer leads".to_owned(),
                    )),
                };
                let answer = match answer {
                    Some(answer) => answer,
                    None => {
                        let answer = visit_one(&credentials, &call, visit, line.as_deref()).await;
                        answer.without(&credentials.hidden)
                    }
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

async fn visit_one(
    credentials: &Credentials,
    call: &Call,
    visit: &Visit,
    line: Option<&Line>,
) -> Answer {
    let gate = &call.gate;
    let Some((method, path)) = how(gate, call.errand) else { return Answer::Yes };
    let mut headers = credentials.headers.clone();
    let id = call.about.as_ref().map(|about| about.id.to_string());
    if let Some(id) = id.and_then(|id| HeaderValue::from_str(&id).ok()) {
        headers.insert(HOLD_HEADER, id);
    }
    if call.errand == Errand::Prepare {
        headers.insert(TTL_HEADER, HeaderValue::from(LEASE.as_secs()));
    }
    let to = (method, visit.address, path);
    let asks = matches!(call.errand, Errand::Ask | Errand::Verify);
    match send(credentials, gate, (to, visit), &headers, line).await {
        Ok(reply) if asks => answer::read(&gate.open_when, reply.status.as_u16(), &reply.body),
        Ok(reply) if reply.status.is_success() => Answer::Yes,
        Ok(reply) if answer::is_missing(reply.status.as_u16()) => {
            Answer::Missing(reply.status.as_u16())
        }
        Ok(reply) => Answer::Unusable(format!("it answers {}", reply.status.as_u16())),
        Err(Silence::Timeout) => {
            Answer::Hangs(format!("no answer from {} within {}", visit.address, gate.timeout))
        }
        Err(Silence::Failed(why)) => {
            Answer::Unusable(format!("no answer from {}: {why}", visit.address))
        }
    }
}

/// Makes the request of a visit, and keeps the connection where that is worth it.
async fn send(
    credentials: &Credentials,
    gate: &AppGate,
    (to, visit): (To<'_>, &Visit),
    headers: &HeaderMap,
    line: Option<&Line>,
) -> Result<Reply, Silence> {
    let (channel, timeout) = (&credentials.channel, gate.timeout.length());
    let Some(line) = line else { return http::send(channel, to, headers, timeout).await };
    let peer = Peer::of(visit, channel);
    let kept = line.take(&peer);
    let (reply, connection) = http::send_on(kept, channel, to, headers, timeout).await?;
    if !connection.is_closed() {
        line.put(peer, connection);
    }
    Ok(reply)
}

fn how(gate: &AppGate, errand: Errand) -> Option<(Method, &str)> {
    let prepare = gate.prepare.as_ref().map(|prepare| prepare.path.as_str());
    match errand {
        Errand::Ask | Errand::Verify => Some((Method::GET, &gate.path)),
        Errand::Prepare => Some((Method::POST, prepare?)),
        Errand::Withdraw => Some((Method::DELETE, prepare?)),
    }
}
