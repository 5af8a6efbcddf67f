//! What differs between Deployment, StatefulSet and DaemonSet: where their raw JSON keeps how far a
//! rollout is.
//!
//! Workloads are read from raw JSON, never through typed structs, which drop fields that they do
//! not know. What is malformed counts as absent: the API server would not have stored it, and one
//! odd object must not disturb the others.

mod daemon_set;
mod deployment;
mod stateful_set;

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::Value;

pub use self::{daemon_set::DaemonSet, deployment::Deployment, stateful_set::StatefulSet};
use crate::{
    api::{WorkloadKind, marks},
    core::{
        config::references,
        observed::{
            RolloutState, Template, TemplateDigest, Uid, Workload, WorkloadId, Writer,
            storage::ClaimsOfTemplate, version::ImageVersion, workload::Container,
        },
    },
    marks::{MarkSet, Marks, labels},
};

/// A kind of workload.
pub trait Kind: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// Which.
    const KIND: WorkloadKind;

    /// How far its rollout is, by its spec and its status. `moved` is when it was last written.
    fn rollout(
        meta: &ObjectMeta,
        marks: &Marks,
        object: (&Value, &Value),
        moved: Timestamp,
    ) -> RolloutState;
}

/// Reads a workload.
pub fn view<K: Kind>(meta: &ObjectMeta, spec: &Value, status: &Value) -> Workload {
    let blank = BTreeMap::new();
    let annotations = meta.annotations.as_ref().unwrap_or(&blank);
    let ours = Marks::read(annotations);
    let template = &spec["template"];
    let template_annotations = template["metadata"]["annotations"].as_object();
    let created = created(meta);
    let entries = meta.managed_fields.as_deref().unwrap_or_default();
    let last_writer = newest_writer(entries);
    // Of our own writes only the rollouts that we begin or let through: that we take note of
    // something is no progress.
    let rolled = ours.rollouts.get().and_then(|rollouts| rollouts.times().last());
    let begun = ours.outcome().begun_at();
    let moved = [Some(created), rolled, begun, last_writer.as_ref().map(|writer| writer.time)]
        .into_iter()
        .flatten()
        .max()
        .unwrap_or(created);
    Workload {
        id: WorkloadId { kind: K::KIND, name: meta.name.clone().unwrap_or_default() },
        uid: uid(meta),
        resource_version: resource_version(meta),
        generation: meta.generation.unwrap_or_default(),
        created,
        deleting: meta.deletion_timestamp.is_some(),
        labels: meta.labels.clone().unwrap_or_default(),
        rollout: K::rollout(meta, &ours, (spec, status), moved),
        governed: labels::governed(meta.labels.as_ref()),
        marks: ours.shared(),
        annotation_bytes: annotations.iter().map(|(key, value)| key.len() + value.len()).sum(),
        has_annotations: meta.annotations.is_some(),
        has_labels: meta.labels.is_some(),
        owner: controller(meta).map(|owner| format!("{}/{}", owner.kind, owner.name)),
        reloader: other_reloader(annotations),
        last_writer,
        template_writer: template_writer(entries),
        noted: entries
            .iter()
            .filter(|entry| entry.manager.as_deref() == Some(marks::FIELD_MANAGER))
            .filter_map(|entry| Some(entry.time.as_ref()?.0))
            .max(),
        template: Template {
            references: references::of_template(template).into(),
            containers: containers(template),
            config_hash: labels::config_hash(template).map(str::to_owned),
            has_annotations: template_annotations.is_some(),
            rests: rests(template),
            digest: template_digest(template),
            body: digest_without(
                template,
                |key| key == "annotations",
                |key| key == marks::IN_MAINTENANCE,
            ),
            annotations: template_annotations.map(annotation_digests).unwrap_or_default().into(),
            images: images(template),
        },
        claims: claims(spec),
    }
}

/// What a workload says of volumes.
fn claims(spec: &Value) -> ClaimsOfTemplate {
    let pod = &spec["template"]["spec"];
    let retention = &spec["persistentVolumeClaimRetentionPolicy"];
    let templates = spec["volumeClaimTemplates"].as_array().into_iter().flatten();
    ClaimsOfTemplate {
        named: claims_of_pod(pod).into(),
        templates: templates
            .filter_map(|template| Some(template["metadata"]["name"].as_str()?.to_owned()))
            .collect(),
        go_with_set: retention["whenDeleted"] == "Delete",
        go_with_pod: retention["whenScaled"] == "Delete",
        recreates: spec["strategy"]["type"] == "Recreate",
        read_only: read_only_claims(pod, &spec["volumeClaimTemplates"]).into(),
    }
}

/// A pod template's containers, init containers last.
pub fn containers(template: &Value) -> Arc<[Container]> {
    let view = |container: &Value| {
        let version = container["image"].as_str().and_then(ImageVersion::of);
        Some(Container { name: container["name"].as_str()?.into(), version })
    };
    each_container(template).filter_map(view).collect()
}

fn each_container(template: &Value) -> impl Iterator<Item = &Value> {
    ["containers", "initContainers"]
        .into_iter()
        .filter_map(|kind| template["spec"][kind].as_array())
        .flatten()
}

fn images(template: &Value) -> Arc<[(Box<str>, TemplateDigest)]> {
    let image =
        |container: &Value| digest(container["image"].as_str().unwrap_or_default().as_bytes());
    each_container(template)
        .filter_map(|container| Some((container["name"].as_str()?.into(), image(container))))
        .collect()
}

/// The claims that a pod's spec names.
pub fn claims_of_pod(pod: &Value) -> Vec<String> {
    let volumes = pod["volumes"].as_array().into_iter().flatten();
    volumes
        .filter_map(|volume| {
            Some(volume["persistentVolumeClaim"]["claimName"].as_str()?.to_owned())
        })
        .collect()
}

/// Of the claims that a pod's spec names, and of a StatefulSet's templates of claims, those that no
/// container may write to.
pub fn read_only_claims(pod: &Value, templates: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let containers: Vec<Value> =
        ["initContainers", "containers"].iter().flat_map(|kind| list(&pod[*kind])).collect();
    // What no container mounts is taken to be written to: a container that is added may mount it
    // when the pod is created.
    let writes = |volume: &Value| {
        let of_volume = |one: &Value| one["name"] == volume["name"];
        let all = |kind: &str| {
            containers
                .iter()
                .flat_map(|container| list(&container[kind]))
                .filter(of_volume)
                .collect::<Vec<_>>()
        };
        let mounts = all("volumeMounts");
        mounts.is_empty()
            || !all("volumeDevices").is_empty()
            || mounts.iter().any(|mount| mount["readOnly"] != true)
    };
    let named = list(&pod["volumes"]).into_iter().filter_map(|volume| {
        let source = &volume["persistentVolumeClaim"];
        Some((
            source["claimName"].as_str()?.to_owned(),
            source["readOnly"] != true && writes(&volume),
        ))
    });
    let of_templates = list(templates).into_iter().filter_map(|template| {
        let template = &template["metadata"];
        Some((template["name"].as_str()?.to_owned(), writes(template)))
    });
    let all: Vec<(String, bool)> = named.chain(of_templates).collect();
    let read =
        all.iter().filter(|(name, _)| all.iter().all(|(other, writes)| other != name || !writes));
    read.map(|(name, _)| name.clone()).collect()
}

/// Whether a pod template has the gate of maintenance: no pod of it runs the app.
pub fn rests(template: &Value) -> bool {
    gates(template).any(is_ours)
}

fn gates(template: &Value) -> impl Iterator<Item = &Value> {
    template["spec"]["schedulingGates"].as_array().into_iter().flatten()
}

fn is_ours(gate: &Value) -> bool {
    gate["name"] == marks::IN_MAINTENANCE
}

/// Digests a pod template: all of it but our config-hash, what maintenance puts there, and the label that a ReplicaSet's
/// controller adds. An absent time of creation, an empty map and none at all are the same.
pub fn template_digest(template: &Value) -> TemplateDigest {
    digest_without(
        template,
        |_| false,
        |key| matches!(key, marks::CONFIG_HASH | marks::IN_MAINTENANCE | "pod-template-hash"),
    )
}

fn digest_without(
    template: &Value,
    of_metadata: impl Fn(&str) -> bool,
    of_map: impl Fn(&str) -> bool,
) -> TemplateDigest {
    let mut metadata = template["metadata"].as_object().cloned().unwrap_or_default();
    metadata.retain(|key, value| !of_metadata(key) && !value.is_null());
    for value in metadata.values_mut() {
        if let Some(map) = value.as_object_mut() {
            map.retain(|key, _| !of_map(key));
        }
    }
    metadata.retain(|_, value| value.as_object().is_none_or(|map| !map.is_empty()));
    let spec = without_our_gate(template);
    digest(format!("{}\n{spec}", Value::Object(metadata)).as_bytes())
}

/// The spec of a pod template as it is declared.
fn without_our_gate(template: &Value) -> Cow<'_, Value> {
    let spec = &template["spec"];
    if !rests(template) {
        return Cow::Borrowed(spec);
    }
    let mut declared = spec.clone();
    let others: Vec<_> = gates(template).filter(|gate| !is_ours(gate)).cloned().collect();
    if let Some(fields) = declared.as_object_mut() {
        match others.is_empty() {
            true => drop(fields.remove("schedulingGates")),
            false => drop(fields.insert("schedulingGates".to_owned(), others.into())),
        }
    }
    Cow::Owned(declared)
}

fn annotation_digests(
    annotations: &serde_json::Map<String, Value>,
) -> Vec<(Box<str>, TemplateDigest)> {
    let ours = |key: &str| matches!(key, marks::CONFIG_HASH | marks::IN_MAINTENANCE);
    let others = annotations.iter().filter(|(key, _)| !ours(key));
    others.map(|(key, value)| (key.as_str().into(), digest(value.to_string().as_bytes()))).collect()
}

fn digest(bytes: &[u8]) -> TemplateDigest {
    let sum = <sha2::Sha256 as sha2::Digest>::digest(bytes);
    let mut first = [0; 8];
    first.iter_mut().zip(sum).for_each(|(to, from)| *to = from);
    TemplateDigest(first)
}

/// Whether admission looks after it.
fn is_governed(meta: &ObjectMeta) -> bool {
    labels::governed(meta.labels.as_ref()).stands()
}

/// The config-hash of a pod template.
pub fn config_hash(template: &Value) -> Option<Box<str>> {
    labels::config_hash(template).map(Into::into)
}

/// The uid of an object.
pub fn uid(meta: &ObjectMeta) -> Uid {
    meta.uid.as_deref().unwrap_or_default().into()
}

/// The resourceVersion as the integer that it is; those of one cluster can be compared.
pub fn resource_version(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

/// The creationTimestamp.
pub fn created(meta: &ObjectMeta) -> Timestamp {
    meta.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

/// When it was last written, status aside, in whole seconds.
pub fn written(meta: &ObjectMeta) -> Timestamp {
    let entries = meta
        .managed_fields
        .as_deref()
        .unwrap_or_default()
        .iter()
        .filter(|entry| entry.subresource.is_none());
    entries.filter_map(|entry| Some(entry.time.as_ref()?.0)).fold(created(meta), Timestamp::max)
}

/// The owner reference with `controller: true`.
pub fn controller(
    meta: &ObjectMeta,
) -> Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference> {
    meta.owner_references
        .as_deref()
        .unwrap_or_default()
        .iter()
        .find(|owner| owner.controller == Some(true))
}

/// The newest write by another manager, status aside.
fn newest_writer(entries: &[ManagedFieldsEntry]) -> Option<Writer> {
    let others = entries.iter().filter(|entry| {
        entry.subresource.is_none() && entry.manager.as_deref() != Some(marks::FIELD_MANAGER)
    });
    let writers = others.filter_map(|entry| {
        Some(Writer { manager: entry.manager.clone()?, time: entry.time.as_ref()?.0 })
    });
    writers.max_by_key(|writer| writer.time)
}

/// Who of the others wrote the pod template last; none if two did in the same second.
fn template_writer(entries: &[ManagedFieldsEntry]) -> Option<Box<str>> {
    let writes = |entry: &&ManagedFieldsEntry| {
        let fields = entry
            .fields_v1
            .as_ref()
            .is_some_and(|fields| !fields.0["f:spec"]["f:template"].is_null());
        fields
            && entry.subresource.is_none()
            && entry.manager.as_deref() != Some(marks::FIELD_MANAGER)
    };
    let time = |entry: &ManagedFieldsEntry| entry.time.as_ref().map(|time| time.0);
    let newest = entries.iter().filter(writes).max_by_key(|entry| time(entry))?;
    let mut last = entries.iter().filter(writes).filter(|entry| time(entry) == time(newest));
    let manager = last.next()?.manager.as_deref()?;
    last.all(|entry| entry.manager.as_deref() == Some(manager)).then(|| manager.into())
}

/// Annotations by which Reloader and Wave are told to act on a workload.
fn other_reloader(annotations: &BTreeMap<String, String>) -> Option<String> {
    let tells = |(key, value): &(&String, &String)| {
        let switch = key.starts_with("reloader.stakater.com/")
            && (key.ends_with("auto") || key.ends_with("search"))
            && *value == "true";
        let list = matches!(
            key.as_str(),
            "configmap.reloader.stakater.com/reload" | "secret.reloader.stakater.com/reload"
        );
        let auto = key.ends_with(".reloader.stakater.com/auto") && *value == "true";
        let wave = *key == "wave.pusher.com/update-on-config-change" && *value == "true";
        switch || list || auto || wave
    };
    annotations.iter().find(tells).map(|(key, _)| key.clone())
}

fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
}

fn observed(meta: &ObjectMeta, status: &Value) -> bool {
    status["observedGeneration"].as_i64().unwrap_or_default() >= meta.generation.unwrap_or_default()
}

/// So much of another controller's message is quoted.
const QUOTED: usize = 300;

/// What others write, in one line.
pub fn quoted(message: &str) -> Box<str> {
    let mut words: String = message.split_whitespace().collect::<Vec<_>>().join(" ");
    words.retain(|letter| !letter.is_control());
    if words.len() > QUOTED {
        let end = (0..=QUOTED).rev().find(|end| words.is_char_boundary(*end)).unwrap_or_default();
        words.truncate(end);
        words += " …";
    }
    words.trim_end_matches('.').into()
}

/// The length of the random end of a pod's name, and its letters.
const RANDOM: usize = 5;
const RANDOM_LETTERS: &str = "bcdfghjklmnpqrstvwxz2456789";

/// The same without the random end of the names of a workload's pods, which is another one each
/// time a pod is refused.
pub fn without_random_names(message: &str, workload: &str) -> Box<str> {
    let start = format!("{workload}-");
    let part_of_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.');
    let (mut told, mut rest) = (String::new(), message);
    while let Some(found) = rest.find(&start) {
        let (before, name) = rest.split_at(found);
        let random: &str =
            name[start.len()..].split(|letter| !part_of_name(letter)).next().unwrap_or_default();
        told += before;
        told += &start;
        rest = &name[start.len()..];
        let begins = !before.ends_with(part_of_name);
        if begins
            && random.len() == RANDOM
            && random.chars().all(|letter| RANDOM_LETTERS.contains(letter))
        {
            told += "…";
            rest = &rest[RANDOM..];
        }
    }
    (told + rest).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_same_pods_is_told_in_the_same_words() {
        for (message, workload, expected) in [
            (
                "pods \"agent-x7k2p\" is forbidden: exceeded quota",
                "agent",
                "pods \"agent-…\" is forbidden: exceeded quota",
            ),
            (
                "Pod agent-x7k2p is invalid: agent-b2b2b: no",
                "agent",
                "Pod agent-… is invalid: agent-…: no",
            ),
            ("pods \"db-0\" is forbidden", "db", "pods \"db-0\" is forbidden"),
            (
                "create Pod db-10 in StatefulSet db failed",
                "db",
                "create Pod db-10 in StatefulSet db failed",
            ),
            ("claim data-db-12345 is missing", "db", "claim data-db-12345 is missing"),
            (
                "denied by agent-policies and agent-rules",
                "agent",
                "denied by agent-policies and agent-rules",
            ),
        ] {
            assert_eq!(&*without_random_names(message, workload), expected);
        }
    }
}
