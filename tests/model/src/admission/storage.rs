//! Claims, namespaces and volumes: claims.yaml, deletion.yaml and, for storage,
//! self-restraint.yaml.

use jiff::{SignedDuration, Timestamp};
use regex::Regex;
use serde_json::{Value, json};
use std::sync::LazyLock;

use super::validation::changed;
use super::{
    Admitted, Marks, OPERATOR, Operation, Refused, Twin, Write, annotations, key, labels, map,
    matches, mutation::put_map, text,
};

/// What admission puts on a retained claim where it is absent.
const SHIELDS: [(&str, &str); 3] = [
    ("helm.sh/resource-policy", "keep"),
    ("argocd.argoproj.io/sync-options", "Prune=false,Delete=false"),
    ("kustomize.toolkit.fluxcd.io/prune", "disabled"),
];
/// Labels and annotations that say something of rights, tenants, or whose data it is.
const WEIGHTY: [&str; 17] = [
    "lockkeeper.dev/",
    "pod-security.kubernetes.io/",
    "kubernetes.io/",
    "pv.kubernetes.io/",
    "volume.kubernetes.io/",
    "volume.beta.kubernetes.io/",
    "scheduler.alpha.kubernetes.io/",
    "admission.gatekeeper.sh/",
    "openshift.io/",
    "security.openshift.io/",
    "field.cattle.io/",
    "capsule.clastix.io/",
    "hnc.x-k8s.io/",
    "meta.helm.sh/",
    "helm.sh/",
    "argocd.argoproj.io/",
    "kustomize.toolkit.fluxcd.io/",
];
/// Annotations of the operator's.
const OWNED: [&str; 5] = [
    "provenance",
    "orphaned-since",
    "original-reclaim-policy",
    "protected-claims",
    "reserved-claims",
];
/// Labels of the operator's, but for the one that has rules of its own.
const OWNED_LABELS: [&str; 2] = ["retained", "reserves-claims"];

static LIKE_A_TIME: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$").ok());
static CLAIM_NAME: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new("^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$").ok());
static TIME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let date = "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))";
    Regex::new(&format!("^2[0-9]{{3}}-{date}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$")).ok()
});

/// Whether policies for storage look at objects of this kind.
pub(super) fn is_storage(kind: &str) -> bool {
    ["PersistentVolumeClaim", "Namespace", "PersistentVolume"].contains(&kind)
}

/// What becomes of a write of storage.
pub(super) fn admit(twin: &Twin, write: &Write) -> Result<Admitted, Refused> {
    let volume = write.kind == "PersistentVolume";
    if let (Operation::Delete, Some(old), false) = (write.operation, write.old, volume) {
        check_deletion(write, old)?;
    }
    let object = mutated(write);
    if !volume && write.operation != Operation::Delete {
        check_protection(twin, write, &object)?;
    }
    if let (Operation::Update, Some(old), OPERATOR) = (write.operation, write.old, write.user) {
        restrain(write.kind, old, &object)?;
    }
    let warnings = write
        .old
        .filter(|_| write.operation == Operation::Update)
        .and_then(|old| warning(write, old, &object));
    Ok(Admitted { object, warnings: warnings.into_iter().collect() })
}

/// What claims.yaml makes of a write; a deletion leaves the object as it was.
pub(super) fn mutated(write: &Write) -> Value {
    match (write.operation, write.old) {
        (Operation::Delete, old) => old.cloned().unwrap_or_default(),
        _ if write.kind == "PersistentVolume" => write.new.clone(),
        (Operation::Update, Some(old)) => updated(write, old),
        _ if write.user == OPERATOR => write.new.clone(),
        _ => created(write.new),
    }
}

fn is_protected(object: &Value) -> bool {
    text(&labels(object), "protected") == Some("true")
}

/// `lockkeeper-claims`.
fn updated(write: &Write, old: &Value) -> Value {
    let mut object = write.new.clone();
    let claim = write.kind == "PersistentVolumeClaim";
    let selected = if claim { vec!["retained"] } else { vec!["protected", "reserves-claims"] };
    let (ol, nl) = (labels(old), labels(write.new));
    let going = !write.new["metadata"]["deletionTimestamp"].is_null();
    let stands = |label: &&str| ol.contains_key(&key(label)) || nl.contains_key(&key(label));
    if going || !selected.iter().any(stands) {
        return object;
    }
    let op = write.user == OPERATOR;
    let (oa, mut annotations, mut labels) = (annotations(old), annotations(write.new), nl);
    if !op {
        let restore = |mark: &str, then: &Marks, now: &mut Marks| match then.get(&key(mark)) {
            Some(value) => drop(now.insert(key(mark), value.clone())),
            None => drop(now.remove(&key(mark))),
        };
        OWNED_LABELS.iter().for_each(|label| restore(label, &ol, &mut labels));
        OWNED.iter().for_each(|mark| restore(mark, &oa, &mut annotations));
    }
    let retained = text(if op { &labels } else { &ol }, "retained") == Some("true");
    for (shield, value) in SHIELDS.iter().filter(|_| claim && retained) {
        annotations.entry(*shield).or_insert_with(|| json!(value));
    }
    put_map(&mut object, "labels", labels);
    put_map(&mut object, "annotations", annotations);
    object
}

/// `lockkeeper-claims-created`.
fn created(new: &Value) -> Value {
    let mut object = new.clone();
    let (mut labels, mut annotations) = (labels(new), annotations(new));
    labels.retain(|label, _| {
        !OWNED_LABELS.iter().chain(&["protected"]).any(|mark| key(mark) == *label)
    });
    annotations.retain(|annotation, _| {
        !OWNED.iter().chain(&["unprotect", "becomes"]).any(|mark| key(mark) == *annotation)
    });
    put_map(&mut object, "labels", labels);
    put_map(&mut object, "annotations", annotations);
    object
}

/// `lockkeeper-deletion`. The API server tells of the first rule that is broken only.
fn check_deletion(write: &Write, old: &Value) -> Result<(), Refused> {
    let namespace = write.kind == "Namespace";
    let selected =
        is_protected(old) && (!namespace || text(&labels(old), "allow-deny") == Some("true"));
    if !selected || !old["metadata"]["deletionTimestamp"].is_null() {
        return Ok(());
    }
    let marks = annotations(old);
    let claims = text(&marks, "protected-claims").unwrap_or_default();
    let name = old["metadata"]["name"].as_str().unwrap_or_default();
    let what = match namespace {
        true => format!("namespace {name}"),
        false => {
            format!("claim {}/{name}", old["metadata"]["namespace"].as_str().unwrap_or_default())
        }
    };
    if !matches(&LIKE_A_TIME, text(&marks, "allow-deletion-until").unwrap_or_default()) {
        let how = "annotate it with lockkeeper.dev/allow-deletion-until: <RFC 3339 time> first, at most 24 hours ahead";
        let too = if claims.is_empty() {
            String::new()
        } else {
            format!(", and so each protected claim in it: {claims}")
        };
        return Err(Refused(format!(
            "{what} is protected by Lockkeeper; to delete it, {how}{too}"
        )));
    }
    if namespace && !claims.is_empty() {
        let why = format!(
            "would be emptied and then hang, for claims in it are protected by Lockkeeper: {claims}"
        );
        let how = "to delete it, annotate each of them with lockkeeper.dev/allow-deletion-until: <RFC 3339 time> first";
        return Err(Refused(format!("{what} {why}; {how}")));
    }
    Ok(())
}

/// `lockkeeper-deletion-warnings`.
fn warning(write: &Write, old: &Value, object: &Value) -> Option<String> {
    let marks = annotations(object);
    let permit = text(&marks, "allow-deletion-until").filter(|permit| !permit.is_empty())?;
    let claims = text(&marks, "protected-claims").filter(|claims| !claims.is_empty())?;
    let new = text(&annotations(old), "allow-deletion-until") != Some(permit);
    let selected = write.kind == "Namespace" && (is_protected(object) || is_protected(old));
    (new && selected).then(|| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let why = format!("still cannot be deleted, for claims in it are protected by Lockkeeper: {claims}");
        format!("namespace {name} {why}; annotate each of them with lockkeeper.dev/allow-deletion-until too")
    })
}

/// `lockkeeper-protection`.
fn check_protection(twin: &Twin, write: &Write, object: &Value) -> Result<(), Refused> {
    let (op, may) = (write.user == OPERATOR, twin.may(write, "unprotect"));
    let (was, is) = (write.old.is_some_and(is_protected), is_protected(object));
    let (na, oa) = (annotations(object), write.old.map(annotations).unwrap_or_default());
    let asked =
        ["allow-deletion-until", if write.kind == "Namespace" { "readopt" } else { "unprotect" }];
    let asked: Vec<_> = asked
        .into_iter()
        .filter(|mark| na.get(&key(mark)).is_some_and(|value| oa.get(&key(mark)) != Some(value)))
        .collect();
    let becomes = text(&na, "becomes").filter(|_| write.kind == "PersistentVolumeClaim");
    let becomes = becomes.filter(|_| na.get(&key("becomes")) != oa.get(&key("becomes")));
    let permit =
        text(&na, "allow-deletion-until").filter(|_| asked.contains(&"allow-deletion-until"));
    let place = match write.kind {
        "Namespace" => "in the whole cluster".to_owned(),
        _ => {
            format!("in namespace {}", object["metadata"]["namespace"].as_str().unwrap_or_default())
        }
    };
    let needs = format!(
        "by {} (needs verb unprotect on upgradepolicies.lockkeeper.dev {place})",
        write.user
    );
    let refused = |message: &str| Err(Refused(message.to_owned()));
    match () {
        () if !op && is && !was => {
            refused("the label lockkeeper.dev/protected is set by Lockkeeper only; leave it out")
        }
        () if !op && was && !is && !may => {
            refused(&format!("the label lockkeeper.dev/protected may not be removed {needs}"))
        }
        () if permit.is_some() && write.old.is_none() => refused(
            "lockkeeper.dev/allow-deletion-until may not be set at creation; annotate the object afterwards",
        ),
        () if !asked.is_empty() && !may => {
            let asked: Vec<_> = asked.iter().map(|mark| key(mark)).collect();
            refused(&format!("{} may not be set {needs}", asked.join(" and ")))
        }
        () if permit.is_some_and(|permit| !matches(&TIME, permit)) => {
            refused("lockkeeper.dev/allow-deletion-until must look like 2026-11-30T12:00:00Z")
        }
        () if permit.is_some_and(|permit| !is_soon(permit, object)) => {
            refused("lockkeeper.dev/allow-deletion-until may lie at most 24 hours ahead")
        }
        () if becomes.is_some() && (op || !twin.may(write, "convert")) => {
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
            refused(&format!(
                "lockkeeper.dev/becomes: {} may not convert claims in namespace {namespace} (needs verb convert on upgradepolicies.lockkeeper.dev)",
                write.user
            ))
        }
        () if becomes.is_some_and(|name| !matches(&CLAIM_NAME, name)) => {
            refused("lockkeeper.dev/becomes must be the name of a claim")
        }
        () => Ok(()),
    }
}

/// Not more than 24 hours after the newest write.
fn is_soon(permit: &str, object: &Value) -> bool {
    let Ok(permit) = permit.parse::<Timestamp>() else { return false };
    let mut writes = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    writes.any(|entry| {
        let time = entry["time"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
        time.is_some_and(|time| permit.duration_since(time) <= SignedDuration::from_hours(24))
    })
}

/// `lockkeeper-self-restraint-storage`.
fn restrain(kind: &str, then: &Value, now: &Value) -> Result<(), Refused> {
    let (na, oa) = (annotations(now), annotations(then));
    let (claim, volume) = (kind == "PersistentVolumeClaim", kind == "PersistentVolume");
    let namespace = kind == "Namespace";
    // What another policy or webhook may add, if it says nothing of rights, tenants, or whose data
    // it is.
    let plain = |key: &str, old: &Marks, new: &Marks| {
        let weighty = key.contains(".hnc.x-k8s.io/")
            || WEIGHTY.iter().any(|weighty| key.starts_with(weighty));
        let changed = namespace && old.contains_key(key);
        new.contains_key(key) && !changed && !weighty
    };
    let mut metadata = changed(&oa, &na);
    metadata.retain(|annotation| {
        let shield = SHIELDS
            .iter()
            .find(|(shield, _)| claim && shield == annotation)
            .map(|(_, value)| json!(value));
        // They come with our label and go with it; another value is somebody else's word.
        let fine = match shield {
            Some(value) => match (oa.get(annotation), na.get(annotation)) {
                (Some(one), None) | (None, Some(one)) => *one == value,
                _ => false,
            },
            None => plain(annotation, &oa, &na),
        };
        !annotation.starts_with("lockkeeper.dev/") && !fine
    });
    let (ol, nl) = (labels(then), labels(now));
    let mut of_labels = changed(&ol, &nl);
    of_labels.retain(|label| {
        *label == key("allow-deny")
            || (!label.starts_with("lockkeeper.dev/") && !plain(label, &ol, &nl))
    });
    metadata.extend(of_labels);
    let list = |object: &Value, field: &str| {
        object["metadata"][field].as_array().cloned().unwrap_or_default()
    };
    if list(now, "finalizers") != list(then, "finalizers") {
        metadata.push("finalizers".to_owned());
    }
    let (owners, owners_before) = (list(now, "ownerReferences"), list(then, "ownerReferences"));
    let kept = if claim {
        owners.iter().all(|owner| owners_before.contains(owner))
    } else {
        owners == owners_before
    };
    if !kept {
        metadata.push("ownerReferences".to_owned());
    }
    if !metadata.is_empty() {
        let what = metadata.join(", ");
        return Err(Refused(format!(
            "Lockkeeper restrains itself: on a {kind} its account may not change {what}"
        )));
    }
    let mut spec = changed(&map(&then["spec"]), &map(&now["spec"]));
    if volume {
        spec.retain(|field| {
            !["persistentVolumeReclaimPolicy", "claimRef"].contains(&field.as_str())
        });
        let (oc, nc) = (map(&then["spec"]["claimRef"]), map(&now["spec"]["claimRef"]));
        let notes = annotations(then);
        let known = text(&notes, "provenance").unwrap_or_default();
        let uid = nc.get("uid").and_then(Value::as_str).unwrap_or_default();
        let locks = !oc.contains_key("uid")
            && then["status"]["phase"] != "Bound"
            && known.contains(&format!("\"claimUid\":\"{uid}\""));
        let converts = converts(then, now);
        let of_claim = changed(&oc, &nc).into_iter().filter(|field| match nc.contains_key(field) {
            true => match field.as_str() {
                "uid" => !locks && !converts,
                "name" => !converts,
                _ => true,
            },
            false => !["uid", "resourceVersion"].contains(&field.as_str()),
        });
        spec.extend(of_claim.map(|field| format!("claimRef.{field}")));
    }
    if !spec.is_empty() {
        let what = spec.iter().map(|field| format!("spec.{field}")).collect::<Vec<_>>().join(", ");
        return Err(Refused(format!(
            "Lockkeeper restrains itself: on a {kind} its account may not change {what}"
        )));
    }
    if volume { restrain_policy(then, now) } else { Ok(()) }
}

/// Whether a volume goes from one of the two claims of its mark to the other, while it is kept. The
/// operator has the verb `convert`.
fn converts(then: &Value, now: &Value) -> bool {
    let name =
        |object: &Value| object["spec"]["claimRef"]["name"].as_str().unwrap_or_default().to_owned();
    let kept = |object: &Value| object["spec"]["persistentVolumeReclaimPolicy"] == "Retain";
    let (before, after) = (name(then), name(now));
    let marks = annotations(then);
    let pair = text(&marks, "conversion").unwrap_or_default();
    let uid = now["spec"]["claimRef"]["uid"].as_str().unwrap_or_default();
    before != after
        && !uid.is_empty()
        && kept(then)
        && kept(now)
        && [format!("{before} {after}"), format!("{after} {before}")].iter().any(|one| one == pair)
}

/// Of a volume's reclaim policy.
fn restrain_policy(then: &Value, now: &Value) -> Result<(), Refused> {
    let (na, oa) = (annotations(now), annotations(then));
    let policy = |object: &Value| {
        object["spec"]["persistentVolumeReclaimPolicy"].as_str().unwrap_or_default().to_owned()
    };
    let (before, after) = (policy(then), policy(now));
    let noted = text(&oa, "original-reclaim-policy").unwrap_or_default();
    let given_back = before == "Retain" && after == noted && then["status"]["phase"] == "Bound";
    if after != before && after != "Retain" && !given_back {
        let only = "its account may change a volume's reclaim policy only to Retain, or, while it is bound, back to what";
        return Err(Refused(format!(
            "Lockkeeper restrains itself: {only} lockkeeper.dev/original-reclaim-policy says"
        )));
    }
    if text(&na, "original-reclaim-policy").is_some_and(|notes| notes != noted && notes != before) {
        let only =
            "its account may note as a volume's original reclaim policy only the one that it has";
        return Err(Refused(format!("Lockkeeper restrains itself: {only}")));
    }
    Ok(())
}
