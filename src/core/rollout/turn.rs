//! Which pod of a StatefulSet is next.

use crate::{
    api::{AppGate, Scope},
    core::{
        hold::state::declared_replicas,
        observed::{Pod, Workload},
    },
    marks::ChangeId,
};

/// Which pod is next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turn<'a> {
    /// The partition with which it is renewed.
    pub step: u32,
    /// The pod, if it is there.
    pub pod: Option<&'a Pod>,
}

/// How far a walk is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stage<'a> {
    /// Not all pods that were released are new and Ready.
    Renewing,
    /// They are; this is the next.
    Next(Turn<'a>),
    /// There is none left.
    Over,
}

/// Whether the pods of this workload go one by one.
pub fn is_walked(gate: &AppGate, workload: &Workload) -> bool {
    gate.scope == Scope::Pod && workload.id.kind.has_ordinals()
}

/// Which pod is first, when pods of this revision are to stay as they are.
pub fn first<'a>(workload: &Workload, pods: &[&'a Pod], spared: Option<&str>) -> Option<Turn<'a>> {
    // Those beyond the fewer that come with the release go all at once.
    below(workload, pods, spared, declared_replicas(workload).unwrap_or(workload.rollout.wanted))
}

/// How far a walk is whose newest pods are of this revision.
pub fn stage<'a>(
    workload: &Workload,
    pods: &[&'a Pod],
    current: Option<&str>,
) -> Option<Stage<'a>> {
    let step = workload.rollout.ordinals.step?;
    // Those beyond the last are going; until they are gone they may be wanted again.
    let wanted = workload.rollout.ordinals.start.saturating_add(workload.rollout.wanted);
    let mut there = pods.iter().filter(|pod| !pod.is_leaving());
    if there.any(|pod| pod.ordinal().is_some_and(|ordinal| ordinal >= wanted)) {
        return Some(Stage::Renewing);
    }
    let mut released = (step..workload.rollout.wanted).map(|index| at(workload, pods, index));
    if released.any(|pod| !pod.is_some_and(|pod| is_renewed(pod, current))) {
        return Some(Stage::Renewing);
    }
    Some(
        below(workload, pods, current, step.min(workload.rollout.wanted))
            .map_or(Stage::Over, Stage::Next),
    )
}

/// Whether a pod is of this revision, and Ready.
fn is_renewed(pod: &Pod, current: Option<&str>) -> bool {
    pod.revision.as_deref() == current && pod.ready && !pod.is_leaving()
}

/// The highest pod below this index that is not of the revision that is spared.
pub(in crate::core) fn below<'a>(
    workload: &Workload,
    pods: &[&'a Pod],
    spared: Option<&str>,
    end: u32,
) -> Option<Turn<'a>> {
    let steps = (workload.rollout.ordinals.declared..end).rev();
    let mut turns = steps.map(|step| Turn { step, pod: at(workload, pods, step) });
    turns.find(|turn| !turn.pod.is_some_and(|pod| pod.is_of(spared)))
}

/// The pod at an index, counted from the first ordinal.
pub(in crate::core) fn at<'a>(
    workload: &Workload,
    pods: &[&'a Pod],
    index: u32,
) -> Option<&'a Pod> {
    let ordinal = workload.rollout.ordinals.start.checked_add(index);
    pods.iter().copied().find(|pod| pod.ordinal() == ordinal)
}

/// The id of the change for which pods go one by one; it stays on the workload until the end.
pub fn change_id(workload: &Workload) -> Option<&ChangeId> {
    workload.rollout.ordinals.step?;
    workload.marks.hold_since.get()?.id()
}
