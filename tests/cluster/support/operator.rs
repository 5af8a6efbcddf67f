//! The operator that all tests share, and those that have it for themselves.

use std::sync::{LazyLock, Once, RwLock, RwLockReadGuard, RwLockWriteGuard};

use local_cluster::shared;
use serde_json::json;

use super::{Said, eventually, eventually_now, http_get, kubectl, kubectl_with, run, said_with};

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
            "--timeout=180s",
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
    let mut arguments = vec![
        "upgrade",
        "--install",
        "lockkeeper",
        chart,
        "-n",
        "lockkeeper-system",
        "--create-namespace",
        "--force-conflicts",
        "--set",
        "settings.logLevel=info\\,lockkeeper=debug",
        // Before Kubernetes 1.36 a change is refused that the webhook does not answer in time. Here it
        // is not optimised, and shares two cores with other tests.
        "--set",
        "webhook.timeoutSeconds=10",
    ];
    values.iter().for_each(|value| arguments.extend(["--set", value]));
    let upgrade = || {
        let mut command = shared().command("helm");
        command.args(&arguments);
        said_with(command, "")
    };
    // An API server that is busy may not answer in time.
    let busy = |said: &Said| !said.success && said.text.contains("Timeout: request did not");
    let said = eventually_now("the API server has time for helm", upgrade, |said| !busy(said));
    assert!(said.success, "helm {arguments:?}: {}", said.text);
    ready();
    admission_is_current();
}

/// Waits until the API server judges writes by the admission policies as they are now. It acts on a
/// change of them some time after it: up to a second, and later on a busy machine. It takes all of
/// them up together, so this adds one of each sort and waits until both act.
pub fn admission_is_current() {
    let name = format!("tick-{:x}", rand::random::<u64>());
    let constraints = json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
        "operations": ["CREATE"], "resources": ["configmaps"]}]});
    let conditions =
        json!([{"name": "tick", "expression": format!("object.metadata.name == '{name}'")}]);
    let label = format!("Object{{metadata: Object.metadata{{labels: {{'tick': '{name}'}}}}}}");
    let mutating = json!({
        "failurePolicy": "Fail", "reinvocationPolicy": "Never",
        "matchConstraints": constraints, "matchConditions": conditions,
        "mutations": [
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": label}}]});
    let unlabelled = match sorts() {
        [_] => "false",
        _ => "!('tick' in object.metadata.?labels.orValue({}))",
    };
    let validating = json!({
        "failurePolicy": "Fail", "matchConstraints": constraints, "matchConditions": conditions,
        "validations": [{"expression": unlabelled, "message": format!("{name} acts")}]});
    let mut added = Vec::new();
    for sort in sorts() {
        let spec = if *sort == "Validating" { &validating } else { &mutating };
        let mut binding = json!({"policyName": name});
        if *sort == "Validating" {
            binding["validationActions"] = json!(["Deny"]);
        }
        for (kind, spec) in [("Policy", spec), ("PolicyBinding", &binding)] {
            added.push(json!({"apiVersion": "admissionregistration.k8s.io/v1",
                "kind": format!("{sort}Admission{kind}"), "metadata": {"name": name}, "spec": spec}));
        }
    }
    let _removed_at_the_end = Ticks(&name);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": added});
    let said = kubectl_with(&["create", "-f", "-"], &list.to_string());
    assert!(said.success, "{}", said.text);
    let tried = ["create", "configmap", &name, "-n", "default", "--dry-run=server"];
    eventually_now(
        "the API server acts on the admission policies",
        || kubectl_with(&tried, "").text,
        |text| text.contains(&format!("{name} acts")),
    );
}

/// The admission policies by which the time is told when the others are in force.
struct Ticks<'a>(&'a str);

impl Drop for Ticks<'_> {
    fn drop(&mut self) {
        let kinds = |what| sorts().iter().map(move |sort| format!("{sort}Admission{what}"));
        let kinds: Vec<_> = kinds("PolicyBinding").chain(kinds("Policy")).collect();
        kubectl_with(&["delete", &kinds.join(","), self.0, "--ignore-not-found"], "");
    }
}

/// The sorts of admission policies that the API server serves: before Kubernetes 1.36 only one.
fn sorts() -> &'static [&'static str] {
    static SERVED: LazyLock<bool> = LazyLock::new(|| {
        let served = kubectl(&["get", "--raw", "/apis/admissionregistration.k8s.io/v1"]);
        served.contains("\"mutatingadmissionpolicies\"")
    });
    if *SERVED { &["Mutating", "Validating"] } else { &["Validating"] }
}

fn ready() {
    kubectl(&[
        "rollout",
        "status",
        "deployment/lockkeeper",
        "-n",
        "lockkeeper-system",
        "--timeout=180s",
    ]);
}

/// What kubectl reads; empty if it fails, as it does while the API server is not there yet.
fn read(arguments: &[&str]) -> String {
    let output = shared().command("kubectl").args(arguments).output().unwrap();
    if output.status.success() {
        String::from_utf8_lossy(&output.stdout).into_owned()
    } else {
        String::new()
    }
}

/// The names of the operator's pods that are not going.
pub fn replicas() -> Vec<String> {
    let names = "go-template={{range .items}}{{if not .metadata.deletionTimestamp}}\
                 {{.metadata.name}} {{end}}{{end}}";
    let names = read(&[
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
    read(&[
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
    read(&[
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

/// What the replica that acts answers to a request for its metrics.
pub async fn metrics() -> String {
    let asked = || async { http_get(&operator_address().await, "/metrics") };
    eventually("the replica that acts tells its metrics", asked, Option::is_some)
        .await
        .unwrap_or_default()
}

/// What a replica has written or tried to write, by its own account.
pub fn written(address: &str) -> Vec<String> {
    let metrics = http_get(address, "/metrics").unwrap_or_default();
    let writes = metrics.lines().filter(|line| {
        line.starts_with("lockkeeper_actions_total") && !line.contains("outcome=\"NotSent\"")
    });
    writes.map(str::to_owned).collect()
}
