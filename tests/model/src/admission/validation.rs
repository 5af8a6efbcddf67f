//! The validating policies: rights.yaml, warnings.yaml and self-restraint.yaml, all for workloads. They see what mutation left.

use serde_json::{Value, json};

use super::{
    Marks, OPERATOR, Refused, Twin, Write, annotations, has_replicas, is_governed, is_rolling, key, labels, map, replicas,
    template_differs, text,
};

/// Who may let a change through or take a workload out.
pub(super) fn check_rights(twin: &Twin, write: &Write, old: &Value, object: &Value) -> Result<(), Refused> {
    if write.user == OPERATOR {
        return Ok(());
    }
    let (na, oa) = (annotations(object), annotations(old));
    let new = |mark: &str| na.get(&key(mark)).is_some_and(|value| oa.get(&key(mark)) != Some(value));
    let leaves = text(&na, "ignore") == Some("true") && text(&oa, "hold-changes") == Some("true");
    let checks = [
        (new("approve"), "approve", "approve upgrades", "approve"),
        (new("bypass"), "bypass", "bypass holds", "bypass"),
        (new("ignore") && leaves, "ignore", "take a workload whose changes are held out of Lockkeeper", "bypass"),
    ];
    for (asks, mark, what, verb) in checks {
        if asks && !twin.may(write, verb) {
            let (user, namespace) = (write.user, object["metadata"]["namespace"].as_str().unwrap_or_default());
            let needs = format!("needs verb {verb} on upgradepolicies.lockkeeper.dev");
            return Err(Refused(format!("lockkeeper.dev/{mark}: {user} may not {what} in namespace {namespace} ({needs})")));
        }
    }
    Ok(())
}

/// What the operator's own account may change at most. The API server tells of the first rule that is broken only.
pub(super) fn restrain(then: &Value, now: &Value) -> Result<(), Refused> {
    let (na, oa) = (annotations(now), annotations(then));
    let mut metadata = changed(&oa, &na);
    // The API server itself counts a DaemonSet's templates in an annotation.
    metadata.retain(|key| key != "deprecated.daemonset.template.generation");
    metadata.extend(changed(&labels(then), &labels(now)));
    metadata.retain(|key| !key.starts_with("lockkeeper.dev/"));
    let list = |object: &Value, field: &str| Some(object["metadata"][field].clone()).filter(|list| !list.is_null()).unwrap_or(json!([]));
    metadata.extend(["ownerReferences", "finalizers"].into_iter().filter(|field| list(now, field) != list(then, field)).map(str::to_owned));
    if !metadata.is_empty() {
        let what = metadata.join(", ");
        let only = "on workloads its account may change only labels and annotations under lockkeeper.dev/";
        return Err(Refused(format!("Lockkeeper restrains itself: {only}, not {what}")));
    }
    let stands = |mark: &str| na.contains_key(&key(mark)) || oa.contains_key(&key(mark));
    let mut derived = vec!["template"];
    if stands("hold") || stands("partition") {
        derived.extend(["paused", "updateStrategy"]);
    }
    if stands("volume-access") {
        derived.push("strategy");
    }
    let scale = format!("{} of {}", replicas(now), replicas(then));
    if is_governed(then) && text(&oa, "declared-replicas") == Some(&*scale) {
        derived.push("replicas");
    }
    let mut spec = changed(&spec(then), &spec(now));
    spec.retain(|key| !derived.contains(&key.as_str()));
    if !spec.is_empty() {
        let what = spec.iter().map(|key| format!("spec.{key}")).collect::<Vec<_>>().join(", ");
        return Err(Refused(format!("Lockkeeper restrains itself: its account may not change {what} of a workload")));
    }
    if template_differs(then, now) {
        let only = "in a pod template its account may change only the annotation lockkeeper.dev/config-hash";
        return Err(Refused(format!("Lockkeeper restrains itself: {only}")));
    }
    Ok(())
}

/// A spec's fields. The API server leaves `paused: false` off.
fn spec(object: &Value) -> Marks {
    let mut spec = map(&object["spec"]);
    spec.retain(|key, value| !(key == "paused" && *value == false));
    spec
}

/// The keys that are new or have another value, and those that are gone.
pub(super) fn changed(old: &Marks, new: &Marks) -> Vec<String> {
    let set = new.iter().filter(|(key, value)| old.get(*key) != Some(value)).map(|(key, _)| key);
    set.chain(old.keys().filter(|key| !new.contains_key(*key))).cloned().collect()
}

/// What the writer of a changed template is told.
pub(super) fn warnings(write: &Write, old: &Value, object: &Value) -> Vec<String> {
    let deployment = write.kind == "Deployment";
    let held = annotations(object).contains_key(&key("hold"));
    let holdable = text(&annotations(old), "hold-changes") == Some("true")
        && is_governed(old)
        && has_replicas(old)
        && (deployment || is_rolling(old) || is_rolling(object));
    let hash = |object: &Value| annotations(&object["spec"]["template"]).remove(&key("config-hash"));
    let changed = write.user != OPERATOR && (template_differs(old, object) || hash(old) != hash(object));
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let place = if deployment { "deployment" } else { "statefulset" };
    match (held, changed) {
        (true, true) => {
            let fewer = annotations(object).contains_key(&key("declared-replicas"));
            let stay = if fewer { format!(" (its {} replicas stay until then)", replicas(object)) } else { String::new() };
            vec![format!("stored, but held by Lockkeeper until its gates open: kubectl lockkeeper why {place}/{name}{stay}")]
        }
        (false, true) if holdable => {
            let why = "was changed after Lockkeeper's admission step, by another admission webhook?";
            vec![format!("not held by Lockkeeper, it rolls now: the template of {name} {why}")]
        }
        _ => Vec::new(),
    }
}
