//! The twin of the chart's admission policies: what they make of a write, variable by variable
//! under the names that they have there. Objects are as the API server stores them after a write: a
//! map of labels or annotations that is empty is left off.

pub mod generate;
mod maintenance;
mod mutation;
mod pods;
mod storage;
mod validation;

use regex::Regex;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// The operator's own account.
pub const OPERATOR: &str = "system:serviceaccount:lockkeeper-system:lockkeeper";
/// The partition of a held StatefulSet.
pub const HELD: i64 = 2_147_483_647;

/// The cases that the twin and the policies are tried with, as JSON. In them `{{full}}` stands for
/// an annotation that leaves 744 bytes for all others; of two bytes each are its letters.
pub fn cases() -> String {
    include_str!("../cases/admission.json").replace("{{full}}", &"ä".repeat(130_700))
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// A change.
    Update,
    /// A write of the status, by the subresource: what it changes of labels and annotations is kept
    /// too.
    Status,
    /// A write of the finalizers in a namespace's spec, by the subresource: what it changes of
    /// labels and annotations is kept too.
    Finalize,
    /// The end of an object.
    Delete,
}

/// A write before admission.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// Deployment, StatefulSet, DaemonSet, Pod, PersistentVolumeClaim, Namespace, PersistentVolume or
    /// Secret; of others no policy knows.
    pub kind: &'a str,
    /// What is done.
    pub operation: Operation,
    /// The object before; none when it is created.
    pub old: Option<&'a Value>,
    /// The object as it is submitted, with defaults; of no account when it is deleted. That a
    /// permit lies at most 24 hours ahead is judged by its managedFields, in which this very write
    /// must stand.
    pub new: &'a Value,
    /// Who writes.
    pub user: &'a str,
    /// The verbs that they have on UpgradePolicies in the namespace; for a namespace, in the whole
    /// cluster.
    pub verbs: &'a [&'a str],
}

/// A write after admission.
#[derive(Debug, Clone, PartialEq)]
pub struct Admitted {
    /// The object.
    pub object: Value,
    /// What the writer is told.
    pub warnings: Vec<String>,
}

/// A write that is refused, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub String);

/// A rule that a twin may forget, to see that the tests notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A changed template is held.
    Hold,
    /// A hold is restored on every later write.
    Reassert,
    /// Fewer replicas wait with the template that they came with.
    HoldReplicas,
    /// A further change gets an id of its own.
    RenewId,
    /// What the manifest declared comes back.
    RestoreDeclared,
    /// Our marks are restored.
    PutMarksBack,
    /// An approval is void once the change is another one.
    StripStale,
    /// Who approves or bypasses needs the right to.
    CheckRights,
    /// Who changes a held template joins those who changed it before.
    KeepAuthors,
    /// Marks are not written beside the status.
    GuardStatus,
}

/// Who applies the mutating policies. The label of a workload names its judge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Judge {
    /// The API server.
    #[default]
    Policies,
    /// Lockkeeper's webhook.
    Webhook,
}

impl Judge {
    /// What the label says.
    pub fn label(self) -> &'static str {
        match self {
            Self::Policies => "true",
            Self::Webhook => "webhook",
        }
    }

    /// Whether an update is the other judge's: the label before it says so. On what was not
    /// governed, only the operator chooses, and what anybody else writes is dropped by both.
    fn leaves(self, write: &Write, old: &Value) -> bool {
        let label = match (is_governed(old), write.user) {
            (true, _) => labels(old).remove(&key("governed")),
            (false, OPERATOR) => labels(write.new).remove(&key("governed")),
            (false, _) => return false,
        };
        let named = if label == Some("webhook".into()) { Self::Webhook } else { Self::Policies };
        named != self
    }
}

/// The policies, but for a rule that is forgotten.
#[derive(Debug, Clone, Copy, Default)]
pub struct Twin {
    /// The rule that is forgotten.
    pub forgets: Option<Rule>,
    /// Who applies them.
    pub judge: Judge,
}

impl Twin {
    fn forgets(&self, rule: Rule) -> bool {
        self.forgets == Some(rule)
    }

    fn may(&self, write: &Write, verb: &str) -> bool {
        write.verbs.contains(&verb) || self.forgets(Rule::CheckRights)
    }

    /// What the mutating policies make of a write, before the others look at it. A deletion leaves
    /// the object as it was.
    pub fn mutate(&self, write: &Write) -> Value {
        if storage::is_storage(write.kind) {
            return storage::mutated(write);
        }
        if write.kind == "Pod" {
            return pods::mutated(write);
        }
        let selected = is_selected(write, write.new);
        match (write.operation, write.old) {
            (Operation::Delete, old) => old.cloned().unwrap_or_default(),
            (Operation::Update, Some(old)) if selected && !self.judge.leaves(write, old) => {
                mutation::updated(self, write, old)
            }
            (Operation::Create, _) if selected && write.user != OPERATOR => {
                mutation::created(self.judge, write.kind, write.new)
            }
            _ => write.new.clone(),
        }
    }

    /// What becomes of a write.
    ///
    /// # Errors
    /// With what the writer is told when it is refused.
    pub fn admit(&self, write: &Write) -> Result<Admitted, Refused> {
        if let (Operation::Status | Operation::Finalize, Some(old)) = (write.operation, write.old) {
            return validation::status(self, write, old);
        }
        if storage::is_storage(write.kind) {
            return storage::admit(self, write);
        }
        if let (Operation::Delete, Some(old)) = (write.operation, write.old) {
            return Ok(Admitted { object: old.clone(), warnings: Vec::new() });
        }
        if (write.kind, write.operation, write.user) == ("Secret", Operation::Create, OPERATOR) {
            validation::restrain_secret(write.new)?;
        }
        let selects = |object: &Value| is_selected(write, object);
        let (Some(old), Operation::Update) = (write.old, write.operation) else {
            return Ok(Admitted { object: self.mutate(write), warnings: Vec::new() });
        };
        let object = self.mutate(write);
        if write.user == OPERATOR && (is_holdable(write.kind) || write.kind == "DaemonSet") {
            validation::restrain(write.kind, old, &object)?;
        }
        // Validation selects again: a label that somebody else added is gone by now, and with it
        // the policies that look for it.
        if !selects(&object) {
            return Ok(Admitted { object, warnings: Vec::new() });
        }
        validation::check_rights(self, write, old, &object)?;
        let warnings = validation::warnings(write, old, &object);
        Ok(Admitted { object, warnings })
    }
}

type Marks = Map<String, Value>;

static HOLD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("^[0-9]+ by .").ok());
static ORDINAL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("^[0-9]{1,10}$").ok());
static STRATEGY: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new("^[0-9]{1,9}%?[|]([0-9]{1,9}|[0-9]{1,2}%|100%)$").ok());
static FEWER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new("^(0|[1-9][0-9]{0,9}) of [1-9][0-9]{0,9}$").ok());
static NO_STRATEGY: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("^0+%?[|]0+%?$").ok());

static TYPE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("^[A-Z][A-Za-z]{0,30}$").ok());

fn matches(regex: &LazyLock<Option<Regex>>, text: &str) -> bool {
    regex.as_ref().is_some_and(|regex| regex.is_match(text))
}

fn is_hold(text: &str) -> bool {
    matches(&HOLD, text)
}

fn is_partition(text: &str) -> bool {
    matches(&ORDINAL, text) && text.parse::<i64>().is_ok_and(|number| number <= HELD)
}

fn is_strategy(text: &str) -> bool {
    matches(&STRATEGY, text) && !matches(&NO_STRATEGY, text)
}

/// `<declared> of <running>`, as two numbers.
fn fewer(text: &str) -> Option<(i64, i64)> {
    let (declared, running) = text.split_once(" of ").filter(|_| matches(&FEWER, text))?;
    let numbers = (declared.parse().ok()?, running.parse().ok()?);
    (numbers.0 < numbers.1).then_some(numbers)
}

/// Replicas, as the API server fills them in.
fn replicas(object: &Value) -> i64 {
    object["spec"]["replicas"].as_i64().unwrap_or(1)
}

fn key(mark: &str) -> String {
    format!("lockkeeper.dev/{mark}")
}

/// An object's fields; null is as good as absent, as it is to the API server.
fn map(value: &Value) -> Marks {
    let Some(map) = value.as_object() else { return Marks::new() };
    map.iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn text<'a>(marks: &'a Marks, mark: &str) -> Option<&'a str> {
    marks.get(&key(mark)).and_then(Value::as_str)
}

fn annotations(object: &Value) -> Marks {
    map(&object["metadata"]["annotations"])
}

fn labels(object: &Value) -> Marks {
    map(&object["metadata"]["labels"])
}

/// Whether it is in a namespace that the policies for workloads leave out.
fn is_exempt(object: &Value) -> bool {
    matches!(object["metadata"]["namespace"].as_str(), Some("kube-system" | "lockkeeper-system"))
}

fn is_holdable(kind: &str) -> bool {
    matches!(kind, "Deployment" | "StatefulSet")
}

/// Whether the policies for workloads look at a write: at the label before it, or on this object.
fn is_selected(write: &Write, object: &Value) -> bool {
    is_holdable(write.kind)
        && !is_exempt(write.new)
        && (is_governed(object) || write.old.is_some_and(is_governed))
}

fn is_governed(object: &Value) -> bool {
    labels(object).contains_key(&key("governed"))
}

/// Whether this may be a StatefulSet's declared type of update strategy.
fn is_type(text: &str) -> bool {
    matches(&TYPE, text)
}

/// A StatefulSet whose pods roll when somebody deletes them.
fn is_on_delete(object: &Value) -> bool {
    object["spec"]["updateStrategy"]["type"] == "OnDelete"
}

/// A StatefulSet whose pods roll by partition.
fn is_rolling(object: &Value) -> bool {
    object["spec"]["updateStrategy"]["type"] == "RollingUpdate"
}

/// Whether a changed template is to be held, as it stood before.
fn has_replicas(old: &Value) -> bool {
    replicas(old) > 0
}

/// Whether two maps differ in anything but these keys.
fn differ(old: &Marks, new: &Marks, but: &[&str]) -> bool {
    let counts = |key: &String| !but.contains(&key.as_str());
    new.iter().any(|(key, value)| counts(key) && old.get(key) != Some(value))
        || old.keys().any(|key| counts(key) && !new.contains_key(key))
}

/// Whether two templates differ in anything but the config hash and what maintenance puts there.
fn template_differs(old: &Value, new: &Value) -> bool {
    let (ot, nt) = (&old["spec"]["template"], &new["spec"]["template"]);
    let (hash, mark) = (key("config-hash"), key("in-maintenance"));
    maintenance::without_gate(&ot["spec"]) != maintenance::without_gate(&nt["spec"])
        || differ(&annotations(ot), &annotations(nt), &[&hash, &mark])
        || differ(&labels(ot), &labels(nt), &[&mark])
        || differ(&map(&ot["metadata"]), &map(&nt["metadata"]), &["annotations", "labels"])
}

/// The first place in which an object is not as a case expects; null means absent.
pub fn difference(path: &str, expected: &Value, seen: &Value) -> Option<String> {
    match (expected, seen) {
        (Value::Object(fields), _) => fields
            .iter()
            .find_map(|(key, value)| difference(&format!("{path}.{key}"), value, &seen[key])),
        (Value::Null, Value::Object(map)) if map.is_empty() => None,
        _ => (expected != seen).then(|| format!("{path}: {seen}, not {expected}")),
    }
}
