//! The mark that says which policy governs a workload, and whether admission holds its changes.

pub use crate::marks::GovernanceMark;
use crate::{
    api::{UpgradePolicySpec, WhenUngoverned},
    core::{
        hold::state::Hold,
        observed::{Namespace, Policy, UserHold, Workload},
    },
    marks::{MarkSet, registry},
};

impl GovernanceMark {
    /// The mark of a policy.
    pub fn of(policy: &Policy, spec: &UpgradePolicySpec, definition: &str) -> Self {
        Self {
            policy: policy.name.as_str().into(),
            uid: policy.uid.as_ref().into(),
            when_ungoverned: spec.when_ungoverned,
            selection: selection(spec).into(),
            definition: definition.into(),
        }
    }

    /// The mark on a workload; what cannot be read is none.
    pub fn on(workload: &Workload) -> Option<&Self> {
        workload.marks.governance.get().map(|mark| &**mark)
    }
}

/// Digests what a policy selects. No secret: it only tells whether the selection was changed.
pub(in crate::core) fn selection(spec: &UpgradePolicySpec) -> String {
    let text = serde_json::to_string(&(&spec.selector, &spec.kinds, spec.include_owned))
        .unwrap_or_default();
    <sha2::Sha256 as sha2::Digest>::digest(text.as_bytes())
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Who else rolls a workload when its config changes, or has taken its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherReloader<'a> {
    /// A reloader that this annotation makes act on it.
    Annotation(&'a str),
    /// An object of this kind and name, such as an Argo Rollout.
    Delegate(&'a str, &'a str),
}

/// Who else rolls a workload when its config changes, or has taken its place.
pub fn other_reloader<'a>(
    namespace: &'a Namespace,
    workload: &'a Workload,
) -> Option<OtherReloader<'a>> {
    if let Some(annotation) = &workload.reloader {
        return Some(OtherReloader::Annotation(annotation));
    }
    let mut delegates = namespace.delegates.iter();
    let ((kind, name), _) = delegates.find(|(_, target)| **target == workload.id)?;
    Some(OtherReloader::Delegate(kind, name))
}

/// Whether admission can hold the changes of a workload.
pub fn holdable(workload: &Workload) -> bool {
    workload.id.kind.can_be_held() && workload.rollout.held != Some(UserHold::OnDelete)
}

/// Whether admission holds the changes of a workload by its marks.
pub fn is_marked(workload: &Workload) -> bool {
    workload.governed.stands() && workload.marks.hold_changes.get().is_some()
}

/// Whether a workload carries anything of ours.
pub fn is_ours(workload: &Workload) -> bool {
    workload.governed.stands()
        || (!workload.marks.are_none()
            && registry::taken_off(false).any(|mark| workload.marks.stands(mark)))
}

/// Whether a change is held, or its pods go one by one and some are left.
pub fn holds_back(workload: &Workload) -> bool {
    let ordinals = workload.rollout.ordinals;
    Hold::on(workload).is_some() || ordinals.step.is_some_and(|step| step > ordinals.declared)
}

/// What becomes of a hold when its workload is no longer governed, as it was recorded while it was.
pub fn when_ungoverned(workload: &Workload) -> WhenUngoverned {
    GovernanceMark::on(workload).map(|mark| mark.when_ungoverned).unwrap_or_default()
}
