//! Objects as they are stored: with defaults, without what is empty, and valid.

use serde_json::{Map, Value, json};

use super::Failure;

/// What may be changed of a StatefulSet's spec.
const MUTABLE: [&str; 7] = [
    "replicas",
    "template",
    "updateStrategy",
    "persistentVolumeClaimRetentionPolicy",
    "ordinals",
    "minReadySeconds",
    "revisionHistoryLimit",
];

/// Null is absent, and so are labels and annotations that are none.
pub(super) fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let none = |field: &str, value: &Value| {
                matches!(field, "annotations" | "labels")
                    && value.as_object().is_some_and(Map::is_empty)
            };
            map.values_mut().for_each(strip);
            map.retain(|field, value| !value.is_null() && !none(field, value));
        }
        Value::Array(all) => all.iter_mut().for_each(strip),
        _ => {}
    }
}

/// The field as a map, made if it is absent.
fn section<'a>(map: &'a mut Map<String, Value>, field: &str) -> Option<&'a mut Map<String, Value>> {
    map.entry(field).or_insert_with(|| json!({})).as_object_mut()
}

fn default(map: &mut Map<String, Value>, field: &str, value: Value) {
    map.entry(field).or_insert(value);
}

/// An object as this minor version of Kubernetes stores it: with defaults, and without what is
/// empty.
pub(super) fn tidy(kubernetes: u32, kind: &str, object: &mut Value) {
    strip(object);
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|field, value| {
            !matches!(field.as_str(), "labels" | "annotations")
                || value.as_object().is_none_or(|map| !map.is_empty())
        });
    }
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if !matches!(kind, "Deployment" | "StatefulSet") {
        return;
    }
    default(spec, "replicas", json!(1));
    default(spec, "revisionHistoryLimit", json!(10));
    if kind == "Deployment" {
        default(spec, "progressDeadlineSeconds", json!(600));
        if spec.get("paused") == Some(&json!(false)) {
            spec.remove("paused");
        }
        let Some(strategy) = section(spec, "strategy") else { return };
        default(strategy, "type", json!("RollingUpdate"));
        if strategy["type"] == "RollingUpdate"
            && let Some(rolling) = section(strategy, "rollingUpdate")
        {
            default(rolling, "maxSurge", json!("25%"));
            default(rolling, "maxUnavailable", json!("25%"));
        }
        return;
    }
    default(spec, "podManagementPolicy", json!("OrderedReady"));
    default(
        spec,
        "persistentVolumeClaimRetentionPolicy",
        json!({"whenDeleted": "Retain", "whenScaled": "Retain"}),
    );
    let Some(strategy) = section(spec, "updateStrategy") else { return };
    if !strategy.contains_key("type") {
        strategy.insert("type".to_owned(), json!("RollingUpdate"));
        default(strategy, "rollingUpdate", json!({}));
    }
    if strategy["type"] == "RollingUpdate"
        && let Some(rolling) = strategy.get_mut("rollingUpdate").and_then(Value::as_object_mut)
    {
        default(rolling, "partition", json!(0));
        // Versions before do not know the field, unless a feature gate says so.
        if kubernetes >= 37 {
            default(rolling, "maxUnavailable", json!(1));
        } else {
            rolling.remove("maxUnavailable");
        }
    }
}

pub(super) fn valid(kind: &str, old: Option<&Value>, new: &Value) -> Result<(), Failure> {
    let invalid = |message: &str| Err(Failure::Invalid(message.to_owned()));
    let (spec, was) = (&new["spec"], old.map(|old| &old["spec"]));
    match kind {
        "Deployment" => {
            let strategy = &spec["strategy"];
            if strategy["type"] == "Recreate" && !strategy["rollingUpdate"].is_null() {
                return invalid(
                    "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
                );
            }
            let none = |field: &str| {
                strategy["rollingUpdate"][field] == "0%" || strategy["rollingUpdate"][field] == 0
            };
            if none("maxSurge") && none("maxUnavailable") {
                return invalid(
                    "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: may not be 0 when `maxSurge` is 0",
                );
            }
            if was.is_some_and(|was| was["selector"] != spec["selector"]) {
                return invalid("spec.selector: field is immutable");
            }
        }
        "StatefulSet" => {
            let strategy = &spec["updateStrategy"];
            if strategy["type"] == "OnDelete" && !strategy["rollingUpdate"].is_null() {
                return invalid(
                    "spec.updateStrategy.rollingUpdate: Invalid value: only allowed for updateStrategy 'RollingUpdate'",
                );
            }
            let (Some(was), Some(spec)) = (was.and_then(Value::as_object), spec.as_object()) else {
                return Ok(());
            };
            let changed = |field: &&String| {
                !MUTABLE.contains(&field.as_str()) && was.get(*field) != spec.get(*field)
            };
            if was.keys().chain(spec.keys()).any(|field| changed(&field)) {
                return invalid(
                    "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                     'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
                );
            }
        }
        _ => {}
    }
    Ok(())
}
