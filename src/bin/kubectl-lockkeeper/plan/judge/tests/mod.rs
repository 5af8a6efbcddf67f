//! A namespace as it is, and as the files would make it.

mod config;
mod policies;
mod risks;
mod steps;
mod template;

use lockkeeper::{
    api::marks,
    shell::{
        digest::set_key,
        views::{
            ConfigMaps, DaemonSets, Deployments, Pods, Policies, ReplicaSets, StatefulSets,
            storage::{Autoscalers, Claims},
        },
    },
};
use serde_json::{Value, json};

use super::*;
use crate::plan::world::{entry, view};

const NOW: &str = "2026-11-21T17:00:00Z";

/// The namespace before and after, and what the files have.
struct Case {
    before: Namespace,
    after: Namespace,
    workloads: BTreeMap<WorkloadId, Touched>,
    policies: BTreeSet<String>,
    looked_at: BTreeSet<ConfigId>,
    gap: Option<&'static str>,
    key: &'static Key,
}

impl Case {
    fn new() -> Self {
        let namespace = || Namespace { name: "shop".into(), ..Namespace::default() };
        Self {
            before: namespace(),
            after: namespace(),
            workloads: BTreeMap::new(),
            policies: BTreeSet::new(),
            looked_at: BTreeSet::new(),
            gap: None,
            key: set_key(Key::new(&[7; 32])),
        }
    }

    /// There is this policy, and it stays.
    fn policy(mut self, spec: Value) -> Self {
        let policy =
            view::<Policies>(&json!({"metadata": {"name": "shop", "uid": "p"}, "spec": spec}))
                .unwrap();
        self.before.policies.insert("shop".to_owned(), policy.clone());
        self.after.policies.insert("shop".to_owned(), policy);
        self
    }

    /// The files have this policy.
    fn new_policy(mut self, spec: Value) -> Self {
        let policy =
            view::<Policies>(&json!({"metadata": {"name": "shop", "uid": "p"}, "spec": spec}))
                .unwrap();
        self.after.policies.insert("shop".to_owned(), policy);
        self.policies.insert("shop".to_owned());
        self
    }

    /// There is this workload, and it stays.
    fn workload(mut self, object: &Value) -> Self {
        let workload = of(object);
        self.before.workloads.insert(workload.id.clone(), workload.clone());
        self.after.workloads.insert(workload.id.clone(), workload);
        self
    }

    /// The files have this workload; `by_server` says whether a dry run told what it would be.
    fn new_workload(mut self, object: &Value, by_server: bool) -> Self {
        let workload = of(object);
        self.workloads.insert(workload.id.clone(), Touched { by_server, ..Touched::default() });
        self.after.workloads.insert(workload.id.clone(), workload);
        self
    }

    /// There is a ConfigMap, and it would become this.
    fn config(mut self, before: Option<Value>, after: Value) -> Self {
        let read = |data: Value| {
            let object = json!({"metadata": {"name": "app"}, "data": data});
            entry(view::<ConfigMaps>(&object).unwrap(), "shop", self.key).unwrap()
        };
        let (old, (id, new)) = (before.map(read), read(after));
        self.looked_at.insert(id.clone());
        self.before.config.extend(old);
        self.after.config.insert(id, new);
        self
    }

    fn plan(&self) -> Plan {
        judge(&Situation {
            before: &self.before,
            after: &self.after,
            storage: &Storage::default(),
            workloads: &self.workloads,
            policies: &self.policies,
            looked_at: &self.looked_at,
            gap: self.gap,
            key: self.key,
            now: NOW.parse().unwrap(),
        })
    }

    fn outcome(&self, object: &str) -> Outcome {
        let plan = self.plan();
        let found = plan.objects.iter().find(|line| line.object == object);
        found.unwrap_or_else(|| panic!("{object} is not in {plan:?}")).outcome
    }

    fn told(&self) -> String {
        serde_json::to_string(&self.plan()).unwrap()
    }
}

fn of(object: &Value) -> Workload {
    match object["kind"].as_str().unwrap() {
        "Deployment" => view::<Deployments>(object),
        "StatefulSet" => view::<StatefulSets>(object),
        _ => view::<DaemonSets>(object),
    }
    .unwrap()
}

/// A workload that is rolled out, reading the key `a` of the ConfigMap `app`.
fn workload(kind: &str, name: &str, image: &str) -> Value {
    json!({
        "kind": kind,
        "metadata": {"name": name, "uid": format!("{kind}-{name}"), "generation": 3, "labels": {"app": name}},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [
            {"name": "app", "image": image, "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "app", "key": "a"}}}]}]}}},
        "status": {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "updateRevision": "r", "currentRevision": "r"},
    })
}

/// The same as admission holds it from now on.
fn marked(mut object: Value) -> Value {
    object["metadata"]["labels"][marks::GOVERNED] = json!("true");
    object["metadata"]["annotations"][marks::HOLD_CHANGES] = json!("true");
    object
}

/// The same with a held change.
fn held(object: Value, id: &str) -> Value {
    let mut object = marked(object);
    object["metadata"]["annotations"][marks::HOLD] = json!(format!("{id} by ann"));
    object["metadata"]["annotations"][marks::GOVERNANCE] =
        json!(json!({"policy": "shop", "uid": "p"}).to_string());
    object["spec"]["paused"] = json!(true);
    object
}

fn gated() -> Value {
    json!({"selector": {}, "kinds": ["Deployment", "StatefulSet", "DaemonSet"], "gates": {"approval": "Required"}})
}
