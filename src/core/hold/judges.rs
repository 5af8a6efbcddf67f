//! Who judges writes in this cluster, and whether the webhook is sent those that it must judge.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::core::{Selector, SelectorExt};
use serde::Deserialize;
use serde_json::Value;

use crate::{api::marks, marks::values::Judge};

/// The configuration of the webhook, where there is one. Webhooks are called in the order of these
/// names, so it sees what others have changed.
pub const WEBHOOK: (&str, &str) = ("MutatingWebhookConfiguration", "zz-lockkeeper");
/// Its entry for the writes that may be held.
pub const HOLDS_ENTRY: &str = "holds.lockkeeper.dev";
/// Its entry for the question whether it answers. It is called as the one for holds.
pub const PROBE_ENTRY: &str = "probe.lockkeeper.dev";
/// Its entry for what is created with marks of ours.
pub const CREATED_ENTRY: &str = "created.lockkeeper.dev";
/// Its entry for claims.
pub const CLAIMS_ENTRY: &str = "claims.lockkeeper.dev";
/// Its entry for the pods of workloads that sleep.
pub const PODS_ENTRY: &str = "pods.lockkeeper.dev";
/// Its entry for claims of reserved names.
pub const RESERVE_ENTRY: &str = "reserve.lockkeeper.dev";
/// Which writes can matter to the rules.
const CONCERNS: &str = include_str!("../../../charts/lockkeeper/webhook/concerns.cel");
/// What may be held.
const KINDS: [&str; 2] = ["deployments", "statefulsets"];
/// The operator's service account.
const ACCOUNT: &str = "lockkeeper";

/// Who judges writes in this cluster, as far as is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Judges {
    /// The API server, by the policies.
    pub policies: bool,
    /// The API server, by policies with texts of another version of Lockkeeper: so it is for a
    /// while when Lockkeeper is upgraded.
    pub other_version: bool,
    /// The webhook.
    pub webhook: bool,
    /// Who is to judge, where both can; none while that one has not proven that it does.
    pub preferred: Option<Judge>,
}

impl Judges {
    /// Who is to judge a workload whose label names this one. Where both can, it stays with its
    /// judge until the other one has proven itself; where nobody can, as far as is known, too. From
    /// policies of another version none goes to the webhook: the same upgrade may remove that.
    pub fn choose(self, label: Option<Judge>) -> Judge {
        match (self.policies, self.webhook) {
            (true, true) => self.preferred.or(label).unwrap_or(Judge::Policies),
            (true, false) => Judge::Policies,
            (false, true) if !self.other_version => Judge::Webhook,
            (false, _) => label.unwrap_or(Judge::Policies),
        }
    }

    /// Whether the judge that a label names judges. Where nobody does, that is told otherwise.
    pub fn heed(self, label: Option<Judge>) -> bool {
        match label {
            _ if !(self.policies || self.webhook) => true,
            Some(Judge::Webhook) => self.webhook,
            Some(Judge::Policies) | None => self.policies || self.other_version,
        }
    }
}

/// What the chart says of an entry of the webhook that is sent workloads. Where to send it, and
/// what verifies that, is the administrator's.
pub struct Wanted<'a> {
    operation: &'static str,
    /// It is sent those whose label names one of these.
    judges: &'static [Judge],
    /// The one condition that it may have.
    condition: String,
    /// The namespace of the release, which is not sent.
    namespace: &'a str,
}

impl<'a> Wanted<'a> {
    /// Of the entry for the writes that may be held: each update of a Deployment and a StatefulSet
    /// whose label names the webhook.
    pub fn holds(namespace: &'a str) -> Self {
        let condition = CONCERNS.trim().to_owned();
        Self { operation: "UPDATE", judges: &[Judge::Webhook], condition, namespace }
    }

    /// Of the entry for what is created with marks of ours.
    pub fn created(namespace: &'a str) -> Self {
        let condition =
            format!("request.userInfo.username != 'system:serviceaccount:{namespace}:{ACCOUNT}'");
        let judges = &[Judge::Webhook, Judge::Policies];
        Self { operation: "CREATE", judges, condition, namespace }
    }

    /// The first field by which an entry is sent less than the chart has it sent, or lets through
    /// what it is to refuse.
    pub fn flaw(&self, entry: &Value) -> Option<&'static str> {
        match () {
            () if !self.judges.iter().all(|judge| selects(entry, *judge)) => Some("objectSelector"),
            () if !self.selects_namespaces(entry) => Some("namespaceSelector"),
            () if !KINDS.iter().all(|kind| is_sent(entry, self.operation, kind)) => Some("rules"),
            () if self.is_narrowed(entry) => Some("matchConditions"),
            () if ignores(entry) && !is_to_ignore(entry) => Some("failurePolicy"),
            () if entry["reinvocationPolicy"] == "IfNeeded" => Some("reinvocationPolicy"),
            () => None,
        }
    }

    /// Whether it has another condition than the chart's. With none it is sent more.
    fn is_narrowed(&self, entry: &Value) -> bool {
        let conditions = entry["matchConditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|one| one["expression"] != self.condition)
    }

    /// Whether it is sent all namespaces but those that the chart leaves out, and those of a
    /// provider.
    fn selects_namespaces(&self, entry: &Value) -> bool {
        let selector = LabelSelector::deserialize(&entry["namespaceSelector"]).unwrap_or_default();
        let mut requirements = selector.match_expressions.iter().flatten();
        selector.match_labels.is_none_or(|labels| labels.is_empty())
            && requirements.all(|one| self.is_allowed(one))
    }

    /// AKS may add two of these to any webhook.
    fn is_allowed(&self, one: &LabelSelectorRequirement) -> bool {
        let mut values = one.values.iter().flatten();
        match (one.key.as_str(), one.operator.as_str()) {
            ("kubernetes.io/metadata.name", "NotIn") => {
                values.all(|name| ["kube-system", self.namespace].contains(&name.as_str()))
            }
            ("control-plane", "DoesNotExist") => true,
            ("kubernetes.azure.com/managedby", "NotIn") => values.eq(["aks"]),
            _ => false,
        }
    }
}

/// Whether what this entry cannot judge is stored as it is.
pub fn ignores(entry: &Value) -> bool {
    entry["failurePolicy"] == "Ignore"
}

/// Whether the chart has an entry let through what it cannot judge: it says so by the path too, for
/// what the webhook itself cannot judge.
fn is_to_ignore(entry: &Value) -> bool {
    let client = &entry["clientConfig"];
    let called = client["url"].as_str().or(client["service"]["path"].as_str());
    called.is_some_and(|path| path.ends_with("/mutate/ignore"))
}

/// Whether an entry is sent workloads whose label names this judge. The chart has the webhook sent
/// all governed ones where it is to judge them.
pub fn selects(entry: &Value, judge: Judge) -> bool {
    let labels = BTreeMap::from([(marks::GOVERNED.to_owned(), judge.to_string())]);
    let selector = LabelSelector::deserialize(&entry["objectSelector"]).unwrap_or_default();
    Selector::try_from(selector).is_ok_and(|selector| selector.matches(&labels))
}

/// Whether two entries are answered by the same server, verified by the same authority: what one
/// proves holds for the other.
pub fn is_same_server(entry: &Value, other: &Value) -> bool {
    server(entry) == server(other)
}

/// Where an entry is sent, but for the path.
fn server(entry: &Value) -> Value {
    let mut client = entry["clientConfig"].clone();
    let url = client["url"].as_str().and_then(|url| Some(url.rsplit_once("/mutate/")?.0.into()));
    if let (Some(url), Some(client)) = (url, client.as_object_mut()) {
        client.insert("url".to_owned(), Value::String(url));
    }
    if let Some(service) = client["service"].as_object_mut() {
        service.remove("path");
    }
    client
}

fn is_sent(entry: &Value, operation: &str, resource: &str) -> bool {
    let wanted = [
        ("apiGroups", "apps"),
        ("apiVersions", "v1"),
        ("operations", operation),
        ("resources", resource),
    ];
    entry["rules"].as_array().into_iter().flatten().any(|rule| {
        wanted.iter().all(|(field, one)| {
            rule[*field].as_array().is_some_and(|list| list.iter().any(|entry| entry == one))
        })
    })
}
