//! The CustomResourceDefinition, generated from the Rust types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

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
    let mut definition = serde_json::to_value(definition()).unwrap_or_default();
    drop_unknown_formats(&mut definition);
    let body = serde_saphyr::to_string(&definition)?;
    Ok(format!("# Generated from src/api by `lockkeeper crd`; `make generate` writes it anew.\n{body}"))
}

/// The API server warns of formats that OpenAPI does not know, such as `uint32`; the bounds say the same.
fn drop_unknown_formats(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                fields.remove("format");
            }
            fields.values_mut().for_each(drop_unknown_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_unknown_formats),
        _ => {}
    }
}
