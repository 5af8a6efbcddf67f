//! How a change of config alone is named.

use jiff::Timestamp;

use crate::{
    core::{config::desired::Desired, digest::Sum, observed::Reference, subject::Subject},
    marks::{ChangeId, Since},
};

/// The change of config alone that waits, or begins to: since when, and its id. Another change is
/// another time, also when an old content comes back.
pub fn change(subject: &Subject, desired: &[(Reference, Desired)]) -> (Timestamp, ChangeId) {
    let marks = &subject.workload.marks;
    let since = match marks.hold_since.get() {
        Some(Since::Config(since)) => Some(*since),
        Some(Since::Change { .. }) | None => None,
    };
    // The same as long as it is asked about, also before anything is written down.
    let begun = subject.memory.differs_since.unwrap_or(subject.now());
    let known = since.map(|since| (since, id(subject, desired, since)));
    known
        .filter(|(_, id)| marks.pending_config.get() == Some(id))
        .unwrap_or_else(|| (begun, id(subject, desired, begun)))
}

/// Names a change of config: another content, or the same content at another time, is another
/// change.
fn id(subject: &Subject, desired: &[(Reference, Desired)], since: Timestamp) -> ChangeId {
    let sum = subject
        .key()
        .sum("pending-config")
        .field(subject.workload.uid.as_bytes())
        .field(since.to_string().as_bytes());
    ChangeId::Config(with_desired(sum, desired).digest().short().into())
}

/// The config-hash with which a template rolls for this config: another one for each rollout.
pub fn config_hash(subject: &Subject, desired: &[(Reference, Desired)]) -> String {
    let (uid, generation) = (&subject.workload.uid, subject.workload.generation);
    let sum =
        subject.key().sum("config-hash").field(uid.as_bytes()).field(&generation.to_be_bytes());
    with_desired(sum, desired).digest().to_string().chars().take(16).collect()
}

/// What is there of what is desired, in the order of the references.
fn with_desired(sum: Sum, desired: &[(Reference, Desired)]) -> Sum {
    desired.iter().fold(sum, |sum, (reference, desired)| match &desired.digest {
        Ok(digest) => sum.field(reference.to_string().as_bytes()).field(&digest.0),
        Err(_) => sum,
    })
}
