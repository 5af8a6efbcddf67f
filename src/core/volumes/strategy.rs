//! The mark by which admission makes the strategy of a Deployment Recreate.

use std::collections::BTreeSet;

use crate::{
    api::marks,
    core::{
        edits::Edits,
        gates::{self, change::Change, gate::Answer},
        hold::state::Hold,
        observed::Workload,
        rollout::progress::Progress,
        subject::Subject,
        volumes::finding::Cure,
    },
};

const EXCLUSIVE: &str = "exclusive";

/// Another strategy for a Deployment.
pub enum NewStrategy {
    /// `Recreate`, for this reason.
    Recreate(String),
    /// What its manifest declares.
    Declared,
}

impl NewStrategy {
    /// The mark.
    pub fn edits(&self) -> Edits {
        let mut edits = Edits::default();
        match self {
            Self::Recreate(_) => edits.set(marks::VOLUME_ACCESS, EXCLUSIVE),
            Self::Declared => edits.clear(marks::VOLUME_ACCESS),
        }
        edits
    }

    /// What to tell of it.
    pub fn message(&self) -> String {
        match self {
            Self::Recreate(why) => format!(
                "its strategy is Recreate from now on, because {why}. A new pod starts after the old one has terminated"
            ),
            Self::Declared => {
                "its strategy is the declared one again, because none of its claims needs Recreate, or its policy no longer asks for it"
                    .to_owned()
            }
        }
    }
}

/// Sets the mark where it ends no pod by itself, and takes it off where it is not needed. In the
/// middle of a rollout it would end the old pods at once: see [`unblock`].
pub fn mark(subject: &Subject) -> Option<NewStrategy> {
    let (workload, exclusive) = (subject.workload, &subject.volumes.exclusive);
    // In the middle of a rollout the other strategy would end the old pods at once, or start new
    // ones beside them. A pod that has finished neither ends nor starts.
    let there = || subject.pods.iter().filter(|pod| !pod.finished);
    let one_revision =
        || there().map(|pod| pod.revision.as_deref()).collect::<BTreeSet<_>>().len() <= 1;
    let rests = match subject.progress {
        Progress::Done => true,
        Progress::Held(_) => one_revision(),
        _ => Hold::on(workload).is_some() && one_revision(),
    };
    match &exclusive.recreate {
        None if stands(workload) && !exclusive.uncertain && (rests || there().next().is_none()) => {
            Some(NewStrategy::Declared)
        }
        Some(why) if !stands(workload) && rests => Some(NewStrategy::Recreate(why.clone())),
        _ => None,
    }
}

fn stands(workload: &Workload) -> bool {
    workload.marks.volume_access.stands() && workload.governed.stands()
}

/// That a rollout is stuck on a volume, and what cures it, in words.
pub fn stuck(subject: &Subject) -> Option<String> {
    let stuck = subject.volumes.exclusive.stuck.as_ref()?;
    let cure = match (&stuck.stranger, &subject.volumes.exclusive.recreate) {
        (Some(pod), _) => Cure::Stranger { pod, namespace: &subject.namespace().name },
        (None, Some(_)) if subject.ruling.observes() => Cure::Observed,
        (None, Some(_)) => Cure::OldPodsFirst,
        (None, None) => Cure::Declare,
    };
    Some(format!("{}. {cure}", stuck.why))
}

/// The end of the old pods of a rollout that is stuck on a volume, where that makes it go on: they
/// are asked as for any change.
pub struct Unblocking<'a> {
    /// The change that they are asked about.
    pub change: Change<'a>,
    /// What its gates say.
    pub answer: Answer,
    /// What is written when they are open.
    pub strategy: NewStrategy,
}

/// Asks whether the old pods of a rollout that is stuck on a volume may end first.
pub fn unblock<'a>(subject: &Subject<'a>) -> Option<Unblocking<'a>> {
    let exclusive = &subject.volumes.exclusive;
    let acts = !subject.ruling.is_unreadable() && !subject.ruling.observes();
    let why = exclusive.recreate.as_ref().filter(|_| !stands(subject.workload) && acts)?;
    // One that is under way and not stuck may well be done without that.
    let helps = exclusive.stuck.as_ref().is_some_and(|stuck| stuck.stranger.is_none());
    if !helps || !matches!(subject.progress, Progress::UnderWay(_) | Progress::Failed(_)) {
        return None;
    }
    let change = Change::of_unblocking(subject);
    let answer = gates::ask(subject, &change);
    Some(Unblocking { change, answer, strategy: NewStrategy::Recreate(why.clone()) })
}
