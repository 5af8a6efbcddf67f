//! Whether admission holds what it should: compares the admission policies that are installed with those that the chart installs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The chart's files, with the namespace that they are written for.
const FILES: [&str; 5] = [
    include_str!("../../../charts/lockkeeper/admission/deployments.yaml"),
    include_str!("../../../charts/lockkeeper/admission/statefulsets.yaml"),
    include_str!("../../../charts/lockkeeper/admission/created.yaml"),
    include_str!("../../../charts/lockkeeper/admission/rights.yaml"),
    include_str!("../../../charts/lockkeeper/admission/self-restraint.yaml"),
];
/// The warnings hold nothing, but without them nobody is told.
const WARNINGS: &str = include_str!("../../../charts/lockkeeper/admission/warnings.yaml");
/// What the chart replaces by the release's namespace.
const NAMESPACE: &str = "lockkeeper-system";

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

/// What is known of the admission policies.
#[derive(Debug, Clone, Default)]
pub struct Enforcement {
    expected: BTreeMap<AdmissionId, Value>,
    installed: BTreeMap<AdmissionId, Value>,
    /// The API server does not serve MutatingAdmissionPolicy v1.
    pub unavailable: bool,
}

/// Why holds are not enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// In one word.
    pub reason: &'static str,
    /// In words, with the cure.
    pub message: String,
}

impl Enforcement {
    /// What should be installed by a release in this namespace; nothing is known to be.
    pub fn new(namespace: &str) -> Self {
        let mut expected = BTreeMap::new();
        for file in FILES.iter().chain([&WARNINGS]) {
            for document in file.replace(NAMESPACE, namespace).split("\n---\n") {
                let object: Value = serde_saphyr::from_str(document).unwrap_or_default();
                expected.insert(id(&object), object["spec"].clone());
            }
        }
        Self { expected, installed: BTreeMap::new(), unavailable: false }
    }

    /// Takes note of an object; of no interest are those that are not ours.
    pub fn observe(&mut self, kind: &str, name: &str, spec: Option<Value>) -> bool {
        let id = (kind.to_owned(), name.to_owned());
        if !self.expected.contains_key(&id) {
            return false;
        }
        match spec {
            Some(spec) => self.installed.insert(id, spec.clone()) != Some(spec),
            None => self.installed.remove(&id).is_some(),
        }
    }

    /// Forgets the objects of a kind that are not among `names`.
    pub fn keep_only(&mut self, kind: &str, listed: impl Fn(&str) -> bool) {
        self.installed.retain(|(of, name), _| of != kind || listed(name));
    }

    /// The first thing that keeps deletions from being refused.
    pub fn deletion_gap(&self) -> Option<Gap> {
        None
    }

    /// The first thing that keeps holds from being enforced.
    pub fn gap(&self) -> Option<Gap> {
        if self.unavailable {
            return Some(Gap {
                reason: "AdmissionUnavailable",
                message:
                    "this API server does not serve MutatingAdmissionPolicy (admissionregistration.k8s.io/v1), which Kubernetes has by \
                          default from 1.36 on: template changes roll at once, without waiting for any gate. Config changes still wait. \
                          Upgrade the cluster, then run helm upgrade for Lockkeeper"
                        .to_owned(),
            });
        }
        let reinstall = "template changes may roll without waiting. Install Lockkeeper's chart again: helm upgrade lockkeeper";
        for ((kind, name), expected) in &self.expected {
            let Some(installed) = self.installed.get(&(kind.clone(), name.clone())) else {
                return Some(Gap { reason: "AdmissionPolicyMissing", message: format!("{kind} {name} is not installed: {reinstall}") });
            };
            if let Some(path) = difference("spec", expected, installed) {
                return Some(Gap {
                    reason: "AdmissionPolicyChanged",
                    message: format!("{kind} {name} is not as this version of the operator knows it, at {path}: {reinstall}"),
                });
            }
        }
        None
    }
}

fn id(object: &Value) -> AdmissionId {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// The first place in which an object is not as expected; what the API server fills in is no difference.
fn difference(path: &str, expected: &Value, installed: &Value) -> Option<String> {
    match (expected, installed) {
        (Value::Object(expected), Value::Object(installed)) => {
            let missing = expected
                .iter()
                .find_map(|(key, value)| difference(&format!("{path}.{key}"), value, installed.get(key).unwrap_or(&Value::Null)));
            missing.or_else(|| {
                let added = installed.iter().find(|(key, value)| !expected.contains_key(*key) && !is_default(key, value))?;
                Some(format!("{path}.{}", added.0))
            })
        }
        (Value::Array(expected), Value::Array(installed)) if expected.len() == installed.len() => {
            let mut pairs = expected.iter().zip(installed).enumerate();
            pairs.find_map(|(index, (expected, installed))| difference(&format!("{path}[{index}]"), expected, installed))
        }
        _ => (expected != installed).then(|| path.to_owned()),
    }
}

fn is_default(key: &str, value: &Value) -> bool {
    value.is_null()
        || DEFAULTS.iter().any(|(default, text)| *default == key && serde_json::from_str::<Value>(text).ok().as_ref() == Some(value))
        || (key == "matchConditions" && *value == json!([]))
}
