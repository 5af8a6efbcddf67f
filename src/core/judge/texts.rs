//! The chart's admission policies, as this version of the operator knows them.

use serde_json::Value;

/// The namespace that the files are written for.
const NAMESPACE: &str = "lockkeeper-system";
/// What stands in the files for the image of the operator.
const IMAGE: &str = "lockkeeper-image";

/// What holds changes, steps and releases them, and says who does.
pub const HOLDS: [&str; 4] = [
    include_str!("../../../charts/lockkeeper/admission/deployments.yaml"),
    include_str!("../../../charts/lockkeeper/admission/statefulsets.yaml"),
    include_str!("../../../charts/lockkeeper/admission/created.yaml"),
    include_str!("../../../charts/lockkeeper/admission/probe.yaml"),
];
/// What keeps Helm, Argo CD and Flux off retained claims, and the operator's notes on them.
pub const CLAIMS: &str = include_str!("../../../charts/lockkeeper/admission/claims.yaml");

/// What puts pods to sleep.
pub const PODS: &str = include_str!("../../../charts/lockkeeper/admission/pods.yaml");

/// What gives claims of reserved names their volume.
pub const RESERVE: &str = include_str!("../../../charts/lockkeeper/admission/reserve.yaml");

/// All files with mutating policies.
pub const MUTATING: [&str; 7] = [HOLDS[0], HOLDS[1], HOLDS[2], HOLDS[3], CLAIMS, PODS, RESERVE];

/// A release of the chart, as far as the texts of its policies depend on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Release {
    /// Its namespace.
    pub namespace: String,
    /// The image of the operator.
    pub image: String,
}

impl Release {
    /// One in this namespace, with this image of the operator.
    pub fn new(namespace: &str, image: &str) -> Self {
        Self { namespace: namespace.to_owned(), image: image.to_owned() }
    }

    /// The objects of a file, as the chart installs them for this release; but for their metadata,
    /// which the chart adds to.
    pub fn objects(&self, file: &str) -> Vec<Value> {
        let file = file.replace(NAMESPACE, &self.namespace).replace(IMAGE, &self.image);
        let documents = file.split("\n---\n");
        documents.map(|document| serde_saphyr::from_str(document).unwrap_or_default()).collect()
    }
}
