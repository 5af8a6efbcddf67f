//! Other admission policies and webhooks change workloads in Lockkeeper's own writes: that breaks
//! nothing, and it is told whose it is.

use std::{net::SocketAddr, sync::Arc};

use axum::{Json, Router, routing::post};
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, pki_types::PrivateKeyDer},
    server::TlsStream,
};

use crate::support::{
    HOLDABLE, Shop, env, eventually, finish_work, kubectl, mark, operator, start_work,
};

/// Takes connections over TLS.
struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else { continue };
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// Another team's policy or webhook, which goes with this.
struct Team {
    name: String,
}

impl Drop for Team {
    fn drop(&mut self) {
        for kind in [
            "mutatingadmissionpolicybinding",
            "mutatingadmissionpolicy",
            "mutatingwebhookconfiguration",
        ] {
            let mut delete = local_cluster::shared().command("kubectl");
            drop(delete.args(["delete", kind, &self.name, "--ignore-not-found"]).output());
        }
    }
}

fn apply(object: &Value) {
    let shop = local_cluster::shared();
    let file = std::env::temp_dir()
        .join(format!("foreign-{}.json", object["items"][0]["metadata"]["name"].as_str().unwrap()));
    std::fs::write(&file, object.to_string()).unwrap();
    let output =
        shop.command("kubectl").args(["apply", "-f", file.to_str().unwrap()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A policy that adds a label to every template of the namespace.
async fn policy(shop: &Shop) -> Team {
    let name = format!("team-{}", shop.name);
    let labels = "Object{spec: Object.spec{template: Object.spec.template{metadata: Object.spec.template.metadata{labels: {'team': 'shop'}}}}}";
    apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": {
            "failurePolicy": "Fail", "reinvocationPolicy": "IfNeeded",
            "matchConstraints": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": shop.name}},
                "resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                    "resources": ["deployments", "statefulsets"]}]},
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": labels}}]}},
        {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": name}},
    ]}));
    Team { name }
}

/// A webhook that makes this JSON patch of every such object of the namespace.
async fn webhook(shop: &Shop, resources: &[&str], patch: Value) -> Team {
    use base64::Engine;
    let name = format!("team-{}", shop.name);
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let text = base64::engine::general_purpose::STANDARD.encode(patch.to_string());
    let review = move |Json(review): Json<Value>| {
        let text = text.clone();
        async move {
            let uid = review["request"]["uid"].clone();
            Json(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                "response": {"uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": text}}))
        }
    };
    let router = Router::new().route("/", post(review));
    tokio::spawn(async move { axum::serve(Tls { listener, acceptor }, router).await });
    let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": shop.name}});
    let mut hook = json!({"name": "team.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
        "reinvocationPolicy": "IfNeeded",
        "clientConfig": {"url": format!("https://127.0.0.1:{port}/"), "caBundle": base64::engine::general_purpose::STANDARD.encode(own.cert.pem())},
        "rules": [{"apiGroups": ["apps", ""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": resources}]});
    hook["namespaceSelector"] = selector;
    apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {"name": name}, "webhooks": [hook]}]}));
    Team { name }
}

/// Waits until somebody else's write of a copy would be changed.
async fn in_force(shop: &Shop, kind: &str, name: &str, changed: impl Fn(&Value) -> bool) {
    let look = || async {
        let said = shop.run(
            "kubectl",
            &["annotate", kind, name, "x=y", "--overwrite", "--dry-run=server", "-o", "json"],
            None,
        );
        // Warnings come after the object.
        let object = said.text.split("\nWarning: ").next().unwrap_or_default();
        serde_json::from_str(object).unwrap_or(Value::String(said.text))
    };
    eventually("the other team's admission is in force", look, |object| changed(object)).await;
}

fn holds_enforced(status: &Value) -> String {
    let mut all = status["conditions"].as_array().into_iter().flatten();
    all.find(|one| one["type"] == "HoldsEnforced")
        .map(|one| format!("{} {}", one["status"], one["message"]))
        .unwrap_or_default()
}

/// Config is rolled, a workload is marked, and nothing is rolled past its gates.
async fn whatever_adds_a_label(shop: &Shop, team: impl Future<Output = Team>) {
    shop.config_map("c", &[("a", "1")]).await;
    for kind in HOLDABLE {
        shop.workload(
            kind,
            &format!("cfg-{}", kind.to_lowercase()),
            1,
            json!({"env": env("A", "c", "a")}),
        )
        .await;
        shop.workload(kind, &format!("new-{}", kind.to_lowercase()), 1, json!({})).await;
    }
    shop.policy(json!({"kinds": HOLDABLE, "selector": {"matchExpressions": [{"key": "app", "operator": "In",
        "values": ["cfg-deployment", "cfg-statefulset"]}]}, "config": {"settle": "300ms", "settleLimit": "5s"}}))
        .await;
    for kind in HOLDABLE {
        let name = &format!("cfg-{}", kind.to_lowercase());
        eventually(
            "its config is known",
            || shop.get(kind, name),
            |object| mark(object, "config").is_some(),
        )
        .await;
        shop.done(kind, name).await;
        shop.done(kind, &format!("new-{}", kind.to_lowercase())).await;
    }
    shop.a_second_passes().await;
    let _team = team.await;
    let labelled =
        |object: &Value| object["spec"]["template"]["metadata"]["labels"]["team"] == "shop";
    in_force(shop, "Deployment", "cfg-deployment", labelled).await;
    in_force(shop, "StatefulSet", "cfg-statefulset", labelled).await;

    // The label goes along with a config rollout, and is told by its name.
    shop.write("c", "a", "2").await;
    for kind in HOLDABLE {
        let name = &format!("cfg-{}", kind.to_lowercase());
        let rolled = |object: &Value| {
            labelled(object) && !object["spec"]["template"]["metadata"]["annotations"]["lockkeeper.dev/config-hash"].is_null()
        };
        eventually("the config is rolled", || shop.get(kind, name), rolled).await;
        let said = shop.event(name, "ChangedByOthers").await;
        assert!(said.contains("spec.template.metadata.labels[team]"), "{said}");
    }

    // The write that marks those that it governs next brings the label: that is held, as somebody
    // else's change.
    let gated = json!({"spec": {"selector": {"matchExpressions": [{"key": "app", "operator": "In",
        "values": ["new-deployment", "new-statefulset"]}]}, "gates": {"approval": "Required"}}});
    let before = (shop.pods("new-deployment").await, shop.pods("new-statefulset").await);
    shop.patch("UpgradePolicy", "shop", gated).await;
    for kind in HOLDABLE {
        let name = &format!("new-{}", kind.to_lowercase());
        eventually("it is held", || shop.get(kind, name), |object| mark(object, "hold").is_some())
            .await;
        shop.is_held(kind, name).await;
        let object = shop.get(kind, name).await;
        let hold = mark(&object, "hold").unwrap_or_default();
        assert!(
            labelled(&object) && hold.ends_with(" by an admission policy or webhook"),
            "{hold}"
        );
        shop.waits(kind, name, "ApprovalRequired").await;
    }
    eventually(
        "holds are enforced",
        || shop.status(),
        |status| holds_enforced(status).contains("True"),
    )
    .await;
    assert_eq!(
        before,
        (shop.pods("new-deployment").await, shop.pods("new-statefulset").await),
        "nothing rolls"
    );
    for kind in HOLDABLE {
        let name = &format!("new-{}", kind.to_lowercase());
        let hold = mark(&shop.get(kind, name).await, "hold").unwrap_or_default();
        shop.annotate(kind, name, "approve", hold.split(' ').next().unwrap());
        shop.is_free(kind, name).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p5_a_policy_that_changes_every_update_breaks_neither_config_nor_marks() {
    let _operator = operator();
    let shop = Shop::open("beside-policy").await;
    whatever_adds_a_label(&shop, policy(&shop)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p5_a_webhook_that_changes_every_update_breaks_neither_config_nor_marks() {
    let _operator = operator();
    let shop = Shop::open("beside-webhook").await;
    let label =
        json!([{"op": "add", "path": "/spec/template/metadata/labels/team", "value": "shop"}]);
    whatever_adds_a_label(&shop, webhook(&shop, &["deployments", "statefulsets"], label)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p16_what_a_webhook_may_not_change_in_our_write_is_named() {
    let _operator = operator();
    let shop = Shop::open("beside-image").await;
    shop.workload("Deployment", "web", 1, json!({"image": "other:v1"})).await;
    let pinned = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "other:pinned"}]);
    let _team = webhook(&shop, &["deployments"], pinned).await;
    in_force(&shop, "Deployment", "web", |object| {
        object["spec"]["template"]["spec"]["containers"][0]["image"] == "other:pinned"
    })
    .await;
    shop.policy(json!({"kinds": HOLDABLE, "gates": {"approval": "Required"}})).await;
    let said = |status: &Value| {
        let enforced = holds_enforced(status);
        enforced.contains("False")
            && enforced.contains("another admission policy or webhook changes spec.template.spec.containers[app].image")
    };
    eventually("the condition names the field", || shop.status(), said).await;
    assert!(
        !kubectl(&["get", "deployment", "web", "-n", &shop.name, "-o", "yaml"])
            .contains("lockkeeper.dev/governed")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_what_a_webhook_adds_in_a_step_is_a_change_of_its_own_and_no_busy_pod_ends() {
    let _operator = operator();
    let shop = Shop::asking("beside-step", json!({"scope": "Pod"})).await;
    shop.app("StatefulSet", "db", 3).await;
    let pods = shop.reachable("db").await;
    let busy = shop.pods("db").await[0].1.clone();
    assert!(pods[..2].iter().all(|(_, address)| start_work(address, 600.0)));
    shop.upgrade("StatefulSet", "db", "v2");
    shop.stands("db", "Rolling", "AppGateClosed").await;
    let label =
        json!([{"op": "add", "path": "/spec/template/metadata/labels/team", "value": "shop"}]);
    let _team = webhook(&shop, &["statefulsets"], label).await;
    let labelled =
        |object: &Value| object["spec"]["template"]["metadata"]["labels"]["team"] == "shop";
    in_force(&shop, "StatefulSet", "db", labelled).await;

    // The step to db-1 brings the label.
    finish_work(&pods[1].1);
    eventually("the label is there", || shop.get("StatefulSet", "db"), labelled).await;
    let said = shop.event("db", "ChangedByOthers").await;
    assert!(said.contains("spec.template.metadata.labels[team]"), "{said}");
    let stops = |status: &Value| {
        let mut all = status["attention"].as_array().into_iter().flatten();
        all.any(|one| {
            one["reason"] == "AppGateClosed"
                && one["message"]
                    .as_str()
                    .unwrap_or_default()
                    .contains("the next is db-0: db-0 has answered no")
        })
    };
    eventually("only the busy pod is left", || shop.status(), stops).await;
    assert_eq!(shop.pods("db").await[0].1, busy, "the busy pod is still the same");
    finish_work(&pods[0].1);
    let all = || async {
        shop.api("Pod")
            .list(&ListParams::default().labels("app=db,team=shop"))
            .await
            .unwrap()
            .items
            .len()
    };
    eventually("all pods are of the labelled template", all, |count| *count == 3).await;
    shop.runs("StatefulSet", "db", "v2", 3).await;
    shop.all_ended_idle("db").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p12_a_webhook_that_labels_claims_and_namespaces_does_not_keep_them_from_being_protected() {
    let _operator = operator();
    let shop = Shop::open("beside-claims").await;
    let claim = json!({"kind": "PersistentVolumeClaim", "metadata": {"name": "data", "labels": {"a": "b"}}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    shop.create(claim).await;
    let pod = json!({"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}], "image": "other:v1"});
    let label = json!([{"op": "add", "path": "/metadata/labels/team", "value": "shop"}]);
    kubectl(&["label", "namespace", &shop.name, "lockkeeper.dev/allow-deny=true"]);
    let _team = webhook(&shop, &["persistentvolumeclaims", "namespaces"], label).await;
    let labelled = |object: &Value| object["metadata"]["labels"]["team"] == "shop";
    in_force(&shop, "PersistentVolumeClaim", "data", labelled).await;
    in_force(&shop, "Namespace", &shop.name, labelled).await;
    shop.workload("StatefulSet", "db", 1, pod).await;
    shop.policy(json!({"kinds": HOLDABLE, "volumes": {"protection": "Deny"}})).await;
    let has = |object: &Value, label: &str| {
        object["metadata"]["labels"][format!("lockkeeper.dev/{label}")] == "true"
            && labelled(object)
    };
    let kept = |claim: &Value| has(claim, "retained") && has(claim, "protected");
    eventually("the claim is protected", || shop.get("PersistentVolumeClaim", "data"), kept).await;
    let namespace = || async {
        serde_json::from_str(&kubectl(&["get", "namespace", &shop.name, "-o", "json"])).unwrap()
    };
    eventually("the namespace is protected", namespace, |object| has(object, "protected")).await;
}
