//! Whether admission does what it should: compares the admission policies that are installed with
//! those that the chart installs.

mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    judges::{
        CLAIMS_ENTRY, CREATED_ENTRY, HOLDS_ENTRY, Judges, PODS_ENTRY, PROBE_ENTRY, RESERVE_ENTRY,
        WEBHOOK, Wanted, ignores, is_same_server, selects,
    },
    probe::{self, Answer, Probe},
};
use crate::{
    api::ConditionReason,
    core::judge::texts::{self, Release},
    marks::values::Judge,
};

/// What is needed for holds beside the policies that make them.
const BESIDE: [&str; 3] = [
    include_str!("../../../charts/lockkeeper/admission/rights.yaml"),
    include_str!("../../../charts/lockkeeper/admission/self-restraint.yaml"),
    // The warnings hold nothing, but without them no user is told.
    include_str!("../../../charts/lockkeeper/admission/warnings.yaml"),
];
/// What refuses the deletion of protected claims and namespaces.
const DELETION: &str = include_str!("../../../charts/lockkeeper/admission/deletion.yaml");

/// What refuses claims of reserved names that would get another volume.
const RESERVED: &str = include_str!("../../../charts/lockkeeper/admission/reserved.yaml");

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
    Sleep,
    Reserve,
}

/// An object of ours as it is installed.
#[derive(Debug, Clone, PartialEq)]
struct Installed {
    spec: Value,
    /// The first place in which it is not as expected. It is looked for once, since every decision
    /// asks.
    differs: Option<String>,
}

/// What is known of the admission policies.
#[derive(Debug, Clone, Default)]
pub struct Enforcement {
    /// The namespace of the release.
    namespace: String,
    expected: BTreeMap<AdmissionId, (Purpose, Value)>,
    installed: BTreeMap<AdmissionId, Installed>,
    /// Those of ours that cannot be read, with what is wrong with them.
    unread: BTreeMap<AdmissionId, String>,
    /// The kinds that the API server does not serve: MutatingAdmissionPolicy v1, before Kubernetes
    /// 1.36.
    unserved: BTreeSet<String>,
    /// This operator serves the webhook.
    serves_webhook: bool,
    /// Why this installation converts no claims, if so.
    conversion_off: Option<String>,
    /// What is known by asking.
    probe: Probe,
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
    /// What should be installed by a release; nothing is known to be.
    pub fn new(release: &Release) -> Self {
        let holds = texts::HOLDS.iter().chain(&BESIDE).map(|file| (Purpose::Holds, *file));
        let others = [
            (Purpose::Claims, texts::CLAIMS),
            (Purpose::Deletion, DELETION),
            (Purpose::Reserve, texts::RESERVE),
            (Purpose::Reserve, RESERVED),
        ];
        // It names the image, which somebody who looks from outside may not know.
        let pods = Some((Purpose::Sleep, texts::PODS)).filter(|_| !release.image.is_empty());
        let mut expected = BTreeMap::new();
        for (purpose, file) in holds.chain(others).chain(pods) {
            for object in release.objects(file) {
                expected.insert(id(&object), (purpose, object["spec"].clone()));
            }
        }
        Self {
            namespace: release.namespace.clone(),
            expected,
            installed: BTreeMap::new(),
            unread: BTreeMap::new(),
            unserved: BTreeSet::new(),
            serves_webhook: false,
            conversion_off: None,
            probe: Probe::default(),
        }
    }

    /// Of an operator that serves the webhook, or does not.
    pub fn serving_webhook(self, serves_webhook: bool) -> Self {
        Self { serves_webhook, ..self }
    }

    /// Of an installation that converts no claims, for this reason.
    pub fn without_conversion(self, why: Option<String>) -> Self {
        Self { conversion_off: why, ..self }
    }

    /// Takes note of what came of asking who judges. Returns whether that is news.
    pub fn observe_answer(&mut self, answer: &Answer) -> bool {
        let before = (self.judges(), self.unreachable().map(str::to_owned));
        self.probe = std::mem::take(&mut self.probe).after(answer);
        before != (self.judges(), self.unreachable().map(str::to_owned))
    }

    /// Forgets what came of asking: it was long ago.
    pub fn forget_answers(&mut self) {
        self.probe = Probe::default();
    }

    /// How long after the last time to ask who judges; none where there is no webhook, so nobody
    /// who may not be reached.
    pub fn ask_after(&self) -> Option<Duration> {
        self.entry(PROBE_ENTRY)?;
        let judges = self.judges();
        let hands_over = judges.policies && judges.webhook && judges.preferred.is_none();
        Some(self.probe.pause(hands_over))
    }

    /// Takes note of an object; of no interest are those that are not ours. Of a webhook's
    /// configuration, `spec` is the list of its webhooks.
    pub fn observe(&mut self, kind: &str, name: &str, spec: Option<Value>) -> bool {
        if !self.expects(kind, name) {
            return false;
        }
        let id = (kind.to_owned(), name.to_owned());
        let is_new = match spec {
            Some(spec) => {
                let expected = self.expected.get(&id);
                let differs =
                    expected.and_then(|(_, expected)| difference("spec", expected, &spec));
                let installed = Installed { spec, differs };
                self.installed.insert(id, installed.clone()) != Some(installed)
            }
            None => self.installed.remove(&id).is_some(),
        };
        if is_new {
            self.doubt_judge_of(kind);
        }
        is_new
    }

    /// The answers so far say nothing of a judge whose objects are others now. Between two questions
    /// they may be deleted and created again.
    fn doubt_judge_of(&mut self, kind: &str) {
        if kind == WEBHOOK.0 {
            self.probe.doubt(Judge::Webhook);
        } else if kind.starts_with(MUTATING) {
            self.probe.doubt(Judge::Policies);
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
        let before = self.installed.len();
        self.installed.retain(|(of, name), _| of != kind || listed(name));
        if self.installed.len() != before {
            self.doubt_judge_of(kind);
        }
    }

    /// Who judges writes.
    pub fn judges(&self) -> Judges {
        let policies = !self.expected.is_empty()
            && !self.is_unavailable()
            && self.gap_among(Purpose::Holds, true, "").is_none();
        let webhook = self.has_webhook() && self.webhook_flaw().is_none();
        let wanted = if self.wants_webhook() { Judge::Webhook } else { Judge::Policies };
        Judges {
            policies,
            other_version: !policies && self.has_all_policies(),
            webhook,
            preferred: Some(wanted).filter(|wanted| self.probe.has_proven(*wanted)),
        }
    }

    /// Whether all policies that hold are installed, whatever they say.
    fn has_all_policies(&self) -> bool {
        let mut holds = self.expected.iter().filter(|((kind, _), (purpose, _))| {
            *purpose == Purpose::Holds && kind.starts_with(MUTATING)
        });
        !self.expected.is_empty()
            && !self.is_unavailable()
            && holds.all(|(id, _)| self.installed.contains_key(id))
    }

    /// Whether workloads are judged by the webhook.
    fn webhook_judges(&self) -> bool {
        let judges = self.judges();
        let by_policies = judges.policies || judges.other_version;
        judges.webhook && (!by_policies || self.wants_webhook())
    }

    /// Whether the chart has the webhook judge all workloads, and not only those that are left to
    /// it.
    fn wants_webhook(&self) -> bool {
        self.entry(HOLDS_ENTRY).is_some_and(|entry| selects(entry, Judge::Policies))
    }

    /// Why the API server does not reach the webhook, where that judges.
    fn unreachable(&self) -> Option<&str> {
        self.probe.unreachable().filter(|_| self.webhook_judges())
    }

    /// Whether what admission records may be relied on: it judges, or refuses what it cannot.
    pub fn is_enforced(&self) -> bool {
        self.gap().is_none_or(|gap| {
            gap.reason == ConditionReason::WebhookUnreachable && self.refuses_unjudged()
        })
    }

    fn refuses_unjudged(&self) -> bool {
        self.entry(HOLDS_ENTRY).is_some_and(|entry| !ignores(entry))
    }

    /// The first thing that keeps holds from being enforced.
    pub fn gap(&self) -> Option<Gap> {
        if self.webhook_judges() {
            let among = self.gap_among(Purpose::Holds, false, words::NO_HOLDS);
            let flawed = self.created_flaw().map(webhook_changed);
            return among.or(flawed).or_else(|| {
                let why = self.unreachable()?;
                let message = probe::words::unreachable(why, self.refuses_unjudged());
                Some(Gap { reason: ConditionReason::WebhookUnreachable, message })
            });
        }
        let policies = self.installed.keys().any(|(kind, _)| kind.starts_with(MUTATING));
        if !policies && let Some(flaw) = self.webhook_flaw() {
            return Some(webhook_changed(flaw));
        }
        if !policies && self.serves_webhook && !self.has_webhook() {
            let message = probe::words::missing(&words::reinstall(words::NO_HOLDS));
            return Some(Gap { reason: ConditionReason::WebhookMissing, message });
        }
        if self.is_unavailable() {
            return Some(unavailable(words::NEVER_HELD));
        }
        self.gap_of(Purpose::Holds, words::NO_HOLDS)
    }

    /// What is wrong with the configuration of the webhook, where there is one.
    fn webhook_flaw(&self) -> Option<&'static str> {
        if !self.has_webhook() {
            return None;
        }
        let (Some(holds), Some(probe)) = (self.entry(HOLDS_ENTRY), self.entry(PROBE_ENTRY)) else {
            return Some("webhooks");
        };
        let flaw = Wanted::holds(&self.namespace).flaw(holds);
        flaw.or_else(|| (!is_same_server(holds, probe)).then_some("clientConfig"))
    }

    /// What is wrong with the entry for what is created, where no policies see to that. The webhook
    /// holds all the same.
    fn created_flaw(&self) -> Option<&'static str> {
        if !(self.is_unavailable() || self.wants_webhook()) {
            return None;
        }
        let wanted = Wanted::created(&self.namespace);
        self.entry(CREATED_ENTRY).map_or(Some("webhooks"), |created| wanted.flaw(created))
    }

    fn has_webhook(&self) -> bool {
        self.installed.contains_key(&(WEBHOOK.0.to_owned(), WEBHOOK.1.to_owned()))
    }

    /// An entry in the configuration of the webhook.
    fn entry(&self, entry: &str) -> Option<&Value> {
        let (kind, name) = WEBHOOK;
        let webhooks = self.installed.get(&(kind.to_owned(), name.to_owned()))?;
        webhooks.spec.as_array()?.iter().find(|one| one["name"] == entry)
    }

    /// The first thing that lets Helm, Argo CD and Flux delete a retained claim. Its volume keeps
    /// the data all the same.
    pub fn claims_gap(&self) -> Option<Gap> {
        match self.gap_of(Purpose::Claims, words::NO_CLAIMS) {
            Some(_) if self.entry(CLAIMS_ENTRY).is_some() => None,
            Some(_) if self.is_unavailable() => Some(unavailable(words::NEVER_KEPT)),
            gap => gap,
        }
    }

    /// The first thing that keeps the pods of a workload that sleeps from running: they stay with
    /// their scheduling gate.
    pub fn sleep_gap(&self) -> Option<Gap> {
        match self.gap_of(Purpose::Sleep, probe::words::NO_SLEEP) {
            Some(_) if self.entry(PODS_ENTRY).is_some() => None,
            Some(_) if self.is_unavailable() => Some(unavailable(probe::words::NO_SLEEP)),
            gap => gap,
        }
    }

    /// Why no name of a claim can be reserved, or no volume handed over; none if both can.
    pub fn conversion_gap(&self) -> Option<String> {
        let by_webhook = self.entry(RESERVE_ENTRY).is_some();
        let gap = match self.gap_among(Purpose::Reserve, !by_webhook, probe::words::NO_RESERVATION)
        {
            Some(_) if self.is_unavailable() && !by_webhook => {
                Some(unavailable(probe::words::NO_RESERVATION))
            }
            gap => gap,
        };
        self.conversion_off.clone().or_else(|| gap.map(|gap| gap.message))
    }

    /// The first thing that lets a protected claim or namespace be deleted.
    /// ValidatingAdmissionPolicies refuse that, which every cluster has.
    pub fn deletion_gap(&self) -> Option<Gap> {
        self.gap_of(Purpose::Deletion, words::NO_PROTECTION)
    }

    fn gap_of(&self, purpose: Purpose, so: &str) -> Option<Gap> {
        self.gap_among(purpose, true, so)
    }

    /// Among the objects for a purpose, without those that change writes where the webhook does.
    fn gap_among(&self, purpose: Purpose, mutating: bool, so: &str) -> Option<Gap> {
        let of_it = self.expected.iter().filter(|((kind, _), (of, _))| {
            *of == purpose && (mutating || !kind.starts_with(MUTATING))
        });
        for (id, _) in of_it {
            let named = (id.0.as_str(), id.1.as_str());
            if let Some(flaw) = self.unread.get(id) {
                return Some(Gap {
                    reason: ConditionReason::AdmissionPolicyUnreadable,
                    message: words::unreadable(named, flaw, so),
                });
            }
            let Some(installed) = self.installed.get(id) else {
                return Some(Gap {
                    reason: ConditionReason::AdmissionPolicyMissing,
                    message: words::missing(named, so),
                });
            };
            if let Some(path) = &installed.differs {
                return Some(Gap {
                    reason: ConditionReason::AdmissionPolicyChanged,
                    message: words::changed(named, path, so),
                });
            }
        }
        None
    }
}

fn webhook_changed(path: &str) -> Gap {
    let message = words::changed(WEBHOOK, path, words::NO_HOLDS);
    Gap { reason: ConditionReason::WebhookChanged, message }
}

fn unavailable(so: &str) -> Gap {
    Gap { reason: ConditionReason::AdmissionUnavailable, message: words::unavailable(so) }
}

fn id(object: &Value) -> AdmissionId {
    (text(&object["kind"]), text(&object["metadata"]["name"]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
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
mod tests;
