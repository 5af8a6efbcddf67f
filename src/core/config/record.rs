//! What a workload's pods were last asked to start with (the target), and what every one of them is
//! known to have started with (the baseline): the annotation `lockkeeper.dev/config`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::core::{
    config::desired::Desired,
    digest::{Digest, Key},
    observed::Reference,
};

/// Keys whose digests are kept to name changes, in all records of a workload together.
const NAMES_LIMIT: usize = 64;
/// Bytes that these may take.
const NAMES_BYTES: usize = 8 * 1024;
/// The format below.
const VERSION: u32 = 1;

/// Target and baseline of one workload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// The config-hash of the target; none while the target is what was found at adoption.
    pub hash: Option<String>,
    /// Contents that were replaced by this resourceVersion, or earlier, are settled.
    pub settled: u64,
    /// By reference, as [`Reference`] displays itself.
    pub references: BTreeMap<String, Recorded>,
    /// Four bytes a key, as hex, by reference: which keys the baseline had.
    pub names: BTreeMap<String, BTreeMap<String, String>>,
}

/// One reference in a [`Record`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// What the pods were last asked to start with.
    pub target: Digest,
    /// What every running pod is known to have started with.
    pub baseline: Digest,
    /// Adopted while it was not known what some pods started with.
    pub unverified: bool,
    /// A pod of the target started with content that was there only for a while, and was not
    /// replaced yet.
    pub mixed: bool,
}

/// Why an annotation is no record of this workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRecord {
    /// There is none.
    Absent,
    /// It is not readable, or of another version.
    Unreadable,
    /// It was made for another object: a workload that was copied or made again.
    Foreign,
    /// It was made with another key.
    OtherKey,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    v: u32,
    key: String,
    uid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    settled: u64,
    refs: BTreeMap<String, Vec<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    keys: BTreeMap<String, BTreeMap<String, String>>,
}

impl Wire {
    fn read(text: Option<&str>, uid: &str) -> Result<Self, NoRecord> {
        let wire: Self = serde_json::from_str(text.ok_or(NoRecord::Absent)?)
            .map_err(|_| NoRecord::Unreadable)?;
        match () {
            () if wire.v != VERSION => Err(NoRecord::Unreadable),
            () if wire.uid != uid => Err(NoRecord::Foreign),
            () => Ok(wire),
        }
    }
}

/// Marks an unverified reference, after its digests.
const UNVERIFIED: &str = "unverified";
/// Marks a reference of which some pod started with another content.
const MIXED: &str = "mixed";

impl Recorded {
    /// From its digests, and what marks it.
    fn read(words: &[String]) -> Option<Self> {
        let (flags, digests): (Vec<_>, Vec<_>) =
            words.iter().map(String::as_str).partition(|word| matches!(*word, UNVERIFIED | MIXED));
        let (target, baseline) = match digests.as_slice() {
            [one] => (one, one),
            [target, baseline] => (target, baseline),
            _ => return None,
        };
        Some(Self {
            target: Digest::parse(target)?,
            baseline: Digest::parse(baseline)?,
            unverified: flags.contains(&UNVERIFIED),
            mixed: flags.contains(&MIXED),
        })
    }

    /// The same as it is written.
    fn written(&self) -> Vec<String> {
        let mut words = vec![self.target.to_string()];
        if self.baseline != self.target {
            words.push(self.baseline.to_string());
        }
        if self.unverified {
            words.push(UNVERIFIED.to_owned());
        }
        if self.mixed {
            words.push(MIXED.to_owned());
        }
        words
    }
}

impl Record {
    /// Reads the annotation of the workload with this uid.
    ///
    /// # Errors
    /// Says why it is none.
    pub fn parse(text: Option<&str>, uid: &str, key: &Key) -> Result<Self, NoRecord> {
        let wire = Wire::read(text, uid)?;
        if wire.key != key.name() {
            return Err(NoRecord::OtherKey);
        }
        Self::of(wire)
    }

    /// The same for who does not have the key: its digests can be compared with one another, and
    /// with nothing else.
    ///
    /// # Errors
    /// Says why it is none.
    pub fn without_key(text: Option<&str>, uid: &str) -> Result<Self, NoRecord> {
        Self::of(Wire::read(text, uid)?)
    }

    fn of(wire: Wire) -> Result<Self, NoRecord> {
        let references = wire
            .refs
            .into_iter()
            .map(|(name, words)| Some((name, Recorded::read(&words)?)))
            .collect::<Option<_>>();
        Ok(Self {
            hash: wire.hash,
            settled: wire.settled,
            references: references.ok_or(NoRecord::Unreadable)?,
            names: wire.keys,
        })
    }

    /// The annotation's text.
    pub fn write(&self, uid: &str, key: &Key) -> String {
        let wire = Wire {
            v: VERSION,
            key: key.name().to_owned(),
            uid: uid.to_owned(),
            hash: self.hash.clone(),
            settled: self.settled,
            refs: self
                .references
                .iter()
                .map(|(name, recorded)| (name.clone(), recorded.written()))
                .collect(),
            keys: self.names.clone(),
        };
        serde_json::to_string(&wire).unwrap_or_default()
    }

    /// The record of a workload that has none: it takes what is there. `verified` tells whether
    /// every pod is known to have started with it.
    pub fn adopt(
        desired: &[(Reference, Desired)],
        hash: Option<String>,
        verified: impl Fn(&Desired) -> bool,
    ) -> Self {
        let mut record = Self {
            hash,
            settled: newest(desired),
            references: BTreeMap::new(),
            names: BTreeMap::new(),
        };
        for (reference, desired) in desired {
            record.adopt_reference(reference, desired, verified(desired));
        }
        record.keep_names(desired);
        record
    }

    fn adopt_reference(&mut self, reference: &Reference, desired: &Desired, verified: bool) {
        if let Ok(digest) = desired.digest {
            self.references.insert(
                reference.to_string(),
                Recorded { target: digest, baseline: digest, unverified: !verified, mixed: false },
            );
        }
    }

    /// This record with the references that it does not know adopted, and those that are no longer
    /// read dropped. Neither rolls anything.
    #[must_use]
    pub fn reshaped(
        &self,
        desired: &[(Reference, Desired)],
        verified: impl Fn(&Desired) -> bool,
    ) -> Self {
        let mut record = self.clone();
        record
            .references
            .retain(|name, _| desired.iter().any(|(reference, _)| reference.to_string() == *name));
        record.names.retain(|name, _| record.references.contains_key(name));
        for (reference, desired) in desired {
            if !record.references.contains_key(&reference.to_string()) {
                record.adopt_reference(reference, desired, verified(desired));
                record.names.insert(reference.to_string(), desired.names.clone());
            }
        }
        record.bound_names();
        record
    }

    /// This record once every pod is known to have started with what is desired now. What is
    /// missing now keeps its place.
    #[must_use]
    pub fn settled(&self, desired: &[(Reference, Desired)], hash: Option<String>) -> Self {
        let mut record = Self { hash, settled: self.settled.max(newest(desired)), ..self.clone() };
        for (reference, desired) in desired {
            record.adopt_reference(reference, desired, true);
        }
        record.keep_names(desired);
        record
    }

    /// This record once the pods are asked to start with what is desired now.
    #[must_use]
    pub fn targeted(&self, desired: &[(Reference, Desired)], hash: String) -> Self {
        let mut record = Self { hash: Some(hash), ..self.clone() };
        record.references.values_mut().for_each(|recorded| recorded.mixed = false);
        for (reference, desired) in desired {
            if let (Ok(digest), Some(recorded)) =
                (&desired.digest, record.references.get_mut(&reference.to_string()))
            {
                recorded.target = *digest;
            }
        }
        record
    }

    /// This record when pods start with the config-hash again that they had before the target, or
    /// with none.
    #[must_use]
    pub fn withdrawn(&self, hash: Option<&str>) -> Self {
        let mut record = Self { hash: hash.map(str::to_owned), ..self.clone() };
        record.references.values_mut().for_each(|recorded| recorded.target = recorded.baseline);
        record
    }

    /// Whether the two say the same of what pods started with; when contents were settled is no
    /// difference worth a write.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.hash == other.hash && self.references == other.references
    }

    fn keep_names(&mut self, desired: &[(Reference, Desired)]) {
        for (reference, desired) in desired.iter().filter(|(_, desired)| desired.digest.is_ok()) {
            self.names.insert(reference.to_string(), desired.names.clone());
        }
        self.bound_names();
    }

    fn bound_names(&mut self) {
        let (mut keys, mut bytes) = (0, 0);
        self.names.retain(|reference, names| {
            let cost = reference.len() + names.keys().map(|key| key.len() + 14).sum::<usize>();
            let fits = !names.is_empty()
                && keys + names.len() <= NAMES_LIMIT
                && bytes + cost <= NAMES_BYTES;
            if fits {
                keys += names.len();
                bytes += cost;
            }
            fits
        });
    }
}

fn newest(desired: &[(Reference, Desired)]) -> u64 {
    desired.iter().map(|(_, desired)| desired.version).max().unwrap_or(0)
}
