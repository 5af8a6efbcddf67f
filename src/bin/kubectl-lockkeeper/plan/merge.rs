//! What an apply makes of an object: whose fields count as applied, which of them the new manifest
//! leaves out, and, where the API server may not be asked, the object as well as it can be told
//! without.

use std::collections::BTreeMap;

use lockkeeper::api::marks;
use serde_json::{Map, Value};

use crate::cluster::FIELD_MANAGER;

/// Those who apply manifests without server-side apply: what a newer manifest leaves out they take
/// away.
const APPLIERS: [&str; 6] = [
    "kubectl-client-side-apply",
    "helm",
    "Helm",
    "argocd-controller",
    "argocd-application-controller",
    "before-first-apply",
];
/// The keys by which the items of a list are told apart, in the order in which they are tried.
const KEYS: [&str; 6] = ["name", "mountPath", "containerPort", "port", "key", "ip"];

/// The field manager that applies an object by server-side apply: under its name a dry run shows
/// also what is taken away.
pub fn applier(live: &Value) -> Option<&str> {
    let entries = live["metadata"]["managedFields"].as_array().into_iter().flatten();
    let applied =
        entries.filter(|entry| entry["operation"] == "Apply" && entry["subresource"].is_null());
    let others = applied.filter_map(|entry| {
        Some((
            entry["manager"].as_str()?,
            count(&entry["fieldsV1"]["f:spec"]) + count(&entry["fieldsV1"]["f:data"]),
        ))
    });
    others
        .filter(|(manager, fields)| !manager.starts_with("lockkeeper") && *fields > 0)
        .max_by_key(|(_, fields)| *fields)
        .map(|(manager, _)| manager)
}

fn count(fields: &Value) -> usize {
    fields.as_object().map_or(0, |fields| fields.values().map(|inner| 1 + count(inner)).sum())
}

/// Takes out of an object, as a dry run of ours made it, what a user who applies it without
/// server-side apply had declared under `place` and the manifest leaves out. Returns whether there
/// was anything; what the API server fills in goes too, and is filled in again.
pub fn take_out(live: &Value, made: &mut Value, place: &[&str]) -> bool {
    let fields = |object: &Value, wanted: &dyn Fn(&Value) -> bool| {
        let mut all = Value::Null;
        for entry in object["metadata"]["managedFields"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|entry| wanted(entry))
        {
            let inner =
                place.iter().fold(&entry["fieldsV1"], |fields, name| &fields[format!("f:{name}")]);
            unite(&mut all, inner);
        }
        all
    };
    let manager = |entry: &Value| entry["manager"].as_str().unwrap_or_default().to_owned();
    let old = fields(live, &|entry| {
        entry["operation"] == "Update" && APPLIERS.contains(&&*manager(entry))
    });
    // What another manager owns as well stays.
    let kept = fields(made, &|entry| {
        !(entry["operation"] == "Update" && APPLIERS.contains(&&*manager(entry)))
    });
    let mut object = &mut *made;
    for name in place {
        match object.get_mut(*name) {
            Some(inner) => object = inner,
            None => return false,
        }
    }
    remove(object, &old, &kept)
}

fn unite(all: &mut Value, more: &Value) {
    let Some(more) = more.as_object() else { return };
    if !all.is_object() {
        *all = Value::Object(Map::new());
    }
    for (name, inner) in more {
        unite(&mut all[name.as_str()], inner);
        if all[name.as_str()].is_null() {
            all[name.as_str()] = Value::Object(Map::new());
        }
    }
}

/// Removes the fields that are in `old` and not in `kept`; whether there were any.
fn remove(object: &mut Value, old: &Value, kept: &Value) -> bool {
    let mut removed = false;
    for (name, inner) in old.as_object().into_iter().flatten().filter(|(name, _)| *name != ".") {
        let stays = kept.get(name);
        if let Some(field) = name.strip_prefix("f:") {
            match (stays, object.get_mut(field)) {
                (Some(stays), Some(value)) => removed |= remove(value, inner, stays),
                (None, Some(_)) => {
                    removed |=
                        object.as_object_mut().and_then(|fields| fields.remove(field)).is_some()
                }
                _ => {}
            }
        } else if let (Some(key), Some(items)) = (name.strip_prefix("k:"), object.as_array_mut()) {
            let Ok(Value::Object(key)) = serde_json::from_str::<Value>(key) else { continue };
            let Some(index) =
                items.iter().position(|item| key.iter().all(|(name, value)| item[name] == *value))
            else {
                continue;
            };
            match stays {
                Some(stays) => removed |= remove(&mut items[index], inner, stays),
                None => {
                    items.remove(index);
                    removed = true;
                }
            }
        } else if let (Some(value), None, Some(items)) =
            (name.strip_prefix("v:"), stays, object.as_array_mut())
        {
            let before = items.len();
            items.retain(|item| {
                serde_json::from_str::<Value>(value).map_or(true, |value| value != *item)
            });
            removed |= items.len() != before;
        }
    }
    removed
}

/// What is to be written to see what an update makes of it: the live object with the new spec,
/// labels and annotations. What Lockkeeper and admission say on it stays theirs.
pub fn update_of(live: &Value, made: &Value, manifest: &Value) -> Value {
    let mut object = made.clone();
    let ours = |key: &str| key.starts_with(marks::PREFIX);
    for map in ["labels", "annotations"] {
        let declared = &manifest["metadata"][map];
        let mut entries = made["metadata"][map].as_object().cloned().unwrap_or_default();
        entries.retain(|key, _| !ours(key) || !declared[key].is_null());
        let standing = live["metadata"][map]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, _)| ours(key) && declared[*key].is_null());
        entries.extend(standing.map(|(key, value)| (key.clone(), value.clone())));
        object["metadata"][map] = Value::Object(entries);
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        metadata.insert("resourceVersion".to_owned(), live["metadata"]["resourceVersion"].clone());
    }
    let partition = "/spec/updateStrategy/rollingUpdate/partition";
    if let (Some(made), Some(live), None) =
        (object.pointer_mut(partition), live.pointer(partition), manifest.pointer(partition))
    {
        *made = live.clone();
    }
    if let (Some(spec), true) =
        (object["spec"].as_object_mut(), manifest["spec"]["paused"].is_null())
    {
        match live["spec"]["paused"].as_bool() {
            Some(paused) => drop(spec.insert("paused".to_owned(), paused.into())),
            None => drop(spec.remove("paused")),
        }
    }
    object
}

/// The object with a manifest over it, as well as that can be told without the API server.
pub fn overlay(live: &Value, manifest: &Value) -> Value {
    match (live, manifest) {
        (Value::Object(live), Value::Object(manifest)) => {
            let mut merged = live.clone();
            for (key, value) in manifest {
                match value {
                    Value::Null => drop(merged.remove(key)),
                    value => drop(merged.insert(
                        key.clone(),
                        overlay(live.get(key).unwrap_or(&Value::Null), value),
                    )),
                }
            }
            Value::Object(merged)
        }
        (Value::Array(live), Value::Array(manifest)) => {
            match list_key(manifest).filter(|key| live.iter().all(|item| !item[*key].is_null())) {
                Some(key) => {
                    let known: BTreeMap<String, &Value> =
                        live.iter().map(|item| (item[key].to_string(), item)).collect();
                    let item = |item: &Value| {
                        overlay(
                            known.get(&item[key].to_string()).copied().unwrap_or(&Value::Null),
                            item,
                        )
                    };
                    Value::Array(manifest.iter().map(item).collect())
                }
                None if live.len() == manifest.len() => Value::Array(
                    live.iter().zip(manifest).map(|(live, new)| overlay(live, new)).collect(),
                ),
                None => Value::Array(manifest.clone()),
            }
        }
        // The API server writes quantities and ports as it likes.
        (live, manifest) if same_scalar(live, manifest) => live.clone(),
        (_, Value::Object(manifest)) => Value::Object(
            manifest
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        ),
        (_, manifest) => manifest.clone(),
    }
}

fn list_key(items: &[Value]) -> Option<&'static str> {
    KEYS.into_iter().find(|key| {
        let values: std::collections::BTreeSet<_> =
            items.iter().map(|item| item[*key].to_string()).collect();
        items.iter().all(|item| !item[*key].is_null())
            && values.len() == items.len()
            && !items.is_empty()
    })
}

fn same_scalar(live: &Value, manifest: &Value) -> bool {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    text(live).is_some() && text(live) == text(manifest)
}

/// The manifest as an object that is created: as ours where the API server may not be asked.
pub fn created(manifest: &Value, namespace: &str) -> Value {
    let mut object = overlay(&Value::Null, manifest);
    object["metadata"]["namespace"] = namespace.into();
    // `stringData` is written as `data`; only whether it is another one is ever told.
    if let Some(Value::Object(texts)) =
        object.as_object_mut().and_then(|fields| fields.remove("stringData"))
    {
        for (key, value) in texts {
            let text = value.as_str().unwrap_or_default();
            object["data"][key.as_str()] =
                base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text).into();
        }
    }
    object
}

/// The field manager of a dry run.
pub fn manager(live: Option<&Value>) -> &str {
    live.and_then(applier).unwrap_or(FIELD_MANAGER)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "fieldsV1": fields})
    }

    #[test]
    fn a_dry_run_is_made_in_the_name_of_the_user_who_applies() {
        let spec = json!({"f:spec": {"f:template": {"f:a": {}, "f:b": {}}}});
        for (entries, expected) in [
            (
                json!([
                    entry("helm", "Apply", spec.clone()),
                    entry("autoscaler", "Apply", json!({"f:spec": {"f:replicas": {}}}))
                ]),
                Some("helm"),
            ),
            (json!([entry("helm", "Update", spec.clone())]), None),
            (json!([entry("lockkeeper-plugin", "Apply", spec.clone())]), None),
            (json!([entry("labeller", "Apply", json!({"f:metadata": {}}))]), None),
            (Value::Null, None),
        ] {
            let live = json!({"metadata": {"managedFields": entries}});
            assert_eq!(applier(&live), expected, "{live}");
        }
    }

    #[test]
    fn what_a_manifest_leaves_out_goes_as_if_it_were_applied() {
        let of_env = |names: &[&str]| {
            let mut env = json!({".": {}});
            names.iter().for_each(|name| {
                env[format!("k:{{\"name\":\"{name}\"}}")] =
                    json!({".": {}, "f:name": {}, "f:value": {}})
            });
            json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"app\"}": {"f:name": {}, "f:env": env}}}}}})
        };
        let live = json!({"metadata": {"managedFields": [
            entry("kubectl-client-side-apply", "Update", of_env(&["A", "B", "C"])), entry("injector", "Update", of_env(&["C", "D"]))]}});
        let env = |names: &[&str]| {
            let env: Vec<_> =
                names.iter().map(|name| json!({"name": name, "value": "x"})).collect();
            json!({"spec": {"containers": [{"name": "app", "env": env}]}})
        };
        let mut made = json!({"spec": {"template": env(&["A", "B", "C", "D"])}, "metadata": {"managedFields": [
            entry("kubectl-client-side-apply", "Update", of_env(&["A", "B", "C"])), entry("injector", "Update", of_env(&["C", "D"])),
            entry(FIELD_MANAGER, "Apply", of_env(&["A"]))]}});
        assert!(take_out(&live, &mut made, &["spec", "template"]));
        assert_eq!(made["spec"]["template"], env(&["A", "C", "D"]));
        assert!(!take_out(&json!({}), &mut made, &["spec", "template"]));
    }

    #[test]
    fn what_lockkeeper_says_on_an_object_stays_in_an_update() {
        let live = json!({"metadata": {"resourceVersion": "7", "annotations": {marks::HOLD_CHANGES: "true", "mine": "1"}},
            "spec": {"updateStrategy": {"rollingUpdate": {"partition": 1}}}});
        let made = json!({"metadata": {"resourceVersion": "7", "managedFields": [], "annotations":
            {marks::HOLD_CHANGES: "true", marks::HOLD: "8 by ann", "mine": "2"}}, "spec": {"paused": true, "replicas": 2, "updateStrategy": {"rollingUpdate": {"partition": 2147483647}}}});
        let update = update_of(&live, &made, &json!({"spec": {}}));
        assert_eq!(
            update["metadata"]["annotations"],
            json!({marks::HOLD_CHANGES: "true", "mine": "2"})
        );
        assert_eq!(
            update["spec"],
            json!({"replicas": 2, "updateStrategy": {"rollingUpdate": {"partition": 1}}})
        );
        assert!(update["metadata"].get("managedFields").is_none());
    }

    #[test]
    fn without_the_api_server_a_manifest_is_laid_over_what_is_there() {
        let live = json!({"containers": [{"name": "app", "image": "v1", "imagePullPolicy": "Always", "resources": {"limits": {"cpu": "1"}}},
            {"name": "old"}], "args": ["a", "b"], "kept": true});
        let manifest = json!({"containers": [{"name": "app", "image": "v2", "resources": {"limits": {"cpu": 1}}}, {"name": "side"}], "args": ["a", "c"]});
        let expected = json!({"containers": [{"name": "app", "image": "v2", "imagePullPolicy": "Always", "resources": {"limits": {"cpu": "1"}}},
            {"name": "side"}], "args": ["a", "c"], "kept": true});
        assert_eq!(overlay(&live, &manifest), expected);
    }

    #[test]
    fn a_new_secret_is_as_the_api_server_would_store_it() {
        let manifest = json!({"kind": "Secret", "metadata": {"name": "a"}, "stringData": {"k": "v"}, "data": {"b": "eA=="}});
        assert_eq!(created(&manifest, "shop")["data"], json!({"b": "eA==", "k": "dg=="}));
        assert_eq!(created(&manifest, "shop")["metadata"]["namespace"], "shop");
    }
}
