//! The sentences of what concerns more than one folder of the core. Each folder has a file of this
//! name for its own.

use std::fmt;

use crate::{
    api::{Remark, marks},
    core::{
        additions::Restrained,
        clock,
        governs::{LeftOut, NotGoverned, Why},
        hold::{authors::in_words, governance::OtherReloader},
        notice::{Event, Regarding},
        observed::{Unread, WorkloadId},
        reach::Feature,
        some_of,
        writers::{By, Conflict},
    },
};

/// Maximum number of fields that are named.
const FIELDS: usize = 5;

/// That self-restraint refused a write of ours.
pub fn restrained(why: &Restrained) -> String {
    match why {
        Restrained::Forbidden(fields) => format!(
            "another admission policy or webhook changes {fields} in Lockkeeper's write, and Lockkeeper's account is not allowed to change these fields. \
             Exempt Lockkeeper's service account in that policy or webhook"
        ),
        Restrained::WithoutHold(fields) => format!(
            "another admission policy or webhook changes {fields} in Lockkeeper's write, so Lockkeeper writes it again with a hold"
        ),
    }
}

/// That others changed these fields in a write of ours.
pub fn changed_by_others(fields: &[String], regarding: &Regarding) -> String {
    let so = match fields.iter().any(|field| field.starts_with("spec.template.")) {
        true => {
            ". Where that changes the pod template, it counts as a change by that policy or webhook"
        }
        false => "",
    };
    let names: Vec<_> = fields.iter().map(String::as_str).collect();
    format!(
        "another admission policy or webhook changed {} in Lockkeeper's write of {regarding}; it is accepted{so}",
        some_of(&names, FIELDS)
    )
}

/// That a request for a workload failed, with the answer.
pub fn patch_failed(refused: bool, answer: &str) -> String {
    let what = if refused { "refused" } else { "not answered" };
    format!(
        "the patch of this workload was {what}: {answer}. Lockkeeper retries at least every 5 minutes"
    )
}

/// That pods are replaced because this changed.
pub fn rolls(changed: &[String]) -> String {
    format!("{} changed; its pods are being replaced", changed.join(", "))
}

impl fmt::Display for LeftOut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.workload, &self.why) {
            (id, Why::Governed(policy)) => write!(f, "{id} is governed by policy {policy}"),
            (id, Why::Itself(why)) => write!(f, "{id}: {why}"),
            (id, Why::ForConfig(other)) => write!(f, "{id}, for config: {other}"),
        }
    }
}

impl fmt::Display for NotGoverned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ignored => write!(f, "ignored (annotation {}: \"true\")", marks::IGNORE),
            Self::Owned(owner) => write!(
                f,
                "{} {owner} (to govern it anyway, set spec.includeOwned: Always)",
                Remark::OwnedBy
            ),
            Self::OtherReloader(other) => other.fmt(f),
        }
    }
}

impl fmt::Display for OtherReloader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let other = Remark::OtherReloader;
        match self {
            Self::Annotation(annotation) => write!(
                f,
                "{other}: annotation {annotation} makes another reloader act on it; remove it to let Lockkeeper do so"
            ),
            Self::Delegate(kind, name) => write!(f, "{other}: {kind}/{name} acts on it"),
        }
    }
}

/// What to tell a user whose policy asks for a feature that is off.
impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.as_str();
        write!(
            f,
            "the feature {name} is turned off in this installation of Lockkeeper (value features.{name} of the chart)"
        )
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} cannot be read: {}", self.kind, self.name, self.flaw)
    }
}

/// That an object cannot be read, where its author looks.
pub fn unreadable(object: &Unread) -> String {
    format!(
        "Lockkeeper cannot read this object: {}. Until it can, what it knew of it before stands, and workloads that depend on it are left as they are",
        object.flaw
    )
}

/// That a workload is left as it is because something cannot be read.
pub fn left_as_it_is(workload: &WorkloadId, why: &Unread) -> String {
    format!(
        "{why}. Until it can be read, Lockkeeper leaves {workload} as it is: it rolls nothing and releases nothing"
    )
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => f.write_str(&in_words(name)),
            Self::Manager(name) => write!(f, "field manager {}", in_words(name)),
        }
    }
}

impl fmt::Display for Conflict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { one, other, since, times, fields } = self;
        let what = match fields {
            [] => "spec.template".to_owned(),
            fields => fields.join(", "),
        };
        let cure = match one {
            By::User(_) => "Until then do not approve or bypass: the other one undoes each change",
            By::Manager(_) => "Until then each change is another rollout",
        };
        write!(
            f,
            "{}: {one} and {other} undo each other's changes of {what}: {times} changes in turn since {}. Let only one of them write it. {cure}",
            Event::ConflictingWriters.reason(),
            clock(*since)
        )
    }
}
