//! Two who undo each other: they write the same two templates in turn, again and again.

use std::time::Duration;

use jiff::Timestamp;

use crate::core::{later, observed::TemplateDigest};

/// This many changes in turn are no accident: who tries a change, reverts it and tries it again
/// makes three, and nobody undoes that.
const TIMES: usize = 4;
/// They come within this time. It is over once one of the two has not written for this long.
const WINDOW: Duration = Duration::from_secs(3600);

/// The last changes of a template, and whether two writers make them in turn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Writers {
    /// The newest last, at most [`TIMES`].
    last: Vec<Write>,
    /// The first change of two that undo each other, and how many there have been.
    conflict: Option<(Timestamp, u32)>,
    /// In what the last two templates differ, as far as it is known.
    fields: Vec<String>,
    /// That a gate is closed was not told because of it.
    pub untold: bool,
}

/// A change of a template.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::core) struct Write {
    pub(super) at: Timestamp,
    pub(super) by: By,
    pub(super) template: TemplateDigest,
}

/// Who made a change. Users are known where admission held it, field managers otherwise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// A user.
    User(String),
    /// A field manager.
    Manager(String),
}

/// Two who undo each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict<'a> {
    /// One of them. Both are users, or both are field managers.
    pub one: &'a By,
    /// The other one.
    pub other: &'a By,
    /// When the first of these changes was made.
    pub since: Timestamp,
    /// How many there have been.
    pub times: u32,
    /// In what the templates differ, as far as it is known.
    pub fields: &'a [String],
}

impl Writers {
    /// Two who undo each other at this time.
    pub fn conflict(&self, now: Timestamp) -> Option<Conflict<'_>> {
        let ((since, times), fields) = (self.conflict?, &self.fields);
        let [_, _, Write { by: a, at, .. }, Write { by: b, .. }] = self.last.as_slice() else {
            return None;
        };
        (later(*at, WINDOW) > now).then(|| Conflict {
            one: a.min(b),
            other: a.max(b),
            since,
            times,
            fields,
        })
    }

    /// When they no longer do, if neither writes again.
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        self.conflict(now)?;
        Some(later(self.last.get(TIMES - 2)?.at, WINDOW))
    }

    /// Takes note of a change. Returns whether it is the one from which on two undo each other.
    pub(super) fn note(&mut self, write: Write, fields: Vec<String>) -> bool {
        if self.last.last().is_some_and(|last| last.template == write.template) {
            return false;
        }
        let now = write.at;
        let goes_on = self.conflict(now).is_some();
        self.last.push(write);
        self.last.drain(..self.last.len().saturating_sub(TIMES));
        self.fields = fields;
        self.conflict = match self.last.as_slice() {
            [a, b, c, d] if a.is_like(c) && b.is_like(d) && a.by != b.by => match self.conflict {
                Some((since, times)) if goes_on => Some((since, times.saturating_add(1))),
                _ => (later(a.at, WINDOW) > now).then_some((a.at, TIMES as u32)),
            },
            _ => None,
        };
        !goes_on && self.conflict.is_some()
    }
}

impl Write {
    fn is_like(&self, other: &Self) -> bool {
        self.by == other.by && self.template == other.template
    }
}
