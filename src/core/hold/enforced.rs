//! Whether admission does what it should: compares the admission policies that are installed with
//! those that the chart installs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::judges::{CLAIMS_ENTRY, HOLDS_ENTRY, Judges, WEBHOOK, flaw};
use crate::{api::ConditionReason, core::judge::texts};

/// What is needed for holds beside the policies that make them.
const BESIDE: [&str; 3] = [
    include_str!("../../../charts/lockkeeper/admission/rights.yaml"),
    include_str!("../../../charts/lockkeeper/admission/self-restraint.yaml"),
    // The warnings hold nothing, but without them no user is told.
    include_str!("../../../charts/lockkeeper/admission/warnings.yaml"),
];
/// What refuses the deletion of protected claims and namespaces.
const DELETION: &str = include_str!("../../../charts/lockkeeper/admission/deletion.yaml");

/// With what the kinds of policies and bindings that change writes begin.
const MUTATING: &str = "MutatingAdmissionPolicy";
/// Kind and name of an admission policy or binding.
pub type AdmissionId = (String, String);

/// What the API server fills in.
const DEFAULTS: [(&str, &str); 6] = [
    ("failurePolicy", "\"Fail\""),
    ("matchPolicy", "\"Equivalent\""),
    ("reinvocationPolicy", "\"Never\""),
    ("scope", "\"*\""),
    ("namespaceSelector", "{}"),
    ("objectSelector", "{}"),
];

/// What a policy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Holds,
    Claims,
    Deletion,
}

/// What is known of the admission policies.
#[derive(Debug, Clone, Default)]
pub struct Enforcement {
    expected: BTreeMap<AdmissionId, (Purpose, Value)>,
    installed: BTreeMap<AdmissionId, Value>,
    /// Those of ours that cannot be read, with what is wrong with them.
    unread: BTreeMap<AdmissionId, String>,
    /// The kinds that the API server does not serve: MutatingAdmissionPolicy v1, before Kubernetes
    /// 1.36.
    unserved: BTreeSet<String>,
}

/// Why something is not enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// In one word.
    pub reason: ConditionReason,
    /// In words, with the cure.
    pub message: String,
}

impl Enforcement {
    /// What should be installed by a release in this namespace; nothing is known to be.
    pub fn new(namespace: &str) -> Self {
        let holds = texts::HOLDS.iter().chain(&BESIDE).map(|file| (Purpose::Holds, *file));
        let mut expected = BTreeMap::new();
        for (purpose, file) in
            holds.chain([(Purpose::Claims, texts::CLAIMS), (Purpose::Deletion, DELETION)])
        {
            for object in texts::objects(file, namespace) {
                expected.insert(id(&object), (purpose, object["spec"].clone()));
            }
        }
        Self {
            expected,
            installed: BTreeMap::new(),
            unread: BTreeMap::new(),
            unserved: BTreeSet::new(),
        }
    }

    /// Takes note of an object; of no interest are those that are not ours. Of a webhook's
    /// configuration, `spec` is the list of its webhooks.
    pub fn observe(&mut self, kind: &str, name: &str, spec: Option<Value>) -> bool {
        if !self.expects(kind, name) {
            return false;
        }
        let id = (kind.to_owned(), name.to_owned());
        match spec {
            Some(spec) => self.installed.insert(id, spec.clone()) != Some(spec),
            None => self.installed.remove(&id).is_some(),
        }
    }

    /// Whether an object is one of ours.
    pub fn expects(&self, kind: &str, name: &str) -> bool {
        (kind, name) == WEBHOOK || self.expected.contains_key(&(kind.to_owned(), name.to_owned()))
    }

    /// Takes note that an object of ours cannot be read, and what is wrong with it; or that this is
    /// over.
    pub fn observe_unread(&mut self, kind: &str, name: &str, flaw: Option<String>) {
        let id = (kind.to_owned(), name.to_owned());
        match flaw {
            Some(flaw) => drop(self.unread.insert(id, flaw)),
            None => drop(self.unread.remove(&id)),
        }
    }

    /// Takes note of whether the API server serves a kind. Returns whether that is new.
    pub fn observe_served(&mut self, kind: &str, served: bool) -> bool {
        match served || kind == WEBHOOK.0 {
            true => self.unserved.remove(kind),
            false => self.unserved.insert(kind.to_owned()),
        }
    }

    /// Whether the API server lacks a kind, so that it cannot hold templates.
    pub fn is_unavailable(&self) -> bool {
        !self.unserved.is_empty()
    }

    /// Forgets the objects of a kind that are not among `names`.
    pub fn keep_only(&mut self, kind: &str, listed: impl Fn(&str) -> bool) {
        self.installed.retain(|(of, name), _| of != kind || listed(name));
    }

    /// Who judges writes.
    pub fn judges(&self) -> Judges {
        let policies = !self.expected.is_empty()
            && !self.is_unavailable()
            && self.gap_among(Purpose::Holds, true, "").is_none();
        let entry = self.entry(HOLDS_ENTRY);
        Judges { policies, webhook: entry.is_some_and(|entry| flaw(entry).is_none()) }
    }

    /// The first thing that keeps holds from being enforced.
    pub fn gap(&self) -> Option<Gap> {
        let so = "template changes may roll without waiting";
        if self.judges() == (Judges { policies: false, webhook: true }) {
            return self.gap_among(Purpose::Holds, false, so);
        }
        let policies = self.installed.keys().any(|(kind, _)| kind.starts_with(MUTATING));
        if !policies && let Some(flaw) = self.webhook_flaw() {
            let message = changed(WEBHOOK, flaw, &reinstall(so));
            return Some(Gap { reason: ConditionReason::WebhookChanged, message });
        }
        if self.is_unavailable() {
            return Some(unavailable(
                "template changes roll out immediately, without waiting for any gate. Config changes still wait. Upgrade the cluster, then run \
                 helm upgrade for Lockkeeper, or let its webhook hold changes (the chart's value holds.by)",
            ));
        }
        self.gap_among(Purpose::Holds, true, so)
    }

    /// What is wrong with the configuration of the webhook, where there is one.
    fn webhook_flaw(&self) -> Option<&'static str> {
        let (kind, name) = WEBHOOK;
        self.installed.get(&(kind.to_owned(), name.to_owned()))?;
        self.entry(HOLDS_ENTRY).map_or(Some("webhooks"), flaw)
    }

    /// An entry in the configuration of the webhook.
    fn entry(&self, entry: &str) -> Option<&Value> {
        let (kind, name) = WEBHOOK;
        let webhooks = self.installed.get(&(kind.to_owned(), name.to_owned()))?;
        webhooks.as_array()?.iter().find(|one| one["name"] == entry)
    }

    /// The first thing that lets Helm, Argo CD and Flux delete a retained claim. Its volume keeps
    /// the data all the same.
    pub fn claims_gap(&self) -> Option<Gap> {
        let gap = self.gap_of(
            Purpose::Claims,
            "Helm, Argo CD and Flux may delete claims; the data stays on their volumes",
        );
        match gap {
            Some(_) if self.entry(CLAIMS_ENTRY).is_some() => None,
            Some(_) if self.is_unavailable() => Some(unavailable(
                "nothing keeps Helm, Argo CD and Flux from deleting claims; the data stays on their volumes",
            )),
            gap => gap,
        }
    }

    /// The first thing that lets a protected claim or namespace be deleted.
    /// ValidatingAdmissionPolicies refuse that, which every cluster has.
    pub fn deletion_gap(&self) -> Option<Gap> {
        self.gap_of(
            Purpose::Deletion,
            "protected claims may be deleted; the data stays on their volumes",
        )
    }

    fn gap_of(&self, purpose: Purpose, so: &str) -> Option<Gap> {
        self.gap_among(purpose, true, so)
    }

    /// Among the objects for a purpose, without those that change writes where the webhook does.
    fn gap_among(&self, purpose: Purpose, mutating: bool, so: &str) -> Option<Gap> {
        let reinstall = reinstall(so);
        let of_it = self.expected.iter().filter(|((kind, _), (of, _))| {
            *of == purpose && (mutating || !kind.starts_with(MUTATING))
        });
        for ((kind, name), (_, expected)) in of_it {
            let id = (kind.clone(), name.clone());
            if let Some(flaw) = self.unread.get(&id) {
                return Some(Gap {
                    reason: ConditionReason::AdmissionPolicyUnreadable,
                    message: format!(
                        "{kind} {name} cannot be read, so what it does is not known: {flaw}. If it does not do its part, {reinstall}"
                    ),
                });
            }
            let Some(installed) = self.installed.get(&id) else {
                return Some(Gap {
                    reason: ConditionReason::AdmissionPolicyMissing,
                    message: format!("{kind} {name} is not installed: {reinstall}"),
                });
            };
            if let Some(path) = difference("spec", expected, installed) {
                return Some(Gap {
                    reason: ConditionReason::AdmissionPolicyChanged,
                    message: changed((kind, name), &path, &reinstall),
                });
            }
        }
        None
    }
}

fn changed((kind, name): (&str, &str), path: &str, reinstall: &str) -> String {
    format!("{kind} {name} is not as this version of the operator knows it, at {path}: {reinstall}")
}

fn reinstall(so: &str) -> String {
    format!(
        "{so}. Install Lockkeeper's chart again: helm upgrade lockkeeper charts/lockkeeper -n lockkeeper-system --reset-then-reuse-values"
    )
}

fn unavailable(so: &str) -> Gap {
    let what = "this API server does not serve MutatingAdmissionPolicy (admissionregistration.k8s.io/v1), which Kubernetes has by default \
                from 1.36 on";
    Gap { reason: ConditionReason::AdmissionUnavailable, message: format!("{what}: {so}") }
}

fn id(object: &Value) -> AdmissionId {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// The first place in which an object is not as expected; what the API server fills in is no
/// difference.
fn difference(path: &str, expected: &Value, installed: &Value) -> Option<String> {
    match (expected, installed) {
        (Value::Object(expected), Value::Object(installed)) => {
            let missing = expected.iter().find_map(|(key, value)| {
                difference(
                    &format!("{path}.{key}"),
                    value,
                    installed.get(key).unwrap_or(&Value::Null),
                )
            });
            missing.or_else(|| {
                let added = installed
                    .iter()
                    .find(|(key, value)| !expected.contains_key(*key) && !is_default(key, value))?;
                Some(format!("{path}.{}", added.0))
            })
        }
        (Value::Array(expected), Value::Array(installed)) if expected.len() == installed.len() => {
            let mut pairs = expected.iter().zip(installed).enumerate();
            pairs.find_map(|(index, (expected, installed))| {
                difference(&format!("{path}[{index}]"), expected, installed)
            })
        }
        _ => (expected != installed).then(|| path.to_owned()),
    }
}

fn is_default(key: &str, value: &Value) -> bool {
    value.is_null()
        || DEFAULTS.iter().any(|(default, text)| {
            *default == key && serde_json::from_str::<Value>(text).ok().as_ref() == Some(value)
        })
        || (key == "matchConditions" && *value == json!([]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::marks, marks::values::Judge};

    /// Everything installed in a namespace, but for what is changed.
    fn installed(change: impl Fn(&AdmissionId, Value) -> Option<Value>) -> Enforcement {
        let mut enforcement = Enforcement::new("ours");
        for (id, (_, spec)) in enforcement.expected.clone() {
            enforcement.observe(&id.0, &id.1, change(&id, spec));
        }
        enforcement
    }

    fn gaps(enforcement: &Enforcement) -> [Option<ConditionReason>; 3] {
        [enforcement.gap(), enforcement.claims_gap(), enforcement.deletion_gap()]
            .map(|gap| gap.map(|gap| gap.reason))
    }

    #[test]
    fn each_purpose_has_its_own_gap() {
        let all = installed(|_, spec| Some(spec));
        assert_eq!(gaps(&all), [None; 3]);
        assert_eq!(all.expected.len(), 35);
        assert!(
            all.expected.values().all(
                |(_, spec)| !spec.is_null() && !spec.to_string().contains("lockkeeper-system:")
            )
        );

        let missing = Some(ConditionReason::AdmissionPolicyMissing);
        let without = |name: &str| gaps(&installed(|id, spec| (id.1 != name).then_some(spec)));
        assert_eq!(without("lockkeeper-deployments"), [missing, None, None]);
        assert_eq!(without("lockkeeper-self-restraint-storage"), [missing, None, None]);
        assert_eq!(without("lockkeeper-status"), [missing, None, None]);
        assert_eq!(without("lockkeeper-claims"), [None, missing, None]);
        assert_eq!(without("lockkeeper-claims-created"), [None, missing, None]);
        for name in [
            "lockkeeper-deletion",
            "lockkeeper-deletion-namespaces",
            "lockkeeper-deletion-warnings",
            "lockkeeper-protection",
            "lockkeeper-storage-status",
        ] {
            assert_eq!(without(name), [None, None, missing], "{name}");
        }
    }

    #[test]
    fn a_binding_that_only_warns_does_not_refuse() {
        let changed = installed(|id, mut spec| {
            if id.1 == "lockkeeper-deletion-claims" {
                spec["validationActions"] = json!(["Warn"]);
            }
            Some(spec)
        });
        let gap = changed.deletion_gap().map(|gap| gap.message).unwrap_or_default();
        assert!(
            gap.contains("lockkeeper-deletion-claims is not as")
                && gap.contains("at spec.validationActions[0]"),
            "{gap}"
        );
        assert_eq!(gaps(&changed), [None, None, Some(ConditionReason::AdmissionPolicyChanged)]);
    }

    #[test]
    fn deletion_is_refused_also_where_mutating_policies_are_not_served() {
        let mut old = installed(|id, spec| id.0.starts_with("Validating").then_some(spec));
        old.observe_served("MutatingAdmissionPolicy", false);
        old.observe_served("MutatingAdmissionPolicyBinding", false);
        assert_eq!(
            gaps(&old),
            [
                Some(ConditionReason::AdmissionUnavailable),
                Some(ConditionReason::AdmissionUnavailable),
                None
            ]
        );
    }

    fn webhooks(selector: Value, resources: Value) -> Value {
        json!([
            {"name": "holds.lockkeeper.dev", "objectSelector": selector, "rules": [
                {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": resources, "scope": "Namespaced"}]},
            {"name": "claims.lockkeeper.dev"},
        ])
    }

    fn labelled(values: &[&str]) -> Value {
        json!({"matchExpressions": [{"key": marks::GOVERNED, "operator": "In", "values": values}]})
    }

    /// Before Kubernetes 1.36, with the policies that it serves and this webhook.
    fn with_webhook(webhooks: Value) -> Enforcement {
        let mut old = installed(|id, spec| id.0.starts_with("Validating").then_some(spec));
        old.observe_served("MutatingAdmissionPolicy", false);
        old.observe_served("MutatingAdmissionPolicyBinding", false);
        old.observe(WEBHOOK.0, WEBHOOK.1, Some(webhooks));
        old
    }

    #[test]
    fn the_webhook_holds_where_mutating_policies_are_not_served() {
        let both = json!(["deployments", "statefulsets"]);
        let well = with_webhook(webhooks(labelled(&["webhook"]), both.clone()));
        assert_eq!(gaps(&well), [None; 3]);
        assert_eq!(well.judges(), Judges { policies: false, webhook: true });
        for (webhooks, at) in [
            (webhooks(labelled(&["true"]), both.clone()), "objectSelector"),
            (webhooks(labelled(&["webhook"]), json!(["deployments"])), "rules"),
            (json!([]), "webhooks"),
        ] {
            let flawed = with_webhook(webhooks);
            let gap = flawed.gap().unwrap();
            assert_eq!(gap.reason, ConditionReason::WebhookChanged, "{at}");
            assert!(gap.message.contains(&format!("at {at}: ")), "{}", gap.message);
            assert_eq!(flawed.judges(), Judges::default(), "{at}");
        }
    }

    /// The rights of who approves are checked by policies that every cluster has.
    #[test]
    fn the_webhook_alone_is_not_enough() {
        let both = json!(["deployments", "statefulsets"]);
        let mut old = with_webhook(webhooks(labelled(&["webhook"]), both));
        old.observe("ValidatingAdmissionPolicy", "lockkeeper-rights", None);
        let reason = old.gap().map(|gap| gap.reason);
        assert_eq!(reason, Some(ConditionReason::AdmissionPolicyMissing));
    }

    /// A cluster that is upgraded to 1.36, and one that is to go back: no workload is left out.
    #[test]
    fn workloads_are_handed_over_to_the_judge_that_is_there() {
        let both = json!(["deployments", "statefulsets"]);
        let well = webhooks(labelled(&["webhook"]), both);
        let mut cluster = with_webhook(well.clone());
        let label = Some(Judge::Webhook);
        assert_eq!(cluster.judges().choose(None), Judge::Webhook);

        cluster.observe_served("MutatingAdmissionPolicy", true);
        cluster.observe_served("MutatingAdmissionPolicyBinding", true);
        assert_eq!((cluster.judges().choose(label), gaps(&cluster)), (Judge::Webhook, [None; 3]));

        let all = installed(|_, spec| Some(spec));
        for (id, spec) in all.installed {
            cluster.observe(&id.0, &id.1, Some(spec));
        }
        assert_eq!((cluster.judges().choose(label), gaps(&cluster)), (Judge::Policies, [None; 3]));
        assert!(cluster.judges().heed(label), "it holds the rest");

        cluster.observe(WEBHOOK.0, WEBHOOK.1, None);
        assert!(!cluster.judges().heed(label));
        assert!(cluster.judges().heed(Some(Judge::Policies)));

        cluster.observe_served("MutatingAdmissionPolicy", false);
        let label = Some(Judge::Policies);
        assert_eq!(cluster.judges().choose(label), Judge::Policies, "nobody is there");
        cluster.observe(WEBHOOK.0, WEBHOOK.1, Some(well));
        assert_eq!(cluster.judges().choose(label), Judge::Webhook);
        assert!(!cluster.judges().heed(label));
    }

    /// While a control plane is upgraded, one server may know a kind that another does not.
    #[test]
    fn they_are_unavailable_until_each_kind_is_served() {
        let mut enforcement = installed(|_, spec| Some(spec));
        assert!(enforcement.observe_served("MutatingAdmissionPolicyBinding", false));
        assert!(!enforcement.observe_served("MutatingAdmissionPolicy", true));
        assert!(enforcement.is_unavailable());
        assert!(enforcement.observe_served("MutatingAdmissionPolicyBinding", true));
        assert!(!enforcement.is_unavailable());
    }
}
