//! The templates that a workload had, as its controller keeps them, and how two templates differ.

use std::collections::{BTreeMap, BTreeSet};

use lockkeeper::{
    core::observed::WorkloadId,
    marks::{
        MarkSet, Marks,
        labels::{config_hash, set_config_hash},
    },
    shell::views::{ControllerRevisions, ReplicaSets},
    workload::{rests, template_digest},
};
use serde_json::Value;

use crate::cluster::{Cluster, Failure, annotation};

/// Maximum number of differences that are listed.
const LISTED: usize = 20;
/// What a ReplicaSet's controller adds to a template.
const HASH_LABEL: &str = "pod-template-hash";

/// A revision of a workload.
#[derive(Debug, Clone)]
pub struct Revision {
    /// Its number, as `kubectl rollout history` shows it. The highest is the newest, also after an
    /// undo.
    pub number: u64,
    /// What its pods carry as their revision's label.
    label: String,
    /// Pods of it that are wanted or there; known of ReplicaSets only.
    pods: u64,
    template: Value,
}

/// The revisions of a workload, by number.
pub async fn history(
    cluster: &Cluster,
    id: &WorkloadId,
    object: &Value,
) -> Result<Vec<Revision>, Failure> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut revisions: Vec<_> = match id.kind.has_replica_sets() {
        true => {
            let sets = cluster.controlled::<ReplicaSets>(object).await?;
            let number = |set: &Value| {
                annotation(set, "deployment.kubernetes.io/revision")
                    .and_then(|number| number.parse().ok())
            };
            let pods = |part: &Value| part["replicas"].as_u64().unwrap_or_default();
            sets.iter()
                .map(|set| Revision {
                    number: number(set).unwrap_or_default(),
                    label: text(&set["metadata"]["labels"][HASH_LABEL]),
                    pods: pods(&set["spec"]).max(pods(&set["status"])),
                    template: set["spec"]["template"].clone(),
                })
                .collect()
        }
        false => {
            let all = cluster.controlled::<ControllerRevisions>(object).await?;
            all.iter()
                .map(|one| Revision {
                    number: one["revision"].as_u64().unwrap_or_default(),
                    label: text(&one["metadata"]["name"]),
                    pods: 0,
                    template: one["data"]["spec"]["template"].clone(),
                })
                .collect()
        }
    };
    revisions.sort_by_key(|revision| revision.number);
    Ok(revisions)
}

/// The revision that the pods of a held workload run: with its template the operator lets the
/// workload go as reverted.
pub fn settled<'a>(
    id: &WorkloadId,
    object: &Value,
    revisions: &'a [Revision],
) -> Option<&'a Revision> {
    if !id.kind.has_replica_sets() {
        return revisions
            .iter()
            .find(|revision| object["status"]["currentRevision"] == *revision.label);
    }
    let mut with_pods = revisions.iter().filter(|revision| revision.pods > 0);
    let only = with_pods.next().filter(|_| with_pods.next().is_none());
    // Of several, the one that was last rolled out.
    only.or_else(|| {
        let ours = Marks::of(object);
        let done = ours.outcome().done.as_deref()?;
        revisions.iter().find(|revision| *revision.label == *done)
    })
}

/// Whether all pods of a held workload are of its settled revision: it was not changed in the
/// middle of another rollout.
pub fn is_settled(id: &WorkloadId, object: &Value, revisions: &[Revision]) -> bool {
    match id.kind.has_replica_sets() {
        true => revisions.iter().filter(|revision| revision.pods > 0).count() <= 1,
        false => object["status"]["currentReplicas"] == object["status"]["replicas"],
    }
}

/// The newest revision before the one at hand that differs from it in more than the config. Those
/// of a maintenance never ran.
pub fn before<'a>(object: &Value, revisions: &'a [Revision]) -> Option<&'a Revision> {
    let (_, earlier) = revisions.split_last()?;
    let ran = |revision: &&Revision| !rests(&revision.template) && !revision.is_live(object);
    earlier.iter().rev().find(ran)
}

impl Revision {
    /// Whether a workload has this template now, config aside.
    pub fn is_live(&self, object: &Value) -> bool {
        template_digest(&self.template) == template_digest(&object["spec"]["template"])
    }

    /// Its template, to be written on the workload. The config-hash stays as it is there: the
    /// config itself does not go back, and an old hash would say that it did.
    pub fn template_for(&self, object: &Value) -> Value {
        let mut template = self.template.clone();
        let Some(fields) = template.as_object_mut() else { return template };
        fields.remove("$patch");
        let metadata = &mut template["metadata"];
        if let Some(labels) = metadata["labels"].as_object_mut() {
            labels.remove(HASH_LABEL);
        }
        set_config_hash(&mut template, config_hash(&object["spec"]["template"]));
        let metadata = &mut template["metadata"];
        if let Some(fields) = metadata.as_object_mut() {
            fields.retain(|_, value| {
                !value.is_null() && value.as_object().is_none_or(|map| !map.is_empty())
            });
        }
        template
    }
}

/// A place in a template that differs: its path, and what is there and what would be.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// Such as `spec.containers[app].image`.
    pub path: String,
    /// What is there.
    pub old: Option<String>,
    /// What would be there.
    pub new: Option<String>,
}

/// Where two templates differ, by path.
pub fn differences(old: &Value, new: &Value) -> Vec<Difference> {
    let flat = |template: &Value| {
        let mut leaves = BTreeMap::new();
        flatten("", template, &mut leaves);
        leaves
    };
    let (old, new) = (flat(old), flat(new));
    let paths: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let differing = paths.into_iter().filter(|path| old.get(*path) != new.get(*path));
    differing
        .map(|path| Difference {
            path: path.clone(),
            old: old.get(path).cloned(),
            new: new.get(path).cloned(),
        })
        .collect()
}

/// Differences as people are told them: no values but images.
pub fn named_changes(differences: &[Difference]) -> Vec<String> {
    let mut lines: Vec<_> = differences
        .iter()
        .take(LISTED)
        .map(|one| match (&one.old, &one.new) {
            (Some(old), Some(new)) if one.path.ends_with(".image") => {
                format!("{}: {} -> {}", one.path, old.trim_matches('"'), new.trim_matches('"'))
            }
            (None, _) => format!("{}: added", one.path),
            (_, None) => format!("{}: removed", one.path),
            _ => format!("{}: changed", one.path),
        })
        .collect();
    if differences.len() > LISTED {
        lines.push(format!("and {} more", differences.len() - LISTED));
    }
    lines
}

fn flatten(path: &str, value: &Value, leaves: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                let path = match (path, key.contains(['.', '/'])) {
                    (_, true) => format!("{path}[{key}]"),
                    ("", false) => key.clone(),
                    (_, false) => format!("{path}.{key}"),
                };
                flatten(&path, value, leaves);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let names: Vec<_> = items.iter().filter_map(|item| item["name"].as_str()).collect();
            let named = names.len() == items.len()
                && names.iter().collect::<BTreeSet<_>>().len() == names.len();
            for (index, item) in items.iter().enumerate() {
                let key = if named { names[index].to_owned() } else { index.to_string() };
                flatten(&format!("{path}[{key}]"), item, leaves);
            }
        }
        // What an older API server wrote out and means nothing.
        Value::Null => {}
        leaf => drop(leaves.insert(path.to_owned(), leaf.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use lockkeeper::api::WorkloadKind;

    use lockkeeper::api::marks;
    use serde_json::json;

    use super::*;

    fn revision(label: &str, pods: u64, template: Value) -> Revision {
        Revision {
            number: label.bytes().map(u64::from).sum(),
            label: label.to_owned(),
            pods,
            template,
        }
    }

    fn template(image: &str, hash: Option<&str>) -> Value {
        let mut template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": image}]}});
        if let Some(hash) = hash {
            template["metadata"]["annotations"] = json!({marks::CONFIG_HASH: hash});
        }
        template
    }

    fn deployment(template: Value, done: &str) -> Value {
        json!({"metadata": {"annotations": {marks::ROLLOUT: json!({"done": done}).to_string()}}, "spec": {"template": template}})
    }

    #[test]
    fn the_old_template_comes_back_with_the_config_hash_of_now() {
        let mut kept = template("v1", Some("old"));
        kept["metadata"]["labels"][HASH_LABEL] = json!("abc");
        kept["metadata"]["creationTimestamp"] = Value::Null;
        kept["$patch"] = json!("replace");
        let kept = revision("a", 0, kept);
        for hash in [None, Some("new")] {
            assert_eq!(
                kept.template_for(&deployment(template("v2", hash), "")),
                template("v1", hash)
            );
        }
        assert_eq!(
            revision("a", 0, template("v1", None))
                .template_for(&deployment(template("v2", Some("new")), "")),
            template("v1", Some("new"))
        );
    }

    #[test]
    fn what_differs_in_the_config_alone_is_no_revision_to_go_back_to() {
        let revisions = [
            revision("a", 0, template("v1", None)),
            revision("b", 0, template("v2", None)),
            revision("c", 0, template("v2", Some("1"))),
            revision("d", 2, template("v2", Some("2"))),
        ];
        let live = deployment(template("v2", Some("2")), "d");
        assert_eq!(before(&live, &revisions).map(|one| &*one.label), Some("a"));
        assert!(before(&live, &revisions[1..]).is_none() && before(&live, &[]).is_none());
    }

    #[test]
    fn pods_run_the_only_revision_that_has_some_else_the_one_last_rolled_out() {
        let id = |kind| WorkloadId { kind, name: "web".to_owned() };
        let live = deployment(template("v3", None), "a");
        for (pods, label, all) in [([2, 0], "a", true), ([0, 2], "b", true), ([1, 1], "a", false)] {
            let revisions = [
                revision("a", pods[0], template("v1", None)),
                revision("b", pods[1], template("v2", None)),
            ];
            let id = id(WorkloadKind::Deployment);
            assert_eq!(settled(&id, &live, &revisions).map(|one| &*one.label), Some(label));
            assert_eq!(is_settled(&id, &live, &revisions), all);
        }
        let set = json!({"status": {"currentRevision": "b", "currentReplicas": 1, "replicas": 2}});
        assert!(!is_settled(&id(WorkloadKind::StatefulSet), &set, &[]));
        let revisions =
            [revision("a", 0, template("v1", None)), revision("b", 0, template("v2", None))];
        assert_eq!(
            settled(&id(WorkloadKind::StatefulSet), &set, &revisions).map(|one| &*one.label),
            Some("b")
        );
    }

    #[test]
    fn differences_are_named_by_path() {
        let mut new = template("v2", None);
        new["metadata"]["annotations"] = json!({"example.com/a": "b"});
        new["spec"]["containers"][0]["args"] = json!(["-v"]);
        let told: Vec<_> = differences(&template("v1", None), &new)
            .into_iter()
            .map(|one| (one.path, one.old.unwrap_or_default(), one.new.unwrap_or_default()))
            .collect();
        let row =
            |path: &str, old: &str, new: &str| (path.to_owned(), old.to_owned(), new.to_owned());
        assert_eq!(
            told,
            [
                row("metadata.annotations[example.com/a]", "", "\"b\""),
                row("spec.containers[app].args[0]", "", "\"-v\""),
                row("spec.containers[app].image", "\"v1\"", "\"v2\""),
            ]
        );
        // Mounts of one volume share its name.
        let mounts = |path: &str| json!({"mounts": [{"name": "data", "path": "/a"}, {"name": "data", "path": path}]});
        assert_eq!(differences(&mounts("/b"), &mounts("/c"))[0].path, "mounts[1].path");
    }
}
