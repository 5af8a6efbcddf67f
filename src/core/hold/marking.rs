//! The operator's marks: which policy governs a workload, and whether its template changes are
//! held.

use crate::{
    api::marks,
    core::{
        edits::Edits,
        hold::{
            at_zero,
            governance::{GovernanceMark, holdable, holds_back, is_marked},
            judges::Judges,
            state::{Hold, OURSELVES},
            words,
        },
        observed::Workload,
        request::{Confirm, FieldEdit, Purpose},
        subject::Subject,
    },
    marks::{ChangeId, MarkSet, Since, registry, values::Held},
};

/// Maximum number of bytes of all annotations of an object.
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

/// The marks of a policy on a workload that it governs.
#[derive(Default)]
pub struct Marking {
    /// The marks.
    pub edits: Edits,
    /// Admission should hold its changes, and it does not carry the marks yet.
    pub unmarked: bool,
    /// Its annotations are so full that the marks of a hold may not fit: so many bytes are left.
    pub cramped: Option<usize>,
}

/// Puts the marks of a policy on a workload that it governs, where they are not as they should be.
pub fn mark(subject: &Subject) -> Marking {
    let (workload, mut edits) = (subject.workload, Edits::default());
    let holds = subject.ruling.spec().needs_holds() && holdable(workload);
    let (label, judges) = (workload.governed.get().copied(), subject.around.judges);
    edits.governed = hand_over(workload, judges);
    if label.is_none() {
        // Anybody could have written these while admission did not look: with our label they would
        // count.
        edits.clear(marks::PARTITION);
        edits.clear(marks::VOLUME_ACCESS);
    }
    match holds {
        true => edits.set(marks::HOLD_CHANGES, "true"),
        false => edits.clear(marks::HOLD_CHANGES),
    }
    match at_zero::holds(subject) {
        Some(true) if holds => edits.set(marks::HOLD_AT_ZERO, "true"),
        Some(false) => edits.clear(marks::HOLD_AT_ZERO),
        _ if !holds => edits.clear(marks::HOLD_AT_ZERO),
        _ => {}
    }
    if let Some(governance) = governance_mark(subject) {
        edits.set(marks::GOVERNANCE, governance);
    }
    let cramped = holds && room(workload) < HOLD_BYTES && !holds_back(workload);
    Marking {
        edits,
        unmarked: holds && !(is_marked(workload) && judges.heed(label)),
        cramped: cramped.then(|| room(workload)),
    }
}

/// What is done to the label that names the judge, where another one is to judge. Metadata only:
/// what is held stays held, and nothing rolls.
pub fn hand_over(workload: &Workload, judges: Judges) -> Option<FieldEdit> {
    let label = workload.governed.get().copied();
    let judge = judges.choose(label);
    (label != Some(judge)).then(|| FieldEdit::Set(judge.to_string()))
}

/// What is to be recorded of who governs the workload; none if what stands there is to stay.
fn governance_mark(subject: &Subject) -> Option<String> {
    let workload = subject.workload;
    let stands = GovernanceMark::on(workload);
    // What becomes of a hold is what was recorded before its policy let go of it.
    let letting_go =
        holds_back(workload) && !subject.ruling.spec().needs_holds() && stands.is_some();
    if subject.ruling.is_unreadable() || letting_go {
        return None;
    }
    let recorded = stands.map(|mark| &*mark.definition);
    let definition = subject.around.definition.or(recorded).unwrap_or_default();
    let wanted = GovernanceMark::of(subject.ruling.policy(), subject.ruling.spec(), definition);
    (stands != Some(&wanted)).then(|| wanted.to_string())
}

/// What is left for other annotations, without what is reserved.
fn room(workload: &Workload) -> usize {
    let reserved =
        workload.marks.reserved.as_deref().map_or(0, |text| marks::RESERVED.len() + text.len());
    (ANNOTATIONS_LIMIT + reserved).saturating_sub(workload.annotation_bytes)
}

/// How many bytes the record of changes may take: what others need comes first, and it never is why
/// room for a hold is reserved.
pub fn room_for_record(workload: &Workload) -> usize {
    let stands = workload.marks.history.as_deref().map_or(0, str::len);
    (room(workload) + stands).saturating_sub(ROOMY + marks::HISTORY.len())
}

/// Reserves room for the marks of a hold where annotations are nearly full, so that others do not
/// take it: admission must not be why the API server refuses a change. `up_to_date`: nothing rolls,
/// and nothing waits.
pub fn reserve(subject: &Subject, up_to_date: bool) -> Edits {
    let (workload, mut edits) = (subject.workload, Edits::default());
    let holds = subject.ruling.spec().needs_holds() && holdable(workload);
    let rests = up_to_date && !holds_back(workload);
    if subject.ruling.is_unreadable() || (holds && !rests) {
        return edits;
    }
    let remains = match is_copied(workload) {
        true => marks::RESERVED.len() + GIVEN_UP.len(),
        false => 0,
    };
    let least = HOLD_BYTES + remains + copied(workload);
    let most = if has_reserved(workload) { ROOMY } else { NEARLY_FULL };
    if holds && (least..most).contains(&room(workload)) {
        edits.set(marks::RESERVED, ".".repeat(HOLD_BYTES + remains - marks::RESERVED.len()));
        return edits;
    }
    // The controller copies annotations before it says that it has seen them.
    give_up(workload, up_to_date && workload.rollout.observed)
}

/// These edits, without the room that is reserved if it is needed for them: our own marks come
/// first.
pub fn within_room(workload: &Workload, edits: Edits) -> Edits {
    if edits.is_empty() {
        return edits;
    }
    let after = edits.annotations.iter().fold(workload.annotation_bytes, |bytes, (mark, value)| {
        let stands = workload.marks.stands(mark);
        let before = if stands { mark.len() + workload.marks.size(mark) } else { 0 };
        let size = value.as_ref().map_or(0, |value| mark.len() + value.len());
        (bytes + size).saturating_sub(before)
    });
    let reserves = edits.wanted(marks::RESERVED).is_some_and(|room| room.is_some());
    let full = after + copied(workload) > ANNOTATIONS_LIMIT;
    if full && (has_reserved(workload) || reserves) {
        return edits.then(give_up(workload, false)).that_differ(workload);
    }
    edits
}

fn has_reserved(workload: &Workload) -> bool {
    workload.marks.reserved.as_deref().is_some_and(|text| text != GIVEN_UP)
}

fn copied(workload: &Workload) -> usize {
    if is_copied(workload) { COPY_BYTES } else { 0 }
}

fn is_copied(workload: &Workload) -> bool {
    workload.id.kind.has_replica_sets()
}

/// Gives up reserved room. A ReplicaSet gives up its copy first.
fn give_up(workload: &Workload, is_copied_now: bool) -> Edits {
    let mut edits = Edits::default();
    match workload.marks.reserved.as_deref() {
        Some(value) if is_copied(workload) && !(is_copied_now && value == GIVEN_UP) => {
            edits.set(marks::RESERVED, GIVEN_UP);
        }
        _ => edits.clear(marks::RESERVED),
    }
    edits
}

/// Ends a walk through the pods of a StatefulSet: those that are left go, or, to be kept, are held
/// again.
pub fn end_walk(workload: &Workload, keep: bool) -> Edits {
    let (ordinals, mut edits) = (workload.rollout.ordinals, Edits::default());
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
        edits.set(marks::HOLD, held.to_string());
        edits.set(marks::HOLD_SINCE, since.to_string());
    } else {
        edits.clear(marks::HOLD_SINCE);
    }
    edits.clear(marks::PARTITION);
    edits
}

/// The end of everything of ours on a workload.
#[derive(Default)]
pub struct TakenOff {
    /// What is to be written.
    pub edits: Edits,
    /// That a held change is released, in words.
    pub released: Option<String>,
}

/// Takes all marks off in one request, and with them the hold, unless it is to be kept: then what
/// keeps it stays. It may stand for long, so its judge must be one of those that are there.
pub fn take_off(
    workload: &Workload,
    kept_by: Option<Judges>,
    confirm: Option<Confirm>,
) -> TakenOff {
    if workload.deleting {
        return TakenOff::default();
    }
    let keep_hold = kept_by.is_some();
    let (mut edits, mut released) = (Edits::default(), None);
    registry::taken_off(keep_hold).for_each(|mark| edits.clear(mark));
    if workload.rollout.ordinals.step.is_some() {
        edits = edits.then(end_walk(workload, keep_hold));
    }
    if !keep_hold {
        released = Hold::on(workload).map(|hold| words::ungoverned(&hold));
        edits.clear(marks::HOLD);
        if workload.governed.stands() {
            edits.governed = Some(FieldEdit::Remove);
        }
    }
    let mut edits = edits.that_differ(workload);
    if !edits.is_empty() {
        edits.purpose = Some(Purpose::Forget { confirm });
    }
    if let Some(judges) = kept_by {
        edits.governed = hand_over(workload, judges);
    }
    TakenOff { edits, released }
}

/// A policy that observes takes off what it put on when it governed; the record of config stays. So
/// does a hold that stands: to observe is not to release.
pub fn let_go(workload: &Workload, judges: Judges) -> TakenOff {
    let mut off = take_off(workload, holds_back(workload).then_some(judges), None);
    if workload.marks.config.is_some() {
        off.edits.leave(marks::CONFIG);
        off.edits.leave(marks::ROLLOUTS);
    }
    if off.edits.is_empty() {
        off.edits.purpose = None;
    }
    off
}
