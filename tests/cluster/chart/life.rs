//! From the installation to the end: under restricted pod security, with `helm test`, an upgrade of
//! the CRD, an uninstallation that is refused and one that releases, and the manifest for kubectl.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use local_cluster::shared;
use serde_json::{Value, json};

use super::{CHART, documents, helm, manifest, run};
use crate::support::{
    HOLDABLE, OperatorAlone, Said, Shop, admission_is_current, eventually, kubectl, mark,
    operator_alone,
};

const NAMESPACE: &str = "lockkeeper-system";
const DEFINITION: &str = "upgradepolicies.lockkeeper.dev";

/// What the newest pod of a hook wrote.
fn said_by(hook: &str) -> String {
    let pods = shared().kubeconfig.parent().unwrap().join("pods").join(NAMESPACE);
    let mut logs: Vec<_> = std::fs::read_dir(pods)
        .unwrap()
        .flatten()
        .filter(|pod| pod.file_name().to_string_lossy().starts_with(&format!("lockkeeper-{hook}")))
        .flat_map(|pod| std::fs::read_dir(pod.path()).into_iter().flatten().flatten())
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "log"))
        .map(|file| (file.metadata().unwrap().modified().unwrap(), file.path()))
        .collect();
    logs.sort();
    logs.last().map(|(_, path)| std::fs::read_to_string(path).unwrap()).unwrap_or_default()
}

fn uninstall() -> Said {
    helm(&["uninstall", "lockkeeper", "-n", NAMESPACE])
}

/// Other tests may have left something held in their namespaces.
fn uninstall_and_release() {
    kubectl(&[
        "annotate",
        "deployment/lockkeeper",
        "-n",
        NAMESPACE,
        "lockkeeper.dev/uninstall=Release",
        "--overwrite",
    ]);
    let said = uninstall();
    assert!(said.success, "{}{}", said.text, said_by("uninstall"));
}

fn exists(what: &[&str]) -> bool {
    !kubectl(&[&["get", "--ignore-not-found", "-o", "name"], what].concat()).trim().is_empty()
}

fn definition() -> Value {
    serde_json::from_str(&kubectl(&["get", "crd", DEFINITION, "-o", "json"])).unwrap()
}

fn knows_priority() -> bool {
    let schema = &definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    !schema["properties"]["spec"]["properties"]["priority"].is_null()
}

/// The definition of a version that did not have a field yet.
fn make_definition_old() {
    let field = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/priority";
    let patch = json!([{"op": "remove", "path": field}]).to_string();
    kubectl(&["patch", "crd", DEFINITION, "--type=json", "-p", &patch]);
    assert!(!knows_priority());
}

/// One held workload of each kind; their names and ids.
async fn hold_one_of_each(shop: &Shop) -> Vec<(&'static str, String)> {
    let mut held = Vec::new();
    for kind in HOLDABLE {
        let name = format!("web-{}", kind.to_lowercase());
        shop.guarded(kind, &name).await;
        shop.kubectl(&["set", "image", &format!("{kind}/{name}"), "app=other:v2"]);
        shop.waits(kind, &name, "ApprovalRequired").await;
        held.push((kind, name));
    }
    held
}

/// Puts the tests' own release back in place, whatever is there.
fn install_again(operator: &OperatorAlone) {
    operator.set(&[]);
}

#[tokio::test]
async fn helm_test_says_what_works_and_what_fails_under_restricted_pod_security_exclusively() {
    let operator = operator_alone();
    kubectl(&[
        "label",
        "namespace",
        NAMESPACE,
        "pod-security.kubernetes.io/enforce=restricted",
        "--overwrite",
    ]);
    operator.stop();
    operator.start();
    let said = helm(&["test", "lockkeeper", "-n", NAMESPACE]);
    assert!(said.success && said.text.contains("Succeeded"), "{}", said.text);
    let report = said_by("check");
    for line in [
        "the API server, Kubernetes",
        "UpgradePolicy is served",
        "leads",
        "the admission policies are in place",
    ] {
        assert!(
            report.lines().any(|one| one.starts_with("ok") && one.contains(line)),
            "{line}: {report}"
        );
    }

    // The same program, if something is wrong.
    let check = |seconds: &str| lockkeeper(&["check", "--timeout", seconds]);
    let fails_by = |words: &str| {
        let failed = check("1");
        assert!(!failed.success && failed.text.contains(words), "{}", failed.text);
    };
    kubectl(&["delete", "validatingadmissionpolicybinding", "lockkeeper-self-restraint-workloads"]);
    fails_by(
        "FAILED  ValidatingAdmissionPolicyBinding lockkeeper-self-restraint-workloads is not installed",
    );
    operator.set(&[]);
    make_definition_old();
    fails_by("is of another version than this program");
    let applied = lockkeeper(&["crd", "--apply"]);
    assert!(applied.success && knows_priority(), "{}", applied.text);
    operator.stop();
    fails_by("FAILED  no replica of the operator leads");
    operator.start();
    let well = check("150");
    assert!(well.success, "{}", well.text);
    kubectl(&["label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce-"]);
}

/// The operator's own program, with an administrator's rights.
fn lockkeeper(arguments: &[&str]) -> Said {
    run(Path::new(env!("CARGO_BIN_EXE_lockkeeper")).to_str().unwrap(), arguments, "")
}

#[tokio::test]
async fn an_upgrade_brings_the_crd_along_also_where_it_was_left_or_lost_exclusively() {
    let operator = operator_alone();
    let shop = Shop::governed("crd-upgrade").await;
    make_definition_old();
    operator.set(&[]);
    assert!(knows_priority(), "helm upgrade");
    let left = || async {
        exists(&["clusterrole,clusterrolebinding", "lockkeeper-crd"])
            || exists(&["job,serviceaccount", "lockkeeper-crd", "-n", NAMESPACE])
    };
    eventually("its rights go with it", left, |left| !left).await;

    make_definition_old();
    operator.set(&["crds.upgrade=false"]);
    assert!(!knows_priority(), "not if it is switched off");

    // It is left by an uninstallation, with the policies.
    uninstall_and_release();
    assert!(!knows_priority());
    assert_eq!(shop.get("UpgradePolicy", "shop").await["spec"]["selector"], json!({}));
    install_again(&operator);
    assert!(knows_priority(), "helm install over one that was left");

    kubectl(&["delete", "crd", DEFINITION]);
    operator.set(&[]);
    assert!(knows_priority(), "helm upgrade where somebody deleted it");
}

#[tokio::test]
async fn uninstalling_is_refused_while_something_is_held_and_releases_when_told_to_exclusively() {
    let operator = operator_alone();
    let shop = Shop::gated("uninstall").await;
    let held = hold_one_of_each(&shop).await;
    shop.guarded("Deployment", "free").await;

    let said = uninstall();
    assert!(!said.success && said.text.contains("lockkeeper-uninstall"), "{}", said.text);
    assert!(
        said.text.contains("not uninstalled, because these changes are held"),
        "Helm prints the log: {}",
        said.text
    );
    let report = said_by("uninstall");
    for (kind, name) in &held {
        let id = shop.is_held(kind, name).await;
        assert!(
            report.contains(&format!(
                "{}/{name} in namespace {} (change {id})",
                kind.to_lowercase(),
                shop.name
            )),
            "{report}"
        );
        assert!(shop.images(name).await.iter().all(|image| image == "other:v1"), "{name}");
    }
    assert!(
        report.contains("not uninstalled") && report.contains("lockkeeper.dev/uninstall=Release"),
        "{report}"
    );
    // Helm has noted that it is being uninstalled; as docs/install.md says, the last revision makes
    // it deployed again.
    let history: Value =
        serde_json::from_str(&helm(&["history", "lockkeeper", "-n", NAMESPACE, "-o", "json"]).text)
            .unwrap();
    let last = history.as_array().unwrap().last().unwrap();
    assert_eq!(last["status"], "uninstalling", "{history}");
    let said =
        helm(&["rollback", "lockkeeper", &last["revision"].to_string(), "-n", NAMESPACE, "--wait"]);
    assert!(said.success, "{}", said.text);
    let said = helm(&["status", "lockkeeper", "-n", NAMESPACE]);
    assert!(said.text.contains("STATUS: deployed"), "{}", said.text);
    // Nothing was touched: a change is still judged, and let through.
    let (kind, name) = &held[0];
    shop.approve(kind, name, "other:v2").await;

    // With the operator stopped, and the word of its administrator: what is left goes, and nothing
    // of ours acts on anything.
    operator.stop();
    uninstall_and_release();
    let report = said_by("uninstall");
    let (kind, name) = &held[1];
    assert!(report.contains("held changes that roll out now: "), "{report}");
    assert!(
        report.contains(&format!("{}/{name} in namespace {}", kind.to_lowercase(), shop.name)),
        "{report}"
    );
    shop.all_run(kind, name, "other:v2", 2).await;
    for (kind, name) in
        held.iter().map(|(kind, name)| (*kind, name.as_str())).chain([("Deployment", "free")])
    {
        shop.is_free(kind, name).await;
        let object = shop.get(kind, name).await;
        assert!(object["metadata"]["labels"]["lockkeeper.dev/governed"].is_null(), "{name}");
        assert_eq!(
            (mark(&object, "hold-changes"), mark(&object, "governance")),
            (None, None),
            "{name}"
        );
        assert!(mark(&object, "config").is_some(), "{name}: what a new installation goes on from");
    }
    // And nothing of the installation is left that could.
    let cluster_wide = "mutatingadmissionpolicies,validatingadmissionpolicies,mutatingadmissionpolicybindings,validatingadmissionpolicybindings,\
                        clusterroles,clusterrolebindings";
    let namespaced = "deployment,job,serviceaccount,role,rolebinding,service,poddisruptionbudget";
    let ours = "app.kubernetes.io/part-of=lockkeeper";
    let left = || async {
        exists(&[cluster_wide, "-l", ours]) || exists(&[namespaced, "-l", ours, "-n", NAMESPACE])
    };
    eventually("nothing of it is left", left, |left| !left).await;
    shop.kubectl(&["set", "image", "deployment/free", "app=other:v2"]);
    shop.all_run("Deployment", "free", "other:v2", 2).await;

    // Installed again it adopts what is there; nothing rolls.
    let before = [shop.rollouts("free").await, shop.rollouts(&held[0].1).await];
    install_again(&operator);
    shop.marked("Deployment", "free").await;
    shop.up_to_date().await;
    assert_eq!([shop.rollouts("free").await, shop.rollouts(&held[0].1).await], before);
}

#[tokio::test]
async fn uninstalling_with_leave_touches_nothing_and_a_new_installation_goes_on_exclusively() {
    let operator = operator_alone();
    let shop = Shop::gated("leave").await;
    let held = hold_one_of_each(&shop).await;
    let mut ids = Vec::new();
    for (kind, name) in &held {
        ids.push(shop.is_held(kind, name).await);
    }
    operator.set(&["uninstall.heldWorkloads=Leave"]);
    let said = uninstall();
    assert!(said.success, "{}", said.text);
    for ((kind, name), id) in held.iter().zip(&ids) {
        assert_eq!(shop.is_held(kind, name).await, *id, "{name}");
    }
    install_again(&operator);
    for ((kind, name), id) in held.iter().zip(&ids) {
        shop.waits(kind, name, "ApprovalRequired").await;
        assert_eq!(shop.is_held(kind, name).await, *id, "{name}");
        shop.approve(kind, name, "other:v2").await;
    }
}

#[tokio::test]
async fn a_strategy_that_admission_changed_is_as_declared_after_uninstalling_exclusively() {
    let operator = operator_alone();
    let shop = Shop::gated("uninstall-strategy").await;
    shop.guarded("Deployment", "web").await;
    operator.stop();
    // As the operator marks a Deployment whose rollout would deadlock on its volume.
    let request =
        http::Request::patch(format!("/apis/apps/v1/namespaces/{}/deployments/web", shop.name))
            .header("Content-Type", "application/merge-patch+json")
            .header("Impersonate-User", format!("system:serviceaccount:{NAMESPACE}:lockkeeper"))
            .body(
                json!({"metadata": {"annotations": {"lockkeeper.dev/volume-access": "exclusive"}}})
                    .to_string()
                    .into_bytes(),
            );
    shop.client.request::<Value>(request.unwrap()).await.unwrap();
    assert_eq!(shop.get("Deployment", "web").await["spec"]["strategy"]["type"], "Recreate");
    uninstall_and_release();
    let object = shop.get("Deployment", "web").await;
    let declared = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}});
    assert_eq!(
        (&object["spec"]["strategy"], mark(&object, "declared-strategy")),
        (&declared, None)
    );
    install_again(&operator);
}

#[tokio::test]
async fn uninstalling_gives_up_in_time_and_says_why_exclusively() {
    let operator = operator_alone();
    let shop = Shop::gated("uninstall-late").await;
    shop.guarded("Deployment", "web").await;
    // Somebody else's policy refuses what is to be written.
    let refusal = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "test-refusal"},
        "spec": {"failurePolicy": "Fail",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": shop.name}},
                "resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]}]},
            "validations": [{"expression": "false", "message": "not on a Sunday"}]}});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "test-refusal"},
        "spec": {"policyName": "test-refusal", "validationActions": ["Deny"]}});
    let said = run("kubectl", &["apply", "-f", "-"], &manifest(&[refusal, binding]));
    assert!(said.success, "{}", said.text);
    let refused = || async {
        !shop
            .run(
                "kubectl",
                &["annotate", "deployment/web", "tried=1", "--overwrite", "--dry-run=server"],
                None,
            )
            .success
    };
    eventually("it is refused", refused, |refused| *refused).await;
    let arguments = ["uninstall", "--held=Release", "--watch-namespaces", &shop.name];
    // Told to stop, it starts the operator again, which it has stopped by then.
    let mut hook = shared().command(env!("CARGO_BIN_EXE_lockkeeper"));
    let hook = hook.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let wanted = || async {
        kubectl(&[
            "get",
            "deployment/lockkeeper",
            "-n",
            NAMESPACE,
            "-o",
            "jsonpath={.spec.replicas}",
        ])
    };
    eventually("the operator is stopped", wanted, |replicas| replicas == "0").await;
    assert!(
        Command::new("sh")
            .args(["-c", &format!("kill -TERM {}", hook.id())])
            .status()
            .unwrap()
            .success()
    );
    let said = hook.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(
        !said.status.success() && text.contains("told to stop") && text.contains("uninstall again"),
        "{text}"
    );
    assert_eq!(wanted().await, "2");
    // And after its time.
    let said = lockkeeper(&[&arguments[..], &["--timeout=30"]].concat());
    kubectl(&[
        "delete",
        "validatingadmissionpolicybinding,validatingadmissionpolicy",
        "test-refusal",
    ]);
    assert!(
        !said.success
            && said.text.contains("after 30 s web in namespace")
            && said.text.contains("not on a Sunday"),
        "{}",
        said.text
    );
    // It goes on as before.
    operator.ready();
    let accepted = || async {
        shop.run("kubectl", &["set", "image", "deployment/web", "app=other:v2"], None).success
    };
    eventually("it is refused no longer", accepted, |accepted| *accepted).await;
    shop.approve("Deployment", "web", "other:v2").await;
}

#[tokio::test]
async fn the_manifest_for_kubectl_installs_what_holds_and_releases_exclusively() {
    let operator = operator_alone();
    uninstall_and_release();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/install.yaml");
    kubectl(&["apply", "--server-side", "--force-conflicts", "-f", path]);
    operator.ready();
    admission_is_current();
    let shop = Shop::gated("kubectl-install").await;
    for (kind, name) in hold_one_of_each(&shop).await {
        shop.approve(kind, &name, "other:v2").await;
    }
    // A release of helm takes its place only when asked to.
    let refused = helm(&["install", "lockkeeper", CHART, "-n", NAMESPACE]);
    assert!(
        !refused.success && refused.text.contains("invalid ownership metadata"),
        "{}",
        refused.text
    );
    let mut objects = documents(&std::fs::read_to_string(path).unwrap());
    objects.retain(|object| {
        !["Namespace", "CustomResourceDefinition"].iter().any(|kind| object["kind"] == *kind)
    });
    let said = run("kubectl", &["delete", "--wait", "-f", "-"], &manifest(&objects));
    assert!(said.success, "{}", said.text);
    install_again(&operator);
}
