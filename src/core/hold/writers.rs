//! Two who undo each other: they write the same two templates in turn, again and again, such as a
//! bot that sets a newer image and a GitOps controller that sets it back. Told once, with both
//! names, instead of one event for each change.

use std::{fmt, time::Duration};

use jiff::Timestamp;

use super::{authors::in_words, state::Hold, volatile::differing};
use crate::core::{
    assess::{Assessment, Input},
    clock,
    decision::Event,
    later,
    memory::SeenTemplate,
    observed::{Template, TemplateDigest},
};

/// So many changes in turn are no accident: who tries a change, reverts it and tries it again makes
/// three, and nobody undoes that.
const TIMES: usize = 4;
/// They come within this time. It is over once one of the two has not written for so long.
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
struct Write {
    at: Timestamp,
    by: By,
    template: TemplateDigest,
}

/// Who made a change. Users are known where admission held it, field managers otherwise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum By {
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
            By::User(_) => "Until then approve and bypass neither change: the next one undoes it",
            By::Manager(_) => "Until then each change is another rollout",
        };
        Some(format!(
            "{}: {one} and {other} undo each other's changes of {what}: {times} changes in turn since {}. Let only one of them write it. {cure}",
            Event::ConflictingWriters.reason(),
            clock(since)
        ))
    }

    /// Takes note of a change. Returns whether it is the one from which on two undo each other.
    fn note(&mut self, write: Write, fields: Vec<String>) -> bool {
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

/// Takes note of who changed the template, and tells if two undo each other.
pub fn note(input: &Input, hold: Option<&Hold>, found: &mut Assessment) {
    let (template, before) = (&input.workload.template, input.memory.template.as_ref());
    let by = match hold {
        Some(hold) if input.memory.hold.as_ref() != Some(&hold.id) => By::User(hold.by.clone()),
        None if before.is_some_and(|before| before.digest != template.digest) => {
            match &input.workload.template_writer {
                Some(manager) => By::Manager(person(manager).to_owned()),
                None => return,
            }
        }
        _ => return,
    };
    let fields = before.map(|before| differences(before, template)).unwrap_or_default();
    let write = Write { at: input.now, by, template: template.digest };
    if found.memory.writers.note(write, fields)
        && let Some(message) = found.memory.writers.message(input.now)
    {
        found.notices.push((Event::ConflictingWriters, message));
    }
}

/// One person uses several commands of kubectl, each with a field manager of its own.
fn person(manager: &str) -> &str {
    if manager.starts_with("kubectl-") { "kubectl" } else { manager }
}

/// Images and annotations that two templates differ in.
fn differences(before: &SeenTemplate, now: &Template) -> Vec<String> {
    let annotations = differing(&before.annotations, &now.annotations);
    let images = differing(&before.images, &now.images);
    let annotations =
        annotations.into_iter().map(|key| format!("spec.template.metadata.annotations[{key}]"));
    annotations
        .chain(
            images.into_iter().map(|name| format!("spec.template.spec.containers[{name}].image")),
        )
        .collect()
}
