//! The claim that is created for a volume with earlier data.

use lockkeeper::{api::marks, core::observed::storage::Claim};
use serde_json::{Map, Value, json};

use super::seen::View;

/// What binds a claim to a volume, or was noted for the one that it had: never copied to another
/// one.
const BINDING: [&str; 3] =
    ["pv.kubernetes.io/", "volume.kubernetes.io/", "volume.beta.kubernetes.io/"];

/// A claim created from the manifest of an earlier one, for another volume. It asks for nothing
/// that the volume cannot give.
pub fn again(old: &Value, view: &Claim, volume: &View) -> Value {
    let is_shield =
        |key: &str| view.shields.get(key).is_some_and(|shield| shield.manager.is_none());
    let annotations: Map<String, Value> = old["metadata"]["annotations"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| {
            !key.starts_with(marks::PREFIX)
                && !BINDING.iter().any(|prefix| key.starts_with(prefix))
                && !is_shield(key)
        })
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let labels: Map<String, Value> = old["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| !key.starts_with(marks::PREFIX))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut spec = old["spec"].clone();
    spec["volumeName"] = json!(volume.view.name);
    let of_volume = &volume.raw["spec"];
    if view.class != volume.view.class {
        spec["storageClassName"] = class(of_volume);
    }
    if view.requested > volume.view.capacity {
        spec["resources"]["requests"]["storage"] = of_volume["capacity"]["storage"].clone();
    }
    let modes = |spec: &Value| spec["accessModes"].as_array().cloned().unwrap_or_default();
    if !modes(&spec).iter().all(|mode| modes(of_volume).contains(mode)) {
        spec["accessModes"] = of_volume["accessModes"].clone();
    }
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": spec,
        "metadata": {"name": old["metadata"]["name"], "namespace": old["metadata"]["namespace"], "labels": labels, "annotations": annotations},
    })
}

/// A claim for a volume, where nothing of the earlier claim is known but its name.
pub fn for_volume(namespace: &str, name: &str, volume: &View) -> Value {
    let of_volume = &volume.raw["spec"];
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "volumeName": volume.view.name, "storageClassName": class(of_volume), "accessModes": of_volume["accessModes"],
            "volumeMode": of_volume["volumeMode"], "resources": {"requests": {"storage": of_volume["capacity"]["storage"]}},
        },
    })
}

/// Without a class, the empty one: no default class is to step in.
fn class(spec: &Value) -> Value {
    json!(spec["storageClassName"].as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::seen::{claim_view, volume_view};

    fn volume(spec: Value) -> View {
        let raw = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv-old", "uid": "1"}, "spec": spec});
        volume_view(raw).unwrap()
    }

    fn disk() -> View {
        volume(
            json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "volumeMode": "Filesystem"}),
        )
    }

    fn claim(storage: &str, class: &str, mode: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": "data", "namespace": "shop", "uid": "7", "resourceVersion": "9", "finalizers": ["kubernetes.io/pvc-protection"],
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "8"}],
                "labels": {"app": "web", "lockkeeper.dev/retained": "true", "lockkeeper.dev/protected": "true"},
                "annotations": {
                    "meta.helm.sh/release-name": "web", "lockkeeper.dev/provenance": "{}", "pv.kubernetes.io/bind-completed": "yes",
                    "pv.kubernetes.io/bound-by-controller": "yes", "volume.kubernetes.io/selected-node": "a",
                    "volume.beta.kubernetes.io/storage-provisioner": "x", "helm.sh/resource-policy": "keep",
                    "kustomize.toolkit.fluxcd.io/prune": "disabled"
                },
                "managedFields": [{"manager": "helm", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:metadata": {"f:annotations": {"f:helm.sh/resource-policy": {}}}}}],
            },
            "spec": {"volumeName": "pv-young", "storageClassName": class, "accessModes": [mode], "resources": {"requests": {"storage": storage}}},
            "status": {"phase": "Bound"}
        })
    }

    #[test]
    fn a_claim_is_created_again_without_what_tied_it_to_its_volume() {
        let old = claim("1Gi", "fast", "ReadWriteOnce");
        let made = again(&old, &claim_view(&old).unwrap(), &disk());
        assert_eq!(
            made,
            json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {
                    "name": "data", "namespace": "shop", "labels": {"app": "web"},
                    // What the chart itself declares stays; what admission put there, it puts there
                    // again.
                    "annotations": {"meta.helm.sh/release-name": "web", "helm.sh/resource-policy": "keep"}
                },
                "spec": {"volumeName": "pv-old", "storageClassName": "fast", "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}}}
            })
        );
    }

    #[test]
    fn it_asks_for_at_most_what_the_volume_has() {
        for (storage, class, mode, expected) in [
            ("5Gi", "slow", "ReadWriteMany", ("1Gi", "fast", "ReadWriteOnce")),
            ("500Mi", "slow", "ReadWriteOnce", ("500Mi", "fast", "ReadWriteOnce")),
            ("2Gi", "fast", "ReadWriteOnce", ("1Gi", "fast", "ReadWriteOnce")),
        ] {
            let old = claim(storage, class, mode);
            let spec = again(&old, &claim_view(&old).unwrap(), &disk())["spec"].clone();
            let got = (
                &spec["resources"]["requests"]["storage"],
                &spec["storageClassName"],
                &spec["accessModes"][0],
            );
            assert_eq!(got, (&json!(expected.0), &json!(expected.1), &json!(expected.2)));
        }
    }

    #[test]
    fn a_claim_for_a_volume_without_class_asks_for_none() {
        let volume = volume(
            json!({"capacity": {"storage": "3Gi"}, "accessModes": ["ReadWriteMany"], "volumeMode": "Block"}),
        );
        assert_eq!(
            for_volume("shop", "data", &volume)["spec"],
            json!({"volumeName": "pv-old", "storageClassName": "", "accessModes": ["ReadWriteMany"], "volumeMode": "Block",
                "resources": {"requests": {"storage": "3Gi"}}})
        );
    }
}
