//! Held templates that are changed again and again in nothing but annotations: each time voids
//! every approval.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use crate::core::{
    later,
    memory::{Restamp, SeenTemplate},
    observed::{Template, TemplateDigest},
};

/// This many changes within an hour are no accident.
pub const TIMES: usize = 3;
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
