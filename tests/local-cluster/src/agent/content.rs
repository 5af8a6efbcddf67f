//! ConfigMaps and Secrets, read fresh each time something starts.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};

/// What a container cannot start without.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// An object or a key does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The API server does not answer.
    #[error("{0}")]
    Unreachable(String),
}

/// The keys of an object, as bytes; none if there is no such object.
pub type Keys = Option<BTreeMap<String, Vec<u8>>>;

/// Reads a ConfigMap.
pub async fn config_map(client: &Client, namespace: &str, name: &str) -> Result<Keys, Missing> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let object =
        api.get_opt(name).await.map_err(|error| Missing::Unreachable(error.to_string()))?;
    Ok(object.map(|object| {
        let text = object
            .data
            .unwrap_or_default()
            .into_iter()
            .map(|(key, value)| (key, value.into_bytes()));
        let binary =
            object.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
        text.chain(binary).collect()
    }))
}

/// Reads a Secret.
pub async fn secret(client: &Client, namespace: &str, name: &str) -> Result<Keys, Missing> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let object =
        api.get_opt(name).await.map_err(|error| Missing::Unreachable(error.to_string()))?;
    Ok(object.map(|object| {
        object.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect()
    }))
}

/// The keys, or what a pod is told when they are not there; an optional object that is absent has
/// none.
pub fn required(
    kind: &str,
    name: &str,
    keys: Keys,
    optional: bool,
) -> Result<BTreeMap<String, Vec<u8>>, Missing> {
    match keys {
        Some(keys) => Ok(keys),
        None if optional => Ok(BTreeMap::new()),
        None => Err(Missing::NotFound(format!("{kind} {name:?} not found"))),
    }
}
