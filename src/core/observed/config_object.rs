//! ConfigMaps and Secrets, as digests.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::core::digest::Digest;

/// The digests of an object's values by key, sorted by key. The values themselves are never kept.
pub type Content = Arc<[(Box<str>, Digest)]>;

/// Maximum number of contents that are remembered of one object.
const VERSIONS: usize = 8;

/// A ConfigMap or Secret: the contents it had while it was watched, the last one being the present
/// one. Never empty.
#[derive(Debug, Clone)]
pub struct ConfigEntry {
    versions: Vec<Version>,
    /// Marked `lockkeeper.dev/ignore`.
    pub ignored: bool,
}

/// A content and the write that brought it.
#[derive(Debug, Clone)]
pub struct Version {
    /// The resourceVersion of the write that brought it, or of a later one.
    pub resource_version: u64,
    /// The time of the write that brought it, or of a later one; by the API server's clock, in
    /// whole seconds.
    pub written: Timestamp,
    /// When it was seen to change, by our clock; none where it was found so at the start.
    pub seen: Option<Timestamp>,
    /// The content; none if the object does not exist.
    pub content: Option<Content>,
}

impl ConfigEntry {
    /// An object as it was first seen.
    pub fn new(version: Version, ignored: bool) -> Self {
        Self { versions: vec![version], ignored }
    }

    /// Records what the object is now. A write that leaves the content as it is (a label, an
    /// annotation) is none. Returns whether the content changed.
    pub fn observe(&mut self, version: Version) -> bool {
        if self.versions.last().is_some_and(|last| last.content == version.content) {
            return false;
        }
        if self.versions.len() == VERSIONS {
            self.versions.remove(0);
        }
        self.versions.push(version);
        true
    }

    /// Our clock was set: what was seen by it before is put to the time that it was.
    pub fn clock_was_set(&mut self, by: SignedDuration) {
        for seen in self.versions.iter_mut().filter_map(|version| version.seen.as_mut()) {
            *seen = seen.saturating_add(by).unwrap_or(*seen);
        }
    }

    /// The contents, oldest first.
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// The present content; none if the object does not exist.
    pub fn content(&self) -> Option<&Content> {
        self.versions.last().and_then(|version| version.content.as_ref())
    }
}
