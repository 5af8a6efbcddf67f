//! A change waits until nothing else of its policy changes: helm writes one object after the other,
//! and Deployments before StatefulSets.

use crate::core::{
    gates::{
        blocker::{Blocker, GateName},
        change::{Change, Kind},
        gate::{Answer, Gate, Needs},
    },
    later,
    subject::Subject,
};

/// The gate.
pub const GATE: Gate =
    Gate { name: GateName::Quiet, needs: Needs::Namespace, is_set: |_| false, applies, ask };

/// Once its pods are being asked it has been quiet long enough: what changes elsewhere does not
/// make them take work again.
fn applies(subject: &Subject, change: &Change) -> bool {
    let asked = subject.memory.asked_about().map(|about| &about.id);
    matches!(change.kind, Kind::Hold(_)) && (asked.is_none() || asked != change.id.as_ref())
}

/// Open when the quiet time has passed since the last change, or its limit since the first.
fn ask(subject: &Subject, change: &Change) -> Answer {
    let (settle, limit) = subject.ruling.spec().quiet();
    // A change after the limit begins another time of quiet.
    let until_quiet = later(change.last_change, settle);
    let until = match later(change.since, limit) {
        at_the_latest if at_the_latest < change.last_change => until_quiet,
        at_the_latest => until_quiet.min(at_the_latest),
    };
    (until > subject.now()).then_some(Blocker::Quiet { until }).into()
}
