//! Which writes a policy is about: `matchConstraints` of a policy and `matchResources` of its
//! bindings.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use serde::Deserialize;
use serde_json::Value;

use super::write::{Request, Resource};

type Labels = BTreeMap<String, String>;

/// Without any of these, all writes.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(default)]
    object_selector: LabelSelector,
    #[serde(default)]
    namespace_selector: LabelSelector,
    #[serde(default)]
    resource_rules: Vec<ResourceRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResourceRule {
    api_groups: Vec<String>,
    api_versions: Vec<String>,
    operations: Vec<String>,
    resources: Vec<String>,
}

/// The writes that a policy or a binding selects.
pub struct Constraints {
    objects: Selector,
    namespaces: Selector,
    rules: Vec<ResourceRule>,
}

impl Constraints {
    /// From `matchConstraints` or `matchResources`; null selects all.
    ///
    /// # Errors
    /// Where they have a field that is not known here.
    pub fn read(value: &Value) -> Result<Self, String> {
        let written = match value {
            Value::Null => Written::default(),
            value => Written::deserialize(value).map_err(|error| error.to_string())?,
        };
        Ok(Self {
            objects: selector(written.object_selector)?,
            namespaces: selector(written.namespace_selector)?,
            rules: written.resource_rules,
        })
    }

    /// Whether a write is selected. `object` is the object as policies before this one left it.
    pub fn select(&self, request: &Request, object: Option<&Value>) -> bool {
        (self.rules.is_empty() || self.rules.iter().any(|rule| rule.applies_to(request)))
            && (self.objects.selects_all() || self.select_object(request, object))
            && (self.namespaces.selects_all() || self.select_namespace(request, object))
    }

    /// The old object counts as well as the new one.
    fn select_object(&self, request: &Request, object: Option<&Value>) -> bool {
        let both = [object, request.old_object.as_ref()];
        both.into_iter().flatten().any(|one| self.objects.matches(&labels(one)))
    }

    fn select_namespace(&self, request: &Request, object: Option<&Value>) -> bool {
        // A namespace is selected by its own labels; other objects of the cluster always are.
        let resource = &request.resource;
        if resource.group.is_empty() && resource.plural == "namespaces" {
            let itself = object.or(request.old_object.as_ref());
            return itself.is_some_and(|one| self.namespaces.matches(&labels(one)));
        }
        if request.namespace.is_empty() {
            return true;
        }
        let mut of_namespace = request.namespace_object.as_ref().map(labels).unwrap_or_default();
        of_namespace.insert("kubernetes.io/metadata.name".to_owned(), request.namespace.clone());
        self.namespaces.matches(&of_namespace)
    }
}

impl ResourceRule {
    fn applies_to(&self, request: &Request) -> bool {
        let Resource { group, version, plural, subresource } = &request.resource;
        let resource = match subresource {
            Some(subresource) => format!("{plural}/{subresource}"),
            None => plural.clone(),
        };
        among(&self.api_groups, group)
            && among(&self.api_versions, version)
            && among(&self.operations, request.operation.as_str())
            && self.resources.contains(&resource)
    }
}

fn selector(labels: LabelSelector) -> Result<Selector, String> {
    Selector::try_from(labels).map_err(|error| error.to_string())
}

fn among(list: &[String], one: &str) -> bool {
    list.iter().any(|entry| entry == one || entry == "*")
}

fn labels(object: &Value) -> Labels {
    let labels = object["metadata"]["labels"].as_object();
    let texts =
        labels.into_iter().flatten().filter_map(|(key, value)| Some((key, value.as_str()?)));
    texts.map(|(key, value)| (key.clone(), value.to_owned())).collect()
}
