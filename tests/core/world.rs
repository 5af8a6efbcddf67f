//! A world to tell stories in: objects as raw JSON, a clock, and the versions that an API server
//! would give.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lockkeeper::{
    api::{Attention, ConfigKind, UpgradePolicySpec, WorkloadKind},
    core::{
        arrange::{Surroundings, assess_all},
        config::{digest::Key, references},
        decision::{Decision, Event, Notice, Purpose, StorageObject},
        gates::{
            answer::Answer,
            conversation::{Errand, Report},
        },
        governs::check_spec,
        hold::enforced::Enforcement,
        memory::{Activity, Memory},
        rest::News,
        rollout::slots,
        storage::{ClaimsOfPod, Storage},
        world::{
            ConfigEntry, ConfigId, DeclaredPort, Namespace, Pod, Policy, Reach, ReplicaSet, Uid,
            Version, WorkloadId,
        },
    },
    workload::{self, DaemonSet, Deployment, StatefulSet},
};
use serde_json::{Value, json};

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

    /// The template's hash, as the controller would make it: a revert finds the old one again.
    fn revision(&self, id: &WorkloadId) -> String {
        format!(
            "rev-{:x}",
            self.key.value(self.objects[id]["spec"]["template"].to_string().as_bytes()).0[0..4]
                .iter()
                .fold(0u32, |sum, byte| sum << 8 | u32::from(*byte))
        )
    }

    /// The controller sees the newest template, and has made no pod of it yet.
    pub fn observe(&mut self, name: &str) {
        let id = self.id(name);
        let (revision, number) = (self.revision(&id), self.version);
        let uid = self.objects[&id]["metadata"]["uid"].as_str().unwrap().to_owned();
        if id.kind == WorkloadKind::Deployment {
            let template = &self.objects[&id]["spec"]["template"];
            let set = ReplicaSet {
                name: format!("{name}-{revision}").into(),
                created: self.now,
                deployment: uid.as_str().into(),
                revision: revision.as_str().into(),
                number,
                replicas: 1,
                template: workload::template_digest(template),
                config_hash: workload::config_hash(template),
                references: references::of_template(template).into(),
                containers: workload::containers(template),
            };
            self.namespace.replica_sets.insert(format!("{uid}-{revision}").into(), set);
        }
        self.status(&id, &revision, number);
    }

    fn status(&mut self, id: &WorkloadId, revision: &str, number: u64) {
        let pods: Vec<_> = self
            .pods(&id.name)
            .into_iter()
            .filter(|pod| pod.terminating.is_none())
            .cloned()
            .collect();
        let updated = pods.iter().filter(|pod| pod.revision.as_deref() == Some(revision)).count();
        let available = pods.iter().filter(|pod| pod.ready).count();
        let object = self.objects.get_mut(id).unwrap();
        let wanted = object["spec"]["replicas"].as_u64().unwrap() as usize;
        let all = updated == wanted && pods.len() == wanted && available == wanted;
        let named = format!("ReplicaSet \"{}-{revision}\"", id.name);
        let (reason, message) = match all {
            true => ("NewReplicaSetAvailable", format!("{named} has successfully progressed.")),
            false => ("ReplicaSetUpdated", format!("{named} is progressing.")),
        };
        let progressing = json!({"type": "Progressing", "status": "True", "reason": reason, "message": message, "lastUpdateTime": self.now});
        object["metadata"]["annotations"]["deployment.kubernetes.io/revision"] =
            json!(number.to_string());
        object["metadata"]["annotations"]["deprecated.daemonset.template.generation"] =
            json!(revision);
        object["status"] = json!({
            "observedGeneration": object["metadata"]["generation"], "replicas": pods.len(), "updatedReplicas": updated, "availableReplicas": available,
            "desiredNumberScheduled": wanted, "currentNumberScheduled": pods.len(), "updatedNumberScheduled": updated, "numberAvailable": available,
            "updateRevision": revision, "currentRevision": if all { revision } else { "old" },
            "conditions": [progressing],
        });
        self.sync(id);
    }

    /// One more pod of the newest template; as many old ones go as there are too many.
    pub fn start_pod(&mut self, name: &str) {
        self.observe(name);
        let id = self.id(name);
        let (revision, version) = (self.revision(&id), self.tick());
        self.pods_made += 1;
        let controller = match id.kind {
            WorkloadKind::Deployment => format!("uid-{name}-{revision}"),
            _ => format!("uid-{name}"),
        };
        let hash = self.objects[&id]["spec"]["template"]["metadata"]["annotations"]["lockkeeper.dev/config-hash"].as_str();
        let pod = Pod {
            uid: format!("pod-{name}-{}", self.pods_made).into(),
            name: format!("{name}-{}", self.pods_made).into(),
            controller: Some(controller.as_str().into()),
            created: self.now,
            created_version: Some(version),
            terminating: None,
            finished: false,
            ready: true,
            ready_moved: Some(self.now),
            config_hash: hash.map(Into::into),
            revision: Some(revision.as_str().into()),
            started: [self.now].into(),
            trouble: None,
            ails: None,
            reach: Reach {
                running: true,
                address: Some([127, 0, 0, 1].into()),
                host_network: false,
                ports: [DeclaredPort {
                    number: 8080,
                    name: Some("http".into()),
                    container: "app".into(),
                    of_first: true,
                }]
                .into(),
            },
            restarts: 0,
            crashed: None,
            claims: ClaimsOfPod {
                named: self.namespace.workloads[&id].claims.named.clone(),
                node: Some("node-1".into()),
                unschedulable: None,
                owner: Some(format!("{}/{name}", id.kind).into()),
            },
        };
        let wanted = self.objects[&id]["spec"]["replicas"].as_u64().unwrap() as usize;
        let mut pods: Vec<_> = self
            .pods(name)
            .iter()
            .map(|pod| {
                (pod.revision.as_deref() == Some(&revision), pod.created_version, pod.name.clone())
            })
            .collect();
        pods.sort();
        self.namespace.pods.insert(format!("pod-{}", pod.name).into(), pod);
        for (_, _, old) in pods.iter().take((pods.len() + 1).saturating_sub(wanted)) {
            self.namespace.pods.remove(&Uid::from(format!("pod-{old}")));
        }
        let number = self
            .namespace
            .newest_replica_sets()
            .get(format!("uid-{name}").as_str())
            .map_or(0, |set| set.number);
        self.status(&id, &revision, number);
    }

    /// A Deployment with the strategy Recreate: its old pods end within so many seconds, and its
    /// controller makes no ReplicaSet before they are gone. What it says of the rollout is of the
    /// one before.
    pub fn end_old_pods(&mut self, name: &str, within: u64) {
        let until = self.now + Duration::from_secs(within);
        let uids: Vec<_> = self.pods(name).iter().map(|pod| pod.uid.clone()).collect();
        for pod in self.namespace.pods.values_mut().filter(|pod| uids.contains(&pod.uid)) {
            pod.terminating = Some(until);
        }
        self.edit_status(name, |status| {
            for count in ["replicas", "updatedReplicas", "availableReplicas"] {
                status[count] = json!(0);
            }
        });
    }

    /// Then the old pods are gone, and there are new ones, which are not ready.
    pub fn start_new_pods(&mut self, name: &str) {
        let id = self.id(name);
        let old: Vec<_> = self.pods(name).iter().map(|pod| pod.uid.clone()).collect();
        let progressing = self.objects[&id]["status"]["conditions"].clone();
        self.namespace.pods.retain(|_, pod| !old.contains(&pod.uid));
        self.roll_out(&id);
        let new: Vec<_> = self.pods(name).iter().map(|pod| pod.uid.clone()).collect();
        for pod in self.namespace.pods.values_mut().filter(|pod| new.contains(&pod.uid)) {
            (pod.ready, pod.ready_moved) = (false, None);
        }
        self.edit_status(name, |status| {
            (status["conditions"], status["availableReplicas"]) = (progressing, json!(0));
        });
    }

    /// A pod becomes ready, or is no longer ready.
    pub fn ready(&mut self, name: &str, pod: usize, ready: bool) {
        let uid = self.pods(name)[pod].uid.clone();
        let now = self.now;
        for pod in self.namespace.pods.values_mut().filter(|pod| pod.uid == uid) {
            (pod.ready, pod.ready_moved) = (ready, Some(now));
        }
        let available = self.pods(name).iter().filter(|pod| pod.ready).count();
        self.edit_status(name, |status| {
            (status["availableReplicas"], status["numberAvailable"]) =
                (json!(available), json!(available));
        });
    }

    /// The controller has seen the newest generation, and says this of it.
    pub fn edit_status(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        let id = self.id(name);
        change(&mut self.objects.get_mut(&id).unwrap()["status"]);
        self.observe_again(&id);
    }

    /// The controller replaces all pods.
    pub fn roll_out(&mut self, id: &WorkloadId) {
        for _ in 0..self.objects[id]["spec"]["replicas"].as_u64().unwrap() {
            self.start_pod(&id.name);
        }
        self.observe(&id.name);
    }

    pub fn finish(&mut self, name: &str) {
        let id = self.id(name);
        self.later(1);
        self.roll_out(&id);
    }

    pub fn pods(&self, name: &str) -> Vec<&Pod> {
        self.namespace.pods_by_workload().remove(format!("uid-{name}").as_str()).unwrap_or_default()
    }

    /// Pods seen only in a list, after a restart of the operator, and nothing remembered.
    pub fn restart_operator(&mut self) {
        self.memories.clear();
        self.activities.clear();
        for pod in self.namespace.pods.values_mut() {
            pod.created_version = None;
        }
        for (_, entry) in self.namespace.config.iter_mut() {
            let last = Version { seen: None, ..entry.versions().last().unwrap().clone() };
            *entry = ConfigEntry::new(last, entry.ignored);
        }
        self.namespace.config.retain(|_, entry| entry.content().is_some());
    }

    /// Decides, and carries nothing out.
    pub fn decide(&mut self) -> Decision {
        self.decide_on(&News::whole())
    }

    /// Decides what is to be decided after this has happened.
    pub fn decide_on(&mut self, news: &News) -> Decision {
        let around = Surroundings {
            key: &self.key,
            watched: at(-10),
            definition: Some("crd"),
            enforcement: &self.enforcement,
            activities: &self.activities,
            memories: &self.memories,
            storage: &self.storage,
            told: &self.standing,
            now: self.now,
        };
        let assessments = assess_all(&self.namespace, news, &around);
        let demands = [("shop".to_owned(), assessments.demand(&self.activities))].into();
        let granted = slots::allot(&demands, self.max_config_rollouts);
        assessments.arrange(&granted, &self.memories)
    }

    /// Decides and carries it out, again and again until nothing is left to do at this time.
    /// Returns the names of the workloads that were rolled.
    pub fn act(&mut self) -> Vec<String> {
        let mut rolled = Vec::new();
        for _ in 0..20 {
            let decision = self.decide();
            self.memories.extend(decision.memories);
            self.standing.insert(self.namespace.name.to_string(), decision.told);
            let about = |notice: &Notice| {
                (notice.event, notice.subject.to_string(), notice.message.clone())
            };
            self.told.extend(decision.notices.iter().map(about));
            self.looked.extend(decision.lookups.into_iter().map(|(workload, ..)| workload.name));
            let stored = !decision.storage.is_empty();
            for (patch, notice) in decision.storage {
                self.store(&patch);
                self.told.extend(notice.as_ref().map(about));
            }
            for (name, status) in decision.statuses {
                self.namespace.policies.get_mut(&name).unwrap().status = status;
            }
            let called = !decision.calls.is_empty();
            for call in decision.calls {
                let names = call.visits.iter().map(|visit| (call.errand, visit.name.to_string()));
                self.said.extend(names.filter(|(errand, _)| *errand != Errand::Verify));
                let of = |name: &str| match call.errand {
                    Errand::Ask | Errand::Verify => {
                        self.answers.get(name).cloned().unwrap_or(Answer::Yes)
                    }
                    Errand::Prepare | Errand::Withdraw => Answer::Yes,
                };
                let answers = call.visits.iter().map(|visit| of(&visit.name)).collect();
                let uid = call.uid.clone();
                let report = Report { call, begun: self.now, ended: self.now, answers };
                self.memories.get_mut(&uid).unwrap().app.hear(&report);
            }
            if decision.patches.is_empty() && !called && !stored {
                return rolled;
            }
            for patch in decision.patches {
                if matches!(patch.purpose, Purpose::Roll(..)) {
                    rolled.push(patch.workload.name.clone());
                }
                let object = self.objects.get_mut(&patch.workload).unwrap();
                let body: json_patch::Patch = serde_json::from_value(patch.json()).unwrap();
                json_patch::patch(object, &body).unwrap();
                // What is let through the controller has not seen yet.
                let rolls =
                    patch.config_hash.is_some() || matches!(patch.purpose, Purpose::Release(_));
                match (rolls, patch.workload.kind) {
                    (false, WorkloadKind::StatefulSet | WorkloadKind::DaemonSet) => {
                        self.sync(&patch.workload)
                    }
                    (false, WorkloadKind::Deployment) => {
                        self.bump(&patch.workload);
                        self.observe_again(&patch.workload);
                    }
                    (true, _) => self.bump(&patch.workload),
                }
            }
        }
        panic!("there is always something left to do: the decisions do not come to rest");
    }

    pub fn observe_again(&mut self, id: &WorkloadId) {
        let object = self.objects.get_mut(id).unwrap();
        object["status"]["observedGeneration"] = object["metadata"]["generation"].clone();
        self.sync(id);
    }

    pub fn attention(&self) -> Option<&Attention> {
        self.namespace.policies["shop"].status.attention.first()
    }

    /// `Phase/Reason` of the first workload in attention, or `UpToDate`.
    pub fn stands(&self) -> String {
        self.attention()
            .map_or("UpToDate".into(), |one| format!("{}/{}", one.phase, one.reason.as_str()))
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
