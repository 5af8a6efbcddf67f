//! What the claims of a namespace are judged by.

use jiff::Timestamp;

use crate::core::{
    hold::enforced::Gap,
    observed::{Namespace, storage::NamespaceObject},
};

/// What the claims of a namespace are judged by.
pub struct Scene<'a> {
    /// The namespace's name and contents.
    pub namespace: &'a Namespace,
    /// The namespace itself; none if it is gone.
    pub object: Option<&'a NamespaceObject>,
    /// Why admission does not refuse deletions where it is told to, if so.
    pub deletion_gap: Option<Gap>,
    /// Why admission does not put on claims what keeps other tools from deleting them, if so.
    pub claims_gap: Option<Gap>,
    /// Now.
    pub now: Timestamp,
}
