//! The operator as helm installs it, a namespace of one's own, and how these tests wait.

use std::{
    fmt::Debug,
    io::{Read, Write},
    process::{Command, Stdio},
    sync::{Once, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

use local_cluster::shared;
use serde_json::{Value, json};

/// No condition is waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(240);
pub const SYSTEM: &str = "lockkeeper-system";

/// Tests that need the operator to go on hold it for reading; those that end it, for writing.
static OPERATOR: RwLock<()> = RwLock::new(());
static INSTALLED: Once = Once::new();

/// The operator as it is installed; it goes on while this is held.
pub fn operator() -> RwLockReadGuard<'static, ()> {
    INSTALLED.call_once(install);
    OPERATOR.read().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The operator and the nodes, for a test that ends one of them.
pub fn operator_alone() -> RwLockWriteGuard<'static, ()> {
    INSTALLED.call_once(install);
    OPERATOR.write().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// As a user does.
pub fn install() {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/lockkeeper");
    let arguments = ["upgrade", "--install", "lockkeeper", chart, "-n", SYSTEM];
    succeed(
        "helm",
        &[&arguments[..], &["--create-namespace", "--wait", "--timeout=240s"]].concat(),
    );
}

/// What came of a command: whether it succeeded, and all that it said.
pub fn said(program: &str, arguments: &[&str], input: &str) -> (bool, String) {
    let mut command: Command = shared().command(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that does not read it may have ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

/// Runs a program that must succeed; all that it said.
pub fn succeed(program: &str, arguments: &[&str]) -> String {
    let (success, text) = said(program, arguments, "");
    assert!(success, "{program} {arguments:?}: {text}");
    text
}

pub fn kubectl(arguments: &[&str]) -> String {
    succeed("kubectl", arguments)
}

/// Waits for something, and says what was last seen if it does not come.
pub fn until<T: Debug>(what: &str, mut look: impl FnMut() -> T, holds: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = look();
        if holds(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}; last seen: {seen:#?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What a pod answers: the status and the body.
pub fn http(address: &str, method: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = std::net::TcpStream::connect((address, 8080)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n")
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// An object; null if there is none.
pub fn get(namespace: &str, kind: &str, name: &str) -> Value {
    let arguments = ["get", kind, name, "-n", namespace, "--ignore-not-found", "-o", "json"];
    serde_json::from_str(&kubectl(&arguments)).unwrap_or_default()
}

/// The process that acts, by the Lease.
pub fn holder() -> String {
    let lease = get(SYSTEM, "lease", "lockkeeper");
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

/// Ends the first container of a pod, or what holds its namespaces, without a word.
pub fn kill_container(namespace: &str, pod: &str, sandbox: bool) {
    let pod = get(namespace, "pod", pod);
    let node = pod["spec"]["nodeName"].as_str().unwrap().trim_start_matches("node-");
    let ctr = |arguments: &[&str]| {
        let socket = format!("/run/containerd-{node}.sock");
        let output =
            Command::new("ctr").args(["-a", &socket, "-n", "k8s.io"]).args(arguments).output();
        let output = output.unwrap();
        assert!(output.status.success(), "ctr {arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let id = if sandbox {
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        let filter = format!(
            "labels.\"io.kubernetes.pod.uid\"=={uid},labels.\"io.cri-containerd.kind\"==sandbox"
        );
        ctr(&["containers", "list", "-q", &filter]).trim().to_owned()
    } else {
        let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap();
        id.trim_start_matches("containerd://").to_owned()
    };
    ctr(&["task", "kill", "-s", "KILL", &id]);
}

/// A namespace for one test.
pub struct Space(pub String);

impl Space {
    pub fn open(name: &str) -> Self {
        kubectl(&["create", "namespace", name]);
        Self(name.to_owned())
    }

    pub fn said(&self, arguments: &[&str]) -> (bool, String) {
        // In this order: kubectl takes no flags before the name of a plugin.
        said("kubectl", &[arguments, &["-n", &self.0]].concat(), "")
    }

    /// Runs kubectl in this namespace; it must succeed.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        kubectl(&[arguments, &["-n", &self.0]].concat())
    }

    pub fn apply(&self, manifest: &str) {
        let (success, text) = said("kubectl", &["apply", "-n", &self.0, "-f", "-"], manifest);
        assert!(success, "{text}");
    }

    /// A policy, once it is in force.
    pub fn policy(&self, spec: Value) {
        let policy = json!({"apiVersion": "lockkeeper.dev/v1alpha1", "kind": "UpgradePolicy",
            "metadata": {"name": "policy"}, "spec": &spec});
        self.apply(&policy.to_string());
        // A policy that holds nothing has no condition about holds.
        let holds = spec["gates"].is_object();
        let condition = if holds { "HoldsEnforced" } else { "Ready" };
        let condition = format!("--for=condition={condition}");
        self.kubectl(&["wait", &condition, "up/policy", "--timeout=240s"]);
    }

    /// Waits until the operator has noted what config this workload runs with.
    pub fn noted(&self, name: &str) {
        let note = || {
            get(&self.0, "deployment", name)["metadata"]["annotations"]["lockkeeper.dev/config"]
                .clone()
        };
        until("the operator notes the config", note, |note| !note.is_null());
    }

    /// The sample app, ready.
    pub fn app(&self, name: &str, change: impl Fn(String) -> String) {
        self.apply(&change(include_str!("app.yaml").replace("NAME", name)));
        self.kubectl(&["rollout", "status", &format!("deployment/{name}"), "--timeout=240s"]);
    }

    pub fn upgrade(&self, name: &str, tag: &str) {
        let image = format!("app=lockkeeper.dev/sample-app:{tag}");
        self.kubectl(&["set", "image", &format!("deployment/{name}"), &image]);
    }

    pub fn write(&self, greeting: &str) {
        let patch = json!({"data": {"greeting": greeting}}).to_string();
        self.kubectl(&["patch", "configmap", "shop", "-p", &patch]);
    }

    /// Where the first workload stands, by the plugin: phase, reason and message.
    pub fn status(&self) -> String {
        let (_, text) = self.said(&["lockkeeper", "status", "-o", "json"]);
        let all: Value = serde_json::from_str(&text).unwrap_or_default();
        let one = &all[0];
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let attention = &one["attention"];
        [&one["phase"], &attention["reason"], &attention["message"]].map(word).join(" ")
    }

    pub fn until_status(&self, words: &[&str]) {
        let all = |status: &String| words.iter().all(|word| status.contains(word));
        until(&format!("the status says {words:?}"), || self.status(), all);
    }

    /// Waits as a pipeline does.
    pub fn done(&self, name: &str) {
        self.kubectl(&["lockkeeper", "wait", &format!("deployment/{name}"), "--timeout=240s"]);
    }

    /// The app's pods that are not going.
    pub fn pods(&self, name: &str) -> Vec<Value> {
        let text = self.kubectl(&["get", "pods", "-l", &format!("app={name}"), "-o", "json"]);
        let list: Value = serde_json::from_str(&text).unwrap();
        let all = list["items"].as_array().unwrap().iter();
        all.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).cloned().collect()
    }

    /// The images of its pods.
    pub fn images(&self, name: &str) -> Vec<String> {
        let image =
            |pod: &Value| pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
        let mut images: Vec<_> = self.pods(name).iter().map(image).collect();
        images.sort();
        images.dedup();
        images
    }

    /// What its pods read at their start.
    pub fn greetings(&self, name: &str) -> Vec<(String, String)> {
        let pods = self.pods(name);
        let read = pods.iter().filter_map(|pod| {
            let (_, body) = http(pod["status"]["podIP"].as_str()?, "GET", "/env")?;
            let body: Value = serde_json::from_str(&body).ok()?;
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let file = body["filesAtStart"].as_object()?.iter();
            let mut file =
                file.filter(|(path, _)| path.ends_with("greeting")).map(|(_, text)| text);
            Some((text(&body["env"]["GREETING"]), text(file.next_back()?)))
        });
        read.collect()
    }
}

pub fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().unwrap()
}

pub fn address(pod: &Value) -> &str {
    pod["status"]["podIP"].as_str().unwrap_or_default()
}
