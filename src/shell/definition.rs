//! Writes the CustomResourceDefinition to the cluster: Helm installs it, and never upgrades it.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::Value;

use super::{
    clock,
    errors::{Error, within},
    runtime::client,
};
use crate::api::{crd, marks};

/// Timeout for the API server to serve what was written.
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Writes it, no matter who wrote it before, and waits until it is served.
///
/// # Errors
/// Says in a sentence what keeps it from being written or served.
pub async fn apply() -> Result<String, String> {
    let definitions: Api<CustomResourceDefinition> =
        Api::all(client().await.map_err(|error| error.to_string())?);
    let wanted: Value = crd::yaml()
        .map_err(|error| error.to_string())
        .and_then(|text| serde_saphyr::from_str(&text).map_err(|error| error.to_string()))?;
    let force = PatchParams::apply(marks::FIELD_MANAGER).force();
    within(definitions.patch(crd::NAME, &force, &Patch::Apply(&wanted))).await.map_err(
        |error| {
            format!(
                "the CustomResourceDefinition {} cannot be written: {}",
                crd::NAME,
                error.sentence()
            )
        },
    )?;
    let begun = clock::moment();
    loop {
        let found = within(definitions.get(crd::NAME)).await;
        match found.as_ref().map(is_established) {
            Ok(true) => {
                return Ok(format!(
                    "the CustomResourceDefinition {} is as this version needs it, and is served",
                    crd::NAME
                ));
            }
            _ if begun.elapsed() < ESTABLISHED_WITHIN => tokio::time::sleep(LOOK_EVERY).await,
            Ok(false) => {
                let seconds = ESTABLISHED_WITHIN.as_secs();
                return Err(format!(
                    "the CustomResourceDefinition {} is written, but not established after {seconds} s",
                    crd::NAME
                ));
            }
            Err(_) => return Err(found.err().as_ref().map(Error::sentence).unwrap_or_default()),
        }
    }
}

/// Whether the API server serves what a definition defines.
pub fn is_established(definition: &CustomResourceDefinition) -> bool {
    let mut conditions =
        definition.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Established" && condition.status == "True")
}
