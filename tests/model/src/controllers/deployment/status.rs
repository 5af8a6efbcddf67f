//! What the controller of a Deployment says of its rollout: the status and its conditions.

use serde_json::{Value, json};

use super::super::{condition, count, has_passed, name};
use super::Sync;
use crate::server::Server;

impl<'a> Sync<'a> {
    pub(super) fn conditions(&self) -> Vec<Value> {
        self.object["status"]["conditions"].as_array().cloned().unwrap_or_default()
    }

    pub(super) fn is_complete(&self, status: &Value) -> bool {
        let all = |field: &str| count(&status[field]) == self.wanted;
        all("updatedReplicas")
            && all("replicas")
            && all("availableReplicas")
            && status["observedGeneration"] == self.object["metadata"]["generation"]
    }

    pub(super) fn status(&self, server: &mut Server, rollout: bool) -> bool {
        let sum =
            |field: &str| self.sets.iter().map(|set| count(&set["status"][field])).sum::<i64>();
        let (replicas, ready, available) =
            (sum("replicas"), sum("readyReplicas"), sum("availableReplicas"));
        // The real one leaves off what is 0. Here it is left off only where it tells something: no
        // ReplicaSet is that of the template.
        let mut status = json!({
            "observedGeneration": self.object["metadata"]["generation"],
            "replicas": replicas, "readyReplicas": ready, "availableReplicas": available,
            "unavailableReplicas": (self.total() - available).max(0),
        });
        if let Some(new) = self.new {
            status["updatedReplicas"] = json!(count(&new["status"]["replicas"]));
        }
        let now = server.second();
        let mut conditions = self.conditions();
        let enough = available >= self.wanted - self.unavailable;
        let (is, reason) = if enough {
            ("True", "MinimumReplicasAvailable")
        } else {
            ("False", "MinimumReplicasUnavailable")
        };
        set_condition(&mut conditions, ("Available", is, reason), &now);
        if rollout {
            self.progress(&status, &mut conditions, server);
        }
        status["conditions"] = Value::Array(conditions);
        if self.object["status"] == status {
            return false;
        }
        self.write(server, |object| object["status"] = status);
        true
    }

    /// How far the rollout is. Once it was complete it stays so, whatever becomes of its pods.
    pub(super) fn progress(&self, status: &Value, conditions: &mut Vec<Value>, server: &Server) {
        let (was, now) = (&self.object["status"], server.second());
        let before = condition(self.object, "Progressing");
        let reason =
            before.map_or("", |condition| condition["reason"].as_str().unwrap_or_default());
        let of_old =
            |status: &Value| count(&status["replicas"]) - count(&status["updatedReplicas"]);
        if of_old(status) == 0 && reason == "NewReplicaSetAvailable" {
            return;
        }
        let more = |field: &str| count(&status[field]) > count(&was[field]);
        let deadline = count(&self.object["spec"]["progressDeadlineSeconds"]);
        let late = |before: &Value| has_passed(server.now(), &before["lastUpdateTime"], deadline);
        if self.is_complete(status) {
            set_condition(conditions, ("Progressing", "True", "NewReplicaSetAvailable"), &now);
            // It names the ReplicaSet that it is about, which with the strategy Recreate may be
            // that of the rollout before.
            let of = self.new.map_or_else(
                || format!("Deployment \"{}\"", name(self.object)),
                |new| format!("ReplicaSet \"{}\"", name(new)),
            );
            if let Some(one) =
                conditions.iter_mut().find(|condition| condition["type"] == "Progressing")
            {
                one["message"] = json!(format!("{of} has successfully progressed."));
            }
        } else if more("updatedReplicas")
            || more("readyReplicas")
            || more("availableReplicas")
            || of_old(status) < of_old(was)
        {
            // The one condition whose time moves although it stays as it is.
            let since = before
                .filter(|before| before["status"] == "True")
                .map_or_else(|| json!(now), |before| before["lastTransitionTime"].clone());
            conditions.retain(|condition| condition["type"] != "Progressing");
            conditions.push(json!({
                "type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "lastUpdateTime": now, "lastTransitionTime": since,
            }));
        } else if before.is_some_and(|before| reason != "NewReplicaSetAvailable" && late(before)) {
            set_condition(conditions, ("Progressing", "False", "ProgressDeadlineExceeded"), &now);
        }
    }
}

/// Sets a condition, unless it is as it was; its transition is when its status changed.
pub(super) fn set_condition(
    conditions: &mut Vec<Value>,
    (kind, status, reason): (&str, &str, &str),
    now: &str,
) {
    let before = conditions.iter().position(|condition| condition["type"] == kind);
    if before
        .is_some_and(|at| conditions[at]["status"] == status && conditions[at]["reason"] == reason)
    {
        return;
    }
    let before = before.map(|at| conditions.remove(at));
    let since = before
        .filter(|before| before["status"] == status)
        .map_or_else(|| json!(now), |mut before| before["lastTransitionTime"].take());
    conditions.push(json!({"type": kind, "status": status, "reason": reason, "lastUpdateTime": now, "lastTransitionTime": since}));
}
