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
/// Its entry for claims.
pub const CLAIMS_ENTRY: &str = "claims.lockkeeper.dev";

/// Who judges writes in this cluster, as far as is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Judges {
    /// The API server, by the policies.
    pub policies: bool,
    /// The webhook.
    pub webhook: bool,
}

impl Judges {
    /// Who is to judge a workload whose label names this one: the API server, where it can. Where
    /// nobody can, as far as is known, it stays as it is.
    pub fn choose(self, label: Option<Judge>) -> Judge {
        match self {
            Self { policies: true, .. } => Judge::Policies,
            Self { webhook: true, .. } => Judge::Webhook,
            Self { .. } => label.unwrap_or(Judge::Policies),
        }
    }

    /// Whether the judge that a label names judges. Where nobody does, that is told otherwise.
    pub fn heed(self, label: Option<Judge>) -> bool {
        match label {
            _ if self == Self::default() => true,
            Some(Judge::Webhook) => self.webhook,
            Some(Judge::Policies) | None => self.policies,
        }
    }
}

/// What is wrong with the entry of the webhook that holds, if anything: it must be sent each update
/// of a Deployment and a StatefulSet whose label names it. Where to send it, what verifies that, and
/// which namespaces a provider leaves out, is the administrator's.
pub fn flaw(entry: &Value) -> Option<&'static str> {
    let labels = BTreeMap::from([(marks::GOVERNED.to_owned(), Judge::Webhook.to_string())]);
    let selector = LabelSelector::deserialize(&entry["objectSelector"]).unwrap_or_default();
    let selects = Selector::try_from(selector).is_ok_and(|selector| selector.matches(&labels));
    match () {
        () if !selects => Some("objectSelector"),
        () if !["deployments", "statefulsets"].iter().all(|one| is_sent(entry, one)) => {
            Some("rules")
        }
        () if entry["reinvocationPolicy"] == "IfNeeded" => Some("reinvocationPolicy"),
        () => None,
    }
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
