//! Apps that keep lines on a volume, and what becomes of their claims, volumes and lines.

use std::path::PathBuf;

use kube::{
    Api,
    api::{DynamicObject, ListParams, Patch, PatchParams},
};
use local_cluster::shared;
use serde_json::{Value, json};

use crate::support::{Shop, eventually, http, resource};

/// Where apps keep their lines.
const DATA_FILE: &str = "/data/lines";

/// Two pods that had the same file open at once: the one that had it, and the one that came.
pub fn overlaps(journal: &[String]) -> Vec<(String, String)> {
    let mut open: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    for line in journal {
        match line.split_once(" by ") {
            Some(("opened", who)) => {
                found.extend(open.iter().map(|first| ((*first).to_owned(), who.to_owned())));
                open.push(who);
            }
            Some(("closed", who)) => open.retain(|one| *one != who),
            _ => {}
        }
    }
    found
}

impl Shop {
    /// Objects that belong to no namespace.
    pub fn cluster_api(&self, kind: &str) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &resource(kind))
    }

    /// A claim, as a user's manifest has it. Classes: `folders` (the default one),
    /// `folders-immediate`, `folders-unattached`, `folders-local`.
    pub fn claim_manifest(&self, name: &str, class: &str, mode: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": self.name}, "spec": claim_spec(class, mode)})
    }

    /// Applies a claim. It is bound when a pod uses it, but for the class `folders-immediate`.
    pub fn claim(&self, name: &str, class: &str, mode: &str) {
        self.apply(&self.claim_manifest(name, class, mode));
    }

    /// A Deployment of one pod with the default strategy, whose app keeps lines on a claim.
    pub fn keeper_manifest(&self, name: &str, claim: &str) -> Value {
        let mut manifest = keeps_lines(self.app_manifest("Deployment", name, 1, "v1"));
        manifest["spec"]["template"]["spec"]["volumes"] =
            json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
        // A rollout that is stuck is said soon.
        manifest["spec"]["progressDeadlineSeconds"] = json!(4);
        manifest
    }

    /// Applies a claim `NAME-data` and such a Deployment on it, and waits until it is done; the
    /// name of its pod.
    pub async fn keeper(&self, name: &str, class: &str, mode: &str) -> String {
        let claim = format!("{name}-data");
        self.claim(&claim, class, mode);
        self.apply(&self.keeper_manifest(name, &claim));
        self.done("Deployment", name).await;
        self.only_pod(name).await
    }

    /// A StatefulSet whose apps keep lines on claims `data-NAME-N` of the default class.
    pub fn stateful_manifest(&self, name: &str, replicas: u32) -> Value {
        let mut manifest = keeps_lines(self.app_manifest("StatefulSet", name, replicas, "v1"));
        manifest["spec"]["volumeClaimTemplates"] =
            json!([{"metadata": {"name": "data"}, "spec": claim_spec("folders", "ReadWriteOnce")}]);
        manifest
    }

    /// Applies such a StatefulSet, and waits until it is done.
    pub async fn stateful(&self, name: &str, replicas: u32) {
        self.apply(&self.stateful_manifest(name, replicas));
        self.done("StatefulSet", name).await;
    }

    /// All pods of a workload, those that are going too.
    pub async fn pod_objects(&self, name: &str) -> Vec<Value> {
        let pods = self
            .api("Pod")
            .list(&ListParams::default().labels(&format!("app={name}")))
            .await
            .unwrap()
            .items;
        pods.into_iter().map(|pod| serde_json::to_value(pod).unwrap()).collect()
    }

    /// The name of the one pod that a workload has, once no other is left.
    pub async fn only_pod(&self, name: &str) -> String {
        let pods = eventually(
            &format!("{name} has one pod"),
            || self.pod_objects(name),
            |pods| pods.len() == 1,
        )
        .await;
        pods[0]["metadata"]["name"].as_str().unwrap().to_owned()
    }

    /// Waits until a workload has a pod besides this one; its name.
    pub async fn other_pod(&self, name: &str, known: &str) -> String {
        let other = |pods: &Vec<(String, String, String)>| {
            pods.iter().map(|(pod, ..)| pod.clone()).find(|pod| pod != known)
        };
        let pods = eventually(
            &format!("{name} has another pod than {known}"),
            || self.pods(name),
            |pods| other(pods).is_some(),
        )
        .await;
        other(&pods).unwrap()
    }

    /// The address of a pod that runs.
    pub async fn address_of(&self, pod: &str) -> String {
        let address =
            || async { self.get("Pod", pod).await["status"]["podIP"].as_str().map(str::to_owned) };
        eventually(&format!("{pod} has an address"), address, Option::is_some).await.unwrap()
    }

    /// The app in a pod appends a line to its file.
    pub async fn write_line(&self, pod: &str, line: &str) {
        let (address, path) =
            (self.address_of(pod).await, format!("/data?line={}", line.replace(' ', "%20")));
        eventually(
            &format!("{pod} writes"),
            || async { http(&address, "POST", &path, "").map(|(status, _)| status) },
            |status| *status == Some(204),
        )
        .await;
    }

    /// The lines that the app in a pod reads from its file.
    pub async fn read_data(&self, pod: &str) -> Vec<String> {
        let address = self.address_of(pod).await;
        let read = || async { http(&address, "GET", "/data", "") };
        let answered = |answer: &Option<(u16, String)>| {
            answer.as_ref().is_some_and(|(status, _)| *status == 200)
        };
        let (_, text) = eventually(&format!("{pod} reads its data"), read, answered).await.unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until the app in a pod reads this line.
    pub async fn reads_line(&self, pod: &str, line: &str) {
        eventually(
            &format!("{pod} reads {line:?}"),
            || self.read_data(pod),
            |lines| lines.iter().any(|one| one == line),
        )
        .await;
    }

    /// Who opened, wrote and closed the file on a volume, in order.
    pub fn journal(&self, volume: &str) -> Vec<String> {
        let text =
            std::fs::read_to_string(folder(volume).join("lines.journal")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Makes a workload's template ask for a node on which the pod is not; the node's name.
    pub async fn force_to_another_node(&self, kind: &str, name: &str, pod: &str) -> String {
        let here = self.get("Pod", pod).await["spec"]["nodeName"].as_str().unwrap().to_owned();
        let nodes = self.cluster_api("Node").list(&ListParams::default()).await.unwrap().items;
        let other = nodes
            .into_iter()
            .filter_map(|node| node.metadata.name)
            .find(|node| *node != here)
            .unwrap();
        let selector = json!({"kubernetes.io/hostname": other});
        self.patch(kind, name, json!({"spec": {"template": {"spec": {"nodeSelector": selector}}}}))
            .await;
        other
    }

    /// The volume to which a claim is bound, once it is.
    pub async fn volume_of(&self, claim: &str) -> String {
        let volume = || async {
            let claim = self.get("PersistentVolumeClaim", claim).await;
            (claim["status"]["phase"] == "Bound")
                .then(|| claim["spec"]["volumeName"].as_str().unwrap_or_default().to_owned())
        };
        eventually(&format!("{claim} is bound"), volume, Option::is_some).await.unwrap()
    }

    /// A volume, if there still is one.
    pub async fn volume(&self, name: &str) -> Option<Value> {
        self.cluster_api("PersistentVolume")
            .get_opt(name)
            .await
            .unwrap()
            .map(|volume| serde_json::to_value(volume).unwrap())
    }

    pub async fn patch_volume(&self, name: &str, patch: Value) {
        self.cluster_api("PersistentVolume")
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    /// Waits until a volume is in this phase; the volume.
    pub async fn volume_is(&self, name: &str, phase: &str) -> Value {
        let in_phase = |volume: &Option<Value>| {
            volume.as_ref().is_some_and(|volume| volume["status"]["phase"] == phase)
        };
        eventually(&format!("volume {name} is {phase}"), || self.volume(name), in_phase)
            .await
            .unwrap()
    }

    /// Waits until a volume and its data are gone.
    pub async fn volume_is_gone(&self, name: &str) {
        eventually(&format!("volume {name} is gone"), || self.volume(name), Option::is_none).await;
        assert!(!folder(name).exists(), "the data of {name} is left");
    }

    /// The lines on a volume, whether somebody uses it or not; none if its data is gone.
    pub fn lines_on(&self, volume: &str) -> Option<Vec<String>> {
        let text = std::fs::read_to_string(folder(volume).join("lines")).ok()?;
        Some(text.lines().map(str::to_owned).collect())
    }

    /// Waits until a claim is gone.
    pub async fn claim_is_gone(&self, claim: &str) {
        let there =
            || async { self.api("PersistentVolumeClaim").get_opt(claim).await.unwrap().is_some() };
        eventually(&format!("claim {claim} is gone"), there, |there| !there).await;
    }

    /// Waits until a rollout is said to have made no progress for as long as it may take.
    pub async fn is_stuck(&self, name: &str) {
        let stuck = |deployment: &Value| {
            let mut conditions =
                deployment["status"]["conditions"].as_array().into_iter().flatten();
            conditions.any(|one| {
                one["type"] == "Progressing" && one["reason"] == "ProgressDeadlineExceeded"
            })
        };
        eventually(&format!("{name} makes no progress"), || self.get("Deployment", name), stuck)
            .await;
    }

    /// Waits until a pod waits for its containers to be created, which they are not before it has
    /// its volumes.
    pub async fn is_creating(&self, pod: &str) {
        let creating = |pod: &Value| {
            pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"]
                == "ContainerCreating"
        };
        eventually(&format!("{pod} is ContainerCreating"), || self.get("Pod", pod), creating).await;
    }

    /// Waits until the scheduler finds no node for a pod; why.
    pub async fn is_unschedulable(&self, pod: &str) -> String {
        let why = |pod: &Value| {
            let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            let refused = conditions
                .find(|one| one["type"] == "PodScheduled" && one["reason"] == "Unschedulable")?;
            refused["message"].as_str().map(str::to_owned)
        };
        let seen = eventually(
            &format!("{pod} is unschedulable"),
            || self.get("Pod", pod),
            |pod| why(pod).is_some(),
        )
        .await;
        why(&seen).unwrap()
    }

    /// Deletes the namespace, and waits until it is gone.
    pub async fn delete_namespace(&self) {
        self.kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
        let there =
            || async { self.cluster_api("Namespace").get_opt(&self.name).await.unwrap().is_some() };
        eventually(&format!("namespace {} is gone", self.name), there, |there| !there).await;
    }

    /// Creates a namespace of the same name again; it is another one.
    pub fn open_again(&self) {
        self.kubectl(&["create", "namespace", &self.name]);
    }
}

fn claim_spec(class: &str, mode: &str) -> Value {
    json!({"storageClassName": class, "accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}})
}

fn keeps_lines(mut manifest: Value) -> Value {
    let pod = &mut manifest["spec"]["template"]["spec"];
    // Time to close the file, however slow the machine is; an app that is told to end does so at
    // once.
    pod["terminationGracePeriodSeconds"] = json!(30);
    pod["containers"][0]["env"] = json!([{"name": "DATA_FILE", "value": DATA_FILE}]);
    pod["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    manifest
}

fn folder(volume: &str) -> PathBuf {
    shared().kubeconfig.parent().unwrap().join("volumes").join(volume)
}
