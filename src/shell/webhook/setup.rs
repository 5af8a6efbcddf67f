//! Makes the webhook's authority, and makes it known to the API server. A hook of the chart runs it
//! under an account of its own: who may write a webhook's configuration can change every object of
//! the cluster, so the operator may not.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::time::sleep;

use super::{
    certificate,
    secrets::{LEAF_SECRET, Secrets, Source},
};
use crate::{
    api::marks,
    core::hold::judges::WEBHOOK,
    settings::WebhookSetupSettings,
    shell::{clock, errors::within, runtime::client},
};

/// The webhook's configuration.
pub const CONFIGURATION: &str = WEBHOOK.1;
/// How often others may be quicker.
const TRIES: usize = 5;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// Does it; what was done.
///
/// # Errors
/// Says in a sentence what keeps it from being done.
pub async fn run(settings: WebhookSetupSettings) -> Result<String, String> {
    let client = client().await.map_err(|error| error.to_string())?;
    set_up(client, settings.operator_namespace, settings.webhook_names.0).await
}

/// The same, with a client and for a webhook of these names.
///
/// # Errors
/// The same.
pub async fn set_up(
    client: Client,
    namespace: String,
    names: Vec<String>,
) -> Result<String, String> {
    let now = clock::now();
    let source = Source { namespace, secret: LEAF_SECRET.to_owned(), names };
    let secrets = Secrets::new(client.clone(), source);
    let authority = secrets.authority(now).await?;
    // Before the API server is told of an authority, there is a certificate of it.
    secrets.leaf_of(&authority, now).await?;
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client);
    for _ in 0..TRIES {
        let Some(patch) = patch(&configurations, &authority.certificate).await? else {
            return Ok(format!("MutatingWebhookConfiguration {CONFIGURATION} knows the authority"));
        };
        let parameters = PatchParams {
            field_manager: Some(marks::FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::<()>::Json(patch);
        match within(configurations.patch(CONFIGURATION, &parameters, &patch)).await {
            Ok(_) => {
                return Ok(format!(
                    "MutatingWebhookConfiguration {CONFIGURATION} was told of the authority"
                ));
            }
            Err(error) if error.is_conflict() => sleep(PAUSE).await,
            Err(error) => {
                return Err(format!(
                    "the MutatingWebhookConfiguration {CONFIGURATION} cannot be written: {}",
                    error.sentence()
                ));
            }
        }
    }
    Err(format!("the MutatingWebhookConfiguration {CONFIGURATION} changes all the time"))
}

/// What makes the authority known; nothing where it is known.
async fn patch(
    configurations: &Api<MutatingWebhookConfiguration>,
    authority: &str,
) -> Result<Option<json_patch::Patch>, String> {
    let found = within(configurations.get(CONFIGURATION)).await.map_err(|error| {
        format!(
            "the MutatingWebhookConfiguration {CONFIGURATION} cannot be read: {}",
            error.sentence()
        )
    })?;
    let mut operations = vec![json!({"op": "test", "path": "/metadata/resourceVersion",
        "value": found.metadata.resource_version})];
    for (index, webhook) in found.webhooks.unwrap_or_default().into_iter().enumerate() {
        let before = webhook.client_config.ca_bundle.unwrap_or_default();
        let wanted = certificate::bundle(authority, &String::from_utf8_lossy(&before.0))?;
        if wanted.as_bytes() != before.0 {
            let value = k8s_openapi::ByteString(wanted.into_bytes());
            let path = format!("/webhooks/{index}/clientConfig/caBundle");
            operations.push(json!({"op": "add", "path": path, "value": value}));
        }
    }
    let changes = operations.len() > 1;
    let patch = serde_json::from_value(json!(operations)).map_err(|error| error.to_string())?;
    Ok(changes.then_some(patch))
}
