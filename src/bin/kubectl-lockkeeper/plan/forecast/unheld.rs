//! What admission makes of a changed template, as far as the marks tell.

use lockkeeper::core::{
    governs::Ruling,
    hold::governance::{holdable, is_marked},
    observed::Workload,
};

/// Why a changed template is not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unheld {
    /// No policy governs the workload.
    Ungoverned,
    /// Its policy only observes.
    Observed {
        /// It would be held if the policy enforced.
        would_hold: bool,
    },
    /// Its policy has no gates for template changes.
    NoGates,
    /// It cannot be held.
    Unholdable,
    /// It has no replicas, and only its pods would be asked.
    NobodyToAsk,
    /// It has no replicas: what it starts when it is scaled up could not be held back.
    AtZero,
    /// The operator has not marked it yet.
    NotMarked,
    /// Admission should hold it, and does not.
    NotEnforced,
}

/// Whether admission that is in place holds the change from one template to another.
pub fn is_held(before: &Workload, after: &Workload) -> bool {
    is_marked(before)
        && holdable(after)
        && (before.rollout.wanted > 0 || before.marks.hold_at_zero.get().is_some())
}

/// Why a changed template is not held.
pub fn why(ruling: Option<Ruling>, before: &Workload, after: &Workload) -> Unheld {
    let Some(ruling) = ruling else { return Unheld::Ungoverned };
    let (spec, asleep) = (ruling.spec(), before.rollout.wanted == 0);
    match () {
        () if ruling.observes() => {
            Unheld::Observed { would_hold: spec.would_hold() && holdable(after) }
        }
        () if !spec.needs_holds() => Unheld::NoGates,
        () if !holdable(after) => Unheld::Unholdable,
        () if asleep && !spec.waits_without_pods() => Unheld::NobodyToAsk,
        () if asleep => Unheld::AtZero,
        () if !is_marked(before) => Unheld::NotMarked,
        () => Unheld::NotEnforced,
    }
}
