//! What other admission policies and webhooks do in our writes. Self-restraint accepts what does
//! not change what a workload runs, and refuses the rest. Here its answers are read, and what
//! follows from them is decided.

use crate::{
    api::marks,
    core::{
        additions::{AUTHOR, Additions},
        finding::{Assessment, Edits},
        hold::{governance, marking, state::Hold},
        notice::{Event, Notice, Regarding, StorageObject},
        observed::Uid,
        request::Purpose,
        subject::Subject,
        whole_second,
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
    let (mut told, regarding) =
        (known.fields.into_keys().collect(), Regarding::Storage(object.clone()));
    let now =
        Additions { fields: added.iter().map(|field| (field.clone(), 1)).collect(), last: None };
    let message = now.tell(&mut told, &regarding)?;
    Some(Notice {
        regarding,
        uid: uid.clone(),
        policy: None,
        event: Event::ChangedByOthers,
        message,
    })
}

/// What follows from what others did in our last writes of a workload.
pub fn heed(subject: &Subject, found: &mut Assessment) {
    let regarding = Regarding::Workload(subject.workload.id.clone());
    if let Some(message) =
        subject.activity.additions.tell(&mut found.memory.additions_told, &regarding)
    {
        found.notices.push((Event::ChangedByOthers, message));
    }
    if found.edits.is_empty() || found.roll.is_some() || Hold::on(subject.workload).is_some() {
        return;
    }
    let only_notes = found.edits.purpose.as_ref().is_none_or(|purpose| *purpose == Purpose::Record);
    // Each of our notes would be another rollout.
    if only_notes && !found.unmarked && subject.activity.additions.stamp_templates(subject.now()) {
        found.edits = Edits::default();
        return;
    }
    let goes = matches!(
        found.edits.purpose,
        Some(Purpose::Roll(..) | Purpose::Release(_) | Purpose::Forget { .. })
    );
    let needs_hold = subject.activity.trouble.as_ref().is_some_and(|trouble| trouble.needs_hold);
    if needs_hold
        && !goes
        && subject.ruling.spec().needs_holds()
        && governance::holdable(subject.workload)
    {
        hold(subject, found);
    }
}

/// Holds the workload in the write that is made anyway: what others change in it is a change of
/// theirs.
fn hold(subject: &Subject, found: &mut Assessment) {
    let workload = subject.workload;
    let id = ChangeId::Template(workload.generation + 1);
    if workload.rollout.ordinals.step.is_some() {
        marking::end_walk(workload, true, found);
        found.edits.purpose = None;
    }
    let held = Held { id: id.clone(), by: AUTHOR.into() };
    found.edits.set(workload, marks::HOLD, held.to_string());
    let since = Since::of(id, whole_second(subject.now()));
    found.edits.set(workload, marks::HOLD_SINCE, since.to_string());
}
