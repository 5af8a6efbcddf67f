//! A write, as the API server shows it to an admission webhook, and what becomes of it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::rights::Right;

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// A change.
    Update,
    /// The end of an object.
    Delete,
}

impl Operation {
    /// As admission reviews and policies write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// Who writes, as the API server has authenticated them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// The name, for example `system:serviceaccount:shop:deployer`.
    pub username: String,
    /// The UID; empty where there is none.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// What else is known of them.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// A resource of the API, as a path names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resource {
    /// The API group, empty for the core group.
    pub group: String,
    /// The version in which the objects are shown, for example `v1`.
    pub version: String,
    /// The plural, for example `deployments`.
    pub plural: String,
    /// The subresource, for example `status`; none for the object itself.
    pub subresource: Option<String>,
}

/// A write before admission.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What is done.
    pub operation: Operation,
    /// What kind of object.
    pub resource: Resource,
    /// The namespace; empty for an object of the whole cluster.
    pub namespace: String,
    /// The name; empty where the API server is to make one.
    pub name: String,
    /// The object as it is submitted, with defaults; none when it is deleted.
    pub object: Option<Value>,
    /// The object before; none when it is created.
    pub old_object: Option<Value>,
    /// The namespace of the object. Without it, policies that select namespaces know its name only.
    pub namespace_object: Option<Value>,
    /// Who writes.
    pub user: User,
    /// Whether nothing will be stored.
    pub dry_run: bool,
}

impl Request {
    /// Whether a rule may ask for more of its namespace than the name.
    pub fn concerns_namespace(&self) -> bool {
        let resource = &self.resource;
        self.operation == Operation::Create
            && resource.group.is_empty()
            && resource.plural == "persistentvolumeclaims"
    }
}

/// What becomes of a write.
#[derive(Debug, Clone, PartialEq)]
pub enum Judgement {
    /// It is stored as it is.
    Untouched,
    /// It is stored with these operations of an RFC 6902 JSON patch, one after the other.
    Patch(Vec<Value>),
    /// It depends on these rights of the writer. Ask for each of them by a SubjectAccessReview, and
    /// judge again with the answers; that may ask for further ones.
    Ask(Vec<Right>),
    /// The rules cannot be applied to it, for this reason.
    Broken(String),
}
