//! What controllers and kubelets make of what was written.

use std::time::Duration;

use lockkeeper::{
    api::WorkloadKind,
    core::{
        config::references,
        observed::{DeclaredPort, Pod, Reach, ReplicaSet, Uid, WorkloadId, storage::ClaimsOfPod},
    },
    workload,
};
use serde_json::{Value, json};

use super::World;

impl World {
    /// The template's hash, as the controller would make it: a revert finds the old one again.
    pub fn revision(&self, id: &WorkloadId) -> String {
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
                rests: workload::rests(template),
                references: references::of_template(template).into(),
                containers: workload::containers(template),
            };
            self.namespace.replica_sets.insert(format!("{uid}-{revision}").into(), set);
        }
        self.status(&id, &revision, number);
    }

    pub fn status(&mut self, id: &WorkloadId, revision: &str, number: u64) {
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
            gated: false,
            ready: true,
            ready_moved: Some(self.now),
            config_hash: hash.map(Into::into),
            revision: Some(revision.as_str().into()),
            started: [self.now].into(),
            started_version: Some(version),
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

    pub fn observe_again(&mut self, id: &WorkloadId) {
        let object = self.objects.get_mut(id).unwrap();
        object["status"]["observedGeneration"] = object["metadata"]["generation"].clone();
        self.sync(id);
    }
}
