//! The twin of the chart's admission policies for workloads: what they make of a write, variable by variable under the names that they
//! have there.

use regex::Regex;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// The operator's own account.
pub const OPERATOR: &str = "system:serviceaccount:lockkeeper-system:lockkeeper";
/// The partition of a held StatefulSet.
pub const HELD: i64 = 2_147_483_647;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// A change.
    Update,
}

/// A write before admission.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// Deployment, StatefulSet or DaemonSet.
    pub kind: &'a str,
    /// What is done.
    pub operation: Operation,
    /// The object before; none when it is created.
    pub old: Option<&'a Value>,
    /// The object as it is submitted, with defaults.
    pub new: &'a Value,
    /// Who writes.
    pub user: &'a str,
    /// The verbs that they have on UpgradePolicies in the namespace.
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
    /// A hold is put back on every later write.
    Reassert,
    /// A further change gets an id of its own.
    RenewId,
    /// What the manifest declared comes back.
    RestoreDeclared,
    /// Our marks are put back.
    PutMarksBack,
    /// An approval is void once the change is another one.
    StripStale,
    /// Who approves or bypasses needs the right to.
    CheckRights,
}

/// The policies, but for a rule that is forgotten.
#[derive(Debug, Clone, Copy, Default)]
pub struct Twin {
    /// The rule that is forgotten.
    pub forgets: Option<Rule>,
}

type Marks = Map<String, Value>;

static HOLD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("^[0-9]+ by .").ok());
static ORDINAL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("^[0-9]{1,10}$").ok());
static STRATEGY: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("^[0-9]{1,9}%?[|]([0-9]{1,9}|[0-9]{1,2}%|100%)$").ok());
static NO_STRATEGY: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("^0+%?[|]0+%?$").ok());

fn matches(regex: &LazyLock<Option<Regex>>, text: &str) -> bool {
    regex.as_ref().is_some_and(|regex| regex.is_match(text))
}

fn key(mark: &str) -> String {
    format!("lockkeeper.dev/{mark}")
}

fn map(value: &Value) -> Marks {
    value.as_object().map(|map| map.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.clone(), value.clone())).collect()).unwrap_or_default()
}

fn text<'a>(marks: &'a Marks, mark: &str) -> Option<&'a str> {
    marks.get(&key(mark)).and_then(Value::as_str)
}

fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

fn is_governed(object: &Value) -> bool {
    object["metadata"]["labels"].get(key("governed")).is_some()
}

fn is_partition(text: &str) -> bool {
    matches(&ORDINAL, text) && text.parse::<i64>().is_ok_and(|number| number <= HELD)
}

fn is_strategy(text: &str) -> bool {
    matches(&STRATEGY, text) && !matches(&NO_STRATEGY, text)
}

/// Maps that the API server leaves away when they are empty.
fn put_map(object: &mut Value, path: [&str; 2], map: Marks) {
    let [outer, inner] = path;
    if map.is_empty() {
        if let Some(outer) = object[outer].as_object_mut() {
            outer.remove(inner);
        }
    } else {
        object[outer][inner] = Value::Object(map);
    }
}

impl Twin {
    fn forgets(&self, rule: Rule) -> bool {
        self.forgets == Some(rule)
    }

    /// What becomes of a write.
    ///
    /// # Errors
    /// With what the writer is told when it is refused.
    pub fn admit(&self, write: &Write) -> Result<Admitted, Refused> {
        let holdable = matches!(write.kind, "Deployment" | "StatefulSet");
        let exempt = matches!(write.new["metadata"]["namespace"].as_str(), Some("kube-system" | "lockkeeper-system"));
        let selected = holdable && !exempt && (is_governed(write.new) || write.old.is_some_and(is_governed));
        let (Some(old), Operation::Update) = (write.old, write.operation) else {
            let anew = selected && write.user != OPERATOR;
            let object = if anew { created(write.kind, write.new) } else { write.new.clone() };
            return Ok(Admitted { object, warnings: Vec::new() });
        };
        let object = if selected { Update::new(self, write, old).object() } else { write.new.clone() };
        if write.user == OPERATOR {
            restrain(old, &object)?;
        } else if selected {
            self.check_rights(write, old, &object)?;
        }
        let warnings = if selected { warnings(write, old, &object) } else { Vec::new() };
        Ok(Admitted { object, warnings })
    }

    fn may(&self, write: &Write, verb: &str) -> bool {
        write.verbs.contains(&verb) || self.forgets(Rule::CheckRights)
    }

    fn check_rights(&self, write: &Write, old: &Value, object: &Value) -> Result<(), Refused> {
        let (na, oa) = (map(&object["metadata"]["annotations"]), map(&old["metadata"]["annotations"]));
        let new = |mark: &str| na.get(&key(mark)).is_some_and(|value| oa.get(&key(mark)) != Some(value));
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let refuse = |mark: &str, what: &str, verb: &str| {
            let user = write.user;
            Err(Refused(format!("lockkeeper.dev/{mark}: {user} may not {what} in namespace {namespace} (needs verb {verb} on upgradepolicies.lockkeeper.dev)")))
        };
        if new("approve") && !self.may(write, "approve") {
            return refuse("approve", "approve upgrades", "approve");
        }
        if new("bypass") && !self.may(write, "bypass") {
            return refuse("bypass", "bypass holds", "bypass");
        }
        let leaves = new("ignore") && text(&na, "ignore") == Some("true") && text(&oa, "hold-changes") == Some("true");
        if leaves && !self.may(write, "bypass") {
            return refuse("ignore", "take a workload whose changes are held out of Lockkeeper", "bypass");
        }
        Ok(())
    }
}

/// An update of something that carries our label, or did.
struct Update<'a> {
    twin: &'a Twin,
    write: &'a Write<'a>,
    old: &'a Value,
    op: bool,
    oa: Marks,
    na: Marks,
    ol: Marks,
    nl: Marks,
    governed: bool,
    ota: Marks,
    nta: Marks,
    changed: bool,
}

impl<'a> Update<'a> {
    fn new(twin: &'a Twin, write: &'a Write<'a>, old: &'a Value) -> Self {
        let new = write.new;
        let op = write.user == OPERATOR;
        let (ot, nt) = (map(&old["spec"]["template"]["metadata"]), map(&new["spec"]["template"]["metadata"]));
        let (ota, nta) = (map(ot.get("annotations").unwrap_or(&Value::Null)), map(nt.get("annotations").unwrap_or(&Value::Null)));
        let changed = !op && (old["spec"]["template"]["spec"] != new["spec"]["template"]["spec"] || differ(&ota, &nta, &key("config-hash")) || differ(&ot, &nt, "annotations"));
        let ol = map(&old["metadata"]["labels"]);
        Self {
            governed: ol.contains_key(&key("governed")),
            oa: map(&old["metadata"]["annotations"]),
            na: map(&new["metadata"]["annotations"]),
            nl: map(&new["metadata"]["labels"]),
            twin,
            write,
            old,
            op,
            ol,
            ota,
            nta,
            changed,
        }
    }

    fn replicas(&self) -> i64 {
        self.old["spec"]["replicas"].as_i64().unwrap_or(1)
    }

    /// The object as it is admitted.
    fn object(&self) -> Value {
        let deployment = self.write.kind == "Deployment";
        let known = |mark: &str| if self.governed { text(&self.oa, mark).unwrap_or_default() } else { "" };
        let now = |mark: &str| text(&self.na, mark).unwrap_or_default();
        let held_before = Some(known("hold")).filter(|hold| matches(&HOLD, hold)).unwrap_or_default();
        let step_before = Some(known("partition")).filter(|step| !deployment && is_partition(step)).unwrap_or_default();
        let pending = if self.op { now("pending-config") } else { known("pending-config") };
        let id_before = if held_before.is_empty() { known("pending-config") } else { first_word(held_before) };
        let newly = |mark: &str| !id_before.is_empty() && now(mark) == id_before && text(&self.oa, mark) != Some(now(mark));
        let asks_bypass = !self.op && newly("bypass") && !self.changed;
        let bypassed = asks_bypass && self.twin.may(self.write, "bypass");
        let hold = self.hold(held_before, step_before, bypassed);
        let now_id = if hold.is_empty() { pending } else { first_word(&hold) };
        let same_id = !id_before.is_empty() && !self.changed && !bypassed && id_before == now_id;
        let asks_approve = !self.op && same_id && newly("approve");
        let approved = same_id && now("approve") == id_before && (asks_approve || self.oa.contains_key(&key("approved-by")));
        let approve = if approved { id_before.to_owned() } else { String::new() };
        let approved_by = match () {
            () if asks_approve && self.twin.may(self.write, "approve") => self.write.user.to_owned(),
            () if !same_id => String::new(),
            () if self.op => now("approved-by").to_owned(),
            () => text(&self.oa, "approved-by").unwrap_or_default().to_owned(),
        };
        let (approve, approved_by) = match known("approved-by") {
            before if self.twin.forgets(Rule::StripStale) && self.changed && !before.is_empty() => (first_word(&hold).to_owned(), before.to_owned()),
            _ => (approve, approved_by),
        };
        let bypassed_by = match () {
            () if bypassed => format!("{id_before} by {}", self.write.user),
            () if !self.governed || (self.changed && !hold.is_empty()) => String::new(),
            () if self.op => now("bypassed-by").to_owned(),
            () => text(&self.oa, "bypassed-by").unwrap_or_default().to_owned(),
        };

        let mut object = self.write.new.clone();
        let mut annotations = self.na.clone();
        let mut want = vec![
            ("hold", hold.clone()),
            ("approve", approve),
            ("approved-by", approved_by),
            ("bypass", if asks_bypass && !bypassed { id_before.to_owned() } else { String::new() }),
            ("bypassed-by", bypassed_by),
        ];
        let owned_of_other: &[&str] = match deployment {
            true => {
                want.extend(self.deployment(held_before, &hold, &mut object));
                &["partition", "declared-partition"]
            }
            false => {
                want.extend(self.stateful_set(held_before, step_before, &hold, bypassed, &mut object));
                &["declared-paused", "declared-strategy"]
            }
        };
        if !self.op && !self.twin.forgets(Rule::PutMarksBack) {
            let owned = ["hold-changes", "config", "governance", "rollout", "rollouts", "pending-config", "hold-since"];
            let of_deployments = if deployment { "volume-access" } else { "" };
            let of_sets = if deployment { "" } else { "volume-access" };
            for mark in owned.iter().chain(owned_of_other).chain([&of_deployments, &of_sets]).filter(|mark| !mark.is_empty()) {
                match self.oa.get(&key(mark)) {
                    Some(value) => drop(annotations.insert(key(mark), value.clone())),
                    None => drop(annotations.remove(&key(mark))),
                }
            }
        }
        for (mark, value) in want {
            match value.is_empty() {
                true => drop(annotations.remove(&key(mark))),
                false => drop(annotations.insert(key(mark), json!(value))),
            }
        }
        put_map(&mut object, ["metadata", "annotations"], annotations);
        if !self.op {
            let mut labels = self.nl.clone();
            match self.ol.get(&key("governed")) {
                Some(label) if !self.twin.forgets(Rule::PutMarksBack) => drop(labels.insert(key("governed"), label.clone())),
                Some(_) => {}
                None => drop(labels.remove(&key("governed"))),
            }
            put_map(&mut object, ["metadata", "labels"], labels);
            let mut of_template = self.nta.clone();
            match self.ota.get(&key("config-hash")) {
                Some(hash) => drop(of_template.insert(key("config-hash"), hash.clone())),
                None => drop(of_template.remove(&key("config-hash"))),
            }
            if of_template != self.nta {
                if object["spec"]["template"]["metadata"].is_null() {
                    object["spec"]["template"]["metadata"] = json!({});
                }
                put_map(&mut object["spec"]["template"], ["metadata", "annotations"], of_template);
            }
        }
        object
    }

    fn hold(&self, held_before: &str, step_before: &str, bypassed: bool) -> String {
        let now = text(&self.na, "hold").unwrap_or_default();
        if self.op {
            let counts = matches(&HOLD, now) && (self.governed || !self.oa.contains_key(&key("hold")));
            return if counts { now.to_owned() } else { String::new() };
        }
        if bypassed {
            return String::new();
        }
        let rolling = |object: &Value| object["spec"]["updateStrategy"]["type"] == "RollingUpdate";
        let holdable = self.write.kind == "Deployment" || rolling(self.old) || rolling(self.write.new);
        let marked = self.governed && text(&self.oa, "hold-changes") == Some("true") && self.replicas() > 0 && holdable;
        let begins = self.changed && (!held_before.is_empty() || !step_before.is_empty() || marked);
        let renews = held_before.is_empty() || !self.twin.forgets(Rule::RenewId);
        if begins && renews && !(held_before.is_empty() && self.twin.forgets(Rule::Hold)) {
            let generation = self.old["metadata"]["generation"].as_i64().unwrap_or_default();
            return format!("{} by {}", generation + 1, self.write.user);
        }
        held_before.to_owned()
    }

    fn deployment(&self, held_before: &str, hold: &str, object: &mut Value) -> Vec<(&'static str, String)> {
        let paused = |object: &Value| object["spec"]["paused"].as_bool().unwrap_or(false);
        let (old_paused, new_paused) = (paused(self.old), paused(self.write.new));
        let declared = text(&self.oa, "declared-paused") == Some("true");
        let declared_paused = match () {
            () if hold.is_empty() => String::new(),
            () if held_before.is_empty() || (!self.op && new_paused != old_paused) => new_paused.to_string(),
            () => declared.to_string(),
        };
        let now_paused = match () {
            () if !hold.is_empty() && (held_before.is_empty() || self.changed || !self.twin.forgets(Rule::Reassert)) => true,
            () if held_before.is_empty() || new_paused != old_paused || self.twin.forgets(Rule::RestoreDeclared) => new_paused,
            () => declared,
        };
        if now_paused != new_paused {
            match now_paused {
                true => object["spec"]["paused"] = json!(true),
                false => drop(object["spec"].as_object_mut().and_then(|spec| spec.remove("paused"))),
            }
        }
        let exclusive_before = self.governed && text(&self.oa, "volume-access") == Some("exclusive");
        let exclusive = if self.op { text(&self.na, "volume-access") == Some("exclusive") } else { exclusive_before };
        let declared_before =
            text(&self.oa, "declared-strategy").filter(|declared| exclusive_before && is_strategy(declared)).unwrap_or_default().to_owned();
        let strategy = &self.write.new["spec"]["strategy"];
        let as_text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let declared_strategy = match () {
            () if !exclusive => String::new(),
            () if strategy["type"] == "RollingUpdate" && !strategy["rollingUpdate"].is_null() => {
                format!("{}|{}", as_text(&strategy["rollingUpdate"]["maxSurge"]), as_text(&strategy["rollingUpdate"]["maxUnavailable"]))
            }
            () => declared_before.clone(),
        };
        if exclusive && (strategy["type"] != "Recreate" || !strategy["rollingUpdate"].is_null()) {
            object["spec"]["strategy"] = json!({"type": "Recreate"});
        }
        if let Some((surge, unavailable)) = declared_before.split_once('|').filter(|_| !exclusive && strategy["type"] == "Recreate") {
            object["spec"]["strategy"] = restored(surge, unavailable);
        }
        vec![("declared-paused", declared_paused), ("declared-strategy", declared_strategy)]
    }

    fn stateful_set(&self, held_before: &str, step_before: &str, hold: &str, bypassed: bool, object: &mut Value) -> Vec<(&'static str, String)> {
        let partition = |object: &Value| object["spec"]["updateStrategy"]["rollingUpdate"]["partition"].as_i64().unwrap_or(0);
        let (old_part, new_part) = (partition(self.old), partition(self.write.new));
        let step = match () {
            () if self.op => text(&self.na, "partition").filter(|step| is_partition(step)).unwrap_or_default(),
            () if bypassed || self.changed => "",
            () => step_before,
        };
        let (active, active_before) = (!hold.is_empty() || !step.is_empty(), !held_before.is_empty() || !step_before.is_empty());
        let declared_before =
            text(&self.oa, "declared-partition").filter(|declared| active_before && is_partition(declared)).unwrap_or("0").to_owned();
        let declared = match () {
            () if !active => String::new(),
            () if !active_before || (!self.op && new_part != old_part) => new_part.to_string(),
            () => declared_before.clone(),
        };
        let part = match () {
            () if !step.is_empty() => step.parse().unwrap_or(0),
            () if !hold.is_empty() && (held_before.is_empty() || self.changed || !self.twin.forgets(Rule::Reassert)) => HELD,
            () if active_before && new_part == old_part && !self.twin.forgets(Rule::RestoreDeclared) => declared_before.parse().unwrap_or(0),
            () => new_part,
        };
        let strategy = &self.write.new["spec"]["updateStrategy"];
        if active && strategy["type"] != "RollingUpdate" {
            object["spec"]["updateStrategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": part}});
        } else if strategy["type"] == "RollingUpdate" && part != new_part {
            if strategy["rollingUpdate"].is_null() {
                object["spec"]["updateStrategy"]["rollingUpdate"] = json!({});
            }
            object["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = json!(part);
        }
        vec![("partition", step.to_owned()), ("declared-partition", declared)]
    }
}

fn restored(surge: &str, unavailable: &str) -> Value {
    let value = |text: &str| text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number));
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": value(surge), "maxUnavailable": value(unavailable)}})
}

/// Whether two maps differ in anything but one key.
fn differ(old: &Marks, new: &Marks, but: &str) -> bool {
    new.iter().any(|(key, value)| key != but && old.get(key) != Some(value)) || old.keys().any(|key| key != but && !new.contains_key(key))
}

/// An object that is exported, restored or moved starts anew.
fn created(kind: &str, new: &Value) -> Value {
    let mut object = new.clone();
    let na = map(&new["metadata"]["annotations"]);
    let held = na.contains_key(&key("hold"));
    let mut annotations = na.clone();
    for mark in [
        "hold", "hold-since", "declared-paused", "declared-partition", "declared-strategy", "partition", "volume-access", "config", "governance",
        "rollout", "rollouts", "pending-config", "approve", "approved-by", "bypass", "bypassed-by",
    ] {
        annotations.remove(&key(mark));
    }
    put_map(&mut object, ["metadata", "annotations"], annotations);
    if let Some(of_template) = object["spec"]["template"]["metadata"]["annotations"].as_object_mut() {
        of_template.remove(&key("config-hash"));
        if of_template.is_empty() {
            put_map(&mut object["spec"]["template"], ["metadata", "annotations"], Marks::new());
        }
    }
    if kind == "Deployment" {
        match text(&na, "declared-paused").filter(|declared| matches!(*declared, "true" | "false")).or(held.then_some("false")) {
            Some("true") => object["spec"]["paused"] = json!(true),
            Some(_) => drop(object["spec"].as_object_mut().and_then(|spec| spec.remove("paused"))),
            None => {}
        }
        let declared = text(&na, "declared-strategy").filter(|declared| is_strategy(declared)).and_then(|declared| declared.split_once('|'));
        if let Some((surge, unavailable)) = declared.filter(|_| object["spec"]["strategy"]["type"] == "Recreate") {
            object["spec"]["strategy"] = restored(surge, unavailable);
        }
        return object;
    }
    let declared = text(&na, "declared-partition").filter(|declared| is_partition(declared));
    let declared = declared.or((held || na.contains_key(&key("partition"))).then_some("0"));
    if let Some(declared) = declared.filter(|_| object["spec"]["updateStrategy"]["type"] == "RollingUpdate") {
        if object["spec"]["updateStrategy"]["rollingUpdate"].is_null() {
            object["spec"]["updateStrategy"]["rollingUpdate"] = json!({});
        }
        object["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = json!(declared.parse::<i64>().unwrap_or(0));
    }
    object
}

/// What the operator's own account may change at most.
fn restrain(then: &Value, now: &Value) -> Result<(), Refused> {
    let (na, oa) = (map(&now["metadata"]["annotations"]), map(&then["metadata"]["annotations"]));
    let (nl, ol) = (map(&now["metadata"]["labels"]), map(&then["metadata"]["labels"]));
    let foreign = |key: &&String| !key.starts_with("lockkeeper.dev/") && *key != "deprecated.daemonset.template.generation";
    let changed = |new: &Marks, old: &Marks| -> Vec<String> {
        let set = new.iter().filter(|(key, value)| old.get(*key) != Some(value)).map(|(key, _)| key);
        set.chain(old.keys().filter(|key| !new.contains_key(*key))).filter(foreign).cloned().collect()
    };
    let mut metadata = changed(&na, &oa);
    metadata.extend(changed(&nl, &ol));
    let none = json!([]);
    let list = |object: &Value, field: &str| if object["metadata"][field].is_null() { none.clone() } else { object["metadata"][field].clone() };
    metadata.extend(["ownerReferences", "finalizers"].into_iter().filter(|field| list(now, field) != list(then, field)).map(str::to_owned));
    if !metadata.is_empty() {
        let what = metadata.join(", ");
        return Err(Refused(format!("Lockkeeper restrains itself: on workloads its account may change only labels and annotations under lockkeeper.dev/, not {what}")));
    }
    let stands = |mark: &str| na.contains_key(&key(mark)) || oa.contains_key(&key(mark));
    let mut derived = vec!["template"];
    if stands("hold") || stands("partition") {
        derived.extend(["paused", "updateStrategy"]);
    }
    if stands("volume-access") {
        derived.push("strategy");
    }
    let (ns, os) = (map(&now["spec"]), map(&then["spec"]));
    let set = ns.iter().filter(|(key, value)| os.get(*key) != Some(value)).map(|(key, _)| key);
    let spec: Vec<_> = set.chain(os.keys().filter(|key| !ns.contains_key(*key))).filter(|key| !derived.contains(&key.as_str())).collect();
    if !spec.is_empty() {
        let what = spec.iter().map(|key| format!("spec.{key}")).collect::<Vec<_>>().join(", ");
        return Err(Refused(format!("Lockkeeper restrains itself: its account may not change {what} of a workload")));
    }
    let (nt, ot) = (map(&now["spec"]["template"]["metadata"]), map(&then["spec"]["template"]["metadata"]));
    let of = |metadata: &Marks| map(metadata.get("annotations").unwrap_or(&Value::Null));
    let other = now["spec"]["template"]["spec"] != then["spec"]["template"]["spec"]
        || differ(&of(&ot), &of(&nt), &key("config-hash"))
        || differ(&ot, &nt, "annotations");
    match other {
        true => Err(Refused("Lockkeeper restrains itself: in a pod template its account may change only the annotation lockkeeper.dev/config-hash".to_owned())),
        false => Ok(()),
    }
}

/// What the writer of a changed template is told.
fn warnings(write: &Write, old: &Value, object: &Value) -> Vec<String> {
    let oa = map(&old["metadata"]["annotations"]);
    let held = map(&object["metadata"]["annotations"]).contains_key(&key("hold"));
    let rolling = |object: &Value| object["spec"]["updateStrategy"]["type"] == "RollingUpdate";
    let holdable = text(&oa, "hold-changes") == Some("true")
        && is_governed(old)
        && old["spec"]["replicas"].as_i64().unwrap_or(1) > 0
        && (write.kind == "Deployment" || rolling(old) || rolling(object));
    let changed = write.user != OPERATOR && object["spec"]["template"] != old["spec"]["template"];
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let place = if write.kind == "Deployment" { "deployment/" } else { "statefulset/" };
    match (held, changed) {
        (true, true) => vec![format!("stored, but held by Lockkeeper until its gates open: kubectl lockkeeper why {place}{name}")],
        (false, true) if holdable => {
            vec![format!("not held by Lockkeeper, it rolls now: the template of {name} was changed after Lockkeeper's admission step, by another admission webhook?")]
        }
        _ => Vec::new(),
    }
}
