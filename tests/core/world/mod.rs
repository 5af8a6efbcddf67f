//! A world to tell stories in: objects as raw JSON, a clock, and the versions that an API server
//! would give.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lockkeeper::{
    api::{ConfigKind, UpgradePolicySpec, WorkloadKind},
    core::{
        conversation::{Errand, answer::Answer},
        digest::Key,
        hold::enforced::Enforcement,
        memory::{Activity, Memory},
        notice::{Event, StorageObject},
        observed::{
            ConfigEntry, ConfigId, Namespace, Policy, Uid, Version, WorkloadId, policy::check_spec,
            storage::Storage,
        },
    },
    workload::{self, DaemonSet, Deployment, StatefulSet},
};
use serde_json::{Value, json};

mod controllers;
pub mod held;
mod operator;
pub mod volumes;

pub struct World {
    pub namespace: Namespace,
    pub now: Timestamp,
    pub version: u64,
    pub memories: HashMap<Uid, Memory>,
    pub activities: HashMap<Uid, Activity>,
    pub max_config_rollouts: usize,
    pub key: Key,
    /// What pods answer that do not say yes, by name.
    pub answers: HashMap<String, Answer>,
    /// What was said to pods, checks of the gate aside.
    pub said: Vec<(Errand, String)>,
    /// The storage of the cluster, and the raw objects of it.
    pub storage: Storage,
    pub storage_objects: BTreeMap<StorageObject, Value>,
    /// Which admission policies are installed.
    pub enforcement: Enforcement,
    /// The workloads whose controllers' events were looked for.
    pub looked: Vec<String>,
    /// Events that were told, with what they are about.
    pub told: Vec<(Event, String, String)>,
    pub standing: HashMap<String, BTreeSet<(Uid, Event)>>,
    objects: HashMap<WorkloadId, Value>,
    contents: HashMap<ConfigId, Option<Vec<(String, String)>>>,
    pods_made: u32,
}

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

impl World {
    pub fn new() -> Self {
        Self {
            namespace: Namespace::default(),
            now: at(0),
            version: 100,
            memories: HashMap::new(),
            activities: HashMap::new(),
            max_config_rollouts: 100,
            key: Key::new(&[7; 32]),
            answers: HashMap::new(),
            said: Vec::new(),
            storage: Storage::default(),
            storage_objects: BTreeMap::new(),
            enforcement: Enforcement::default(),
            looked: Vec::new(),
            told: Vec::new(),
            standing: HashMap::new(),
            objects: HashMap::new(),
            contents: HashMap::new(),
            pods_made: 0,
        }
    }

    /// A policy named `shop`, over everything.
    pub fn with_policy(mut self, spec: Value) -> Self {
        self.policy("shop", spec);
        self
    }

    pub fn policy(&mut self, name: &str, mut spec: Value) {
        spec.as_object_mut().unwrap().entry("selector").or_insert(json!({}));
        let spec: UpgradePolicySpec = serde_json::from_value(spec).unwrap();
        let (spec, windows) = check_spec(spec).unwrap();
        let policy = Policy {
            name: name.into(),
            uid: format!("policy-{name}").into(),
            generation: 1,
            written: self.now,
            spec: Ok(spec),
            switched_off: Vec::new(),
            windows,
            status: Default::default(),
        };
        self.namespace.policies.insert(name.into(), policy);
    }

    pub fn later(&mut self, seconds: u64) -> &mut Self {
        self.now += Duration::from_secs(seconds);
        self
    }

    pub fn tick(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    pub fn config_map(&mut self, name: &str, data: &[(&str, &str)]) {
        self.config(ConfigKind::ConfigMap, name, Some(data));
    }

    /// Writes a ConfigMap or Secret, or deletes it.
    pub fn config(&mut self, kind: ConfigKind, name: &str, data: Option<&[(&str, &str)]>) {
        let resource_version = self.tick();
        let id = ConfigId { kind, name: name.into() };
        self.contents.insert(
            id.clone(),
            data.map(|data| data.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()),
        );
        let content = data.map(|data| {
            let mut digests: Vec<_> = data
                .iter()
                .map(|(key, value)| {
                    (
                        Box::from(*key),
                        self.key.bound(kind, "shop", name, key, self.key.value(value.as_bytes())),
                    )
                })
                .collect();
            digests.sort();
            digests.into()
        });
        let version =
            Version { resource_version, written: self.now, seen: Some(self.now), content };
        match self.namespace.config.get_mut(&id) {
            Some(entry) => drop(entry.observe(version)),
            None => drop(self.namespace.config.insert(id, ConfigEntry::new(version, false))),
        }
    }

    pub fn deployment(&mut self, name: &str, pod_spec: Value) {
        self.workload(WorkloadKind::Deployment, name, 2, pod_spec);
    }

    /// A workload that is rolled out, with its pods.
    pub fn workload(&mut self, kind: WorkloadKind, name: &str, replicas: u32, pod_spec: Value) {
        let id = WorkloadId { kind, name: name.into() };
        let created = self.now;
        let object = json!({
            "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "generation": 1, "creationTimestamp": created, "labels": {"app": name}},
            "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"app": name}}, "spec": pod_spec}},
            "status": {}
        });
        self.objects.insert(id.clone(), object);
        self.roll_out(&id);
    }

    pub fn edit(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        let id = self.id(name);
        change(self.objects.get_mut(&id).unwrap());
        self.objects.get_mut(&id).unwrap()["metadata"]["managedFields"] =
            json!([{"manager": "kubectl", "time": self.now}]);
        self.bump(&id);
    }

    /// Who has written what of a workload.
    pub fn edit_managers(&mut self, name: &str, entries: Value) {
        let id = self.id(name);
        self.objects.get_mut(&id).unwrap()["metadata"]["managedFields"] = entries;
        self.sync(&id);
    }

    pub fn id(&self, name: &str) -> WorkloadId {
        self.objects.keys().find(|id| id.name == name).unwrap().clone()
    }

    pub fn object(&self, name: &str) -> &Value {
        &self.objects[&self.id(name)]
    }

    fn bump(&mut self, id: &WorkloadId) {
        let object = self.objects.get_mut(id).unwrap();
        let generation = object["metadata"]["generation"].as_i64().unwrap() + 1;
        object["metadata"]["generation"] = json!(generation);
        self.sync(id);
    }

    fn sync(&mut self, id: &WorkloadId) {
        let version = self.tick();
        let object = self.objects.get_mut(id).unwrap();
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        // As the mutating policy does.
        if object["metadata"]["annotations"]["lockkeeper.dev/volume-access"] == "exclusive" {
            object["spec"]["strategy"] = json!({"type": "Recreate"});
        }
        let meta: ObjectMeta = serde_json::from_value(object["metadata"].clone()).unwrap();
        let (spec, status) = (&object["spec"], &object["status"]);
        let view = match id.kind {
            WorkloadKind::Deployment => workload::view::<Deployment>(&meta, spec, status),
            WorkloadKind::StatefulSet => workload::view::<StatefulSet>(&meta, spec, status),
            WorkloadKind::DaemonSet => workload::view::<DaemonSet>(&meta, spec, status),
        };
        self.namespace.workloads.insert(id.clone(), view);
    }
}

/// A container that reads one key into its environment.
pub fn env_key(name: &str, key: &str) -> Value {
    json!({"containers": [{"name": "app", "env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": name, "key": key}}}]}]})
}

/// A container that reads all of a ConfigMap into its environment.
pub fn env_from(name: &str) -> Value {
    json!({"containers": [{"name": "app", "envFrom": [{"configMapRef": {"name": name}}]}]})
}
