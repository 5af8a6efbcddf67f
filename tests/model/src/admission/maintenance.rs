//! What maintenance makes of a template: a label, an annotation and a scheduling gate, and nothing
//! that is declared.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value, json};

use super::{
    Marks, annotations, key, labels, matches,
    mutation::{Variables, put_map},
    replicas, text,
};

static MARK: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new("^(stop|sleep|start) id=[^ ]").ok());
static NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("^[0-9]{1,9}$").ok());

/// The first word of a mark that counts; empty: it does not.
pub(super) fn mode(mark: &str) -> &str {
    Some(mark)
        .filter(|mark| matches(&MARK, mark))
        .and_then(|mark| mark.split(' ').next())
        .unwrap_or_default()
}

/// Whether a mark says that there are no replicas.
pub(super) fn zero(mark: &str) -> bool {
    mode(mark) == "stop"
        || (!mode(mark).is_empty() && mark.split(' ').any(|word| word == "replicas=0"))
}

/// A pod's spec without the gate.
pub(super) fn without_gate(spec: &Value) -> Value {
    with_gate(spec, false)
}

/// A gate that is there stays where it is in the list.
fn with_gate(spec: &Value, gated: bool) -> Value {
    let mut spec = spec.clone();
    let gate = json!({"name": key("in-maintenance")});
    let mut gates = spec["schedulingGates"].as_array().cloned().unwrap_or_default();
    match (gated, gates.contains(&gate)) {
        (true, false) => gates.push(gate),
        (false, _) => gates.retain(|one| *one != gate),
        (true, true) => {}
    }
    match (gates.is_empty(), spec.as_object_mut()) {
        (true, Some(spec)) => drop(spec.remove("schedulingGates")),
        (false, Some(spec)) => drop(spec.insert("schedulingGates".to_owned(), json!(gates))),
        (_, None) => {}
    }
    spec
}

/// What a mark tells those who make the pods.
fn told(mark: &str) -> String {
    let words =
        mark.split(' ').filter(|word| word.starts_with("keep=") || word.starts_with("root="));
    words.collect::<Vec<_>>().join(" ")
}

/// A template as the mark has it. `held`: a change is.
pub(super) fn put(template: &mut Value, mark: &str, held: bool) {
    let (mode, mark) = match mode(mark) {
        rests @ ("stop" | "sleep") => (rests, told(mark)),
        "start" if held && zero(mark) => ("stop", told(mark)),
        _ => ("", String::new()),
    };
    for (field, mut of_field, value) in
        [("labels", labels(template), mode), ("annotations", annotations(template), &*mark)]
    {
        match value.is_empty() {
            true => drop(of_field.remove(&key("in-maintenance"))),
            false => drop(of_field.insert(key("in-maintenance"), json!(value))),
        }
        put_map(template, field, of_field);
    }
    template["spec"] = with_gate(&template["spec"], !mode.is_empty());
}

/// What `created.yaml` makes of an object that was in maintenance in another life.
pub(super) fn created(object: &mut Value, na: &Map<String, Value>) {
    put(&mut object["spec"]["template"], "", false);
    let noted = text(na, "maintenance-replicas").filter(|text| matches(&NUMBER, text));
    if let Some(noted) = noted.filter(|_| replicas(object) == 0) {
        object["spec"]["replicas"] = json!(noted.parse::<i64>().unwrap_or_default());
    }
}

/// What the operator may change of a template's label, annotation and gate.
pub(super) fn is_allowed(na: &Marks, template: &Value) -> bool {
    let mut wanted = template.clone();
    put(&mut wanted, text(na, "in-maintenance").unwrap_or_default(), false);
    wanted == *template
}

impl Variables<'_> {
    /// `maintained`: the mark of maintenance after this write.
    pub(super) fn maintained(&self) -> &str {
        let stood = self.oa.contains_key(&key("in-maintenance"));
        let mark = match self.op {
            true if self.governed || !stood => self.now("in-maintenance"),
            true => "",
            false => self.maintained_before(),
        };
        if mode(mark).is_empty() { "" } else { mark }
    }

    pub(super) fn maintained_before(&self) -> &str {
        let mark = self.known("in-maintenance");
        if mode(mark).is_empty() { "" } else { mark }
    }

    /// Whether its pods rest: no container of them runs the app.
    pub(super) fn rests(&self, hold: &str) -> bool {
        let mark = self.maintained();
        matches!(mode(mark), "stop" | "sleep") || (zero(mark) && !hold.is_empty())
    }

    /// Whether its pods run, without the app.
    pub(super) fn sleeps(&self) -> bool {
        mode(self.maintained()) == "sleep" && !zero(self.maintained())
    }

    /// What is asked for, and by whom.
    pub(super) fn wish(&self) -> (&str, &str) {
        let before = self.known("maintenance");
        let now = self.now("maintenance");
        let wishes = !self.op
            && self.governed
            && !now.is_empty()
            && text(&self.oa, "maintenance") != Some(now);
        match () {
            () if wishes => (now, self.write.user),
            () if self.op && self.governed && !now.is_empty() => (now, self.now("maintenance-by")),
            () if self.op || before.is_empty() => ("", ""),
            () => (before, self.then("maintenance-by")),
        }
    }

    /// `stoppedAt`, and the number that goes with it. `scaled`: what it would be without, and
    /// `number`, what is declared.
    pub(super) fn stop(&self, scaled: i64, number: i64, object: &mut Value) -> String {
        let (old, new) = (replicas(self.old), replicas(self.write.new));
        let stops = zero(self.maintained());
        let stopped = zero(self.maintained_before());
        let before = Some(self.then("maintenance-replicas"))
            .filter(|noted| stopped && matches(&NUMBER, noted))
            .unwrap_or_default();
        let noted = match () {
            () if !stops => String::new(),
            () if !stopped => number.to_string(),
            () if !self.op && new != old => new.to_string(),
            () if before.is_empty() => "1".to_owned(),
            () => before.to_owned(),
        };
        let number = match before.parse::<i64>() {
            _ if stops => 0,
            Ok(before) if new == old => before,
            _ => scaled,
        };
        if number != new {
            object["spec"]["replicas"] = json!(number);
        }
        noted
    }
}
