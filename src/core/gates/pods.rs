//! The gates that are asked last: whether it is the workload's turn, and the pods that the change
//! would end.

use jiff::Timestamp;

use crate::{
    api::ChangeCause,
    core::{
        finding::Assessment,
        gates::{
            app::{self, Question},
            gate::{Closed, Gate},
        },
        hold::state::declared_replicas,
        observed::{Pod, UserHold, Workload},
        rollout::{
            turn::{self, Turn},
            walk,
        },
        subject::Subject,
    },
};

/// A change that passes all other gates.
pub struct Passing<'a> {
    /// Its id.
    pub id: &'a str,
    /// Since when it waits.
    pub since: Timestamp,
    /// What it consists of.
    pub causes: &'a [ChangeCause],
    /// The revision whose pods it leaves as they are.
    pub spared: Option<&'a str>,
    /// What runs cannot start again.
    pub broken: bool,
}

/// Whose turn it is first, where pods go one by one.
pub fn turn<'a>(
    subject: &Subject<'a>,
    causes: &[ChangeCause],
    spared: Option<&str>,
) -> Option<Turn<'a>> {
    let gate = subject.ruling.spec().app_gate(causes)?;
    turn::is_walked(gate, subject.workload)
        .then(|| turn::first(subject.workload, subject.pods, spared))?
}

/// The pods that a partition at this index does not keep as they are; all, if pods have no number.
pub fn from<'a>(
    workload: &Workload,
    pods: &[&'a Pod],
    index: u32,
) -> impl Iterator<Item = &'a Pod> {
    let lowest = workload.rollout.ordinals.start.saturating_add(index);
    let of_set = workload.id.kind.has_ordinals();
    pods.iter()
        .copied()
        .filter(move |pod| !of_set || pod.ordinal().is_none_or(|ordinal| ordinal >= lowest))
}

/// The pods that the release ends because its manifest asks for fewer; of a Deployment any of them
/// may be.
pub fn scaled_down<'a>(workload: &Workload, pods: &[&'a Pod]) -> Vec<&'a Pod> {
    let fewer = declared_replicas(workload);
    fewer.map_or_else(Vec::new, |fewer| from(workload, pods, fewer).collect())
}

/// Asks the steps before, and then the pods that the change would end.
pub fn ask(subject: &Subject, change: &Passing, found: &mut Assessment) -> Gate {
    if let Some(closed) = &subject.volumes.danger {
        return Gate::Closed(closed.clone());
    }
    if let Some(closed) = subject.siblings.waits {
        return Gate::Closed(closed.clone());
    }
    let Some(gate) = subject.ruling.spec().app_gate(change.causes) else { return Gate::Open };
    if let Some(hold @ UserHold::Paused) = subject.workload.rollout.held {
        let message =
            "its manifest says paused: true, so its pods are asked when that is removed".to_owned();
        return Gate::Closed(Closed { reason: hold.reason(), message, ask_again: None });
    }
    let scaled = scaled_down(subject.workload, subject.pods);
    let mut question = match turn(subject, change.causes, change.spared) {
        Some(turn) => walk::question(change.id, change.since, turn),
        None => {
            let is_spared =
                |pod: &&Pod| change.spared.is_some() && pod.revision.as_deref() == change.spared;
            let pods =
                from(subject.workload, subject.pods, subject.workload.rollout.ordinals.declared)
                    .filter(|pod| !is_spared(pod));
            Question {
                change: change.id.to_owned(),
                since: change.since,
                pods: pods.collect(),
                reverts: false,
                broken: false,
            }
        }
    };
    let others: Vec<_> = scaled
        .into_iter()
        .filter(|pod| !question.pods.iter().any(|asked| asked.uid == pod.uid))
        .collect();
    question.pods.extend(others);
    app::ask(subject, gate, &Question { broken: change.broken, ..question }, found)
}
