//! The record of the last changes of a workload, in the mark `history`: who wrote each, who let it
//! through, what it waited for, and how it ended. It is written only in requests that are made
//! anyway, so nothing is written for it alone.

pub mod chain;
mod words;

use std::borrow::Cow;

use crate::{
    api::marks,
    core::{
        edits::Edits,
        hold::{marking, state::Hold},
        plain,
        request::{Cause, Purpose, Release},
        rollout::outcome::{Ended, Outcome},
        subject::Subject,
        whole_second,
    },
    marks::{
        Since,
        history::{ChangeKind, End, Entry, History, Why},
        mark::Text,
    },
};

/// Maximum number of characters of a note, and of what is said of one thing that changed.
const TEXT: usize = 256;
/// Maximum number of things that changed of which something is said.
const SUMMARY: usize = 4;
/// Maximum number of authors that are named.
const AUTHORS: usize = 8;

/// These edits, and with them what they make of the record. `config`: what changed of config.
pub fn noted(subject: &Subject, config: &[String], mut edits: Edits) -> Edits {
    let workload = subject.workload;
    if workload.deleting {
        return edits;
    }
    let (uid, key) = (&*workload.uid, subject.key());
    let bytes = chain::BYTES.min(marking::room_for_record(workload));
    let before = workload.marks.history.as_deref();
    let read = before.and_then(History::parse);
    let garbled = before.is_some() && read.is_none();
    // A newer version may have written what this one does not know: that is not thrown away.
    if garbled
        && before.is_some_and(|text| serde_json::from_str::<serde_json::Map<_, _>>(text).is_ok())
    {
        return edits;
    }
    let mut history = Some(read.unwrap_or_default()).filter(|_| bytes > 0);
    let mut changed = false;
    if let Some(end) = ended(subject, &edits)
        && let Some((index, entry)) = history.as_ref().and_then(open)
    {
        let closed =
            Entry { outcome: Some(end), done: Some(whole_second(subject.now())), ..entry.clone() };
        history = history.and_then(|all| chain::replaced(all, index, closed, uid, key, bytes));
        changed = true;
    }
    if let Some(why) = released(subject, &edits) {
        if why != Why::Reverted
            && let Some((index, entry)) = history.as_ref().and_then(open)
            && entry.outcome.is_none()
        {
            let superseded = Entry { outcome: Some(End::Superseded), ..entry.clone() };
            history =
                history.and_then(|all| chain::replaced(all, index, superseded, uid, key, bytes));
        }
        history = history.and_then(|all| {
            let entry = Entry { broken: garbled, ..entry(subject, &edits, config, why, &all) };
            chain::with(all, entry, uid, key, bytes)
        });
        changed = true;
    }
    if changed && let Some(history) = history {
        edits.set(marks::HISTORY, history.to_string());
    }
    edits
}

/// The newest change that was released and may still end.
fn open(history: &History) -> Option<(usize, &Entry)> {
    let mut all = history.entries.iter().enumerate();
    all.rfind(|(_, entry)| matches!(entry.outcome, None | Some(End::Failed))).filter(
        |(index, _)| {
            // Behind it may only stand what was withdrawn.
            let later = history.entries.iter().skip(index + 1);
            later.clone().all(|entry| entry.outcome == Some(End::Withdrawn))
        },
    )
}

fn newest<'a>(subject: &'a Subject, edits: &Edits) -> Option<(&'a Outcome, Outcome)> {
    let text = edits.wanted(marks::ROLLOUT)??;
    Some((Outcome::on(subject.workload), Outcome::parse(text)?))
}

/// How the change that was released last ended with these edits, if it did.
fn ended(subject: &Subject, edits: &Edits) -> Option<End> {
    let (known, newest) = newest(subject, edits)?;
    match newest.ended {
        _ if known.change.is_some() && newest.change.is_none() => Some(End::Undone),
        Ended::Done if known.ended != Ended::Done => Some(End::Done),
        Ended::Failed if known.ended != Ended::Failed => Some(End::Failed),
        Ended::Done | Ended::Failed | Ended::UnderWay => None,
    }
}

/// Why a change is released with these edits, if one is.
fn released(subject: &Subject, edits: &Edits) -> Option<Why> {
    match &edits.purpose {
        Some(Purpose::Release(Release::GatesOpen)) => return Some(Why::GatesOpen),
        Some(Purpose::Release(Release::Reverted)) => return Some(Why::Reverted),
        Some(Purpose::Release(Release::Ungoverned)) => return Some(Why::Ungoverned),
        Some(Purpose::Roll(cause, _)) => {
            return Some(match cause {
                _ if newest(subject, edits).is_some_and(|(_, new)| new.bypassed_by.is_some()) => {
                    Why::Bypassed
                }
                Cause::Config => Why::Config,
                Cause::Together => Why::Together,
                Cause::MixedConfig => Why::MixedConfig,
                Cause::Previous => Why::Previous,
            });
        }
        // The template is the one that was there before.
        Some(Purpose::Release(Release::Unchanged) | Purpose::Step) => return None,
        _ => {}
    }
    let (known, newest) = newest(subject, edits)?;
    let begins = newest.begun_at().is_some()
        && newest.change.is_some()
        && (newest.at != known.at || newest.bypassed_by != known.bypassed_by);
    begins.then_some(match &edits.purpose {
        _ if newest.bypassed_by.is_some() => Why::Bypassed,
        // It is released into a template whose pods do not run yet.
        Some(Purpose::Maintain) => Why::GatesOpen,
        _ => Why::HoldMissed,
    })
}

fn entry(
    subject: &Subject,
    edits: &Edits,
    config: &[String],
    why: Why,
    history: &History,
) -> Entry {
    let (workload, memory) = (subject.workload, subject.memory);
    let marks = &workload.marks;
    let kind = match edits.purpose {
        Some(Purpose::Roll(..)) => ChangeKind::Config,
        _ => ChangeKind::Template,
    };
    let hold = Hold::on(workload);
    let (_, newest) = newest(subject, edits).unzip();
    let bypass = marks.bypassed_by.get().map(|bypass| bypass.id.to_string());
    // A bypass takes the hold off before it is seen: what was shown of it last is remembered.
    let shown = memory
        .shown
        .as_ref()
        .filter(|shown| hold.is_none() && bypass.as_deref().is_none_or(|id| shown.id == id));
    let id = match (&hold, kind) {
        (Some(hold), _) => hold.id.to_string(),
        (None, ChangeKind::Config) => {
            marks.pending_config.get().map(ToString::to_string).unwrap_or_default()
        }
        (None, ChangeKind::Template) => bypass.unwrap_or_default(),
    };
    let authors = match (&hold, kind) {
        (_, ChangeKind::Config) => &[][..],
        (Some(hold), _) => hold.authors.names(),
        (None, _) => shown.map_or(&[][..], |shown| &shown.authors),
    };
    let begun = edits.wanted(marks::HOLD_SINCE).flatten().and_then(Since::parse);
    let since = marks.hold_since.get().or(begun.as_ref()).and_then(Since::at);
    let consent = newest.as_ref();
    Entry {
        n: history.entries.last().map_or(1, |last| last.n + 1),
        id: id.into(),
        kind,
        by: authors.iter().take(AUTHORS).map(|name| text(name)).collect(),
        by_more: authors.len() > AUTHORS
            || hold.as_ref().is_some_and(|hold| hold.authors.are_too_many()),
        why,
        summary: summary(subject, config, kind),
        held: since,
        approved_by: consent.and_then(|new| new.approved_by.as_deref().map(text)),
        bypassed_by: consent.and_then(|new| new.bypassed_by.as_deref().map(text)),
        released: whole_second(subject.now()),
        done: (why == Why::Reverted).then(|| whole_second(subject.now())),
        outcome: (why == Why::Reverted).then_some(End::Withdrawn),
        note: marks.note.as_deref().map(text).filter(|note| !note.is_empty()),
        broken: false,
        others: Default::default(),
        mac: Box::default(),
    }
}

/// What changed: versions of images, as far as their tags say them, and the names of config.
fn summary(subject: &Subject, config: &[String], kind: ChangeKind) -> Vec<Box<str>> {
    let own = &subject.workload.template.containers;
    let images = subject.revisions.running_containers().iter().filter_map(|runs| {
        let now = own.iter().find(|other| other.name == runs.name)?;
        let (from, to) = (runs.version?, now.version?);
        (from != to).then(|| format!("{}: {from} -> {to}", runs.name))
    });
    let images = images.filter(|_| kind == ChangeKind::Template);
    images.chain(config.iter().cloned()).take(SUMMARY).map(|one| text(&one)).collect()
}

/// At most so many characters, none of which hides anything.
fn text(words: &str) -> Box<str> {
    let plain: Cow<str> = plain(words);
    match plain.char_indices().nth(TEXT) {
        Some((end, _)) => plain.get(..end).unwrap_or_default().into(),
        None => plain.into(),
    }
}
