//! What stands on claims, volumes and namespaces.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    conversion::{ClaimPair, Reservations},
    mark::{Field, Mark, Text},
    provenance::Provenance,
    registry::{self, On},
    set::MarkSet,
    values::True,
};
use crate::api::marks;

/// The annotations of ours that a claim, a volume or a namespace carries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StorageMarks {
    /// On a claim or volume: whose data it is.
    pub provenance: Mark<Arc<Provenance>>,
    /// On a volume: its reclaim policy before it was retained.
    pub original_reclaim_policy: Mark<ReclaimPolicy>,
    /// On a volume: we made it free for the next claim of its name.
    pub freed: Mark<True>,
    /// On a claim: since when nothing refers to it.
    pub orphaned_since: Mark<Timestamp>,
    /// On a claim: the Deployments that owned it.
    pub disowned: Mark<Uids>,
    /// On a namespace: the claims in it whose deletion is refused.
    pub protected_claims: Option<Box<str>>,
    /// On a claim or namespace: it may be deleted until then.
    pub allow_deletion_until: Mark<Timestamp>,
    /// On a claim or volume: the name of the volume whose data need not be kept.
    pub unprotect: Option<Box<str>>,
    /// On a namespace: the uid of the earlier one whose volumes it gets. On a volume: the uid of
    /// the namespace that gets it.
    pub readopt: Option<Box<str>>,
    /// On a volume: the claim that is to be created for it.
    pub readopt_claim: Mark<Box<SavedClaim>>,
    /// On a claim: the one that gets its volume.
    pub becomes: Option<Box<str>>,
    /// On a volume: the two claims that it may be given to.
    pub conversion: Mark<ClaimPair>,
    /// On a namespace: the names of claims that are reserved, with their volumes.
    pub reserved_claims: Mark<Reservations>,
}

/// Those of an object that has none.
static NONE: LazyLock<Arc<StorageMarks>> = LazyLock::new(Arc::default);

impl StorageMarks {
    /// Reads them from the annotations of such an object. What belongs on another kind is left out.
    pub fn on<K: AsRef<str>, V: AsRef<str>>(
        on: On,
        all: impl IntoIterator<Item = (K, V)>,
    ) -> Arc<Self> {
        let belongs =
            |(key, _): &(K, V)| registry::annotations_of(on).any(|row| row == key.as_ref());
        let found = Self::read(all.into_iter().filter(belongs));
        if found == **NONE { NONE.clone() } else { Arc::new(found) }
    }

    /// Whose data it is; what cannot be read is none.
    pub fn provenance(&self) -> Option<&Arc<Provenance>> {
        self.provenance.get()
    }

    /// Whether somebody with the right to allows its deletion at this time.
    pub fn permits_deletion(&self, now: Timestamp) -> bool {
        self.allow_deletion_until.get().is_some_and(|until| *until > now)
    }
}

impl MarkSet for StorageMarks {
    fn keys() -> impl Iterator<Item = &'static str> {
        let of_storage = |row: &&registry::Row| {
            row.on.iter().any(|on| matches!(on, On::Claim | On::Volume | On::Namespace))
        };
        registry::annotations().filter(of_storage).map(|row| row.key)
    }

    fn field(&self, key: &str) -> Option<&dyn Field> {
        Some(match key {
            marks::PROVENANCE => &self.provenance,
            marks::ORIGINAL_RECLAIM_POLICY => &self.original_reclaim_policy,
            marks::FREED => &self.freed,
            marks::ORPHANED_SINCE => &self.orphaned_since,
            marks::DISOWNED => &self.disowned,
            marks::PROTECTED_CLAIMS => &self.protected_claims,
            marks::ALLOW_DELETION_UNTIL => &self.allow_deletion_until,
            marks::UNPROTECT => &self.unprotect,
            marks::READOPT => &self.readopt,
            marks::READOPT_CLAIM => &self.readopt_claim,
            marks::BECOMES => &self.becomes,
            marks::CONVERSION => &self.conversion,
            marks::RESERVED_CLAIMS => &self.reserved_claims,
            _ => return None,
        })
    }

    fn field_mut(&mut self, key: &str) -> Option<&mut dyn Field> {
        Some(match key {
            marks::PROVENANCE => &mut self.provenance,
            marks::ORIGINAL_RECLAIM_POLICY => &mut self.original_reclaim_policy,
            marks::FREED => &mut self.freed,
            marks::ORPHANED_SINCE => &mut self.orphaned_since,
            marks::DISOWNED => &mut self.disowned,
            marks::PROTECTED_CLAIMS => &mut self.protected_claims,
            marks::ALLOW_DELETION_UNTIL => &mut self.allow_deletion_until,
            marks::UNPROTECT => &mut self.unprotect,
            marks::READOPT => &mut self.readopt,
            marks::READOPT_CLAIM => &mut self.readopt_claim,
            marks::BECOMES => &mut self.becomes,
            marks::CONVERSION => &mut self.conversion,
            marks::RESERVED_CLAIMS => &mut self.reserved_claims,
            _ => return None,
        })
    }
}

/// What becomes of a volume when its claim is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReclaimPolicy {
    /// It stays.
    Retain,
    /// It is deleted, and its data with it.
    Delete,
    /// Its data is deleted.
    Recycle,
}

impl ReclaimPolicy {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retain => "Retain",
            Self::Delete => "Delete",
            Self::Recycle => "Recycle",
        }
    }
}

impl fmt::Display for ReclaimPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Text for ReclaimPolicy {
    fn parse(text: &str) -> Option<Self> {
        [Self::Retain, Self::Delete, Self::Recycle].into_iter().find(|one| one.as_str() == text)
    }
}

/// The uids of objects, with a space between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uids(pub Box<[Box<str>]>);

impl Uids {
    /// Whether this one is among them.
    pub fn include(&self, uid: &str) -> bool {
        self.0.iter().any(|one| **one == *uid)
    }
}

impl fmt::Display for Uids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

impl Text for Uids {
    fn parse(text: &str) -> Option<Self> {
        let uids: Box<[_]> = text.split_whitespace().map(Into::into).collect();
        (!uids.is_empty()).then_some(Self(uids))
    }
}

/// A claim that is being created again, as JSON, so that it is not lost half-way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SavedClaim {
    /// The uid of the claim whose data the volume holds: once it is another one, this is history.
    pub of: String,
    /// The uid of the claim that goes.
    pub replaces: String,
    /// The volume which that one has.
    #[serde(default)]
    pub younger: Option<String>,
    /// The claim to be made.
    pub claim: Value,
}

impl fmt::Display for SavedClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).unwrap_or_default())
    }
}

impl Text for SavedClaim {
    fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// A time.
impl Text for Timestamp {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}
