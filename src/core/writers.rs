//! Two who undo each other: they write the same two templates in turn, again and again.

use std::{fmt, time::Duration};

use jiff::Timestamp;

use crate::core::{clock, hold::authors::in_words, later, notice::Event, observed::TemplateDigest};

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
pub(in crate::core) enum By {
    User(String),
    Manager(String),
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => f.write_str(&in_words(name)),
            Self::Manager(name) => write!(f, "field manager {}", in_words(name)),
        }
    }
}

impl Writers {
    /// The two, if they undo each other at this time.
    fn two(&self, now: Timestamp) -> Option<(&By, &By)> {
        let [_, _, one, other] = self.last.as_slice() else { return None };
        (self.conflict.is_some() && later(one.at, WINDOW) > now)
            .then(|| ((&one.by).min(&other.by), (&one.by).max(&other.by)))
    }

    /// Whether two undo each other at this time.
    pub fn conflict(&self, now: Timestamp) -> bool {
        self.two(now).is_some()
    }

    /// When they no longer do, if neither writes again.
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        self.two(now)?;
        Some(later(self.last.get(TIMES - 2)?.at, WINDOW))
    }

    /// What to say of them.
    pub fn message(&self, now: Timestamp) -> Option<String> {
        let ((one, other), (since, times)) = (self.two(now)?, self.conflict?);
        let what = match self.fields.as_slice() {
            [] => "spec.template".to_owned(),
            fields => fields.join(", "),
        };
        let cure = match one {
            By::User(_) => "Until then do not approve or bypass: the other one undoes each change",
            By::Manager(_) => "Until then each change is another rollout",
        };
        Some(format!(
            "{}: {one} and {other} undo each other's changes of {what}: {times} changes in turn since {}. Let only one of them write it. {cure}",
            Event::ConflictingWriters.reason(),
            clock(since)
        ))
    }

    /// Takes note of a change. Returns whether it is the one from which on two undo each other.
    pub(super) fn note(&mut self, write: Write, fields: Vec<String>) -> bool {
        if self.last.last().is_some_and(|last| last.template == write.template) {
            return false;
        }
        let now = write.at;
        let goes_on = self.conflict(now);
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
