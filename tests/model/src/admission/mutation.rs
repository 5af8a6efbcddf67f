//! The mutating policies: deployments.yaml and statefulsets.yaml, which share most of their
//! variables, and created.yaml.

use serde_json::{Value, json};

use super::{
    HELD, Judge, Marks, OPERATOR, Rule, Twin, Write, annotations, fewer, has_replicas, is_governed,
    is_hold, is_on_delete, is_partition, is_rolling, is_strategy, is_type, key, labels,
    maintenance, replicas, template_differs, text,
};

mod spec;

use spec::{OF_ANOTHER_LIFE, put_partition, put_paused, restore_strategy};

/// Whose a change is that another policy or webhook makes in a write of the operator's.
const BESIDE: &str = "an admission policy or webhook";

/// What is restored as it stood, of any workload. The rest of our marks is derived again in every
/// write.
const OWNED: [&str; 9] = [
    "hold-changes",
    "hold-at-zero",
    "config",
    "governance",
    "rollout",
    "rollouts",
    "pending-config",
    "hold-since",
    "volume-access",
];

/// All annotations of an object may take so many bytes.
const ANNOTATIONS_LIMIT: usize = 262_144;

/// A hold takes about so many.
const HOLD_BYTES: usize = 512;

/// A ReplicaSet has so many that are not its Deployment's.
const COPY_BYTES: usize = 128;

/// In the place of names beyond the sixteenth. A name has `%25` where it has a percent sign.
const MORE_AUTHORS: &str = "%more";

/// What differs between the two kinds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Deployment,
    StatefulSet,
}

impl Kind {
    fn of(kind: &str) -> Self {
        if kind == "Deployment" { Self::Deployment } else { Self::StatefulSet }
    }

    /// The other kind's marks, which mean nothing here: restored like what is owned.
    fn owned_too(self) -> &'static [&'static str] {
        match self {
            Self::Deployment => &["partition", "declared-partition", "declared-update-strategy"],
            Self::StatefulSet => &["declared-paused", "declared-strategy"],
        }
    }
}

/// What `deployments.yaml` or `statefulsets.yaml` makes of an update.
pub(super) fn updated(twin: &Twin, write: &Write, old: &Value) -> Value {
    let op = write.user == OPERATOR;
    let ol = labels(old);
    let variables = Variables {
        twin,
        write,
        old,
        kind: Kind::of(write.kind),
        op,
        oa: annotations(old),
        na: annotations(write.new),
        governed: ol.contains_key(&key("governed")),
        ol,
        changed: !op && template_differs(old, write.new),
        beside: op && template_differs(old, write.new),
    };
    variables.object()
}

/// The first variables of both policies. A mark that is empty counts as absent, as '' does there.
pub(super) struct Variables<'a> {
    twin: &'a Twin,
    pub(super) write: &'a Write<'a>,
    pub(super) old: &'a Value,
    kind: Kind,
    pub(super) op: bool,
    pub(super) oa: Marks,
    na: Marks,
    ol: Marks,
    pub(super) governed: bool,
    changed: bool,
    /// Another policy changed the template in a write of the operator's.
    beside: bool,
}

/// What both kinds derive from the hold: marks that are wanted, with their values.
type Want = Vec<(&'static str, String)>;

impl Variables<'_> {
    pub(super) fn then(&self, mark: &str) -> &str {
        text(&self.oa, mark).unwrap_or_default()
    }

    pub(super) fn now(&self, mark: &str) -> &str {
        text(&self.na, mark).unwrap_or_default()
    }

    /// What stood on an ungoverned object is not trusted.
    pub(super) fn known(&self, mark: &str) -> &str {
        if self.governed { self.then(mark) } else { "" }
    }

    fn held_before(&self) -> &str {
        Some(self.known("hold")).filter(|hold| is_hold(hold)).unwrap_or_default()
    }

    fn step_before(&self) -> &str {
        Some(self.known("partition"))
            .filter(|step| self.kind == Kind::StatefulSet && is_partition(step))
            .unwrap_or_default()
    }

    fn object(&self) -> Value {
        let mut object = self.write.new.clone();
        let mut annotations = self.na.clone();
        let want = self.want(&mut object);
        if !self.op && !self.twin.forgets(Rule::PutMarksBack) {
            for mark in OWNED.into_iter().chain(self.kind.owned_too().iter().copied()) {
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
        let held = annotations.contains_key(&key("hold"));
        put_map(&mut object, "annotations", annotations);
        if !self.op {
            self.put_label_back(&mut object);
            self.put_config_hash_back(&mut object);
        }
        maintenance::put(&mut object["spec"]["template"], self.maintained(), held);
        object
    }

    fn put_label_back(&self, object: &mut Value) {
        let mut labels = labels(object);
        let nl = labels.get(&key("governed")).cloned().unwrap_or_else(|| json!(""));
        match self.ol.get(&key("governed")) {
            // So a label without a value is not restored when it is dropped.
            Some(label) if *label == nl || self.twin.forgets(Rule::PutMarksBack) => {}
            Some(label) => drop(labels.insert(key("governed"), label.clone())),
            None => drop(labels.remove(&key("governed"))),
        }
        put_map(object, "labels", labels);
    }

    fn put_config_hash_back(&self, object: &mut Value) {
        let (ota, nta) =
            (annotations(&self.old["spec"]["template"]), annotations(&object["spec"]["template"]));
        let mut template = nta.clone();
        match ota.get(&key("config-hash")) {
            Some(hash) => drop(template.insert(key("config-hash"), hash.clone())),
            None => drop(template.remove(&key("config-hash"))),
        }
        if template != nta {
            put_map(&mut object["spec"]["template"], "annotations", template);
        }
    }

    /// `want`, and the fields of the spec that go with it.
    fn want(&self, object: &mut Value) -> Want {
        let held_before = self.held_before();
        let pending =
            if self.op { self.now("pending-config") } else { self.known("pending-config") };
        let id_before = match self.walked() {
            _ if !held_before.is_empty() => first_word(held_before),
            "" => self.known("pending-config"),
            walked => walked,
        };
        let asks = |mark: &str| {
            !self.op
                && !id_before.is_empty()
                && self.now(mark) == id_before
                && text(&self.oa, mark) != Some(id_before)
        };
        let asks_bypass = asks("bypass") && !self.changed;
        let bypassed = asks_bypass && self.twin.may(self.write, "bypass");
        let hold = self.hold(bypassed);
        let id_now = if hold.is_empty() { pending } else { first_word(&hold) };
        let same_id = !id_before.is_empty() && !self.changed && !bypassed && id_before == id_now;
        let asks_approve = asks("approve") && same_id;
        let approved = same_id
            && self.now("approve") == id_before
            && (asks_approve || self.oa.contains_key(&key("approved-by")));
        let mut approve = if approved { id_before } else { "" };
        let mut approved_by = match () {
            () if asks_approve && self.twin.may(self.write, "approve") => self.write.user,
            () if !same_id => "",
            () if self.op => self.now("approved-by"),
            () => self.then("approved-by"),
        };
        if self.twin.forgets(Rule::StripStale)
            && self.changed
            && !self.known("approved-by").is_empty()
        {
            (approve, approved_by) = (first_word(&hold), self.known("approved-by"));
        }
        let bypassed_by = match () {
            () if bypassed => format!("{id_before} by {}", self.write.user),
            () if !self.governed || (self.changed && !hold.is_empty()) => String::new(),
            () if self.op => self.now("bypassed-by").to_owned(),
            () => self.then("bypassed-by").to_owned(),
        };
        // A bypass without the right stays, for the validation to refuse.
        let bypass = if asks_bypass && !bypassed { id_before } else { "" };
        let mut want = match self.kind {
            Kind::Deployment => self.deployment(&hold, object),
            Kind::StatefulSet => self.stateful_set(&hold, bypassed, object),
        };
        let (fewer, scaled, number) = self.scale(&hold);
        want.push(("declared-replicas", fewer));
        want.push(("maintenance-replicas", self.stop(scaled, number, object)));
        let (wish, by) = self.wish();
        let all =
            [("maintenance", wish), ("maintenance-by", by), ("in-maintenance", self.maintained())];
        want.extend(all.map(|(mark, value)| (mark, value.to_owned())));
        let authors = self.authors(&hold, &want);
        let steps = want.iter().any(|(mark, value)| *mark == "partition" && !value.is_empty());
        let needed = !hold.is_empty() || steps || asks_approve || asks_bypass;
        want.push(("reserved", self.reserved(needed)));
        want.extend([("approve", approve.to_owned()), ("approved-by", approved_by.to_owned())]);
        want.extend([
            ("bypass", bypass.to_owned()),
            ("bypassed-by", bypassed_by),
            ("authors", authors),
            ("hold", hold),
        ]);
        want
    }

    /// The id of the change for which the pods of a StatefulSet go one by one.
    fn walked(&self) -> &str {
        let since = self.known("hold-since");
        let id = first_word(since);
        let is_id = !id.is_empty()
            && id
                .bytes()
                .all(|byte| byte == b'-' || byte.is_ascii_digit() || byte.is_ascii_lowercase());
        if self.kind == Kind::StatefulSet
            && !self.step_before().is_empty()
            && is_id
            && since.len() > id.len() + 1
        {
            id
        } else {
            ""
        }
    }

    fn hold(&self, bypassed: bool) -> String {
        if self.op {
            let counts =
                is_hold(self.now("hold")) && (self.governed || !self.oa.contains_key(&key("hold")));
            return match () {
                () if counts => self.now("hold").to_owned(),
                () if self.beside() => format!("{} by {BESIDE}", self.next_generation()),
                () => String::new(),
            };
        }
        if bypassed {
            return String::new();
        }
        let held_before = self.held_before();
        let holdable = self.kind == Kind::Deployment
            || !(is_on_delete(self.old) && is_on_delete(self.write.new));
        // Without replicas only where the operator has seen that a paused Deployment would start
        // what ran last.
        let keeps_history = self.old["spec"]["revisionHistoryLimit"].as_i64().unwrap_or(10) > 0;
        let at_zero =
            self.kind == Kind::Deployment && self.known("hold-at-zero") == "true" && keeps_history;
        let stopped = maintenance::zero(self.maintained_before());
        let marked = self.known("hold-changes") == "true"
            && (has_replicas(self.old) || at_zero || stopped)
            && holdable;

        let begins =
            self.changed && (!held_before.is_empty() || !self.step_before().is_empty() || marked);
        let forgotten = if held_before.is_empty() { Rule::Hold } else { Rule::RenewId };
        if begins && !self.twin.forgets(forgotten) {
            return format!("{} by {}", self.next_generation(), self.write.user);
        }
        held_before.to_owned()
    }

    /// The generation that this very write will get.
    fn next_generation(&self) -> i64 {
        self.old["metadata"]["generation"].as_i64().unwrap_or_default() + 1
    }

    /// Whether another policy changed the template in a write of the operator's that rolls nothing.
    fn beside(&self) -> bool {
        let hash =
            |object: &Value| annotations(&object["spec"]["template"]).remove(&key("config-hash"));
        self.beside
            && self.held_before().is_empty()
            && is_governed(self.write.new)
            && self.now("hold-changes") == "true"
            && has_replicas(self.old)
            && hash(self.old).filter(|hash| hash != "")
                == hash(self.write.new).filter(|hash| hash != "")
            && (self.kind == Kind::Deployment
                || self.write.new["spec"]["updateStrategy"]["type"] != "OnDelete")
    }

    /// The room that the operator keeps for the marks of a hold, where a write does not need it. A
    /// ReplicaSet has a copy of its Deployment's annotations, and some of its own; what is removed
    /// stays in the copy.
    fn reserved(&self, needed: bool) -> String {
        let stands = if self.op { &self.na } else { &self.oa };
        let Some(known) = stands
            .get(&key("reserved"))
            .and_then(Value::as_str)
            .filter(|_| self.op || self.governed)
        else {
            return String::new();
        };
        let is_restored =
            |key: &String| key.starts_with("lockkeeper.dev/") && !self.na.contains_key(key);
        let all = self.na.iter().chain(self.oa.iter().filter(|(key, _)| is_restored(key)));
        let size =
            |(key, value): (&String, &Value)| key.len() + value.as_str().unwrap_or_default().len();
        let others: usize = all.filter(|(one, _)| **one != key("reserved")).map(size).sum();
        let fits = |more: usize| others + key("reserved").len() + more <= ANNOTATIONS_LIMIT;
        let (dot, copy, hold) = match self.kind {
            Kind::Deployment => (".", COPY_BYTES, HOLD_BYTES),
            Kind::StatefulSet => ("", 0, 0),
        };
        match () {
            () if needed && fits(dot.len() + hold) => dot.to_owned(),
            () if needed => String::new(),
            () if self.op || fits(known.len() + copy) => known.to_owned(),
            () if fits(dot.len()) => dot.to_owned(),
            () => String::new(),
        }
    }

    /// Who changed the template since the revision that runs, where they are several.
    fn authors(&self, hold: &str, want: &Want) -> String {
        let steps = want.iter().any(|(mark, value)| *mark == "partition" && !value.is_empty());
        if hold.is_empty() && !steps {
            return String::new();
        }
        let mut authors: Vec<String> = Vec::new();
        if !self.held_before().is_empty() || !self.step_before().is_empty() {
            authors.extend(
                self.then("authors")
                    .split(' ')
                    .filter(|_| !self.then("authors").is_empty())
                    .map(str::to_owned),
            );
            let author = escaped(self.author());
            if !author.is_empty() && !authors.contains(&author) {
                authors.push(author);
            }
        }
        let writer = escaped(self.write.user);
        let known =
            authors.contains(&writer) || authors.iter().any(|author| author == MORE_AUTHORS);
        if self.changed && !known && !self.twin.forgets(Rule::KeepAuthors) {
            authors.push(if authors.len() < 16 { writer } else { MORE_AUTHORS.to_owned() });
        }
        // The only one that the hold names is not written twice.
        let holder = hold.split_once(" by ").map(|(_, by)| escaped(by));
        let kept = !self.twin.forgets(Rule::KeepAuthors)
            && holder.is_some()
            && holder.as_ref() != authors.first();
        let told = authors.len() == 1 && !kept;
        if told { String::new() } else { authors.join(" ") }
    }

    /// Whose the change is that is held, or for which pods go one by one; empty: not known.
    fn author(&self) -> &str {
        if let Some((_, by)) = self.held_before().split_once(" by ") {
            return by;
        }
        let mut words = self.known("hold-since").splitn(3, ' ');
        match (self.walked(), words.next(), words.next(), words.next()) {
            (walked, Some(_), Some(time), Some(author))
                if !walked.is_empty() && !time.is_empty() && !author.starts_with('\n') =>
            {
                author
            }
            _ => "",
        }
    }

    /// Whether the spec is to be held still; without [`Rule::Reassert`] only by the write that
    /// begins or renews the hold.
    fn holds(&self, hold: &str) -> bool {
        !hold.is_empty()
            && (self.held_before().is_empty() || self.changed || !self.twin.forgets(Rule::Reassert))
    }

    /// `declaredReplicas`, and `scaled`, the number that goes with it; and `number`.
    fn scale(&self, hold: &str) -> (String, i64, i64) {
        let (old, new) = (replicas(self.old), replicas(self.write.new));
        let noted = fewer(self.then("declared-replicas"))
            .filter(|_| !self.held_before().is_empty() || self.is_left());
        let same = |(declared, _): &(i64, i64)| {
            new == *declared
                || (new == old && (self.op || self.na.contains_key(&key("declared-replicas"))))
        };
        let waits = match () {
            () if hold.is_empty()
                || maintenance::zero(self.maintained())
                || self.twin.forgets(Rule::HoldReplicas) =>
            {
                None
            }
            () if self.changed => (new < old).then_some((new, old)),
            // The operator saw another number.
            () if self.op
                && fewer(self.now("declared-replicas"))
                    .is_some_and(|now| noted.is_some_and(|noted| now == (noted.0, HELD))) =>
            {
                noted.map(|(declared, _)| (declared, HELD))
            }
            () => noted.filter(same),
        };
        let number = match noted {
            Some((declared, running))
                if new == old && old == running && !self.twin.forgets(Rule::RestoreDeclared) =>
            {
                declared
            }
            _ => new,
        };
        let scaled = match waits {
            Some(_) => old,
            None if hold.is_empty() => number,
            None => new,
        };
        let waits = waits
            .map_or_else(String::new, |(declared, running)| format!("{declared} of {running}"));
        (waits, scaled, number)
    }
}

/// What `created.yaml` makes of an object that was exported, restored or moved: it starts again.
pub(super) fn created(judge: Judge, kind: &str, new: &Value) -> Value {
    let mut object = new.clone();
    object["metadata"]["labels"][key("governed")] = json!(judge.label());
    let na = annotations(new);
    let held = na.contains_key(&key("hold"));
    let mut annotations_now = na.clone();
    annotations_now
        .retain(|annotation, _| !OF_ANOTHER_LIFE.iter().any(|mark| key(mark) == *annotation));
    put_map(&mut object, "annotations", annotations_now);
    let mut template = annotations(&new["spec"]["template"]);
    if template.remove(&key("config-hash")).is_some() {
        put_map(&mut object["spec"]["template"], "annotations", template);
    }
    if let Some((declared, running)) = text(&na, "declared-replicas").and_then(fewer)
        && running == replicas(new)
    {
        object["spec"]["replicas"] = json!(declared);
    }
    maintenance::created(&mut object, &na);
    match Kind::of(kind) {
        Kind::Deployment => {
            let declared_paused = text(&na, "declared-paused")
                .filter(|text| matches!(*text, "true" | "false"))
                .or(held.then_some("false"));
            if let Some(declared_paused) = declared_paused {
                put_paused(&mut object, declared_paused == "true");
            }
            let declared_strategy =
                text(&na, "declared-strategy").filter(|text| is_strategy(text)).unwrap_or_default();
            if new["spec"]["strategy"]["type"] == "Recreate" {
                restore_strategy(&mut object, declared_strategy);
            }
        }
        Kind::StatefulSet => {
            let steps = na.contains_key(&key("partition"));
            let declared_partition = text(&na, "declared-partition")
                .filter(|text| is_partition(text))
                .or((held || steps).then_some("0"));
            let declared_type = text(&na, "declared-update-strategy")
                .filter(|text| is_type(text) && *text != "RollingUpdate");
            if let Some(declared_type) = declared_type.filter(|_| is_rolling(new)) {
                object["spec"]["updateStrategy"] = json!({"type": declared_type});
            } else if let Some(declared_partition) = declared_partition.filter(|_| is_rolling(new))
            {
                put_partition(&mut object, declared_partition.parse().unwrap_or(0));
            }
        }
    }
    object
}

/// A name as the mark `authors` has it, which has spaces between names.
fn escaped(name: &str) -> String {
    name.replace('%', "%25").replace(' ', "%20")
}

fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

/// Labels or annotations, which the API server leaves off when they are empty.
pub(super) fn put_map(object: &mut Value, field: &str, map: Marks) {
    if !map.is_empty() {
        object["metadata"][field] = Value::Object(map);
    } else if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove(field);
    }
}
