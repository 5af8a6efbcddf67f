//! What the policies put into the spec: `paused`, the partition and the strategy.

use serde_json::{Value, json};

use super::super::{HELD, Rule, is_partition, is_rolling, is_strategy, is_type, key};
use super::{Kind, Variables, Want};

/// What `created.yaml` takes off.
pub(super) const OF_ANOTHER_LIFE: [&str; 26] = [
    "hold",
    "hold-since",
    "hold-at-zero",
    "declared-paused",
    "declared-partition",
    "declared-strategy",
    "declared-update-strategy",
    "declared-replicas",
    "partition",
    "volume-access",
    "config",
    "governance",
    "rollout",
    "rollouts",
    "pending-config",
    "approve",
    "approved-by",
    "bypass",
    "bypassed-by",
    "authors",
    "reserved",
    "maintenance",
    "maintenance-by",
    "in-maintenance",
    "maintenance-replicas",
    "migrated",
];

impl Variables<'_> {
    /// Whether what its manifest declares was noted by a hold, a walk or maintenance.
    pub(super) fn is_noted(&self) -> bool {
        self.is_active_before() || self.is_left()
    }

    fn is_active_before(&self) -> bool {
        [self.held_before(), self.step_before(), self.maintained_before()]
            .iter()
            .any(|mark| !mark.is_empty())
    }

    /// A hold or a maintenance whose end nobody judged: its mark is gone, and what it noted is not.
    pub(super) fn is_left(&self) -> bool {
        let noted = match self.kind {
            Kind::Deployment => "declared-paused",
            Kind::StatefulSet => "declared-partition",
        };
        self.governed && !self.is_active_before() && self.oa.contains_key(&key(noted))
    }

    pub(super) fn deployment(&self, hold: &str, object: &mut Value) -> Want {
        let is_paused = |object: &Value| object["spec"]["paused"].as_bool().unwrap_or(false);
        let (old_paused, new_paused) = (is_paused(self.old), is_paused(self.write.new));
        let declared_before = self.then("declared-paused") == "true";
        let noted = self.is_noted();
        let declared_paused = match () {
            () if hold.is_empty() && self.maintained().is_empty() => String::new(),
            () if !noted || (!self.op && new_paused != old_paused) => new_paused.to_string(),
            () => declared_before.to_string(),
        };
        let paused = match () {
            () if self.rests(hold) => self.sleeps() && !hold.is_empty(),
            () if self.holds(hold) => true,
            () if hold.is_empty() && !self.maintained().is_empty() => false,
            () if !noted
                || new_paused != old_paused
                || self.twin.forgets(Rule::RestoreDeclared) =>
            {
                new_paused
            }
            () => declared_before,
        };
        if paused != new_paused {
            put_paused(object, paused);
        }
        vec![("declared-paused", declared_paused), ("declared-strategy", self.strategy(object))]
    }

    /// `declaredStrategy`, and the strategy that goes with it.
    pub(super) fn strategy(&self, object: &mut Value) -> String {
        let exclusive_before = self.known("volume-access") == "exclusive";
        let exclusive =
            if self.op { self.now("volume-access") == "exclusive" } else { exclusive_before };
        let declared_before = Some(self.then("declared-strategy"))
            .filter(|text| exclusive_before && is_strategy(text))
            .unwrap_or_default();
        let strategy = &self.write.new["spec"]["strategy"];
        let rolling_update = &strategy["rollingUpdate"];
        if !exclusive {
            if strategy["type"] == "Recreate" {
                restore_strategy(object, declared_before);
            }
            return String::new();
        }
        if strategy["type"] != "Recreate" || !rolling_update.is_null() {
            object["spec"]["strategy"] = json!({"type": "Recreate"});
        }
        // A manifest need not say the type; what it does not say of the two comes as 0.
        let limit = |value: &Value| match value {
            Value::Null => "0".to_owned(),
            Value::String(percents) => percents.clone(),
            number => number.to_string(),
        };
        let limits = format!(
            "{}|{}",
            limit(&rolling_update["maxSurge"]),
            limit(&rolling_update["maxUnavailable"])
        );
        if limits == "0|0" { declared_before.to_owned() } else { limits }
    }

    pub(super) fn stateful_set(&self, hold: &str, bypassed: bool, object: &mut Value) -> Want {
        let partition = |object: &Value| {
            object["spec"]["updateStrategy"]["rollingUpdate"]["partition"].as_i64().unwrap_or(0)
        };
        let (old_part, new_part) = (partition(self.old), partition(self.write.new));
        // A new template takes the step back: full hold.
        let step = match () {
            () if self.op => Some(self.now("partition"))
                .filter(|step| is_partition(step) && !self.beside())
                .unwrap_or_default(),
            () if bypassed || self.changed => "",
            () => self.step_before(),
        };
        let active = !hold.is_empty() || !step.is_empty();
        let active_before = !self.held_before().is_empty() || !self.step_before().is_empty();
        let noted = self.is_noted();
        let declared_before = Some(self.then("declared-partition"))
            .filter(|text| noted && is_partition(text))
            .unwrap_or("0");
        let declared = match () {
            () if !active && self.maintained().is_empty() => String::new(),
            () if !noted || (!self.op && new_part != old_part) => new_part.to_string(),
            () => declared_before.to_owned(),
        };
        let strategy = &self.write.new["spec"]["updateStrategy"]["type"];
        let type_before = Some(self.then("declared-update-strategy"))
            .filter(|text| (active_before || self.is_left()) && is_type(text))
            .unwrap_or_default();
        let declared_type = match () {
            () if !active => "",
            () if !is_rolling(self.write.new) => strategy.as_str().unwrap_or_default(),
            () if !self.op && new_part != old_part => "",
            () => type_before,
        };
        let back = !active
            && !["", "RollingUpdate"].contains(&type_before)
            && is_rolling(self.write.new)
            && new_part == old_part;
        let part = match () {
            () if self.rests(hold) && (hold.is_empty() || !self.sleeps()) => 0,
            () if !step.is_empty() => step.parse().unwrap_or(0),
            () if self.holds(hold) => HELD,
            () if hold.is_empty() && !self.maintained().is_empty() => 0,
            () if noted && new_part == old_part && !self.twin.forgets(Rule::RestoreDeclared) => {
                declared_before.parse().unwrap_or(0)
            }
            () => new_part,
        };
        if back && !self.twin.forgets(Rule::RestoreDeclared) {
            object["spec"]["updateStrategy"] = json!({"type": type_before});
        } else if active && !is_rolling(self.write.new) {
            object["spec"]["updateStrategy"] =
                json!({"type": "RollingUpdate", "rollingUpdate": {"partition": part}});
        } else if is_rolling(self.write.new) && part != new_part {
            put_partition(object, part);
        }
        let declared_type = declared_type.to_owned();
        vec![
            ("partition", step.to_owned()),
            ("declared-partition", declared),
            ("declared-update-strategy", declared_type),
        ]
    }
}

pub(super) fn put_paused(object: &mut Value, paused: bool) {
    match (paused, object["spec"].as_object_mut()) {
        (true, Some(spec)) => drop(spec.insert("paused".to_owned(), json!(true))),
        (false, Some(spec)) => drop(spec.remove("paused")),
        (_, None) => {}
    }
}

pub(super) fn put_partition(object: &mut Value, partition: i64) {
    object["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = json!(partition);
}

/// Gives back a RollingUpdate that was declared as "maxSurge|maxUnavailable"; one that was not is
/// none.
pub(super) fn restore_strategy(object: &mut Value, declared: &str) {
    let Some((max_surge, max_unavailable)) = declared.split_once('|') else { return };
    let value =
        |text: &str| text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number));
    let rolling_update =
        json!({"maxSurge": value(max_surge), "maxUnavailable": value(max_unavailable)});
    object["spec"]["strategy"] = json!({"type": "RollingUpdate", "rollingUpdate": rolling_update});
}
