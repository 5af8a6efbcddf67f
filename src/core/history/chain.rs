//! The chain of a record: each entry carries a digest of itself and of the entry before, and the
//! seal one of where the record begins and ends. Without the digest key nobody can make them.
//!
//! Entries that are dropped for want of room break nothing: the digest of the newest of them stays
//! in `after`, and the seal says with which number the record begins.

use crate::{
    core::digest::Key,
    marks::history::{Entry, History},
};

/// Maximum number of entries.
pub const MOST: usize = 12;
/// Maximum number of bytes of the record.
pub const BYTES: usize = 6 * 1024;

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is no record.
    Unreadable,
    /// It was made with another key, of this name.
    OtherKey(Box<str>),
    /// The first entry that was altered, or from before which one was cut out.
    Altered(u64),
    /// Entries are missing between these two.
    Cut(u64, u64),
    /// Entries are missing at an end of it.
    Ends,
    /// The operator found the record altered or cut when it wrote this entry.
    Broken(u64),
}

/// Whether each entry, and all of them, are as the operator left them. `uid`: whose record it is.
///
/// # Errors
/// The first fault.
pub fn verify(history: &History, uid: &str, key: &Key) -> Result<(), Fault> {
    check(history, uid, key, |entry| entry.broken)
}

fn check(
    history: &History,
    uid: &str,
    key: &Key,
    is_known: impl Fn(&Entry) -> bool,
) -> Result<(), Fault> {
    if *history.key != *key.name() {
        return Err(Fault::OtherKey(history.key.clone()));
    }
    let (mut last, mut number): (&str, Option<u64>) = (&history.after, None);
    for entry in &history.entries {
        if let Some(before) = number.filter(|before| before.checked_add(1) != Some(entry.n)) {
            return Err(Fault::Cut(before, entry.n));
        }
        if *entry.mac != *mac(entry, last, uid, key) {
            return Err(Fault::Altered(entry.n));
        }
        if is_known(entry) {
            return Err(Fault::Broken(entry.n));
        }
        (last, number) = (&entry.mac, Some(entry.n));
    }
    if *history.seal == *seal(history, uid, key) { Ok(()) } else { Err(Fault::Ends) }
}

/// The record with this entry at its end, within so many bytes. None: there is no room for it.
pub fn with(history: History, entry: Entry, uid: &str, key: &Key, bytes: usize) -> Option<History> {
    let mut history = history;
    let entry = Entry { broken: entry.broken || is_broken(&history, uid, key), ..entry };
    history.key = key.name().into();
    history.entries.push(entry);
    let newest = history.entries.len() - 1;
    let history = chained(history, newest, uid, key);
    within(history, uid, key, bytes)
}

/// The record with another entry in place of the one at this index.
pub fn replaced(
    history: History,
    index: usize,
    entry: Entry,
    uid: &str,
    key: &Key,
    bytes: usize,
) -> Option<History> {
    let mut history = history;
    let broken = is_broken(&history, uid, key) || entry.broken;
    *history.entries.get_mut(index)? = Entry { broken, ..entry };
    within(chained(history, index, uid, key), uid, key, bytes)
}

fn is_broken(history: &History, uid: &str, key: &Key) -> bool {
    let nothing = history.entries.is_empty() && history.seal.is_empty();
    // What was broken before is said by the entry that was written then.
    !nothing && check(history, uid, key, |_| false).is_err()
}

/// Makes the digests again from this index on. Those before stay: what was altered there is found
/// there.
fn chained(mut history: History, from: usize, uid: &str, key: &Key) -> History {
    let mut last = match from.checked_sub(1).and_then(|before| history.entries.get(before)) {
        Some(before) => before.mac.clone(),
        None => history.after.clone(),
    };
    for entry in history.entries.iter_mut().skip(from) {
        entry.mac = mac(entry, &last, uid, key).into();
        last = entry.mac.clone();
    }
    sealed(history, uid, key)
}

fn sealed(mut history: History, uid: &str, key: &Key) -> History {
    history.seal = seal(&history, uid, key).into();
    history
}

/// Without its oldest entries, as far as there is no room for them.
fn within(mut history: History, uid: &str, key: &Key, bytes: usize) -> Option<History> {
    while history.entries.len() > MOST || history.to_string().len() > bytes {
        if history.entries.len() < 2 {
            return None;
        }
        history.after = history.entries.remove(0).mac;
        history = sealed(history, uid, key);
    }
    Some(history)
}

fn mac(entry: &Entry, last: &str, uid: &str, key: &Key) -> String {
    let bare = Entry { mac: Box::default(), ..entry.clone() };
    let text = serde_json::to_string(&bare).unwrap_or_default();
    let sum = key.sum("history").field(uid.as_bytes()).field(last.as_bytes());
    sum.field(text.as_bytes()).digest().to_string()
}

fn seal(history: &History, uid: &str, key: &Key) -> String {
    let first = history.entries.first().map_or(0, |entry| entry.n);
    let last = history.entries.last().map_or("", |entry| &*entry.mac);
    let sum = key.sum("history-seal").field(uid.as_bytes()).field(history.after.as_bytes());
    sum.field(&first.to_be_bytes()).field(last.as_bytes()).digest().to_string()
}
