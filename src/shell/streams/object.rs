//! What a watch sees, typed by the kind that it watches.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::{
    core::observed::Uid,
    shell::views::{
        Watched, Wire,
        lenient::{Flaw, Lenient},
    },
    workload::{resource_version, uid},
};

/// Which watch: of which kind, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    plural: &'static str,
    namespace: Option<String>,
}

impl StreamId {
    /// The watch of a kind, in one namespace or everywhere.
    pub fn of<K: Watched>(namespace: Option<&str>) -> Self {
        Self { plural: K::PLURAL, namespace: namespace.map(str::to_owned) }
    }

    /// The plural of its kind.
    pub fn plural(&self) -> &'static str {
        self.plural
    }

    /// The namespace, for a watch of one only.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} in {namespace}", self.plural),
            None => f.write_str(self.plural),
        }
    }
}

/// What a watch can see.
pub enum Step<K: Watched> {
    /// A list begins: what is not in it is gone.
    Restarted,
    /// An object of the list.
    Listed(Object<K>),
    /// The list is complete.
    Complete,
    /// An object was added or modified.
    Applied(Object<K>),
    /// An object was deleted.
    Deleted(Object<K>),
    /// The API server does not serve the kind.
    NotServed,
    /// We may not read it in this namespace, which is gone perhaps, and our rights with it.
    Unreadable,
}

/// An object, and where it is.
pub struct Object<K: Watched> {
    /// Its namespace; empty for an object of the cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: Uid,
    /// Its resourceVersion.
    pub resource_version: u64,
    /// What is kept of it. Of one that cannot be read, what that would be of the part that can.
    pub view: K::View,
    /// What is wrong with it, if it cannot be read.
    pub flaw: Option<Flaw>,
}

/// What is kept of an object on the wire that may be one that cannot be read; none if it cannot be
/// identified.
pub fn lenient<K: Watched>(read: Lenient<Wire<K>>) -> Option<Object<K>> {
    match read.read() {
        Ok(wire) => Some(object(wire)),
        Err(unreadable) => {
            let rest = object(unreadable.rest::<K>()?);
            Some(Object { flaw: Some(unreadable.flaw), ..rest })
        }
    }
}

/// What is kept of an object on the wire.
pub fn object<K: Watched>(wire: Wire<K>) -> Object<K> {
    let meta: ObjectMeta = wire.metadata;
    Object {
        uid: uid(&meta),
        resource_version: resource_version(&meta),
        view: K::view(&meta, wire.body),
        namespace: meta.namespace.unwrap_or_default(),
        name: meta.name.unwrap_or_default(),
        flaw: None,
    }
}
