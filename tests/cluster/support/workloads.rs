//! Workloads as users declare them, and their pods.

use kube::api::ListParams;
use local_cluster::shared;
use serde_json::{Value, json};

use super::{Shop, eventually, http_get};

impl Shop {
    /// A workload whose containers do nothing, as a user's manifest has it.
    pub fn manifest(&self, kind: &str, name: &str, tag: &str) -> Value {
        let mut manifest = workload(kind, name, 2, json!({"image": format!("other:{tag}")}));
        manifest["apiVersion"] = json!("apps/v1");
        manifest["metadata"]["namespace"] = json!(self.name);
        manifest["spec"]["template"]["spec"]["containers"][0]
            .as_object_mut()
            .unwrap()
            .remove("readinessProbe");
        manifest
    }

    /// An app that speaks the upgrade protocol on its port `http`, as a user's manifest has it.
    pub fn app_manifest(&self, kind: &str, name: &str, replicas: u32, tag: &str) -> Value {
        let mut manifest = workload(
            kind,
            name,
            replicas,
            json!({"image": format!("lockkeeper.dev/sample-app:{tag}")}),
        );
        manifest["apiVersion"] = json!("apps/v1");
        manifest["metadata"]["namespace"] = json!(self.name);
        manifest["spec"]["template"]["spec"]["containers"][0]["ports"] =
            json!([{"name": "http", "containerPort": 8080}]);
        // Pods that start all at once, and are still renewed one by one.
        if kind == "StatefulSet" {
            manifest["spec"]["podManagementPolicy"] = json!("Parallel");
        }
        manifest
    }

    /// Creates such an app, and waits until its changes would be held.
    pub async fn app(&self, kind: &str, name: &str, replicas: u32) {
        self.apply(&self.app_manifest(kind, name, replicas, "v1"));
        self.marked(kind, name).await;
    }

    /// Waits until a workload's controller has done all that it is asked for, and all pods run.
    pub async fn done(&self, kind: &str, name: &str) {
        let done = |object: &Value| is_done(kind, object);
        eventually(&format!("{kind} {name} is done"), || self.get(kind, name), done).await;
    }

    /// Waits until the controller has seen the newest generation of a workload.
    pub async fn observed(&self, kind: &str, name: &str) -> Value {
        let seen = |object: &Value| {
            object["status"]["observedGeneration"] == object["metadata"]["generation"]
        };
        eventually(&format!("{kind} {name} is observed"), || self.get(kind, name), seen).await
    }

    /// The pods of a workload that are not going: name, uid and image.
    pub async fn pods(&self, name: &str) -> Vec<(String, String, String)> {
        let pods = self
            .api("Pod")
            .list(&ListParams::default().labels(&format!("app={name}")))
            .await
            .unwrap()
            .items;
        let staying = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let mut pods: Vec<_> = staying
            .map(|pod| {
                let image = pod.data["spec"]["containers"][0]["image"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                (pod.metadata.name.unwrap_or_default(), pod.metadata.uid.unwrap_or_default(), image)
            })
            .collect();
        pods.sort();
        pods
    }

    /// The images of the pods of a workload.
    pub async fn images(&self, name: &str) -> Vec<String> {
        self.pods(name).await.into_iter().map(|(_, _, image)| image).collect()
    }

    /// Waits until all pods of a workload, so many, have this image, and it is done.
    pub async fn all_run(&self, kind: &str, name: &str, image: &str, count: usize) {
        let all =
            |images: &Vec<String>| images.len() == count && images.iter().all(|one| one == image);
        eventually(
            &format!("{count} pods of {kind} {name} run {image}"),
            || self.images(name),
            all,
        )
        .await;
        self.done(kind, name).await;
    }

    /// The addresses of the pods of an app that are not going, by the pods' names.
    pub async fn reachable(&self, name: &str) -> Vec<(String, String)> {
        let pods = self
            .api("Pod")
            .list(&ListParams::default().labels(&format!("app={name}")))
            .await
            .unwrap()
            .items;
        let staying = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let mut all: Vec<_> = staying
            .filter_map(|pod| {
                Some((pod.metadata.name?, pod.data["status"]["podIP"].as_str()?.to_owned()))
            })
            .collect();
        all.sort();
        all
    }

    /// The image that every pod of an app runs is this one.
    pub async fn runs(&self, kind: &str, name: &str, tag: &str, count: usize) {
        self.all_run(kind, name, &format!("lockkeeper.dev/sample-app:{tag}"), count).await;
    }

    /// Waits until a pod of an app has ended, and asserts that none did while it worked. Pods may
    /// still be ending when all new ones are ready.
    pub async fn all_ended_idle(&self, name: &str) {
        let ends =
            eventually("a pod has ended", || async { self.ends(name) }, |ends| !ends.is_empty())
                .await;
        assert!(ends.iter().all(|line| line == "ended idle"), "{name}: {ends:?}");
    }

    /// The lines in which pods of an app tell of their end.
    pub fn ends(&self, name: &str) -> Vec<String> {
        let mut lines = self.log_lines(name);
        lines.retain(|line| line.starts_with("ended") || line.starts_with("killed"));
        lines
    }

    /// All lines that pods of an app have logged, those of pods that are gone too.
    pub fn log_lines(&self, name: &str) -> Vec<String> {
        let pods = shared().kubeconfig.parent().unwrap().join("pods").join(&self.name);
        let logs = std::fs::read_dir(pods).into_iter().flatten().flatten();
        let of_app =
            logs.filter(|pod| pod.file_name().to_string_lossy().starts_with(&format!("{name}-")));
        let texts = of_app
            .map(|pod| std::fs::read_to_string(pod.path().join("app.log")).unwrap_or_default());
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// Addresses of the pods of a workload that are not going.
    pub async fn addresses(&self, name: &str) -> Vec<String> {
        let pods = self
            .api("Pod")
            .list(&ListParams::default().labels(&format!("app={name}")))
            .await
            .unwrap()
            .items;
        let staying = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        staying.filter_map(|pod| pod.data["status"]["podIP"].as_str().map(str::to_owned)).collect()
    }

    /// What the processes of a workload's pods read when they started: an environment variable, or
    /// a file by its path.
    pub async fn reads(&self, name: &str, what: &str) -> Vec<String> {
        let answers = self.addresses(name).await.into_iter().map(|address| {
            let answer: Value =
                serde_json::from_str(&http_get(&address, "/env").unwrap_or_default())
                    .unwrap_or_default();
            let place = if what.starts_with('/') { "filesAtStart" } else { "env" };
            answer[place][what].as_str().unwrap_or("(not there)").to_owned()
        });
        answers.collect()
    }

    /// Waits until every pod of a workload reads this.
    pub async fn all_read(&self, name: &str, what: &str, value: &str) {
        eventually(
            &format!("every pod of {name} reads {what}={value}"),
            || self.reads(name, what),
            |seen| !seen.is_empty() && seen.iter().all(|one| one == value),
        )
        .await;
    }

    /// How often a workload's template has been rolled out since it was created. Adoption and
    /// records are none.
    pub async fn rollouts(&self, name: &str) -> u64 {
        for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
            let Some(object) = self.api(kind).get_opt(name).await.unwrap() else { continue };
            if kind == "Deployment" {
                let number = || async {
                    let annotations = self
                        .api(kind)
                        .get(name)
                        .await
                        .unwrap()
                        .metadata
                        .annotations
                        .unwrap_or_default();
                    annotations.get("deployment.kubernetes.io/revision")?.parse::<u64>().ok()
                };
                // A replace drops it, and the controller puts it back.
                return eventually("the revision", number, Option::is_some).await.unwrap() - 1;
            }
            let revisions =
                self.api("ControllerRevision").list(&ListParams::default()).await.unwrap().items;
            let own = revisions.iter().filter(|one| {
                one.metadata
                    .owner_references
                    .iter()
                    .flatten()
                    .any(|owner| Some(&owner.uid) == object.metadata.uid.as_ref())
            });
            return own.filter_map(|one| one.data["revision"].as_u64()).max().unwrap_or(1) - 1;
        }
        panic!("there is no workload {name}");
    }

    /// Waits until a workload has been rolled out so often, and is done.
    pub async fn rolled(&self, name: &str, times: u64) {
        eventually(
            &format!("{name} rolled {times} times"),
            || self.rollouts(name),
            |seen| *seen >= times,
        )
        .await;
        assert_eq!(self.rollouts(name).await, times, "rollouts of {name}");
    }
}

/// Whether its controller has done all that a workload asks for, and all pods run.
pub fn is_done(kind: &str, object: &Value) -> bool {
    let (spec, status) = (&object["spec"], &object["status"]);
    let count = |field: &str| status[field].as_u64().unwrap_or(0);
    let pods = if kind == "DaemonSet" {
        let wanted = count("desiredNumberScheduled");
        count("updatedNumberScheduled") == wanted && count("numberAvailable") == wanted
    } else {
        let wanted = spec["replicas"].as_u64().unwrap_or(1);
        count("replicas") == wanted
            && count("availableReplicas") == wanted
            && (kind != "Deployment" || count("updatedReplicas") == wanted)
            && (kind != "StatefulSet" || status["updateRevision"] == status["currentRevision"])
    };
    pods && status["observedGeneration"] == object["metadata"]["generation"]
}

pub fn workload(kind: &str, name: &str, replicas: u32, mut pod: Value) -> Value {
    let mut container = json!({
        "name": "app", "image": "lockkeeper.dev/sample-app:v1",
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
    });
    for field in ["image", "env", "envFrom", "volumeMounts"] {
        if let Some(value) = pod.as_object_mut().unwrap().remove(field) {
            container[field] = value;
        }
    }
    pod["containers"] = json!([container]);
    pod["terminationGracePeriodSeconds"] = json!(1);
    let labels = json!({"app": name});
    let mut spec = json!({"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}});
    if kind != "DaemonSet" {
        spec["replicas"] = json!(replicas);
    }
    if kind == "StatefulSet" {
        spec["serviceName"] = json!(name);
    }
    json!({"kind": kind, "metadata": {"name": name, "labels": labels}, "spec": spec})
}
