//! What a reference is now, since when, and what it was before.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::core::{
    digest::{Digest, Key},
    observed::{ConfigEntry, ConfigId, Content, Keys, Namespace, Reference, Version},
};

/// A reference, resolved.
#[derive(Debug, Clone)]
pub struct Desired {
    /// Its digest, or what of it is missing although pods cannot start without.
    pub digest: Result<Digest, Missing>,
    /// The last write that changed the digest, at the latest.
    pub changed: Write,
    /// Four bytes a key, as hex, to name keys that change; empty for a reference to a single key.
    pub names: BTreeMap<String, String>,
    /// What else it was seen to be: the digest, and the keys that differ from now.
    pub before: Vec<(Digest, Vec<String>)>,
    /// The times in which it was seen to be something else.
    pub others: Vec<Interval>,
    /// The highest resourceVersion that had a part in it.
    pub version: u64,
}

/// What pods cannot start without, and is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// The object.
    Object(ConfigId),
    /// A key of it.
    Key(ConfigId, String),
}

/// A write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write {
    /// Its resourceVersion; 0 if nothing was ever written.
    pub version: u64,
    /// Its time by the API server's clock, in whole seconds.
    pub written: Timestamp,
    /// When it was seen on a live watch, by our clock.
    pub seen: Option<Timestamp>,
}

impl Write {
    fn of(version: &Version) -> Self {
        let Version { resource_version, written, seen, .. } = *version;
        Self { version: resource_version, written, seen }
    }
}

/// The time between two writes: from the first, up to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// The write with which it began.
    pub from: Write,
    /// The write with which it ended.
    pub to: Write,
}

/// What pods cannot start without of what they read themselves, and is not there; each once.
pub fn missing(desired: &[(Reference, Desired)]) -> Vec<Missing> {
    let mut missing: Vec<Missing> = Vec::new();
    let own = desired.iter().filter(|(reference, _)| reference.own);
    for what in own.filter_map(|(_, desired)| desired.digest.as_ref().err()) {
        if !missing.contains(what) {
            missing.push(what.clone());
        }
    }
    missing
}

/// Resolves a reference. What was never seen counts as absent since `watched`, the time from which
/// on config was watched.
pub fn resolve(
    reference: &Reference,
    namespace: &Namespace,
    key: &Key,
    watched: Timestamp,
) -> Desired {
    if reference.is_glob() {
        return resolve_glob(reference, namespace, key, watched);
    }
    let id = ConfigId { kind: reference.kind, name: reference.name.as_str().into() };
    match namespace.config.get(&id) {
        Some(entry) => resolve_entry(reference, &id, entry, key),
        None => Desired {
            digest: digest(reference, &id, None, key),
            changed: Write { version: 0, written: watched, seen: None },
            names: BTreeMap::new(),
            before: Vec::new(),
            others: Vec::new(),
            version: 0,
        },
    }
}

fn resolve_entry(reference: &Reference, id: &ConfigId, entry: &ConfigEntry, key: &Key) -> Desired {
    let versions = entry.versions();
    let digests: Vec<_> = versions
        .iter()
        .map(|version| digest(reference, id, version.content.as_ref(), key))
        .collect();
    let now = digests.last().cloned().unwrap_or_else(|| Err(Missing::Object(id.clone())));
    let mut since = versions.len() - 1;
    while since > 0 && digests[since - 1] == now {
        since -= 1;
    }
    let others = (0..versions.len() - 1)
        // While it was missing no pod could start.
        .filter(|&index| digests[index] != now && digests[index].is_ok())
        .map(|index| Interval {
            from: Write::of(&versions[index]),
            to: Write::of(&versions[index + 1]),
        });
    Desired {
        changed: Write::of(&versions[since]),
        others: others.collect(),
        names: names(reference, entry.content()),
        before: before(reference, entry, &digests),
        version: versions.last().map_or(0, |version| version.resource_version),
        digest: now,
    }
}

fn resolve_glob(
    reference: &Reference,
    namespace: &Namespace,
    key: &Key,
    watched: Timestamp,
) -> Desired {
    let mut sum = key.sum("objects").field(reference.to_string().as_bytes());
    let mut changed = Write { version: 0, written: watched, seen: None };
    let (mut others, mut version) = (Vec::new(), 0);
    for (id, entry) in
        namespace.config.iter().filter(|(id, entry)| reference.names(id) && !entry.ignored)
    {
        let one = resolve_entry(reference, id, entry, key);
        if let (Some(_), Ok(digest)) = (entry.content(), &one.digest) {
            sum = sum.field(id.name.as_bytes()).field(&digest.0);
        }
        if one.changed.version > changed.version {
            // What went while it was not watched has left no trace: nothing before that is known.
            changed = Write { written: one.changed.written.max(watched), ..one.changed };
        }
        others.extend(one.others);
        version = version.max(one.version);
    }
    Desired {
        digest: Ok(sum.digest()),
        changed,
        names: BTreeMap::new(),
        before: Vec::new(),
        others,
        version,
    }
}

/// The digest of what a reference reads of a content. An optional thing that is absent has one of
/// its own.
fn digest(
    reference: &Reference,
    id: &ConfigId,
    content: Option<&Content>,
    key: &Key,
) -> Result<Digest, Missing> {
    let Some(content) = content else {
        return absent(reference, Missing::Object(id.clone()), key);
    };
    if let Keys::One(one) = &reference.keys {
        return match content.iter().find(|(name, _)| **name == **one) {
            Some((_, digest)) => Ok(key.sum("one").field(&digest.0).digest()),
            None => absent(reference, Missing::Key(id.clone(), one.clone()), key),
        };
    }
    if let Keys::Several(keys) = &reference.keys
        && let Some(missing) =
            keys.iter().find(|key| !content.iter().any(|(name, _)| **name == ***key))
        && !reference.optional
    {
        return Err(Missing::Key(id.clone(), missing.clone()));
    }
    let sum = content
        .iter()
        .filter(|(name, _)| reference.reads(name))
        .fold(key.sum("all"), |sum, (name, digest)| sum.field(name.as_bytes()).field(&digest.0));
    Ok(sum.digest())
}

/// The digest of what is not there, if pods can start without.
fn absent(reference: &Reference, what: Missing, key: &Key) -> Result<Digest, Missing> {
    match reference.optional {
        true => Ok(key.sum("absent").field(reference.to_string().as_bytes()).digest()),
        false => Err(what),
    }
}

/// The keys in which each content that was seen before differs from the present one.
fn before(
    reference: &Reference,
    entry: &ConfigEntry,
    digests: &[Result<Digest, Missing>],
) -> Vec<(Digest, Vec<String>)> {
    let Some(now) = entry.content().filter(|_| !matches!(reference.keys, Keys::One(_))) else {
        return Vec::new();
    };
    let older = entry.versions().iter().zip(digests).rev().skip(1);
    let seen = older.filter_map(|(version, digest)| {
        let (then, digest) = (version.content.as_ref()?, digest.as_ref().ok()?);
        let new = now.iter().filter(|(key, digest)| value(then, key) != Some(*digest));
        let gone = then.iter().filter(|(key, _)| value(now, key).is_none());
        let keys = new.chain(gone).map(|(key, _)| key.to_string());
        let mut keys: Vec<_> = keys.filter(|key| reference.reads(key)).collect();
        keys.sort();
        Some((*digest, keys))
    });
    seen.collect()
}

fn value(content: &Content, key: &str) -> Option<Digest> {
    let at = content.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
    content.get(at).map(|(_, digest)| *digest)
}

fn names(reference: &Reference, content: Option<&Content>) -> BTreeMap<String, String> {
    if matches!(reference.keys, Keys::One(_)) {
        return BTreeMap::new();
    }
    let keys = content
        .into_iter()
        .flat_map(|content| content.iter())
        .filter(|(name, _)| reference.reads(name));
    keys.map(|(name, digest)| (name.to_string(), digest.short())).collect()
}
