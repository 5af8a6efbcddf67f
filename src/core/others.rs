//! What other admission policies and webhooks do in our writes. Self-restraint accepts what does
//! not change what a workload runs, and refuses the rest. Here its answers are read, and what
//! follows from them is decided.

use crate::{
    api::marks,
    core::{
        additions::{AUTHOR, Additions},
        edits::Edits,
        hold::{governance, marking, state::Hold},
        notice::{Event, Notice, Regarding, StorageObject},
        observed::Uid,
        request::Purpose,
        subject::Subject,
        whole_second, words,
    },
    marks::{ChangeId, Since, values::Held},
};

/// What to tell of what others changed in a write of an object of storage, where it is not known
/// already.
pub fn of_storage(
    object: &StorageObject,
    uid: &Uid,
    known: Additions,
    added: &[String],
) -> Option<Notice> {
    let now =
        Additions { fields: added.iter().map(|field| (field.clone(), 1)).collect(), last: None };
    let new = now.untold(&mut known.fields.into_keys().collect());
    let regarding = Regarding::Storage(object.clone());
    (!new.is_empty()).then(|| Notice {
        uid: uid.clone(),
        policy: None,
        event: Event::ChangedByOthers,
        message: words::changed_by_others(&new, &regarding),
        regarding,
    })
}

/// What follows from what others did in our last writes of a workload: what is written instead.
/// `unmarked`: its changes are not held yet.
pub fn heed(subject: &Subject, edits: Edits, unmarked: bool) -> Edits {
    if edits.is_empty() || Hold::on(subject.workload).is_some() {
        return edits;
    }
    let only_notes = edits.purpose.as_ref().is_none_or(|purpose| *purpose == Purpose::Record);
    // Each of our notes would be another rollout.
    if only_notes && !unmarked && subject.activity.additions.stamp_templates(subject.now()) {
        return Edits::default();
    }
    let goes = matches!(
        edits.purpose,
        Some(Purpose::Roll(..) | Purpose::Release(_) | Purpose::Forget { .. })
    );
    let needs_hold = subject.activity.trouble.as_ref().is_some_and(|trouble| trouble.needs_hold);
    let holds = needs_hold
        && !goes
        && subject.ruling.spec().needs_holds()
        && governance::holdable(subject.workload);
    if holds { with_hold(subject, edits) } else { edits }
}

/// Holds the workload in the write that is made anyway: what others change in it is a change of
/// theirs.
fn with_hold(subject: &Subject, mut edits: Edits) -> Edits {
    let workload = subject.workload;
    let id = ChangeId::Template(workload.generation + 1);
    if workload.rollout.ordinals.step.is_some() {
        edits = edits.then(marking::end_walk(workload, true));
        edits.purpose = None;
    }
    let held = Held { id: id.clone(), by: AUTHOR.into() };
    edits.set(marks::HOLD, held.to_string());
    edits.set(marks::HOLD_SINCE, Since::of(id, whole_second(subject.now())).to_string());
    edits.that_differ(workload)
}
