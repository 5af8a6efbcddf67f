//! The validating policies: rights.yaml, warnings.yaml and self-restraint.yaml, all for workloads.
//! They see what mutation left.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};

use super::{
    Admitted, HELD, Marks, OPERATOR, Operation, Refused, Rule, Twin, Write, annotations,
    has_replicas, is_exempt, is_governed, is_on_delete, key, labels, maintenance, map, matches,
    mutation::put_map, replicas, storage, template_differs, text,
};

static WISH: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let names = "[a-z0-9-]+(,[a-z0-9-]+)*";
    Regex::new(&format!(
        "^(Off|Stop|Sleep( keep={names})?( root={names})?)(: [^[:cntrl:]]{{1,200}})?$"
    ))
    .ok()
});

/// A write of the status: `lockkeeper-status` and `lockkeeper-storage-status`. The API server keeps
/// the spec as it was, and the labels of a Deployment.
pub(super) fn status(twin: &Twin, write: &Write, old: &Value) -> Result<Admitted, Refused> {
    let mut object = old.clone();
    let (ol, oa, na) = (labels(old), annotations(old), annotations(write.new));
    let nl = if write.kind == "Deployment" { ol.clone() } else { labels(write.new) };
    put_map(&mut object, "annotations", na.clone());
    put_map(&mut object, "labels", nl.clone());
    object["status"] = write.new["status"].clone();
    let workload = matches!(write.kind, "Deployment" | "StatefulSet" | "DaemonSet");
    let selected = match workload {
        true => !is_exempt(old) && (is_governed(old) || is_governed(&object)),
        false => storage::is_storage(write.kind),
    };
    let mut marks = changed(&oa, &na);
    marks.extend(changed(&ol, &nl));
    marks.retain(|mark| mark.starts_with("lockkeeper.dev/"));
    // A namespace that is stuck is emptied, often with a minimal body.
    if write.operation == Operation::Finalize && !old["metadata"]["deletionTimestamp"].is_null() {
        marks.retain(|mark| na.contains_key(mark) || nl.contains_key(mark));
    }
    if selected && !marks.is_empty() && !twin.forgets(Rule::GuardStatus) {
        let (kind, marks) = (write.kind, marks.join(", "));
        return Err(Refused(format!(
            "write marks on the {kind} itself: a write of its status may not change {marks}"
        )));
    }
    Ok(Admitted { object, warnings: Vec::new() })
}

/// Who may let a change through or take a workload out.
pub(super) fn check_rights(
    twin: &Twin,
    write: &Write,
    old: &Value,
    object: &Value,
) -> Result<(), Refused> {
    if write.user == OPERATOR {
        return Ok(());
    }
    let (na, oa) = (annotations(object), annotations(old));
    let new =
        |mark: &str| na.get(&key(mark)).is_some_and(|value| oa.get(&key(mark)) != Some(value));
    let held = text(&oa, "hold-changes") == Some("true")
        || oa.contains_key(&key("hold"))
        || oa.contains_key(&key("partition"));
    let leaves = text(&na, "ignore") == Some("true") && held;
    let checks = [
        (new("approve"), "approve", "approve upgrades", "approve"),
        (new("bypass"), "bypass", "bypass holds", "bypass"),
        (
            new("ignore") && leaves,
            "ignore",
            "take a workload whose changes are held out of Lockkeeper",
            "bypass",
        ),
        (new("maintenance"), "maintenance", "begin or end maintenance", "maintain"),
        (new("migrated"), "migrated", "say that data is migrated", "maintain"),
    ];
    let maintenance = text(&na, "maintenance").filter(|_| new("maintenance"));
    if let Some(words) = maintenance.filter(|words| !matches(&WISH, words)) {
        let write = "write Stop, Sleep, Sleep keep=CONTAINERS root=CONTAINERS, or Off, and after it, if you like, a colon and a reason of at most 200 characters, not";
        // The API server trims what it tells.
        let told = format!("lockkeeper.dev/maintenance: {write} {words}");
        return Err(Refused(told.trim_end().to_owned()));
    }
    let wish = |words: &str| words.split(": ").next().unwrap_or_default().to_owned();
    let as_root = maintenance.is_some_and(|words| wish(words).contains(" root="));
    let checks = [(as_root, "maintenance", "run containers as root", "maintain-as-root")]
        .into_iter()
        .chain(checks);
    for (asks, mark, what, verb) in checks {
        if asks && !twin.may(write, verb) {
            let (user, namespace) =
                (write.user, object["metadata"]["namespace"].as_str().unwrap_or_default());
            let needs = format!("needs verb {verb} on upgradepolicies.lockkeeper.dev");
            return Err(Refused(format!(
                "lockkeeper.dev/{mark}: {user} may not {what} in namespace {namespace} ({needs})"
            )));
        }
    }
    let stage = text(&oa, "in-maintenance").unwrap_or_default();
    let has = |wanted: &str| stage.split(' ').any(|word| word == wanted);
    let migrated = text(&na, "migrated").filter(|_| new("migrated"));
    if let Some(id) = migrated
        && !(stage.starts_with("sleep ") && has("migrating") && has(&format!("change={id}")))
    {
        return Err(Refused(format!(
            "lockkeeper.dev/migrated: no pods sleep for the migration to change {id}. The status of the policy names the change that is being migrated"
        )));
    }
    Ok(())
}

/// What another policy or webhook may change of a workload, of a pod and of a container in a write
/// of the operator's.
const PLAIN_SPEC: [&str; 4] =
    ["template", "revisionHistoryLimit", "progressDeadlineSeconds", "minReadySeconds"];
const PLAIN_POD: [&str; 15] = [
    "containers",
    "initContainers",
    "tolerations",
    "imagePullSecrets",
    "priorityClassName",
    "priority",
    "preemptionPolicy",
    "nodeSelector",
    "affinity",
    "topologySpreadConstraints",
    "schedulerName",
    "schedulingGates",
    "resources",
    "overhead",
    "terminationGracePeriodSeconds",
];
const PLAIN_CONTAINER: [&str; 5] = [
    "resources",
    "resizePolicy",
    "imagePullPolicy",
    "terminationMessagePath",
    "terminationMessagePolicy",
];
/// Of a pod template, what is a mark of ours or changes what its containers may do.
const WEIGHTY: [&str; 4] = [
    "lockkeeper.dev/",
    "container.apparmor.security.beta.kubernetes.io/",
    "container.seccomp.security.alpha.kubernetes.io/",
    "seccomp.security.alpha.kubernetes.io/",
];

/// The Secrets that the operator's own account may create: `lockkeeper-self-restraint-secrets`.
pub(super) fn restrain_secret(secret: &Value) -> Result<(), Refused> {
    let wanted = match secret["metadata"]["name"].as_str() {
        Some("lockkeeper-digest-key") => "lockkeeper.dev/digest-key",
        Some("lockkeeper-webhook-ca" | "lockkeeper-webhook-tls") => "kubernetes.io/tls",
        _ => "",
    };
    if secret["type"] == wanted && secret["metadata"]["namespace"] == "lockkeeper-system" {
        return Ok(());
    }
    Err(Refused(
        "Lockkeeper restrains itself: its account may create only the Secrets lockkeeper-digest-key, lockkeeper-webhook-ca and \
         lockkeeper-webhook-tls of its namespace, each with its own type"
            .to_owned(),
    ))
}

/// What the operator's own account may change at most. The API server tells of the first rule that
/// is broken only.
pub(super) fn restrain(kind: &str, then: &Value, now: &Value) -> Result<(), Refused> {
    let (na, oa) = (annotations(now), annotations(then));
    let of = |path: &str, keys: Vec<String>| {
        keys.into_iter().map(|key| format!("{path}[{key}]")).collect::<Vec<_>>()
    };
    let list = |object: &Value, field: &str| {
        Some(object["metadata"][field].clone()).filter(|list| !list.is_null()).unwrap_or(json!([]))
    };
    let mut forbidden: Vec<String> = Vec::new();
    let owned = ["ownerReferences", "finalizers"]
        .into_iter()
        .filter(|field| list(now, field) != list(then, field));
    forbidden.extend(owned.map(|field| format!("metadata.{field}")));
    let theirs =
        |keys: Vec<String>| keys.into_iter().filter(|key| !is_ours(key)).collect::<Vec<_>>();
    forbidden.extend(of("metadata.annotations", theirs(gone(&oa, &na))));
    let mark = |marks: &Marks| text(marks, "in-maintenance").unwrap_or_default().to_owned();
    let (was, is) = (mark(&oa), mark(&na));
    let of_users = ["maintenance", "maintenance-by"].map(key);
    let unasked =
        of_users.into_iter().filter(|key| na.contains_key(key) && na.get(key) != oa.get(key));
    forbidden.extend(of("metadata.annotations", unasked.collect()));
    let wish = text(&oa, "maintenance").and_then(|words| words.split(": ").next());
    let asked = format!("{was} {}", wish.unwrap_or_default());
    let is_asked = |word: &str| asked.split(' ').any(|one| one == word);
    if is.split(' ').any(|word| word.starts_with("root=") && !is_asked(word)) {
        forbidden.extend(of("metadata.annotations", vec![key("in-maintenance")]));
    }
    forbidden.extend(of("metadata.labels", theirs(gone(&labels(then), &labels(now)))));
    let stands = |mark: &str| na.contains_key(&key(mark)) || oa.contains_key(&key(mark));
    let maintained = is_governed(then) && !format!("{was}{is}").is_empty();
    let mut derived = Vec::new();
    let noted = |mark: &str| oa.contains_key(&key(mark));
    if stands("hold")
        || stands("partition")
        || maintained
        || noted("declared-paused")
        || noted("declared-partition")
    {
        derived.extend(["paused", "updateStrategy"]);
    }
    if stands("volume-access") {
        derived.push("strategy");
    }
    let scale = format!("{} of {}", replicas(now), replicas(then));
    if is_governed(then) && text(&oa, "declared-replicas") == Some(&*scale) {
        derived.push("replicas");
    }
    let noted = |marks: &Marks| text(marks, "maintenance-replicas").map(str::to_owned);
    let fewer = text(&oa, "declared-replicas").and_then(|fewer| fewer.split(' ').next());
    let takes = maintained
        && maintenance::mode(&is) == "stop"
        && replicas(now) == 0
        && (maintenance::zero(&was)
            || noted(&na) == Some(replicas(then).to_string())
            || (fewer.is_some() && noted(&na).as_deref() == fewer));
    let gives =
        maintained && maintenance::zero(&was) && noted(&oa) == Some(replicas(now).to_string());
    if takes || gives {
        derived.push("replicas");
    }
    let mut of_spec = changed(&spec(then), &spec(now));
    of_spec.retain(|key| !derived.contains(&key.as_str()) && !PLAIN_SPEC.contains(&key.as_str()));
    forbidden.extend(of_spec.iter().map(|key| format!("spec.{key}")));
    let (ot, nt) = (&then["spec"]["template"], &now["spec"]["template"]);
    let (mut ota, mut nta) = (annotations(ot), annotations(nt));
    let hashes = [ota.remove(&key("config-hash")), nta.remove(&key("config-hash"))]
        .map(|hash| hash.filter(|hash| hash != ""));
    let nt = &match maintained && maintenance::is_allowed(&na, nt) {
        true => with_marks_of(ot, nt),
        false => nt.clone(),
    };
    let (otl, ntl) = (labels(ot), labels(nt));
    if maintained || !nta.contains_key(&key("in-maintenance")) {
        ota.remove(&key("in-maintenance"));
    }
    if maintained {
        nta.remove(&key("in-maintenance"));
    }
    forbidden.extend(of("spec.template.metadata.annotations", gone(&ota, &nta)));
    forbidden.extend(of("spec.template.metadata.labels", gone(&otl, &ntl)));
    let set = |old: &Marks, new: &Marks| {
        changed(old, new).into_iter().filter(|key| new.contains_key(key)).collect::<Vec<_>>()
    };
    let mut added = of("spec.template.metadata.annotations", set(&ota, &nta));
    added.extend(of("spec.template.metadata.labels", set(&otl, &ntl)));
    forbidden.extend(
        added
            .iter()
            .filter(|path| WEIGHTY.iter().any(|weighty| path.contains(&format!("[{weighty}"))))
            .cloned(),
    );
    let mut of_metadata = changed(&map(&ot["metadata"]), &map(&nt["metadata"]));
    of_metadata.retain(|key| !["labels", "annotations"].contains(&key.as_str()));
    forbidden.extend(of_metadata.iter().map(|key| format!("spec.template.metadata.{key}")));
    for field in changed(&map(&ot["spec"]), &map(&nt["spec"])) {
        let path = format!("spec.template.spec.{field}");
        if PLAIN_POD.contains(&field.as_str()) { added.push(path) } else { forbidden.push(path) }
    }
    for field in ["containers", "initContainers"] {
        forbidden.extend(of_containers(field, &ot["spec"][field], &nt["spec"][field]));
    }
    let refused = |what: &str, fields: &[String]| {
        Err(Refused(format!("Lockkeeper restrains itself: {what} {}", fields.join(", "))))
    };
    if !forbidden.is_empty() {
        return refused("its account may not change", &forbidden);
    }
    let gated = kind != "DaemonSet"
        && is_governed(now)
        && text(&na, "hold-changes") == Some("true")
        && has_replicas(now);
    let begins =
        hashes[0] != hashes[1] || (oa.contains_key(&key("hold")) && !na.contains_key(&key("hold")));
    let strategy = &now["spec"]["updateStrategy"];
    let stays = match kind {
        "Deployment" => now["spec"]["paused"] == true,
        _ => {
            strategy["type"] == "OnDelete"
                || strategy["rollingUpdate"]["partition"].as_i64() == Some(HELD)
        }
    };
    match added.is_empty() || !gated || begins || stays {
        true => Ok(()),
        false => refused("without a hold its account may not change", &added),
    }
}

/// A template, with the label and the gate of maintenance as they are on another one.
fn with_marks_of(then: &Value, now: &Value) -> Value {
    let mut now = now.clone();
    let label = labels(then).get(&key("in-maintenance")).cloned();
    let mut all = labels(&now);
    all.remove(&key("in-maintenance"));
    all.extend(label.map(|label| (key("in-maintenance"), label)));
    put_map(&mut now, "labels", all);
    let gates = |spec: &Value| maintenance::without_gate(spec)["schedulingGates"].clone();
    if gates(&now["spec"]) == gates(&then["spec"]) {
        match then["spec"].get("schedulingGates") {
            Some(gates) => now["spec"]["schedulingGates"] = gates.clone(),
            None => drop(now["spec"].as_object_mut().map(|spec| spec.remove("schedulingGates"))),
        }
    }
    now
}

/// The fields of containers in which two lists differ, but for those that anybody may change.
fn of_containers(field: &str, then: &Value, now: &Value) -> Vec<String> {
    let all = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let (then, now) = (all(then), all(now));
    let names = |list: &[Value]| list.iter().map(|one| one["name"].clone()).collect::<Vec<_>>();
    let mut differing = Vec::new();
    for one in &now {
        for before in then.iter().filter(|before| before["name"] == one["name"]) {
            let fields = changed(&map(before), &map(one))
                .into_iter()
                .filter(|field| !PLAIN_CONTAINER.contains(&field.as_str()));
            let name = one["name"].as_str().unwrap_or_default();
            differing.extend(
                fields.map(|of_one| format!("spec.template.spec.{field}[{name}].{of_one}")),
            );
        }
    }
    if names(&then) != names(&now) {
        differing.push(format!("spec.template.spec.{field}"));
    }
    differing
}

/// The keys that are gone.
fn gone(old: &Marks, new: &Marks) -> Vec<String> {
    old.keys().filter(|key| !new.contains_key(*key)).cloned().collect()
}

/// A label or annotation that the operator writes. The API server itself counts a DaemonSet's
/// templates in an annotation.
fn is_ours(key: &str) -> bool {
    key.starts_with("lockkeeper.dev/") || key == "deprecated.daemonset.template.generation"
}

/// What was added to a write of the operator's and accepted.
fn added(then: &Value, now: &Value) -> Vec<String> {
    let set = |path: &str, old: Marks, new: Marks| {
        let keys = changed(&old, &new)
            .into_iter()
            .filter(|key| new.contains_key(key) && !is_ours(key))
            .collect::<Vec<_>>();
        keys.into_iter().map(|key| format!("{path}[{key}]")).collect::<Vec<_>>()
    };
    let (ot, nt) = (&then["spec"]["template"], &now["spec"]["template"]);
    let mut added = set("metadata.labels", labels(then), labels(now));
    added.extend(set("metadata.annotations", annotations(then), annotations(now)));
    let plain = PLAIN_SPEC
        .iter()
        .filter(|field| **field != "template" && then["spec"][**field] != now["spec"][**field]);
    added.extend(plain.map(|field| format!("spec.{field}")));
    added.extend(set("spec.template.metadata.labels", labels(ot), labels(nt)));
    added.extend(set("spec.template.metadata.annotations", annotations(ot), annotations(nt)));
    added.extend(
        changed(&map(&ot["spec"]), &map(&nt["spec"]))
            .iter()
            .map(|field| format!("spec.template.spec.{field}")),
    );
    added
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
        && (deployment || !(is_on_delete(old) && is_on_delete(object)));
    let hash =
        |object: &Value| annotations(&object["spec"]["template"]).remove(&key("config-hash"));
    let changed =
        write.user != OPERATOR && (template_differs(old, object) || hash(old) != hash(object));
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let place = if deployment { "deployment" } else { "statefulset" };
    let added = match write.user {
        OPERATOR => {
            let mut seen = object.clone();
            seen["spec"]["template"] =
                with_marks_of(&old["spec"]["template"], &object["spec"]["template"]);
            added(old, &seen)
        }
        _ => Vec::new(),
    };
    if !added.is_empty() {
        return vec![format!(
            "changed by another admission policy or webhook: {}",
            added.join(", ")
        )];
    }
    match (held, changed) {
        (true, true) => {
            let fewer = annotations(object).contains_key(&key("declared-replicas"));
            let stay = if fewer {
                format!(" (its {} replicas stay until then)", replicas(object))
            } else {
                String::new()
            };
            vec![format!(
                "stored, but held by Lockkeeper until its gates open: kubectl lockkeeper why {place}/{name}{stay}"
            )]
        }
        (false, true) if holdable => {
            let why =
                "was changed after Lockkeeper's admission step, by another admission webhook?";
            vec![format!("NOT held by Lockkeeper, it rolls now: the template of {name} {why}")]
        }
        _ => Vec::new(),
    }
}
