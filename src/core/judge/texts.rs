//! The chart's admission policies, as this version of the operator knows them.

use serde_json::Value;

/// The namespace that the files are written for.
const NAMESPACE: &str = "lockkeeper-system";

/// What holds changes, steps and releases them, and says who does.
pub const HOLDS: [&str; 4] = [
    include_str!("../../../charts/lockkeeper/admission/deployments.yaml"),
    include_str!("../../../charts/lockkeeper/admission/statefulsets.yaml"),
    include_str!("../../../charts/lockkeeper/admission/created.yaml"),
    include_str!("../../../charts/lockkeeper/admission/probe.yaml"),
];
/// What keeps Helm, Argo CD and Flux off retained claims, and the operator's notes on them.
pub const CLAIMS: &str = include_str!("../../../charts/lockkeeper/admission/claims.yaml");

/// All files with mutating policies.
pub const MUTATING: [&str; 5] = [HOLDS[0], HOLDS[1], HOLDS[2], HOLDS[3], CLAIMS];

/// The objects of a file, as the chart installs them for a release in this namespace; but for their
/// metadata, which the chart adds to.
pub fn objects(file: &str, namespace: &str) -> Vec<Value> {
    let file = file.replace(NAMESPACE, namespace);
    let documents = file.split("\n---\n");
    documents.map(|document| serde_saphyr::from_str(document).unwrap_or_default()).collect()
}
