//! Held templates that are changed again and again in nothing but annotations: each time voids
//! every approval.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use crate::{
    api::Remark,
    core::{
        later,
        memory::{Restamp, SeenTemplate},
        observed::{Template, TemplateDigest},
    },
};

/// This many changes within [`WINDOW`] are no accident.
const TIMES: usize = 3;
const WINDOW: Duration = Duration::from_secs(3600);

/// The annotations that two templates differ in, if they differ in nothing else.
pub fn changed_annotations(before: &SeenTemplate, now: &Template) -> Option<Vec<Box<str>>> {
    if before.body != now.body || before.annotations == now.annotations {
        return None;
    }
    Some(differing(&before.annotations, &now.annotations).into_iter().map(Box::from).collect())
}

/// The names under which two lists do not have the same, in order.
pub fn differing<'a>(
    before: &'a [(Box<str>, TemplateDigest)],
    now: &'a [(Box<str>, TemplateDigest)],
) -> BTreeSet<&'a str> {
    let changed = now.iter().filter(|one| !before.contains(one));
    let gone = before.iter().filter(|one| !now.contains(one));
    changed.chain(gone).map(|(name, _)| &**name).collect()
}

/// Forgets what is too long ago.
pub fn recent(seen: &mut Vec<Restamp>, now: Timestamp) {
    seen.retain(|one| later(one.at, WINDOW) > now);
}

/// What to say of a template that is changed so often.
pub fn message(seen: &[Restamp]) -> Option<String> {
    let Restamp { keys, writer, .. } = seen.last()?;
    let keys = keys
        .iter()
        .map(|key| format!("spec.template.metadata.annotations[{key}]"))
        .collect::<Vec<_>>()
        .join(", ");
    Some(match seen.len() {
        0..TIMES => format!("changed again only in {keys}"),
        times => format!(
            "{}: changed {times} times within an hour only in {keys}, last by {writer}, and each time voids approvals. If that is a \
             controller, stop it from writing to the pod template. If it applies a chart with {{{{ now }}}} or a random value in the \
             annotation, make it a checksum of what matters, or remove it",
            Remark::VolatileTemplate
        ),
    })
}
