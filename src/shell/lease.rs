//! Leader election: carries out what [`core::lease`](crate::core::lease) decides, and tells until
//! when we may act.

use std::time::{Duration, Instant};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use rand::RngExt;
use tokio::sync::watch;

use super::{clock, errors::Error};
use crate::{
    api::marks,
    core::lease::{Answer, Identity, Participant, Record, Step, Timing},
};

/// Whether we lead, and until when. It lapses by itself: code that acts compares with the time just
/// before each request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Term {
    /// How many times this process has become leader; 0 before the first. Another number means that
    /// another process may have led between.
    pub number: u64,
    /// The end of it, by the monotonic clock, unless it is renewed; nothing when it has ended.
    pub until: Option<Instant>,
}

impl Term {
    /// One that no other process can take, for this long; for tests, which have no Lease.
    pub fn undisputed(time: Duration) -> Self {
        Self { number: 1, until: clock::moment().checked_add(time) }
    }

    /// Whether a request may be sent now. The answer is to be used at once: a request that is sent
    /// later, or arrives late, is stopped only by its own precondition.
    pub fn may_act(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

/// A name that no other process has, nor had: the pod's name, for people, and 64 random bits, since
/// a container that starts again keeps the pod's name. With the pod's uid between them, later
/// processes of the container know the name as one of theirs.
pub fn identity(pod: &str, uid: &str) -> Identity {
    let container = (!uid.is_empty()).then(|| format!("{pod}_{uid}_"));
    let process = format!(
        "{}{:016x}",
        container.clone().unwrap_or_else(|| format!("{pod}_")),
        rand::rng().random::<u64>()
    );
    Identity { process, container }
}

/// A candidature for a Lease.
pub struct Leadership {
    /// Must not retry: its answer would be about the last try only, and an earlier
    /// one may have been done.
    pub client: Client,
    /// Where the Lease is: the operator's own namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: &'static str,
    /// From [`identity`].
    pub identity: Identity,
    /// How long things take.
    pub timing: Timing,
}

impl Leadership {
    /// Runs for the Lease, and holds it whenever it can, until told to stop; then it lets go of the
    /// Lease, so that the next one takes it at once. So stop it last: when nothing is sent any more
    /// and every request has ended. A `stop` whose sender is gone counts as told.
    ///
    /// `told` always has the newest [`Term`], of each renewal too.
    pub async fn lead(self, told: watch::Sender<Term>, mut stop: watch::Receiver<bool>) {
        let leases = Api::namespaced(self.client, &self.namespace);
        let participant = Participant::new(self.identity, self.timing);
        let lease = format!("{}/{}", self.namespace, self.name);
        let call = self.timing.call;
        let mut run = Run {
            leases,
            name: self.name,
            lease,
            call,
            start: clock::moment(),
            participant,
            found: Lease::default(),
            told,
            stopping: false,
            complained: false,
        };
        while let Some(step) = run.next() {
            match step {
                Step::Rest(until) => tokio::select! {
                    () = tokio::time::sleep(until.saturating_sub(run.now())) => {}
                    _ = stop.wait_for(|told| *told) => break,
                },
                step => run.take(step).await,
            }
            if *stop.borrow() || stop.has_changed().is_err() {
                break;
            }
        }
        run.stopping = true;
        run.participant.stop(run.now());
        run.tell();
        // Who cannot let go in time leaves the others to wait for the end of the Lease.
        let _ = tokio::time::timeout(call, run.let_go()).await;
    }
}

/// One candidature under way.
struct Run {
    leases: Api<Lease>,
    name: &'static str,
    /// For the log.
    lease: String,
    call: Duration,
    start: Instant,
    participant: Participant,
    /// As last read or written: what others put on it stays.
    found: Lease,
    told: watch::Sender<Term>,
    stopping: bool,
    /// A failure was logged, and nothing has succeeded since.
    complained: bool,
}

impl Run {
    fn now(&self) -> Duration {
        clock::moment().saturating_duration_since(self.start)
    }

    fn next(&mut self) -> Option<Step> {
        let step = self.participant.step(self.now(), clock::now());
        self.tell();
        (step != Step::End).then_some(step)
    }

    async fn let_go(&mut self) {
        while let Some(step) = self.next() {
            match step {
                Step::Rest(until) => tokio::time::sleep(until.saturating_sub(self.now())).await,
                step => self.take(step).await,
            }
        }
    }

    async fn take(&mut self, step: Step) {
        // A call that hangs must not hide the end of the term.
        let left = self.participant.acts_until().saturating_sub(self.now());
        let limit = if left.is_zero() { self.call } else { self.call.min(left) };
        let (leases, name, parameters) = (&self.leases, self.name, parameters());
        let request = async {
            match &step {
                Step::Create(record) => leases
                    .create(&parameters, &lease(Lease::default(), name, record))
                    .await
                    .map(Some),
                Step::Replace(record) => leases
                    .replace(name, &parameters, &lease(self.found.clone(), name, record))
                    .await
                    .map(Some),
                Step::Look | Step::Rest(_) | Step::End => leases.get_opt(name).await,
            }
        };
        let answer = match tokio::time::timeout(limit, request).await {
            Ok(Ok(Some(lease))) => {
                let record = record(&lease);
                (self.found, self.complained) = (lease, false);
                Answer::Lease(record)
            }
            Ok(Ok(None)) => Answer::Absent,
            Ok(Err(error)) => {
                let refused =
                    matches!(&error, kube::Error::Api(status) if (400..500).contains(&status.code));
                let error = Error::from(error);
                if !error.is_conflict() {
                    self.complain(&error.sentence());
                }
                if refused { Answer::Refused } else { Answer::Unanswered }
            }
            Err(_) => {
                self.complain(&format!("no answer within {} ms", limit.as_millis()));
                Answer::Unanswered
            }
        };
        self.participant.answered(answer, self.now());
        self.tell();
    }

    /// Tells how the term stands, and logs when it begins and when it ends.
    fn tell(&self) {
        let acts_until = self.participant.acts_until();
        let acts = self.participant.may_act(self.now());
        let before = *self.told.borrow();
        let number = before.number + u64::from(acts && before.until.is_none());
        let term = Term { number, until: acts.then(|| self.start + acts_until) };
        if term == before {
            return;
        }
        match (before.until, term.until) {
            (None, Some(_)) => {
                tracing::info!(lease = %self.lease, term = number, "leading from now on")
            }
            (Some(_), None) if self.stopping => {
                tracing::info!(lease = %self.lease, term = number, "leading no longer: told to stop")
            }
            (Some(_), None) => {
                let holder = self.participant.other_holder().unwrap_or_default();
                let reason = if holder.is_empty() {
                    "it could not be renewed in time"
                } else {
                    "another holds the Lease"
                };
                tracing::warn!(lease = %self.lease, term = number, holder, "leading no longer: {reason}");
            }
            _ => {}
        }
        self.told.send_replace(term);
    }

    fn complain(&mut self, error: &str) {
        if !std::mem::replace(&mut self.complained, true) {
            tracing::warn!(lease = %self.lease, %error, "the Lease cannot be read or written; it is tried again");
        }
    }
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(marks::FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.as_ref();
    Record {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        seconds: spec.and_then(|spec| spec.lease_duration_seconds),
        acquired: spec.and_then(|spec| Some(spec.acquire_time.as_ref()?.0)),
        renewed: spec.and_then(|spec| Some(spec.renew_time.as_ref()?.0)),
        transitions: spec.and_then(|spec| spec.lease_transitions).unwrap_or_default(),
        written_by_holder: written_by_holder(lease),
    }
}

/// Changing a field by an update makes the writer its only manager. All replicas write the Lease
/// under one name, which no other program uses.
fn written_by_holder(lease: &Lease) -> bool {
    let managers = lease.metadata.managed_fields.iter().flatten().filter(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.is_some_and(|fields| fields.pointer("/f:spec/f:holderIdentity").is_some())
    });
    let mut managers = managers.peekable();
    managers.peek().is_some()
        && managers.all(|entry| entry.manager.as_deref() == Some(marks::FIELD_MANAGER))
}

/// `found`, saying what `record` says.
fn lease(found: Lease, name: &str, record: &Record) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            resource_version: (!record.version.is_empty()).then(|| record.version.clone()),
            ..found.metadata
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(record.holder.clone()),
            lease_duration_seconds: record.seconds,
            acquire_time: record.acquired.map(MicroTime),
            renew_time: record.renewed.map(MicroTime),
            lease_transitions: Some(record.transitions),
            ..found.spec.unwrap_or_default()
        }),
    }
}
