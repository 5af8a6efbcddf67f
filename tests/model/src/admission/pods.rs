//! Pods of workloads that sleep: pods.yaml.

use serde_json::{Value, json};

use super::{Operation, Write, annotations, is_exempt, key, labels, text};

/// What stands in the file for the image of the operator.
const IMAGE: &str = "lockkeeper-image";
/// The container, and the volume, that Lockkeeper adds.
const PAUSE: &str = "lockkeeper-pause";
/// What root needs to change the files of others, where its container drops all capabilities.
const OF_ROOT: [&str; 3] = ["CHOWN", "DAC_OVERRIDE", "FOWNER"];

/// What becomes of a write of a pod.
pub(super) fn mutated(write: &Write) -> Value {
    let mut pod = write.new.clone();
    let mark = key("in-maintenance");
    let selected = labels(&pod).get(&mark) == Some(&json!("sleep")) && !is_exempt(&pod);
    let inits = list(&pod["spec"]["initContainers"]);
    let awake = inits.iter().all(|one| one["name"] != PAUSE);
    let linux = pod["spec"]["os"]["name"].as_str().is_none_or(|name| name == "linux");
    if write.operation != Operation::Create || !selected || !awake || !linux {
        return pod;
    }
    let marks = annotations(&pod);
    let named = |word: &str| -> Vec<String> {
        let words = text(&marks, "in-maintenance").unwrap_or_default().split(' ');
        let lists = words.filter_map(|one| one.strip_prefix(word)?.strip_prefix('='));
        lists.flat_map(|names| names.split(',')).map(str::to_owned).collect()
    };
    let (keep, root) = (named("keep"), named("root"));
    let is_in = |names: &[String], one: &Value| names.iter().any(|name| one["name"] == **name);

    let mut gates = list(&pod["spec"]["schedulingGates"]);
    gates.retain(|gate| gate["name"] != *mark);
    match gates.is_empty() {
        true => drop(pod["spec"].as_object_mut().and_then(|spec| spec.remove("schedulingGates"))),
        false => pod["spec"]["schedulingGates"] = Value::Array(gates),
    }
    let runs_as_root = pod["spec"]["securityContext"]["runAsUser"] == 0;
    let sidecars = inits.into_iter().filter(|one| one["restartPolicy"] == "Always");
    pod["spec"]["initContainers"] = [installs(runs_as_root)].into_iter().chain(sidecars).collect();
    let mut volumes = list(&pod["spec"]["volumes"]);
    volumes.push(json!({"name": PAUSE, "emptyDir": {"sizeLimit": "16Mi"}}));
    pod["spec"]["volumes"] = Value::Array(volumes);
    for container in pod["spec"]["containers"].as_array_mut().into_iter().flatten() {
        if is_in(&keep, container) {
            continue;
        }
        let is_root = is_in(&root, container);
        sleep(container);
        if is_root {
            make_root(container);
        }
    }
    pod
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn installs(runs_as_root: bool) -> Value {
    let mut context = json!({"runAsNonRoot": true, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}});
    if runs_as_root {
        context["runAsUser"] = json!(65532);
    }
    json!({
        "name": PAUSE, "image": IMAGE, "imagePullPolicy": "IfNotPresent",
        "command": ["/lockkeeper-pause", "install", "/.lockkeeper"],
        "volumeMounts": [{"name": PAUSE, "mountPath": "/.lockkeeper"}],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "16Mi"}},
        "securityContext": context,
    })
}

fn sleep(container: &mut Value) {
    if let Some(fields) = container.as_object_mut() {
        for of_app in ["args", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"] {
            fields.remove(of_app);
        }
    }
    container["command"] = json!(["/.lockkeeper/lockkeeper-pause"]);
    let mut mounts = list(&container["volumeMounts"]);
    mounts.push(json!({"name": PAUSE, "mountPath": "/.lockkeeper", "readOnly": true}));
    container["volumeMounts"] = Value::Array(mounts);
}

fn make_root(container: &mut Value) {
    let context = &mut container["securityContext"];
    context["runAsUser"] = json!(0);
    context["runAsNonRoot"] = json!(false);
    if list(&context["capabilities"]["drop"]).iter().any(|one| one == "ALL") {
        let mut added = list(&context["capabilities"]["add"]);
        let more = OF_ROOT.iter().map(|name| json!(name)).filter(|name| !added.contains(name));
        let more: Vec<_> = more.collect();
        added.extend(more);
        context["capabilities"]["add"] = Value::Array(added);
    }
}
