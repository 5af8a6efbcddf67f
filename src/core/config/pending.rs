//! How a change of config alone is named, and its config-hash.

use jiff::Timestamp;

use crate::{
    core::{
        config::desired::Desired,
        digest::{Key, Sum},
        observed::{Reference, Workload},
    },
    marks::ChangeId,
};

/// Names a change of config: another content, or the same content at another time, is another
/// change.
pub fn id(
    key: &Key,
    workload: &Workload,
    desired: &[(Reference, Desired)],
    since: Timestamp,
) -> ChangeId {
    let sum = key
        .sum("pending-config")
        .field(workload.uid.as_bytes())
        .field(since.to_string().as_bytes());
    ChangeId::Config(with_desired(sum, desired).digest().short().into())
}

/// The config-hash with which a template rolls for this config: another one for each rollout.
pub fn config_hash(key: &Key, workload: &Workload, desired: &[(Reference, Desired)]) -> String {
    let sum = key
        .sum("config-hash")
        .field(workload.uid.as_bytes())
        .field(&workload.generation.to_be_bytes());
    with_desired(sum, desired).digest().to_string().chars().take(16).collect()
}

/// What is there of what is desired, in the order of the references.
fn with_desired(sum: Sum, desired: &[(Reference, Desired)]) -> Sum {
    desired.iter().fold(sum, |sum, (reference, desired)| match &desired.digest {
        Ok(digest) => sum.field(reference.to_string().as_bytes()).field(&digest.0),
        Err(_) => sum,
    })
}
