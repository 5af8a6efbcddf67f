//! A namespace of one's own, and the operator that all share.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    process::Command,
    sync::{Once, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

use kube::{
    Api, Client, Config,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, GroupVersionKind},
};
use local_cluster::shared;
use serde_json::{Value, json};

/// No condition is waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(180);

/// Tests that need the operator to go on hold it for reading; those that stop it, for writing.
static OPERATOR: RwLock<()> = RwLock::new(());
static INSTALLED: Once = Once::new();

/// The operator as it is installed; it goes on while this is held.
pub fn operator() -> RwLockReadGuard<'static, ()> {
    let guard = OPERATOR.read().unwrap_or_else(|poisoned| poisoned.into_inner());
    INSTALLED.call_once(|| helm(&[]));
    guard
}

/// The operator, for a test that stops it or sets it up otherwise. It is as it was when this is
/// dropped.
pub struct OperatorAlone {
    _guard: RwLockWriteGuard<'static, ()>,
}

pub fn operator_alone() -> OperatorAlone {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    assert!(
        test.ends_with("_exclusively"),
        "{test}: by this ending of its name it is run before the others, which it would make wait"
    );
    let guard = OPERATOR.write().unwrap_or_else(|poisoned| poisoned.into_inner());
    INSTALLED.call_once(|| helm(&[]));
    OperatorAlone { _guard: guard }
}

impl OperatorAlone {
    /// Scales it to nothing, and waits until its pod is gone.
    pub fn stop(&self) {
        kubectl(&["scale", "deployment/lockkeeper", "-n", "lockkeeper-system", "--replicas=0"]);
        kubectl(&[
            "wait",
            "--for=delete",
            "pod",
            "-l",
            "app.kubernetes.io/name=lockkeeper",
            "-n",
            "lockkeeper-system",
            "--timeout=30s",
        ]);
    }

    /// Starts it, and waits until it is ready.
    pub fn start(&self) {
        kubectl(&["scale", "deployment/lockkeeper", "-n", "lockkeeper-system", "--replicas=2"]);
        ready();
    }

    /// Ends one of its replicas without a word.
    pub fn kill_one(&self, pod: &str) {
        match shared().container("lockkeeper-system", pod, "lockkeeper") {
            Some(process) => process.kill().unwrap(),
            // Not the local cluster. Its node may tell it to stop first.
            None => drop(kubectl(&[
                "delete",
                "pod",
                pod,
                "-n",
                "lockkeeper-system",
                "--grace-period=0",
                "--force",
            ])),
        }
    }

    /// Ends one of its replicas without a word, with its pod.
    pub fn lose_one(&self, pod: &str) {
        kubectl(&["delete", "pod", pod, "-n", "lockkeeper-system", "--grace-period=0", "--force"]);
    }

    /// Tells one of its replicas to stop.
    pub fn stop_one(&self, pod: &str) {
        kubectl(&["delete", "pod", pod, "-n", "lockkeeper-system", "--wait=false"]);
    }

    /// Ends all its replicas without a word.
    pub fn kill(&self) {
        kubectl(&[
            "delete",
            "pod",
            "-l",
            "app.kubernetes.io/name=lockkeeper",
            "-n",
            "lockkeeper-system",
            "--grace-period=0",
            "--force",
        ]);
    }

    /// Waits until it is ready.
    pub fn ready(&self) {
        ready();
    }

    /// Upgrades the release with these values.
    pub fn set(&self, values: &[&str]) {
        helm(values);
    }
}

impl Drop for OperatorAlone {
    fn drop(&mut self) {
        let restored = std::panic::catch_unwind(|| helm(&[]));
        // A second panic would end all tests without a word about the first.
        if let Err(why) = restored
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(why);
        }
    }
}

fn helm(values: &[&str]) {
    // One whose uninstallation was refused can only be uninstalled, as helm has it.
    let history = shared()
        .command("helm")
        .args(["status", "lockkeeper", "-n", "lockkeeper-system"])
        .output()
        .unwrap();
    if String::from_utf8_lossy(&history.stdout).contains("STATUS: uninstalling") {
        let mut command = shared().command("helm");
        command.args(["uninstall", "lockkeeper", "-n", "lockkeeper-system", "--no-hooks"]);
        run(command);
    }
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/lockkeeper");
    let mut command = shared().command("helm");
    command.args([
        "upgrade",
        "--install",
        "lockkeeper",
        chart,
        "-n",
        "lockkeeper-system",
        "--create-namespace",
        "--force-conflicts",
    ]);
    command.args(["--set", "settings.logLevel=info\\,lockkeeper=debug"]);
    for value in values {
        command.args(["--set", value]);
    }
    run(command);
    ready();
}

fn ready() {
    kubectl(&[
        "rollout",
        "status",
        "deployment/lockkeeper",
        "-n",
        "lockkeeper-system",
        "--timeout=60s",
    ]);
}

/// Runs kubectl; its output. It must succeed.
pub fn kubectl(arguments: &[&str]) -> String {
    let mut command = shared().command("kubectl");
    command.args(arguments);
    run(command)
}

fn run(mut command: Command) -> String {
    let output = command.output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed:\n{out}{err}");
    out.into_owned()
}

/// The names of the operator's pods.
pub fn replicas() -> Vec<String> {
    let names = "jsonpath={.items[*].metadata.name}";
    let names = kubectl(&[
        "get",
        "pods",
        "-n",
        "lockkeeper-system",
        "-l",
        "app.kubernetes.io/name=lockkeeper",
        "-o",
        names,
    ]);
    names.split_whitespace().map(str::to_owned).collect()
}

/// The name of the pod that acts, by the Lease; empty when it was let go.
pub fn leader() -> String {
    holder().split('_').next().unwrap_or_default().to_owned()
}

/// The process that acts, by the Lease; empty when it was let go.
pub fn holder() -> String {
    let holder = "jsonpath={.spec.holderIdentity}";
    kubectl(&[
        "get",
        "lease",
        "lockkeeper",
        "-n",
        "lockkeeper-system",
        "--ignore-not-found",
        "-o",
        holder,
    ])
}

/// The address of a pod of the operator's; empty if it has none, or is gone.
pub fn address_of(pod: &str) -> String {
    kubectl(&[
        "get",
        "pod",
        pod,
        "-n",
        "lockkeeper-system",
        "--ignore-not-found",
        "-o",
        "jsonpath={.status.podIP}",
    ])
}

/// Where the replica that acts answers, once there is one.
pub async fn operator_address() -> String {
    let acting = || async { Some(leader()).filter(|leader| replicas().contains(leader)) };
    address_of(&eventually("a replica acts", acting, Option::is_some).await.unwrap_or_default())
}

/// The body that a pod answers with.
pub fn http_get(address: &str, path: &str) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect((address, 8080)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

/// What a pod answers to another request: the status and the body.
pub fn http(address: &str, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect((address, 8080)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

pub async fn client() -> Client {
    let text = std::fs::read_to_string(&shared().kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(
        Kubeconfig::from_yaml(&text).unwrap(),
        &KubeConfigOptions::default(),
    )
    .await
    .unwrap();
    Client::try_from(config).unwrap()
}

/// What a replica has written or tried to write, by its own account.
pub fn written(address: &str) -> Vec<String> {
    let metrics = http_get(address, "/metrics").unwrap_or_default();
    let writes = metrics.lines().filter(|line| {
        line.starts_with("lockkeeper_actions_total") && !line.contains("outcome=\"NotSent\"")
    });
    writes.map(str::to_owned).collect()
}

/// Waits for something, and says what was last seen if it does not come.
pub async fn eventually<T: Debug, F: Future<Output = T>>(
    what: &str,
    mut look: impl FnMut() -> F,
    mut holds: impl FnMut(&T) -> bool,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = look().await;
        if holds(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}; last seen: {seen:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

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

    /// Waits until all workloads have a record and are rolled out.
    pub async fn adopted(&self) {
        for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
            eventually(
                "every workload is adopted",
                || async {
                    let all = self.api(kind).list(&ListParams::default()).await.unwrap().items;
                    all.into_iter()
                        .filter(|one| mark(&serde_json::to_value(one).unwrap(), "config").is_none())
                        .map(|one| one.metadata.name)
                        .collect::<Vec<_>>()
                },
                Vec::is_empty,
            )
            .await;
        }
        self.up_to_date().await;
        self.a_second_passes().await;
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

    pub async fn status(&self) -> Value {
        self.get("UpgradePolicy", "shop").await["status"].clone()
    }

    /// Waits until the policy says that everything is up to date.
    pub async fn up_to_date(&self) {
        eventually(
            "up to date",
            || self.status(),
            |status| {
                let counts = &status["workloads"];
                counts["total"].as_u64() > Some(0) && counts["total"] == counts["upToDate"]
            },
        )
        .await;
    }

    /// Waits until the policy says this of a workload: its attention entry.
    pub async fn stands(&self, name: &str, phase: &str, reason: &str) -> Value {
        self.stands_saying(name, phase, reason, &[]).await
    }

    /// The same, and waits until its message has these words: it may follow later than the reason.
    pub async fn stands_saying(
        &self,
        name: &str,
        phase: &str,
        reason: &str,
        words: &[&str],
    ) -> Value {
        let entry = |status: &Value| {
            status["attention"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|one| one["name"] == name)
                .cloned()
                .unwrap_or_default()
        };
        let status = eventually(
            &format!("{name} is {phase}/{reason}, with {words:?}"),
            || self.status(),
            |status| {
                let one = entry(status);
                one["phase"] == phase && one["reason"] == reason && says_all(&one, words)
            },
        )
        .await;
        entry(&status)
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

    /// Everything that the operator had to do about earlier changes is done: it has acted on a
    /// later one. A workload that reads a ConfigMap of its own is rolled, with the quiet time of
    /// the policy, and this waits for it.
    pub async fn operator_has_acted(&self) {
        let done = |sentinel: &Value| {
            let status = &sentinel["status"];
            status["observedGeneration"] == sentinel["metadata"]["generation"]
                && status["availableReplicas"] == 1
                && status["replicas"] == 1
        };
        if self.api("ConfigMap").get_opt("sentinel").await.unwrap().is_none() {
            self.config_map("sentinel", &[("tick", "0")]).await;
            self.create(workload(
                "Deployment",
                "sentinel",
                1,
                json!({"image": "sentinel", "envFrom": [{"configMapRef": {"name": "sentinel"}}]}),
            ))
            .await;
            let known = |sentinel: &Value| mark(sentinel, "config").is_some() && done(sentinel);
            eventually("the sentinel is adopted", || self.get("Deployment", "sentinel"), known)
                .await;
            self.a_second_passes().await;
        }
        let before = self.rollouts("sentinel").await;
        self.write("sentinel", "tick", &(before + 1).to_string()).await;
        eventually("the sentinel rolls", || self.rollouts("sentinel"), |seen| *seen > before).await;
        eventually("the sentinel is done", || self.get("Deployment", "sentinel"), done).await;
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
}

/// Whether the message of an attention entry or a condition has all these words.
pub fn says_all(entry: &Value, words: &[&str]) -> bool {
    let message = entry["message"].as_str().unwrap_or_default();
    words.iter().all(|words| message.contains(words))
}

/// An annotation of ours.
pub fn mark(object: &Value, name: &str) -> Option<String> {
    object["metadata"]["annotations"][format!("lockkeeper.dev/{name}")].as_str().map(str::to_owned)
}

fn workload(kind: &str, name: &str, replicas: u32, mut pod: Value) -> Value {
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

/// An environment variable from one key of a ConfigMap.
pub fn env(variable: &str, config_map: &str, key: &str) -> Value {
    json!([{"name": variable, "valueFrom": {"configMapKeyRef": {"name": config_map, "key": key}}}])
}

pub fn resource(kind: &str) -> ApiResource {
    let (group, version) = match kind {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ControllerRevision" | "ReplicaSet" => {
            ("apps", "v1")
        }
        "UpgradePolicy" => ("lockkeeper.dev", "v1alpha1"),
        "Event" => ("events.k8s.io", "v1"),
        "StorageClass" | "VolumeAttachment" | "CSIDriver" => ("storage.k8s.io", "v1"),
        _ => ("", "v1"),
    };
    let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    if kind == "UpgradePolicy" {
        resource.plural = "upgradepolicies".into();
    }
    resource
}

/// The two kinds of workloads that can be held.
pub const HOLDABLE: [&str; 2] = ["Deployment", "StatefulSet"];

/// The name of a workload of this kind that is changed in this way.
pub fn named(way: &str, kind: &str) -> String {
    format!("{way}-{}", kind.to_lowercase())
}

/// What came of a command.
#[derive(Debug)]
pub struct Said {
    pub success: bool,
    pub text: String,
}

impl Shop {
    /// With a policy that wants each change approved.
    pub async fn gated(name: &str) -> Self {
        let shop = Self::open(name).await;
        shop.policy(json!({"kinds": HOLDABLE, "config": {"settle": "300ms", "settleLimit": "5s"}, "gates": {"approval": "Required"}}))
            .await;
        shop
    }

    /// Runs kubectl or helm in this namespace; all that it said.
    pub fn run(&self, program: &str, arguments: &[&str], input: Option<&Value>) -> Said {
        use std::io::Write;
        let mut command = shared().command(program);
        command.args(["-n", &self.name]).args(arguments);
        command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        if let Some(input) = input {
            stdin.write_all(input.to_string().as_bytes()).unwrap();
        }
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Said { success: output.status.success(), text }
    }

    /// Runs kubectl in this namespace; it must succeed.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let said = self.run("kubectl", arguments, None);
        assert!(said.success, "kubectl {arguments:?}: {}", said.text);
        said.text
    }

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

    /// `kubectl apply` of a manifest.
    pub fn apply(&self, manifest: &Value) -> String {
        let said = self.run("kubectl", &["apply", "-f", "-"], Some(manifest));
        assert!(said.success, "apply: {}", said.text);
        said.text
    }

    /// Creates a workload by `kubectl apply`, and waits until its changes would be held and it is
    /// done.
    pub async fn guarded(&self, kind: &str, name: &str) {
        self.apply(&self.manifest(kind, name, "v1"));
        self.marked(kind, name).await;
    }

    /// Waits until a workload carries the marks by which admission holds it, is done, and the
    /// operator has noted so.
    pub async fn marked(&self, kind: &str, name: &str) {
        self.done(kind, name).await;
        let marked = |object: &Value| {
            mark(object, "hold-changes").is_some()
                && mark(object, "rollout").is_some_and(|text| text.contains("done"))
        };
        eventually(&format!("{kind} {name} is marked"), || self.get(kind, name), marked).await;
    }

    /// Waits until a workload's controller has done all that it is asked for, and all pods run.
    pub async fn done(&self, kind: &str, name: &str) {
        let done = |object: &Value| {
            let (spec, status) = (&object["spec"], &object["status"]);
            let wanted = spec["replicas"].as_u64().unwrap_or(1);
            status["observedGeneration"] == object["metadata"]["generation"]
                && status["replicas"].as_u64().unwrap_or(0) == wanted
                && status["availableReplicas"].as_u64().unwrap_or(0) == wanted
                && (kind != "Deployment"
                    || status["updatedReplicas"].as_u64().unwrap_or(0) == wanted)
                && (kind != "StatefulSet" || status["updateRevision"] == status["currentRevision"])
        };
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

    /// Asserts that a workload is held as admission holds it; its id.
    pub async fn is_held(&self, kind: &str, name: &str) -> String {
        let object = self.observed(kind, name).await;
        let hold = mark(&object, "hold")
            .unwrap_or_else(|| panic!("{kind} {name} is not held: {object:#}"));
        match kind {
            "Deployment" => assert_eq!(object["spec"]["paused"], true, "{name}"),
            _ => assert_eq!(
                object["spec"]["updateStrategy"]["rollingUpdate"]["partition"], 2_147_483_647,
                "{name}"
            ),
        }
        hold.split(' ').next().unwrap().to_owned()
    }

    /// Waits until nothing of a hold is left on a workload.
    pub async fn is_free(&self, kind: &str, name: &str) {
        let object = eventually(
            "it is free",
            || self.get(kind, name),
            |object| mark(object, "hold-since").is_none(),
        )
        .await;
        for left in [
            "hold",
            "hold-since",
            "declared-paused",
            "declared-partition",
            "declared-update-strategy",
            "approve",
            "approved-by",
            "bypass",
            "bypassed-by",
        ] {
            assert_eq!(mark(&object, left), None, "{kind} {name}");
        }
        assert_ne!(object["spec"]["paused"], true, "{name}");
        assert_eq!(
            object["spec"]["updateStrategy"]["rollingUpdate"]["partition"].as_i64().unwrap_or(0),
            0,
            "{name}"
        );
    }

    /// Waits until admission, without its policies, would let a change of a Deployment through: the
    /// API server goes by them for a moment yet.
    pub async fn is_no_longer_held(&self, name: &str) {
        let set_image = [
            "set",
            "image",
            &format!("deployment/{name}"),
            "app=other:tried",
            "--dry-run=server",
            "-o",
            "json",
        ];
        let tried = || async { self.run("kubectl", &set_image, None) };
        eventually("nothing is held", tried, |tried| {
            tried.success && !tried.text.contains("lockkeeper.dev/hold\"")
        })
        .await;
    }

    /// Waits until the policy says that a workload is held, for this reason; the attention entry.
    pub async fn waits(&self, kind: &str, name: &str, reason: &str) -> Value {
        self.waits_saying(kind, name, reason, &[]).await
    }

    /// The same, and waits until its message has these words: it may follow later than the reason.
    pub async fn waits_saying(
        &self,
        kind: &str,
        name: &str,
        reason: &str,
        words: &[&str],
    ) -> Value {
        let entry = |status: &Value| {
            let mut all = status["attention"].as_array().into_iter().flatten();
            all.find(|one| one["name"] == name && one["kind"] == kind).cloned().unwrap_or_default()
        };
        let current = self.is_held(kind, name).await;
        let status = eventually(
            &format!("{kind} {name} is held for {reason}, with {words:?}"),
            || self.status(),
            |status| {
                let one = entry(status);
                one["phase"] == "Held"
                    && one["reason"] == reason
                    && one["hold"]["id"] == current
                    && says_all(&one, words)
            },
        )
        .await;
        entry(&status)
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

    /// Approves what is held, and waits until all pods run this image.
    pub async fn approve(&self, kind: &str, name: &str, image: &str) {
        let id = self.is_held(kind, name).await;
        self.annotate(kind, name, "approve", &id);
        self.all_run(kind, name, image, 2).await;
        self.is_free(kind, name).await;
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
}

impl Shop {
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

    /// Waits until the policy no longer names a workload among those that deserve a look.
    pub async fn up_to_date_one(&self, name: &str) {
        let named = |status: &Value| {
            status["attention"].as_array().into_iter().flatten().any(|one| one["name"] == name)
        };
        eventually(&format!("{name} is up to date"), || self.status(), |status| !named(status))
            .await;
    }
}

impl Shop {
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
        let pods = shared().kubeconfig.parent().unwrap().join("pods").join(&self.name);
        let logs = std::fs::read_dir(pods).into_iter().flatten().flatten();
        let of_app =
            logs.filter(|pod| pod.file_name().to_string_lossy().starts_with(&format!("{name}-")));
        let texts = of_app
            .map(|pod| std::fs::read_to_string(pod.path().join("app.log")).unwrap_or_default());
        texts
            .flat_map(|text| {
                text.lines()
                    .filter(|line| line.starts_with("ended") || line.starts_with("killed"))
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect()
    }
}

/// Gives a pod work for so many seconds; whether it took it.
pub fn start_work(address: &str, seconds: f64) -> bool {
    http(address, "POST", &format!("/start?seconds={seconds}"), "")
        .is_some_and(|(status, _)| status == 200)
}

/// A pod is done with all its work.
pub fn finish_work(address: &str) {
    assert_eq!(
        http(address, "POST", "/finish", "").map(|(status, _)| status),
        Some(204),
        "{address}"
    );
}

/// Makes a pod misbehave.
pub fn switch(address: &str, switches: &Value) {
    assert_eq!(
        http(address, "POST", "/switch", &switches.to_string()).map(|(status, _)| status),
        Some(200),
        "{address}"
    );
}
