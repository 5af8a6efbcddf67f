//! What a pod template reads, key by key, from its raw JSON: typed structs drop fields that they do
//! not know.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use wildmatch::WildMatch;

use crate::{
    api::{ConfigKind, ConfigPattern, ConfigSpec},
    core::observed::{ConfigId, Keys, Namespace, Reference},
};

/// What a record may take for each reference besides its name.
const RECORDED_BYTES: usize = 80;
/// Maximum number of bytes of a record that are about references. All annotations of an object may
/// have 262,144.
const RECORD_BYTES: usize = 96 * 1024;

/// What the containers of a pod template read: environment variables, and volumes that some
/// container mounts. Sorted, each once; what is malformed is passed over, as the API server would
/// not have stored it.
pub fn of_template(template: &Value) -> Vec<Reference> {
    let spec = &template["spec"];
    let mut found = Vec::new();
    let mut mounted = BTreeSet::new();
    for container in ["containers", "initContainers"].iter().flat_map(|list| items(&spec[*list])) {
        for variable in items(&container["env"]) {
            let from = &variable["valueFrom"];
            for (kind, field) in
                [(ConfigKind::ConfigMap, "configMapKeyRef"), (ConfigKind::Secret, "secretKeyRef")]
            {
                if let (Some(name), Some(key)) =
                    (from[field]["name"].as_str(), from[field]["key"].as_str())
                {
                    found.push(Reference::new(
                        kind,
                        name,
                        Keys::One(key.to_owned()),
                        optional(&from[field]),
                    ));
                }
            }
        }
        for source in items(&container["envFrom"]) {
            for (kind, field) in
                [(ConfigKind::ConfigMap, "configMapRef"), (ConfigKind::Secret, "secretRef")]
            {
                if let Some(name) = source[field]["name"].as_str() {
                    found.push(Reference::new(kind, name, Keys::All, optional(&source[field])));
                }
            }
        }
        mounted
            .extend(items(&container["volumeMounts"]).filter_map(|mount| mount["name"].as_str()));
    }
    for volume in items(&spec["volumes"])
        .filter(|volume| volume["name"].as_str().is_some_and(|name| mounted.contains(name)))
    {
        of_volume(ConfigKind::ConfigMap, &volume["configMap"], "name", &mut found);
        of_volume(ConfigKind::Secret, &volume["secret"], "secretName", &mut found);
        for source in items(&volume["projected"]["sources"]) {
            of_volume(ConfigKind::ConfigMap, &source["configMap"], "name", &mut found);
            of_volume(ConfigKind::Secret, &source["secret"], "name", &mut found);
        }
    }
    merge(found)
}

fn of_volume(kind: ConfigKind, source: &Value, name: &str, found: &mut Vec<Reference>) {
    let Some(name) = source[name].as_str() else { return };
    let optional = optional(source);
    let keys: Vec<_> = items(&source["items"]).filter_map(|item| item["key"].as_str()).collect();
    if keys.is_empty() {
        found.push(Reference::new(kind, name, Keys::All, optional));
    }
    found.extend(
        keys.into_iter().map(|key| Reference::new(kind, name, Keys::One(key.to_owned()), optional)),
    );
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn optional(source: &Value) -> bool {
    source["optional"].as_bool().unwrap_or(false)
}

/// Each reference once; what is required anywhere is required.
fn merge(references: impl IntoIterator<Item = Reference>) -> Vec<Reference> {
    let mut merged: BTreeMap<(ConfigKind, String, Keys, Vec<String>), Reference> = BTreeMap::new();
    for reference in references {
        let same = (
            reference.kind,
            reference.name.clone(),
            reference.keys.clone(),
            reference.except.clone(),
        );
        merged
            .entry(same)
            .and_modify(|known| {
                known.optional &= reference.optional;
                known.own |= reference.own;
            })
            .or_insert(reference);
    }
    merged.into_values().collect()
}

/// The references that count for a workload under a policy: those of its template and `include`,
/// less `exclude` and objects marked to be ignored. Those of the other workloads of its group, if
/// any, come as `group`.
pub fn effective(
    template: &[Reference],
    spec: &ConfigSpec,
    group: &[Reference],
    namespace: &Namespace,
) -> Vec<Reference> {
    let included = spec.include.iter().flat_map(|pattern| {
        let keys = pattern.keys.iter().map(|key| match key.contains(['*', '?']) {
            true => Keys::Matching(key.clone()),
            false => Keys::One(key.clone()),
        });
        let keys = if pattern.keys.is_empty() { vec![Keys::All] } else { keys.collect() };
        keys.into_iter()
            .map(|keys| Reference::new(pattern.kind, &pattern.name, keys, true))
            .collect::<Vec<_>>()
    });
    let group = group.iter().map(|reference| Reference { own: false, ..reference.clone() });
    let all = template.iter().cloned().chain(included).chain(group);
    let counted = all.filter_map(|reference| without_excluded(reference, &spec.exclude)).filter(
        |reference| {
            let id = ConfigId { kind: reference.kind, name: reference.name.as_str().into() };
            !namespace.config.get(&id).is_some_and(|entry| entry.ignored)
        },
    );
    fold(merge(counted))
}

/// Single keys of one object become one reference, where their names would not fit into a record.
fn fold(references: Vec<Reference>) -> Vec<Reference> {
    let bytes: usize =
        references.iter().map(|reference| reference.to_string().len() + RECORDED_BYTES).sum();
    if bytes <= RECORD_BYTES {
        return references;
    }
    let mut folded: BTreeMap<(ConfigKind, String, bool, bool), Vec<String>> = BTreeMap::new();
    let mut rest = Vec::new();
    for reference in references {
        match reference.keys {
            Keys::One(key) => {
                folded
                    .entry((reference.kind, reference.name, reference.optional, reference.own))
                    .or_default()
                    .push(key);
            }
            _ => rest.push(reference),
        }
    }
    for ((kind, name, optional, own), mut keys) in folded {
        keys.sort();
        let keys = if keys.len() == 1 { Keys::One(keys.remove(0)) } else { Keys::Several(keys) };
        rest.push(Reference { own, ..Reference::new(kind, &name, keys, optional) });
    }
    rest.sort();
    rest
}

fn without_excluded(mut reference: Reference, exclude: &[ConfigPattern]) -> Option<Reference> {
    for pattern in exclude {
        if pattern.kind == reference.kind
            && reference.is_glob()
            && pattern.keys.is_empty()
            && pattern.name != reference.name
        {
            reference.except_names.push(pattern.name.clone());
            continue;
        }
        if pattern.kind != reference.kind || !WildMatch::new(&pattern.name).matches(&reference.name)
        {
            continue;
        }
        if pattern.keys.is_empty() {
            return None;
        }
        if let Keys::One(key) = &reference.keys {
            if pattern.keys.iter().any(|glob| WildMatch::new(glob).matches(key)) {
                return None;
            }
        } else {
            reference.except.extend(pattern.keys.iter().cloned());
        }
    }
    for list in [&mut reference.except_names, &mut reference.except] {
        list.sort();
        list.dedup();
    }
    Some(reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_keys_that_their_names_fill_a_record_are_one_reference() {
        let keys = |count: usize| {
            (0..count).map(|number| format!("{}.{number}", "k".repeat(180))).collect::<Vec<_>>()
        };
        let of = |count| {
            let one = |key: String| {
                Reference::new(ConfigKind::ConfigMap, "settings", Keys::One(key), false)
            };
            effective(
                &keys(count).into_iter().map(one).collect::<Vec<_>>(),
                &ConfigSpec::default(),
                &[],
                &Namespace::default(),
            )
        };
        assert_eq!(of(100).len(), 100);
        let many = of(1300);
        assert_eq!(many.len(), 1);
        assert!(many[0].reads(&keys(1300)[7]) && !many[0].reads("other"));
        let name = many[0].to_string();
        assert!(name.starts_with("ConfigMap/settings[1300 keys, ") && name.len() < 60, "{name}");
        assert_ne!(of(1299)[0].to_string(), name);
    }
}
