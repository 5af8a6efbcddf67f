//! Asks who judges writes, by a dry run of a write of the operator's own Lease. Nothing is stored,
//! and no object of a user takes part.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::PostParams};
use tokio::sync::mpsc;

use super::{
    clock,
    errors::{Class, Error, within},
    executor::{Completion, Outcome},
    runtime::LEASE,
};
use crate::{
    api::marks,
    core::{
        hold::{
            enforced::Enforcement,
            probe::{Answer, QUESTION},
        },
        later,
    },
    marks::probe,
};

/// Makes a client with connections of its own: several API servers may stand behind one address,
/// and each is to be met.
pub type Connect = Arc<dyn Fn() -> Result<Client, Error> + Send + Sync>;

/// Asks, one question at a time.
pub struct Prober {
    connect: Connect,
    namespace: String,
    done: mpsc::UnboundedSender<Completion>,
    asked: Option<Timestamp>,
    busy: bool,
}

impl Prober {
    /// One that has asked nothing yet, of an operator in a namespace.
    pub fn new(
        connect: Connect,
        namespace: String,
        done: mpsc::UnboundedSender<Completion>,
    ) -> Self {
        Self { connect, namespace, done, asked: None, busy: false }
    }

    /// When to ask next; none while a question has no answer, and where there is nobody to ask.
    pub fn due(&self, enforcement: &Enforcement) -> Option<Timestamp> {
        let pause = enforcement.ask_after().filter(|_| !self.busy)?;
        Some(self.asked.map_or(Timestamp::MIN, |asked| later(asked, pause)))
    }

    /// Asks if it is time to.
    pub fn ask(&mut self, enforcement: &Enforcement) {
        let now = clock::now();
        if self.due(enforcement).is_none_or(|time| time > now) {
            return;
        }
        (self.asked, self.busy) = (Some(now), true);
        let (connect, namespace, done) =
            (self.connect.clone(), self.namespace.clone(), self.done.clone());
        tokio::spawn(async move {
            let answer = match question(&connect, &namespace).await {
                Ok(answer) => answer,
                Err(error) if error.class() == Class::Refused => Answer::Refused(error.sentence()),
                Err(error) => {
                    tracing::debug!(error = %error.sentence(), "could not ask who judges; it is tried again");
                    Answer::Nothing
                }
            };
            let outcome = Outcome::Probed(answer);
            let _ = done.send(Completion { namespace, uid: "".into(), outcome });
        });
    }

    /// The question has its answer.
    pub fn answered(&mut self) {
        self.busy = false;
    }

    /// Asks at once the next time.
    pub fn forget(&mut self) {
        self.asked = None;
    }
}

async fn question(connect: &Connect, namespace: &str) -> Result<Answer, Error> {
    let leases: Api<Lease> = Api::namespaced(connect()?, namespace);
    let mut lease = within(leases.get(LEASE)).await?;
    let annotations = lease.metadata.annotations.get_or_insert_default();
    annotations.insert(marks::PROBE.to_owned(), QUESTION.to_owned());
    let parameters =
        PostParams { dry_run: true, field_manager: Some(marks::FIELD_MANAGER.to_owned()) };
    let answered = within(leases.replace(LEASE, &parameters, &lease)).await?;
    Ok(Answer::read(probe(answered.metadata.annotations.as_ref())))
}
