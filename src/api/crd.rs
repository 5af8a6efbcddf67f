//! The CustomResourceDefinition, generated from the Rust types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use super::UpgradePolicy;

/// Name of the CRD.
pub const NAME: &str = "upgradepolicies.lockkeeper.dev";

/// The CRD as it is installed.
pub fn definition() -> CustomResourceDefinition {
    UpgradePolicy::crd()
}

/// The CRD as YAML, as `crds/upgradepolicies.yaml` holds it.
///
/// # Errors
/// When the definition cannot be written as YAML, which would be a defect.
pub fn yaml() -> Result<String, serde_saphyr::ser::Error> {
    let body = serde_saphyr::to_string(&definition())?;
    Ok(format!("# Generated from src/api by `lockkeeper crd`; `make generate` writes it anew.\n{body}"))
}
