//! The pods that a change would end.

use jiff::Timestamp;

use crate::{
    api::ChangeCause,
    core::{
        gates::change::{Change, Kind},
        hold::state::declared_replicas,
        observed::{Pod, Workload},
        rollout::turn::{self, Turn},
        subject::Subject,
    },
    marks::About,
};

/// What the pods are asked about.
pub struct Question<'a> {
    /// The change; where pods go one by one, with whose turn it is.
    pub about: Option<About>,
    /// Since when it waits.
    pub since: Timestamp,
    /// The pods that it would end.
    pub pods: Vec<&'a Pod>,
    /// It reverts to what ran before: only a Ready pod that says no is in its way.
    pub reverts: bool,
    /// What runs cannot start again: when no pod of it counts, nobody is waited for.
    pub broken: bool,
}

impl<'a> Question<'a> {
    /// What is asked about a change.
    pub fn of(subject: &Subject<'a>, change: &Change<'a>) -> Self {
        let (step, mut pods) = match &change.kind {
            Kind::Step(step, pods) => (Some(*step), pods.clone()),
            Kind::Maintenance => (None, subject.pods.to_vec()),
            Kind::Hold(_) | Kind::Config | Kind::Unblock | Kind::WouldHold => {
                first_to_go(subject, change)
            }
        };
        // Those beyond the fewer that come with a release go all at once.
        for pod in scaled_down(subject.workload, subject.pods) {
            if !pods.iter().any(|asked| asked.uid == pod.uid) {
                pods.push(pod);
            }
        }
        Self {
            about: change.about(step),
            since: change.since,
            pods,
            reverts: false,
            broken: change.broken,
        }
    }
}

fn first_to_go<'a>(subject: &Subject<'a>, change: &Change<'a>) -> (Option<u32>, Vec<&'a Pod>) {
    if let Some(turn) = turn(subject, change.causes, change.spares) {
        return (Some(turn.step), turn.pod.into_iter().collect());
    }
    let declared = subject.workload.rollout.ordinals.declared;
    let pods = from(subject.workload, subject.pods, declared);
    (None, pods.filter(|pod| !pod.is_of(change.spares)).collect())
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
