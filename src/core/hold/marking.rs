//! The operator's marks: which policy governs a workload, and whether its template changes are
//! held.

use crate::{
    api::{Phase, marks},
    core::{
        finding::{Assessment, Edits},
        hold::{
            at_zero,
            governance::{GovernanceMark, holdable, holds_back, is_marked},
            state::{Hold, OURSELVES},
        },
        notice::Event,
        observed::Workload,
        request::{Confirm, Purpose},
        subject::Subject,
    },
    marks::{ChangeId, Since, registry, values::Held},
};

/// All annotations of an object may take so many bytes.
pub const ANNOTATIONS_LIMIT: usize = 262_144;
/// A hold takes at most about so many: its id and its author, what the manifest declares, and since
/// when. The name of a service account may have 339 of them.
const HOLD_BYTES: usize = 512;
/// A Deployment's annotations are copied to its ReplicaSet, which has so many bytes of its own: an
/// update beyond the limit is refused, and with it every later one.
const COPY_BYTES: usize = 128;
/// What remains of reserved room that is given up. Nothing is ever removed from the copy on a
/// ReplicaSet, but a changed value is copied.
const GIVEN_UP: &str = ".";
/// Where less is left than this, room for a hold is reserved; where more than the other, it no
/// longer is. In between it stays as it is.
const NEARLY_FULL: usize = 4096;
const ROOMY: usize = 8192;

/// Puts the marks of a policy on a workload that it governs, where they are not as they should be.
pub fn mark(subject: &Subject, found: &mut Assessment) {
    let workload = subject.workload;
    let holds = subject.ruling.spec().needs_holds() && holdable(workload);
    found.unmarked = holds && !is_marked(workload);
    if found.unmarked {
        found.memory.unmarked_at = Some(subject.now());
    }
    found.cramped =
        Some(room(workload)).filter(|room| holds && *room < HOLD_BYTES && !holds_back(workload));
    if workload.labels.get(marks::GOVERNED).is_none_or(|value| value != "true") {
        found.edits.governed = Some(true);
        // Anybody could have written these while admission did not look: with our label they would
        // count.
        found.edits.remove(workload, marks::PARTITION);
        found.edits.remove(workload, marks::VOLUME_ACCESS);
    }
    match holds {
        true => found.edits.set(workload, marks::HOLD_CHANGES, "true".to_owned()),
        false => found.edits.remove(workload, marks::HOLD_CHANGES),
    }
    match at_zero::holds(subject) {
        Some(true) if holds => found.edits.set(workload, marks::HOLD_AT_ZERO, "true".to_owned()),
        Some(false) => found.edits.remove(workload, marks::HOLD_AT_ZERO),
        _ if !holds => found.edits.remove(workload, marks::HOLD_AT_ZERO),
        _ => {}
    }
    let stands = GovernanceMark::on(workload);
    // What becomes of a hold is what was recorded before its policy let go of it.
    let letting_go =
        holds_back(workload) && !subject.ruling.spec().needs_holds() && stands.is_some();
    if subject.ruling.is_unreadable() || letting_go {
        return;
    }
    let definition = subject
        .around
        .definition
        .or(stands.as_ref().map(|mark| mark.definition.as_str()))
        .unwrap_or_default();
    let wanted = GovernanceMark::of(subject.ruling.policy(), subject.ruling.spec(), definition);
    if stands.as_ref() != Some(&wanted) {
        found.edits.set(workload, marks::GOVERNANCE, wanted.write());
    }
}

/// What is left for other annotations, without what is reserved.
fn room(workload: &Workload) -> usize {
    let reserved =
        workload.marks.reserved.as_deref().map_or(0, |text| marks::RESERVED.len() + text.len());
    (ANNOTATIONS_LIMIT + reserved).saturating_sub(workload.annotation_bytes)
}

/// Reserves room for the marks of a hold where annotations are nearly full, so that others do not
/// take it: admission must not be why the API server refuses a change. Our own marks come first.
pub fn reserve(subject: &Subject, found: &mut Assessment) {
    let workload = subject.workload;
    let room = room(workload);
    let reserved = workload.marks.reserved.as_deref().is_some_and(|text| text != GIVEN_UP);
    let holds = subject.ruling.spec().needs_holds() && holdable(workload);
    let (remains, copied) = match is_copied(workload) {
        true => (marks::RESERVED.len() + GIVEN_UP.len(), COPY_BYTES),
        false => (0, 0),
    };
    let up_to_date = found.phase == Phase::UpToDate;
    // The controller copies annotations before it says that it has seen them.
    let is_copied_now = up_to_date && workload.rollout.observed;
    let rests = up_to_date && !holds_back(workload);
    if !subject.ruling.is_unreadable() && (rests || !holds) {
        match holds
            && (HOLD_BYTES + remains + copied..if reserved { ROOMY } else { NEARLY_FULL })
                .contains(&room)
        {
            true => found.edits.set(
                workload,
                marks::RESERVED,
                ".".repeat(HOLD_BYTES + remains - marks::RESERVED.len()),
            ),
            false => give_up(workload, is_copied_now, &mut found.edits),
        }
    }
    for edits in [Some(&mut found.edits), found.roll.as_mut()]
        .into_iter()
        .flatten()
        .filter(|edits| !edits.is_empty())
    {
        let after =
            edits.annotations.iter().fold(workload.annotation_bytes, |bytes, (mark, value)| {
                let size = |value: &String| mark.len() + value.len();
                let stands = workload.marks.stands(mark);
                let before = if stands { mark.len() + workload.marks.size(mark) } else { 0 };
                (bytes + value.as_ref().map_or(0, size)).saturating_sub(before)
            });
        let reserves = || edits.annotations.get(marks::RESERVED).is_some_and(Option::is_some);
        if after + copied > ANNOTATIONS_LIMIT && (reserved || reserves()) {
            give_up(workload, false, edits);
        }
    }
}

fn is_copied(workload: &Workload) -> bool {
    workload.id.kind.has_replica_sets()
}

/// Gives up reserved room. A ReplicaSet gives up its copy first.
fn give_up(workload: &Workload, is_copied_now: bool, edits: &mut Edits) {
    match workload.marks.reserved.as_deref() {
        Some(value) if is_copied(workload) && !(is_copied_now && value == GIVEN_UP) => {
            edits.set(workload, marks::RESERVED, GIVEN_UP.to_owned());
        }
        _ => edits.remove(workload, marks::RESERVED),
    }
}

/// Ends a walk through the pods of a StatefulSet: those that are left go, or, to be kept, are held
/// again.
pub fn end_walk(workload: &Workload, keep: bool, found: &mut Assessment) {
    let ordinals = workload.rollout.ordinals;
    if keep && ordinals.step.is_some_and(|step| step > ordinals.declared) {
        // The id of a hold is the generation of the write that brings it; the change is still its
        // author's.
        let (at, author) = match workload.marks.hold_since.get() {
            Some(Since::Change { at, author, .. }) => (*at, author.as_deref()),
            Some(Since::Config(_)) | None => (None, None),
        };
        let id = ChangeId::Template(workload.generation + 1);
        let held = Held { id: id.clone(), by: author.unwrap_or(OURSELVES).into() };
        let since = Since::Change { id, at, author: None };
        found.edits.set(workload, marks::HOLD, held.to_string());
        found.edits.set(workload, marks::HOLD_SINCE, since.to_string());
    } else {
        found.edits.remove(workload, marks::HOLD_SINCE);
    }
    found.edits.remove(workload, marks::PARTITION);
}

/// Takes all marks off in one request, and with them the hold, unless it is to be kept: then what
/// keeps it stays.
pub fn take_off(
    workload: &Workload,
    keep_hold: bool,
    confirm: Option<Confirm>,
    found: &mut Assessment,
) {
    if workload.deleting {
        return;
    }
    for mark in registry::taken_off(keep_hold) {
        found.edits.remove(workload, mark);
    }
    if workload.rollout.ordinals.step.is_some() {
        end_walk(workload, keep_hold, found);
    }
    if !keep_hold {
        if let Some(hold) = Hold::on(workload) {
            let message =
                format!("the held change {} is released: no policy holds it any longer", hold.id);
            found.notices.push((Event::UpgradeReleased, message));
        }
        found.edits.remove(workload, marks::HOLD);
        if workload.labels.contains_key(marks::GOVERNED) {
            found.edits.governed = Some(false);
        }
    }
    if !found.edits.is_empty() {
        found.edits.purpose = Some(Purpose::Forget { confirm });
    }
}

/// A policy that observes takes off what it put on when it governed; the record of config stays. So
/// does a hold that stands: to observe is not to release.
pub fn let_go(workload: &Workload, found: &mut Assessment) {
    let keep = holds_back(workload);
    let config = workload.marks.config.is_some();
    take_off(workload, keep, None, found);
    if config {
        found.edits.annotations.remove(marks::CONFIG);
        found.edits.annotations.remove(marks::ROLLOUTS);
    }
    if found.edits.is_empty() {
        found.edits.purpose = None;
    }
}
