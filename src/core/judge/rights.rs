//! The rights that a rule asks for.

use std::collections::BTreeMap;

/// Something that a writer may or may not do, as a SubjectAccessReview asks for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The verb, for example `approve`.
    pub verb: String,
    /// The API group, for example `lockkeeper.dev`.
    pub group: String,
    /// The resource in the plural, for example `upgradepolicies`.
    pub resource: String,
    /// The namespace; empty for the whole cluster.
    pub namespace: String,
    /// The name of the object; empty for all of them.
    pub name: String,
}

/// The rights that the writer was asked for, each with the answer.
pub type Rights = BTreeMap<Right, bool>;
