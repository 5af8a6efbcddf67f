//! What is to be done with the workloads of a cluster from which Lockkeeper is uninstalled: none
//! may be left frozen by marks that nothing removes any longer.

use serde_json::{Value, json};

use crate::{
    api::WorkloadKind,
    core::hold::unmark::unmark,
    marks::{MarkSet, Marks, Since, registry},
};

/// What becomes of changes that are held when Lockkeeper is uninstalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldWorkloads {
    /// Nothing is uninstalled while there are some.
    Refuse,
    /// They are let through, past their gates.
    Release,
}

impl HeldWorkloads {
    /// As settings and annotations write it.
    ///
    /// # Errors
    /// Says what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "Refuse" => Ok(Self::Refuse),
            "Release" => Ok(Self::Release),
            _ => Err("write Refuse or Release".to_owned()),
        }
    }
}

/// A workload that carries our label, as it was read.
#[derive(Debug, Clone)]
pub struct Governed {
    /// Its kind.
    pub kind: WorkloadKind,
    /// The object.
    pub object: Value,
}

/// A change that is held.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// The workload's namespace.
    pub namespace: String,
    /// The workload, as kubectl takes it.
    pub workload: String,
    /// The change.
    pub id: String,
}

impl Governed {
    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.object["metadata"]["namespace"].as_str().unwrap_or_default()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// As kubectl takes it.
    fn place(&self) -> String {
        format!("{}/{}", self.kind.to_string().to_lowercase(), self.name())
    }

    /// What is held on it, a walk through its pods that is not at its end included.
    pub fn held(&self) -> Option<Held> {
        let marks = Marks::of(&self.object);
        let hold = marks.hold.get().map(|hold| hold.id.to_string());
        let declared = marks.declared_partition.get().map_or(0, |declared| declared.0);
        let walks =
            self.kind.has_ordinals() && marks.partition.get().is_some_and(|step| step.0 > declared);
        let walked = marks.hold_since.get().and_then(Since::id);
        let walked = walked.map_or_else(|| "unknown".to_owned(), ToString::to_string);
        let id = hold.or_else(|| walks.then_some(walked))?;
        Some(Held { namespace: self.namespace().to_owned(), workload: self.place(), id })
    }

    /// The JSON patch after which nothing of ours acts on it, void if it was changed since it was
    /// read. What tells which config its pods started with stays: the next policy goes on from
    /// that.
    pub fn let_go(&self) -> Value {
        let metadata = &self.object["metadata"];
        let mut patch = vec![
            json!({"op": "test", "path": "/metadata/uid", "value": metadata["uid"]}),
            json!({"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}),
        ];
        patch.extend(unmark(self.kind, &self.object, &registry::records().collect::<Vec<_>>()));
        Value::Array(patch)
    }
}

/// Workloads whose maintenance forbids to uninstall, whatever becomes of held changes: without
/// admission nothing gives them their replicas again. In the order of namespaces and names.
pub fn in_maintenance(all: &[Governed]) -> Vec<String> {
    let mut found: Vec<_> = all
        .iter()
        .filter(|one| Marks::of(&one.object).in_maintenance.stands())
        .map(|one| format!("{} in namespace {}", one.place(), one.namespace()))
        .collect();
    found.sort();
    found
}

/// Changes whose hold forbids to uninstall, in the order of namespaces and names.
pub fn in_the_way(all: &[Governed], what: HeldWorkloads) -> Vec<Held> {
    match what {
        HeldWorkloads::Release => Vec::new(),
        HeldWorkloads::Refuse => {
            let mut held: Vec<_> = all.iter().filter_map(Governed::held).collect();
            held.sort();
            held
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::marks;

    fn governed(kind: WorkloadKind, name: &str, annotations: Value) -> Governed {
        let metadata = json!({"namespace": "shop", "name": name, "uid": "u", "resourceVersion": "7", "annotations": annotations,
            "labels": {marks::GOVERNED: "true"}});
        Governed { kind, object: json!({"metadata": metadata, "spec": {"paused": true}}) }
    }

    #[test]
    fn held_is_what_admission_holds_and_a_walk_that_is_not_done() {
        let set = |annotations: Value| {
            governed(WorkloadKind::StatefulSet, "db", annotations).held().map(|held| held.id)
        };
        assert_eq!(set(json!({marks::HOLD: "4 by ann"})), Some("4".to_owned()));
        assert_eq!(set(json!({marks::HOLD: "garbage"})), None);
        assert_eq!(
            set(json!({marks::PARTITION: "2", marks::HOLD_SINCE: "5 2026-01-01T00:00:00Z ann"})),
            Some("5".to_owned())
        );
        assert_eq!(set(json!({marks::PARTITION: "2", marks::DECLARED_PARTITION: "2"})), None);
        assert_eq!(set(json!({marks::HOLD_CHANGES: "true"})), None);
        assert_eq!(
            governed(WorkloadKind::Deployment, "web", json!({marks::PARTITION: "2"})).held(),
            None
        );
    }

    #[test]
    fn refused_only_where_something_is_held_and_each_is_named() {
        let all = [
            governed(WorkloadKind::StatefulSet, "db", json!({marks::HOLD: "4 by ann"})),
            governed(WorkloadKind::Deployment, "web", json!({marks::HOLD: "9 by bob"})),
            governed(WorkloadKind::Deployment, "free", json!({})),
        ];
        let named: Vec<_> =
            in_the_way(&all, HeldWorkloads::Refuse).iter().map(ToString::to_string).collect();
        assert_eq!(
            named,
            [
                "deployment/web in namespace shop (change 9)",
                "statefulset/db in namespace shop (change 4)"
            ]
        );
        assert_eq!(in_the_way(&all, HeldWorkloads::Release), []);
        assert_eq!(in_the_way(&all[2..], HeldWorkloads::Refuse), []);
    }

    #[test]
    fn letting_go_leaves_the_record_and_is_void_for_another_version() {
        let mut object = governed(
            WorkloadKind::Deployment,
            "web",
            json!({marks::HOLD: "9 by bob", marks::CONFIG: "{}"}),
        );
        let patch: json_patch::Patch = serde_json::from_value(object.let_go()).unwrap();
        let mut newer = object.object.clone();
        newer["metadata"]["resourceVersion"] = json!("8");
        assert!(json_patch::patch(&mut newer, &patch).is_err());
        json_patch::patch(&mut object.object, &patch).unwrap();
        assert_eq!(object.object["metadata"]["annotations"], json!({marks::CONFIG: "{}"}));
        assert_eq!(
            (&object.object["metadata"]["labels"], &object.object["spec"]),
            (&json!({}), &json!({}))
        );
        assert_eq!(object.held(), None);
    }
}
