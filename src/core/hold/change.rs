//! Which change is held, and since when.

use jiff::Timestamp;

use crate::{
    api::marks,
    core::{
        edits::Edits,
        hold::{
            authors::in_words,
            state::{Hold, scaled_since},
            volatile, words,
        },
        memory::Restamp,
        subject::Subject,
        whole_second,
    },
    marks::{ChangeId, Since},
};

/// How a held change differs from the one before: whether its template is the same as before it was
/// held, and its changes in nothing but annotations, within the last hour.
pub fn note(subject: &Subject, hold: &Hold) -> (bool, Vec<Restamp>) {
    let template = &subject.workload.template;
    let before = subject.memory.template.as_ref();
    let same = before.is_some_and(|before| before.digest == template.digest);
    let mut volatile = subject.memory.volatile.clone();
    let of_nothing = match &subject.memory.hold {
        None => {
            // Nothing may have happened in between that was not seen.
            let next =
                before.is_some_and(|before| ChangeId::Template(before.generation + 1) == hold.id);
            // What we hold again ourselves is written down as such in the same write.
            let stamped = subject.workload.marks.hold_since.get().and_then(Since::id);
            same && next && stamped != Some(&hold.id)
        }
        Some(id) if *id != hold.id => {
            let keys = before.and_then(|before| volatile::changed_annotations(before, template));
            volatile.extend(keys.map(|keys| restamp(subject, hold, keys)));
            subject.memory.hold_of_nothing && same
        }
        Some(_) => subject.memory.hold_of_nothing,
    };
    volatile::recent(&mut volatile, subject.now());
    (of_nothing, volatile)
}

fn restamp(subject: &Subject, hold: &Hold, keys: Vec<Box<str>>) -> Restamp {
    let manager = subject.workload.last_writer.as_ref().map_or_else(String::new, |writer| {
        format!(" (field manager {})", in_words(&writer.manager))
    });
    Restamp { at: subject.now(), keys, writer: format!("{}{manager}", in_words(&hold.by)) }
}

/// Since when a change is held.
pub struct Stamp {
    /// The time.
    pub since: Timestamp,
    /// What is written of it.
    pub edits: Edits,
    /// That it is held, in words, if that was not told.
    pub told: Option<String>,
    /// What to remember of somebody who has scaled while fewer replicas wait.
    pub scaled: Option<(ChangeId, String)>,
}

/// Since when it is held: stamped with the id when that is first seen, so that each change is told
/// once.
pub fn stamp(subject: &Subject, hold: &Hold) -> Stamp {
    let (workload, now) = (subject.workload, subject.now());
    let mut edits = Edits::default();
    // One that names an author is of the change before, for which pods went one by one.
    let stamped = match workload.marks.hold_since.get() {
        Some(Since::Change { id, at: Some(at), author: None }) => Some((id, *at)),
        _ => None,
    };
    // A time that is still to come was noted by a clock that was ahead: waiting for it could take
    // hours.
    let known = stamped.filter(|(_, at)| *at <= now && !workload.marks.pending_config.stands());
    let since = known.map_or(now, |(_, at)| at);
    let told = known.is_none_or(|(id, _)| *id != hold.id).then(|| {
        edits.set(marks::HOLD_SINCE, Since::of(hold.id.clone(), whole_second(since)).to_string());
        words::held(workload, hold, known.is_some())
    });
    edits.clear(marks::PENDING_CONFIG);
    // Until that is written it is remembered: the number that ran before may be back when the write
    // arrives.
    let declared = workload.marks.declared_replicas.get();
    let known = declared.map(|mark| (hold.id.clone(), mark.to_string()));
    let remembered = known.is_some() && subject.memory.scaled == known;
    let noted = scaled_since(workload, remembered);
    let scaled = known.filter(|_| noted.is_some());
    if let Some(mark) = noted {
        edits.set(marks::DECLARED_REPLICAS, mark);
    }
    Stamp { since, edits, told, scaled }
}
