//! What was observed, as plain data. The shell keeps it up to date; the core only reads it.

pub mod config_object;
pub mod ids;
pub mod kind;
pub mod namespace;
pub mod owned;
pub mod pod;
pub mod policy;
pub mod reference;
pub mod revision;
pub mod snapshots;
pub mod storage;
pub mod unread;
pub mod version;
pub mod workload;

pub use self::{
    config_object::{ConfigEntry, Content, Version},
    ids::{ConfigId, Uid, WorkloadId},
    namespace::Namespace,
    owned::{HasOwner, Owned},
    pod::{DeclaredPort, Pod, Reach, is_overdue, overdue_at},
    policy::Policy,
    reference::{Keys, Reference},
    revision::{ControllerRevision, ReplicaSet},
    unread::{Concerns, Unread, UnreadId, Unreadables},
    workload::{Ordinals, RolloutState, Template, TemplateDigest, UserHold, Workload, Writer},
};
