//! A namespace for one test, and what is written and read in it.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    time::{Duration, Instant},
};

use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use local_cluster::shared;
use serde_json::{Value, json};

use super::{
    HOLDABLE, PATIENCE, Said, client, eventually, eventually_now, resource, said_with,
    workloads::workload,
};

/// A namespace for one test.
pub struct Shop {
    pub client: Client,
    pub name: String,
}

impl Shop {
    /// A new namespace, without a policy yet.
    pub async fn open(name: &str) -> Self {
        let shop =
            Self { client: client().await, name: format!("{name}-{:x}", std::process::id()) };
        let namespaces: Api<DynamicObject> =
            Api::all_with(shop.client.clone(), &resource("Namespace"));
        let namespace = serde_json::from_value(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": shop.name}}),
        )
        .unwrap();
        namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        shop
    }

    /// With a policy over everything, that settles fast.
    pub async fn governed(name: &str) -> Self {
        let shop = Self::open(name).await;
        shop.policy(json!({"config": {"settle": "500ms", "settleLimit": "5s"}})).await;
        shop
    }

    /// With a policy that wants each change approved.
    pub async fn gated(name: &str) -> Self {
        let shop = Self::open(name).await;
        shop.policy(json!({"kinds": HOLDABLE, "config": {"settle": "300ms", "settleLimit": "5s"}, "gates": {"approval": "Required"}}))
            .await;
        shop
    }

    /// The minor version of the cluster: 36 is 1.36.
    pub async fn kubernetes(&self) -> u32 {
        let version = self.client.apiserver_version().await.unwrap();
        version.minor.trim_end_matches('+').parse().unwrap()
    }

    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.name, &resource(kind))
    }

    pub async fn create(&self, mut object: Value) -> DynamicObject {
        let kind = object["kind"].as_str().unwrap().to_owned();
        object["apiVersion"] = json!(resource(&kind).api_version);
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        self.api(&kind).create(&PostParams::default(), &object).await.unwrap()
    }

    pub async fn policy(&self, mut spec: Value) {
        let fields = spec.as_object_mut().unwrap();
        fields.entry("selector").or_insert(json!({}));
        fields.entry("kinds").or_insert(json!(["Deployment", "StatefulSet", "DaemonSet"]));
        self.create(json!({"kind": "UpgradePolicy", "metadata": {"name": "shop"}, "spec": spec}))
            .await;
    }

    pub async fn config_map(&self, name: &str, data: &[(&str, &str)]) {
        let data: BTreeMap<_, _> = data.iter().copied().collect();
        self.create(json!({"kind": "ConfigMap", "metadata": {"name": name}, "data": data})).await;
    }

    pub async fn secret(&self, name: &str, data: &[(&str, &str)]) {
        let data: BTreeMap<_, _> = data.iter().copied().collect();
        self.create(json!({"kind": "Secret", "metadata": {"name": name}, "stringData": data}))
            .await;
    }

    /// A Deployment of one pod that really runs.
    pub async fn deployment(&self, name: &str, pod: Value) {
        self.workload("Deployment", name, 1, pod).await;
    }

    /// `pod` may hold containers' fields (`env`, `envFrom`, `volumeMounts`), which go to the one
    /// container, and fields of the pod's spec.
    pub async fn workload(&self, kind: &str, name: &str, replicas: u32, pod: Value) {
        self.create(workload(kind, name, replicas, pod)).await;
    }

    pub async fn patch(&self, kind: &str, name: &str, patch: Value) {
        self.api(kind).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub async fn write(&self, config_map: &str, key: &str, value: &str) {
        self.patch("ConfigMap", config_map, json!({"data": {key: value}})).await;
    }

    pub async fn delete(&self, kind: &str, name: &str) {
        self.api(kind).delete(name, &DeleteParams::default()).await.unwrap();
        eventually(
            "deletion",
            || async { self.api(kind).get_opt(name).await.unwrap().is_some() },
            |there| !there,
        )
        .await;
    }

    pub async fn get(&self, kind: &str, name: &str) -> Value {
        serde_json::to_value(self.api(kind).get(name).await.unwrap()).unwrap()
    }

    pub async fn set_image(&self, name: &str, tag: &str) {
        let container = json!({"name": "app", "image": format!("lockkeeper.dev/sample-app:{tag}")});
        let patch = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        self.api("Deployment")
            .patch(name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
            .unwrap();
    }

    /// Runs kubectl or helm in this namespace; all that it said.
    pub fn run(&self, program: &str, arguments: &[&str], input: Option<&Value>) -> Said {
        let mut command = shared().command(program);
        command.args(["-n", &self.name]).args(arguments);
        said_with(command, &input.map(Value::to_string).unwrap_or_default())
    }

    /// Waits until the API server lets a user do this here: it learns of a binding a moment after it
    /// is there.
    pub fn may(&self, user: &str, verb: &str, resource: &str) {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let (user, subresource) = (format!("--as={user}"), format!("--subresource={subresource}"));
        let asked = ["auth", "can-i", verb, resource, &user, &subresource];
        let may = || self.run("kubectl", &asked, None);
        eventually_now(&format!("{verb} {resource} {user}"), may, |may| may.success);
    }

    /// Gives a user a ClusterRole in this namespace, and waits until it counts.
    pub fn grant(&self, user: &str, binding: &str, role: &str) {
        let (role_flag, user_flag) = (format!("--clusterrole={role}"), format!("--user={user}"));
        self.kubectl(&["create", "rolebinding", binding, &role_flag, &user_flag]);
        let verb = match role {
            "lockkeeper-approver" => "approve",
            "lockkeeper-on-call" => "bypass",
            "lockkeeper-unprotect" => "unprotect",
            "lockkeeper-maintainer" => "maintain",
            "lockkeeper-maintainer-as-root" => "maintain-as-root",
            _ => return self.may(user, "get", "deployments.apps"),
        };
        self.may(user, verb, "upgradepolicies.lockkeeper.dev");
    }

    /// Runs kubectl in this namespace; it must succeed.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let said = self.run("kubectl", arguments, None);
        assert!(said.success, "kubectl {arguments:?}: {}", said.text);
        said.text
    }

    /// `kubectl apply` of a manifest.
    pub fn apply(&self, manifest: &Value) -> String {
        let said = self.run("kubectl", &["apply", "-f", "-"], Some(manifest));
        assert!(said.success, "apply: {}", said.text);
        said.text
    }

    pub fn annotate(&self, kind: &str, name: &str, key: &str, value: &str) {
        self.kubectl(&[
            "annotate",
            "--overwrite",
            kind,
            name,
            &format!("lockkeeper.dev/{key}={value}"),
        ]);
    }

    /// Upgrades a release of the chart `app` beside these tests.
    pub fn helm_upgrade(&self, release: &str, values: &[&str]) -> Said {
        self.helm_upgrade_of("app", release, values)
    }

    /// Upgrades a release of a chart beside these tests.
    pub fn helm_upgrade_of(&self, chart: &str, release: &str, values: &[&str]) -> Said {
        let chart = format!("{}/tests/cluster/{chart}", env!("CARGO_MANIFEST_DIR"));
        let mut arguments = vec!["upgrade", "--install", release, &chart];
        values.iter().for_each(|value| arguments.extend(["--set", value]));
        let said = self.run("helm", &arguments, None);
        assert!(said.success, "helm {arguments:?}: {}", said.text);
        said
    }

    /// Kubernetes writes times in whole seconds; a pod must be seen to be older than a write that
    /// follows. Waits on the API server's clock, not ours.
    pub async fn a_second_passes(&self) {
        let name = format!("tick-{:x}", rand::random::<u32>());
        let first = self
            .create(json!({"kind": "ConfigMap", "metadata": {"name": format!("{name}-0")}}))
            .await
            .metadata
            .creation_timestamp
            .unwrap();
        for number in 1.. {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let tick = self
                .create(
                    json!({"kind": "ConfigMap", "metadata": {"name": format!("{name}-{number}")}}),
                )
                .await;
            if tick.metadata.creation_timestamp.unwrap().0.as_second() > first.0.as_second() + 1 {
                return;
            }
        }
    }

    /// Waits as [`eventually`] does, for what takes the operator a minute by design.
    pub async fn patiently<T: Debug, F: Future<Output = T>>(
        &self,
        what: &str,
        mut look: impl FnMut() -> F,
        mut holds: impl FnMut(&T) -> bool,
    ) -> T {
        let deadline = Instant::now() + 2 * PATIENCE;
        loop {
            let seen = look().await;
            if holds(&seen) {
                return seen;
            }
            assert!(
                Instant::now() < deadline,
                "{what}: not within {:?}; last seen: {seen:#?}",
                2 * PATIENCE
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The events on an object, as reason and note.
    pub async fn events(&self, name: &str) -> Vec<(String, String)> {
        let events = self.api("Event").list(&ListParams::default()).await.unwrap().items;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        events
            .iter()
            .filter(|one| one.data["regarding"]["name"] == name)
            .map(|one| (text(&one.data["reason"]), text(&one.data["note"])))
            .collect()
    }

    /// Waits for an event on an object; its note.
    pub async fn event(&self, name: &str, reason: &str) -> String {
        let told = |events: &Vec<(String, String)>| events.iter().any(|(one, _)| one == reason);
        let events =
            eventually(&format!("an event {reason} on {name}"), || self.events(name), told).await;
        events.into_iter().find(|(one, _)| one == reason).map(|(_, note)| note).unwrap()
    }
}
