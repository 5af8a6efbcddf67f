//! Which claim gets the volume of which other one.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ResourceQuota, apimachinery::pkg::api::resource::Quantity};
use kube::{Api, api::ListParams};
use lockkeeper::{api::WorkloadKind, core::observed::WorkloadId};
use serde_json::Value;

use super::What;
use crate::{
    cluster::{Cluster, Failure, lower},
    plan::manifests,
    volumes::seen::View,
};

/// Two claims.
pub struct Pair {
    /// The one that has the volume.
    pub from: String,
    /// The one that gets it.
    pub to: String,
    /// What the new one asks for, as far as it is known.
    asks: Value,
}

impl Pair {
    /// What is different, and does not matter to Kubernetes.
    pub fn notes(&self, volume: &View) -> Vec<String> {
        let (asks, has) = (&self.asks, &volume.raw["spec"]);
        let mut notes = Vec::new();
        if let (Some(asked), Some(has)) =
            (asks["storageClassName"].as_str(), has["storageClassName"].as_str())
            && asked != has
        {
            notes.push(format!(
                "the new claim asks for class {asked}, and the volume is of class {has}: it gets the volume all the same"
            ));
        }
        let (asked, has) = (&asks["resources"]["requests"]["storage"], &has["capacity"]["storage"]);
        if asked.is_string() && asked != has {
            notes.push(format!(
                "the new claim asks for {}, and the volume has {}: it gets the volume as it is",
                asked.as_str().unwrap_or_default(),
                has.as_str().unwrap_or_default()
            ));
        }
        notes
    }
}

/// The claims that the user means.
pub async fn of(cluster: &Cluster, what: &What) -> Result<Vec<Pair>, Failure> {
    let Some(workload) = &what.workload else {
        let pair = |text: &String| match text.split_once('=') {
            Some((from, to)) if !from.is_empty() && !to.is_empty() && from != to => {
                Ok(Pair { from: from.to_owned(), to: to.to_owned(), asks: Value::Null })
            }
            _ => Err(Failure::No(format!(
                "--claim {text}: write OLD=NEW, such as web-data=data-web-0"
            ))),
        };
        return what.claim.iter().map(pair).collect();
    };
    let id = workload.find(cluster).await?;
    let old = cluster.get(&id).await?;
    let new = target(what, &id)?;
    let pairs = paired(&claims(&old), &claims(&new));
    let to = format!("{}/{}", new["kind"].as_str().unwrap_or_default(), name(&new));
    match pairs {
        Some(pairs) if pairs.is_empty() => Err(Failure::No(format!(
            "{} and {to} use the same claims, so there is nothing to hand over",
            lower(&id)
        ))),
        Some(pairs) => Ok(pairs),
        None => Err(Failure::No(format!(
            "which claim of {to} gets which volume of {} is not plain, because their volumes have other names. Name each pair: --claim OLD=NEW",
            lower(&id)
        ))),
    }
}

/// The workload that another becomes, among the manifests.
fn target(what: &What, id: &WorkloadId) -> Result<Value, Failure> {
    let mut all: Vec<_> = manifests::read(&what.filename, false)?
        .into_iter()
        .map(|manifest| manifest.object)
        .filter(|object| object["kind"].as_str().and_then(WorkloadKind::named).is_some())
        .collect();
    let is = |object: &Value, kind: &str, called: &str| {
        let of = object["kind"].as_str().unwrap_or_default().to_lowercase();
        of == kind.to_lowercase() && name(object) == called
    };
    let found = match what.to.as_deref().map(|to| to.split_once('/')) {
        Some(Some((kind, called))) => {
            let kind = if kind == "sts" { "statefulset" } else { kind };
            all.iter().position(|object| is(object, kind, called))
        }
        Some(None) => None,
        None => {
            let same = all.iter().position(|object| is(object, "statefulset", &id.name));
            same.or((all.len() == 1).then_some(0))
        }
    };
    match found {
        Some(index) => Ok(all.swap_remove(index)),
        None => Err(Failure::No(format!(
            "{} has no {}: name the workload that {} becomes with --to KIND/NAME",
            what.filename.join(", "),
            what.to.clone().unwrap_or_else(|| format!("StatefulSet {}", id.name)),
            lower(id)
        ))),
    }
}

/// A volume of a pod template, and the claims that its pods use for it, one after the other.
struct Mounted {
    name: String,
    claims: Vec<String>,
    asks: Value,
}

fn claims(object: &Value) -> Vec<Mounted> {
    let spec = &object["spec"];
    let volumes = spec["template"]["spec"]["volumes"].as_array().into_iter().flatten();
    let named = volumes.filter_map(|volume| {
        let claim = volume["persistentVolumeClaim"]["claimName"].as_str()?.to_owned();
        let name = volume["name"].as_str().unwrap_or_default().to_owned();
        Some(Mounted { name, claims: vec![claim], asks: Value::Null })
    });
    let start = spec["ordinals"]["start"].as_u64().unwrap_or_default();
    let replicas = spec["replicas"].as_u64().unwrap_or(1).max(1);
    let templates = spec["volumeClaimTemplates"].as_array().into_iter().flatten();
    let of_templates = templates.map(|template| {
        let name = name(template).to_owned();
        let set = self::name(object);
        let claims = (start..start + replicas).map(|ordinal| format!("{name}-{set}-{ordinal}"));
        Mounted { claims: claims.collect(), asks: template["spec"].clone(), name }
    });
    named.chain(of_templates).collect()
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The claims that go together: those of volumes of the same name, or of the only ones. None where
/// that is not plain.
fn paired(old: &[Mounted], new: &[Mounted]) -> Option<Vec<Pair>> {
    let mut pairs = Vec::new();
    for one in old {
        let same = new.iter().find(|other| other.name == one.name);
        let only = new.first().filter(|_| old.len() == 1 && new.len() == 1);
        let other = same.or(only)?;
        let both = one.claims.iter().zip(&other.claims).filter(|(from, to)| from != to);
        pairs.extend(both.map(|(from, to)| Pair {
            from: from.clone(),
            to: to.clone(),
            asks: other.asks.clone(),
        }));
    }
    Some(pairs)
}

/// The quotas that leave no room for the new claims: the old ones stay beside them. Those that may
/// not be read say nothing.
pub async fn quota(cluster: &Cluster, pairs: &[Pair]) -> Vec<String> {
    let api: Api<ResourceQuota> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let Ok(all) = api.list(&ListParams::default()).await else { return Vec::new() };
    let mut full = Vec::new();
    for quota in all {
        let status = quota.status.unwrap_or_default();
        for resource in ["persistentvolumeclaims", "count/persistentvolumeclaims"] {
            let number = |of: &Option<BTreeMap<String, Quantity>>| {
                of.as_ref()?.get(resource)?.0.parse::<usize>().ok()
            };
            if let (Some(hard), Some(used)) = (number(&status.hard), number(&status.used))
                && used + pairs.len() > hard
            {
                full.push(format!(
                    "ResourceQuota {} allows {hard} claims ({resource}), and there are {used}: it leaves no room for {} more. Raise it first",
                    quota.metadata.name.clone().unwrap_or_default(),
                    pairs.len()
                ));
            }
        }
    }
    full
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(volumes: &[(&str, &str)]) -> Value {
        let volumes: Vec<_> = volumes
            .iter()
            .map(|(name, claim)| json!({"name": name, "persistentVolumeClaim": {"claimName": claim}}))
            .collect();
        json!({"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": {"spec": {"volumes": volumes}}}})
    }

    fn set(name: &str, replicas: u64, start: u64, templates: &[&str]) -> Value {
        let templates: Vec<_> =
            templates.iter().map(|name| json!({"metadata": {"name": name}, "spec": {}})).collect();
        json!({"kind": "StatefulSet", "metadata": {"name": name},
            "spec": {"replicas": replicas, "ordinals": {"start": start}, "volumeClaimTemplates": templates}})
    }

    fn names(old: &Value, new: &Value) -> Option<Vec<String>> {
        let pairs = paired(&claims(old), &claims(new))?;
        Some(pairs.iter().map(|pair| format!("{} {}", pair.from, pair.to)).collect())
    }

    #[test]
    fn claims_go_together_by_the_names_of_their_volumes() {
        let one = deployment(&[("files", "web-data")]);
        let two = deployment(&[("files", "web-files"), ("logs", "web-logs")]);
        for (old, new, expected) in [
            (&one, set("web", 1, 0, &["data"]), Some(vec!["web-data data-web-0"])),
            (&one, set("web", 3, 5, &["files"]), Some(vec!["web-data files-web-5"])),
            (
                &two,
                set("web", 1, 0, &["logs", "files"]),
                Some(vec!["web-files files-web-0", "web-logs logs-web-0"]),
            ),
            (&two, set("web", 1, 0, &["data", "logs"]), None),
            (&one, deployment(&[("files", "web-data")]), Some(vec![])),
        ] {
            let expected = expected.map(|all| all.iter().map(|one| (*one).to_owned()).collect());
            assert_eq!(names(old, &new), expected, "{new}");
        }
        // A StatefulSet that gets another name, and one that becomes a Deployment.
        assert_eq!(
            names(&set("web", 2, 0, &["data"]), &set("shop", 2, 0, &["data"])),
            Some(vec!["data-web-0 data-shop-0".to_owned(), "data-web-1 data-shop-1".to_owned()])
        );
        assert_eq!(
            names(&set("web", 1, 0, &["data"]), &one),
            Some(vec!["data-web-0 web-data".to_owned()])
        );
    }
}
