//! Who judges writes in this cluster, and whether the webhook is sent those that it must judge.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
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
/// Its entry for claims.
pub const CLAIMS_ENTRY: &str = "claims.lockkeeper.dev";
/// Its entry for the pods of workloads that sleep.
pub const PODS_ENTRY: &str = "pods.lockkeeper.dev";

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

/// What is wrong with the entry of the webhook that holds, if anything: it must be sent each update
/// of a Deployment and a StatefulSet whose label names it. Where to send it, what verifies that, and
/// which namespaces a provider leaves out, is the administrator's.
pub fn flaw(entry: &Value) -> Option<&'static str> {
    match () {
        () if !selects(entry, Judge::Webhook) => Some("objectSelector"),
        () if !["deployments", "statefulsets"].iter().all(|one| is_sent(entry, one)) => {
            Some("rules")
        }
        () if entry["reinvocationPolicy"] == "IfNeeded" => Some("reinvocationPolicy"),
        () => None,
    }
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

fn is_sent(entry: &Value, resource: &str) -> bool {
    let wanted = [
        ("apiGroups", "apps"),
        ("apiVersions", "v1"),
        ("operations", "UPDATE"),
        ("resources", resource),
    ];
    entry["rules"].as_array().into_iter().flatten().any(|rule| {
        wanted.iter().all(|(field, one)| {
            rule[*field].as_array().is_some_and(|list| list.iter().any(|entry| entry == one))
        })
    })
}
