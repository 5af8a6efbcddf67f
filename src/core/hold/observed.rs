//! What a policy that only observes says of a changed template: that it would have been held.

use crate::core::{
    gates::{self, change::Change, gate::Needs},
    hold::{governance::holdable, words},
    rollout::progress::Progress,
    subject::Subject,
};

/// That a change of the template would have been held.
pub struct WouldHold {
    /// It changed just now, which is told once.
    pub changed: bool,
    /// In words.
    pub message: String,
}

/// Whether a rollout is under way that would have been held.
pub fn would_hold(subject: &Subject) -> Option<WouldHold> {
    let (workload, memory) = (subject.workload, subject.memory);
    let changed =
        memory.template.as_ref().is_some_and(|seen| seen.digest != workload.template.digest);
    let would =
        subject.ruling.spec().would_hold() && holdable(workload) && workload.rollout.wanted > 0;
    let rolls = memory.would_hold && subject.progress != Progress::Done;
    if !(rolls || changed && would) {
        return None;
    }
    let gate = would_wait_for(subject)?;
    Some(WouldHold { changed, message: words::would_hold(gate) })
}

/// The gate that would keep a change of the template waiting, by its reason or in words; none if
/// all that can be asked are open.
fn would_wait_for(subject: &Subject) -> Option<&'static str> {
    let change = Change::that_would_be_held(subject.now());
    let (closed, of_pods) = gates::would_wait_for(subject, &change, |needs| {
        matches!(needs, Needs::Policy | Needs::Namespace)
    });
    closed.map(|blocker| blocker.reason().as_str()).or(of_pods)
}
