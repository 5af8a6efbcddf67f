//! What the claims of a namespace are judged by.

use jiff::Timestamp;

use crate::{
    core::{
        hold::enforced::Gap,
        observed::{
            Namespace,
            storage::{ClaimReference, NamespaceObject, Volume},
        },
    },
    marks::ClaimPair,
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
    /// Why no volume can be handed over to a claim of another name, if so.
    pub conversion_gap: Option<String>,
    /// Something cannot be read that may be in the namespace or belong to its storage.
    pub unread: bool,
    /// Now.
    pub now: Timestamp,
}

impl Scene<'_> {
    /// The two claims that a volume may be given to, and the one of them that it is for; none if
    /// they are not in this very namespace. A later one of its name may be somebody else's.
    pub fn conversion_of<'v>(
        &self,
        volume: &'v Volume,
    ) -> Option<(&'v ClaimPair, &'v ClaimReference)> {
        let (pair, of) = (volume.conversion()?, volume.claim.as_ref()?);
        let (known, object) = (volume.provenance()?, self.object?);
        let is_here = of.namespace == *self.namespace.name
            && *known.namespace_uid == *object.uid
            && pair.other(&of.name).is_some();
        is_here.then_some((pair, of))
    }
}
