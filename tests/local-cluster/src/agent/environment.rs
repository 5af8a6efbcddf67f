//! What a container finds when it starts: its environment, and the files of its volumes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::{Container, KeyToPath, Pod, Volume},
};
use kube::{Api, api::PostParams};
use serde_json::json;

use super::{
    Shared,
    content::{self, Missing, required},
};

/// Names the folder under which a process finds its mounts, as it has no mount namespace.
pub const POD_ROOT: &str = "LOCKKEEPER_POD_ROOT";

type Files = BTreeMap<String, Vec<u8>>;

/// The contents of the volumes that hold config, by the volume's name.
pub async fn volumes(shared: &Shared, pod: &Pod) -> Result<BTreeMap<String, Files>, Missing> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut contents = BTreeMap::new();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        if let Some(files) = volume_files(shared, namespace, volume).await? {
            contents.insert(volume.name.clone(), files);
        }
    }
    Ok(contents)
}

async fn volume_files(
    shared: &Shared,
    namespace: &str,
    volume: &Volume,
) -> Result<Option<Files>, Missing> {
    let client = &shared.client;
    if let Some(source) = &volume.config_map {
        let keys = content::config_map(client, namespace, &source.name).await?;
        let keys = required("configmap", &source.name, keys, source.optional == Some(true))?;
        return project(&source.name, keys, source.items.as_deref(), source.optional == Some(true))
            .map(Some);
    }
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let keys = required(
            "secret",
            name,
            content::secret(client, namespace, name).await?,
            source.optional == Some(true),
        )?;
        return project(name, keys, source.items.as_deref(), source.optional == Some(true))
            .map(Some);
    }
    let Some(projected) = &volume.projected else { return Ok(None) };
    let mut files = Files::new();
    for source in projected.sources.iter().flatten() {
        if let Some(map) = &source.config_map {
            let optional = map.optional == Some(true);
            let keys = required(
                "configmap",
                &map.name,
                content::config_map(client, namespace, &map.name).await?,
                optional,
            )?;
            files.extend(project(&map.name, keys, map.items.as_deref(), optional)?);
        }
        if let Some(secret) = &source.secret {
            let optional = secret.optional == Some(true);
            let keys = required(
                "secret",
                &secret.name,
                content::secret(client, namespace, &secret.name).await?,
                optional,
            )?;
            files.extend(project(&secret.name, keys, secret.items.as_deref(), optional)?);
        }
    }
    Ok(Some(files))
}

fn project(
    name: &str,
    keys: Files,
    items: Option<&[KeyToPath]>,
    optional: bool,
) -> Result<Files, Missing> {
    let Some(items) = items.filter(|items| !items.is_empty()) else { return Ok(keys) };
    let mut files = Files::new();
    for item in items {
        match keys.get(&item.key) {
            Some(bytes) => drop(files.insert(item.path.clone(), bytes.clone())),
            None if optional => {}
            None => {
                return Err(Missing::NotFound(format!(
                    "references non-existent key {:?} of {name:?}",
                    item.key
                )));
            }
        }
    }
    Ok(files)
}

/// Puts what a container mounts under the root: the files of its config, and links to the folders
/// of its claims.
pub fn mount(
    container: &Container,
    volumes: &BTreeMap<String, Files>,
    folders: &BTreeMap<String, PathBuf>,
    root: &Path,
) -> std::io::Result<()> {
    for mount in container.volume_mounts.iter().flatten() {
        let place = root.join(mount.mount_path.trim_matches('/'));
        if let Some(folder) = folders.get(&mount.name) {
            link(
                &place,
                &mount
                    .sub_path
                    .as_ref()
                    .map_or_else(|| folder.clone(), |inside| folder.join(inside)),
            )?;
            continue;
        }
        let files = volumes.get(&mount.name);
        match (&mount.sub_path, files) {
            (Some(sub_path), Some(files)) => {
                if let Some(bytes) = files.get(sub_path) {
                    write(&place, bytes)?;
                }
            }
            (_, files) => {
                std::fs::create_dir_all(&place)?;
                for (path, bytes) in files.into_iter().flatten() {
                    write(&place.join(path), bytes)?;
                }
            }
        }
    }
    Ok(())
}

fn link(place: &Path, target: &Path) -> std::io::Result<()> {
    if !target.exists() {
        std::fs::create_dir_all(target)?;
    }
    if let Some(folder) = place.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Left by the container's last run.
    if place.is_symlink() {
        std::fs::remove_file(place)?;
    }
    std::os::unix::fs::symlink(target, place)
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, bytes)
}

/// The environment of a container, as the kubelet makes it.
pub async fn variables(
    shared: &Shared,
    pod: &Pod,
    container: &Container,
    address: &str,
) -> Result<BTreeMap<String, String>, Missing> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut variables = BTreeMap::new();
    for source in container.env_from.iter().flatten() {
        let keys = if let Some(map) = &source.config_map_ref {
            required(
                "configmap",
                &map.name,
                content::config_map(&shared.client, namespace, &map.name).await?,
                map.optional == Some(true),
            )?
        } else if let Some(secret) = &source.secret_ref {
            required(
                "secret",
                &secret.name,
                content::secret(&shared.client, namespace, &secret.name).await?,
                secret.optional == Some(true),
            )?
        } else {
            continue;
        };
        let prefix = source.prefix.as_deref().unwrap_or_default();
        variables
            .extend(keys.into_iter().map(|(key, bytes)| (format!("{prefix}{key}"), text(bytes))));
    }
    for variable in container.env.iter().flatten() {
        let from = variable.value_from.as_ref();
        let value = if let Some(key) = from.and_then(|from| from.config_map_key_ref.as_ref()) {
            let keys = content::config_map(&shared.client, namespace, &key.name).await?;
            one("configmap", &key.name, &key.key, keys, key.optional == Some(true))?
        } else if let Some(key) = from.and_then(|from| from.secret_key_ref.as_ref()) {
            let keys = content::secret(&shared.client, namespace, &key.name).await?;
            one("secret", &key.name, &key.key, keys, key.optional == Some(true))?
        } else if let Some(field) = from.and_then(|from| from.field_ref.as_ref()) {
            Some(field_value(pod, &field.field_path, address))
        } else {
            Some(expand(variable.value.as_deref().unwrap_or_default(), &variables))
        };
        variables.extend(value.map(|value| (variable.name.clone(), value)));
    }
    Ok(variables)
}

fn one(
    kind: &str,
    name: &str,
    key: &str,
    keys: content::Keys,
    optional: bool,
) -> Result<Option<String>, Missing> {
    match required(kind, name, keys, optional)?.remove(key) {
        Some(bytes) => Ok(Some(text(bytes))),
        None if optional => Ok(None),
        None => Err(Missing::NotFound(format!("couldn't find key {key} in {kind} {name}"))),
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

fn field_value(pod: &Pod, path: &str, address: &str) -> String {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let keyed = |prefix: &str, map: &Option<BTreeMap<String, String>>| {
        let key = path.strip_prefix(prefix)?.strip_suffix("']")?;
        map.as_ref()?.get(key).cloned()
    };
    let value = match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()),
        "status.podIP" | "status.podIPs" => Some(address.to_owned()),
        "status.hostIP" | "status.hostIPs" => Some("127.0.0.1".to_owned()),
        _ => keyed("metadata.labels['", &meta.labels)
            .or_else(|| keyed("metadata.annotations['", &meta.annotations)),
    };
    value.unwrap_or_default()
}

/// Replaces `$(NAME)` by a variable that is known already, as the kubelet does; `$$` is a dollar.
pub fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        expanded.push_str(&rest[..start]);
        let tail = &rest[start + 1..];
        if let Some(after) = tail.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) =
            tail.strip_prefix('(').and_then(|tail| tail.split_once(')'))
        {
            match variables.get(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            expanded.push('$');
            rest = tail;
        }
    }
    expanded + rest
}

/// A kubeconfig with a token of the pod's service account, bound to the pod; none if the pod wants
/// none.
pub async fn kubeconfig(
    shared: &Shared,
    pod: &Pod,
    folder: &Path,
) -> Result<Option<PathBuf>, Missing> {
    let Some(spec) = &pod.spec else { return Ok(None) };
    let Some(account) = spec
        .service_account_name
        .as_deref()
        .filter(|_| spec.automount_service_account_token != Some(false))
    else {
        return Ok(None);
    };
    let unreachable = |error: &dyn std::fmt::Display| Missing::Unreachable(error.to_string());
    let request: TokenRequest = serde_json::from_value(
        json!({"spec": {"audiences": [], "expirationSeconds": 86400, "boundObjectRef": {
        "apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": pod.metadata.uid}}}),
    )
    .map_err(|error| unreachable(&error))?;
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(
        shared.client.clone(),
        pod.metadata.namespace.as_deref().unwrap_or_default(),
    );
    let answer = accounts
        .create_token_request(account, &PostParams::default(), &request)
        .await
        .map_err(|error| unreachable(&error))?;
    let token = answer.status.map(|status| status.token).unwrap_or_default();
    let authority = json!(k8s_openapi::ByteString(shared.options.authority.as_bytes().to_vec()));
    let path = folder.join("kubeconfig");
    let text =
        crate::cluster::kubeconfig(&shared.options.address, &authority, &json!({"token": token}))
            .to_string();
    write(&path, text.as_bytes()).map_err(|error| unreachable(&error))?;
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_mounted_whole_or_in_part_and_again_after_a_restart() {
        let place = tempfile::tempdir().unwrap();
        let (folder, root) = (place.path().join("volume"), place.path().join("root"));
        std::fs::create_dir_all(&folder).unwrap();
        let mounts = json!([{"name": "data", "mountPath": "/data"}, {"name": "data", "mountPath": "/var/part/", "subPath": "a/b"}]);
        let container: Container =
            serde_json::from_value(json!({"name": "app", "volumeMounts": mounts})).unwrap();
        let folders = BTreeMap::from([("data".to_owned(), folder.clone())]);
        for run in ["first", "second"] {
            mount(&container, &BTreeMap::new(), &folders, &root).unwrap();
            std::fs::write(root.join("var/part").join(run), run).unwrap();
        }
        assert_eq!(std::fs::read_to_string(root.join("data/a/b/first")).unwrap(), "first");
        // A pod that goes takes its links away, and leaves the data.
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(std::fs::read_to_string(folder.join("a/b/second")).unwrap(), "second");
    }
}
