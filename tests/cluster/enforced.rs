//! `HoldsEnforced` is exact, and the operator puts its marks back.

use serde_json::{Value, json};

use crate::support::plugin::{plugin, says};
use crate::support::{
    HOLDABLE, Shop, admission_is_current, eventually, kubectl, mark, operator, operator_alone,
};

fn condition(status: &Value) -> (String, String, String) {
    let mut all = status["conditions"].as_array().into_iter().flatten();
    let one = all.find(|one| one["type"] == "HoldsEnforced").cloned().unwrap_or_default();
    let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

/// Waits until the condition is so.
async fn enforced(shop: &Shop, status: &str, reason: &str) -> String {
    let seen = eventually(
        &format!("HoldsEnforced {status} {reason}"),
        || async { condition(&shop.status().await) },
        |(is, why, _)| is == status && why == reason,
    )
    .await;
    seen.2
}

#[tokio::test]
async fn holds_enforced_tells_of_every_gap_exclusively() {
    let operator = operator_alone();
    let shop = Shop::gated("enforced").await;
    shop.guarded("Deployment", "web").await;
    enforced(&shop, "True", "Enforced").await;
    let repair = || operator.set(&[]);

    let policy = "mutatingadmissionpolicy/lockkeeper-statefulsets";
    let mut text: Value = serde_json::from_str(&kubectl(&["get", policy, "-o", "json"])).unwrap();
    let expression = text["spec"]["variables"][0]["expression"]
        .as_str()
        .unwrap()
        .replace("lockkeeper'", "lockkeepeR'");
    text["spec"]["variables"][0]["expression"] = json!(expression);
    let said = shop.run("kubectl", &["replace", "-f", "-"], Some(&text));
    assert!(said.success, "{}", said.text);
    let message = enforced(&shop, "False", "AdmissionPolicyChanged").await;
    assert!(
        message.contains("lockkeeper-statefulsets")
            && message.contains("spec.variables[0].expression"),
        "{message}"
    );
    assert!(kubectl(&["get", "up", "-n", &shop.name]).contains("False"), "the ENFORCED column");
    repair();
    enforced(&shop, "True", "Enforced").await;

    kubectl(&["delete", "mutatingadmissionpolicybinding", "lockkeeper-deployments"]);
    let message = enforced(&shop, "False", "AdmissionPolicyMissing").await;
    assert!(
        message.contains("MutatingAdmissionPolicyBinding lockkeeper-deployments is not installed"),
        "{message}"
    );
    repair();
    enforced(&shop, "True", "Enforced").await;

    let selector =
        json!({"spec": {"matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}}});
    kubectl(&[
        "patch",
        "mutatingadmissionpolicybinding",
        "lockkeeper-created",
        "--type=merge",
        "-p",
        &selector.to_string(),
    ]);
    let message = enforced(&shop, "False", "AdmissionPolicyChanged").await;
    assert!(message.contains("spec.matchResources"), "{message}");
    let none = json!({"spec": {"matchResources": null}});
    kubectl(&[
        "patch",
        "mutatingadmissionpolicybinding",
        "lockkeeper-created",
        "--type=merge",
        "-p",
        &none.to_string(),
    ]);
    enforced(&shop, "True", "Enforced").await;
}

#[tokio::test]
async fn a_mark_that_somebody_removes_behind_admissions_back_is_restored_exclusively() {
    let operator = operator_alone();
    let shop = Shop::gated("marks").await;
    for kind in HOLDABLE {
        let name = &format!("web-{}", kind.to_lowercase());
        shop.guarded(kind, name).await;
    }
    // Only without the policies can anybody do that at all.
    for plural in ["mutatingadmissionpolicybinding", "validatingadmissionpolicybinding"] {
        kubectl(&["delete", plural, "-l", "app.kubernetes.io/name=lockkeeper"]);
    }
    admission_is_current();
    for kind in HOLDABLE {
        let name = &format!("web-{}", kind.to_lowercase());
        shop.kubectl(&["annotate", kind, name, "lockkeeper.dev/hold-changes-"]);
        shop.kubectl(&["label", kind, name, "lockkeeper.dev/governed-"]);
        let back = |object: &Value| {
            mark(object, "hold-changes").is_some()
                && object["metadata"]["labels"]["lockkeeper.dev/governed"] == "true"
        };
        eventually("the marks are back", || shop.get(kind, name), back).await;
    }
    // What changes now is not held, and said.
    shop.kubectl(&["set", "image", "Deployment/web-deployment", "app=other:v2"]);
    shop.all_run("Deployment", "web-deployment", "other:v2", 2).await;
    drop(operator);
    enforced(&shop, "True", "Enforced").await;
}

#[tokio::test]
async fn an_approval_that_admission_does_not_record_is_not_recommended_exclusively() {
    let operator = operator_alone();
    let shop = Shop::gated("unrecorded").await;
    shop.config_map("app", &[("key", "old")]).await;
    let mut manifest = shop.manifest("Deployment", "web", "v1");
    manifest["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
        json!([{"configMapRef": {"name": "app"}}]);
    shop.apply(&manifest);
    shop.marked("Deployment", "web").await;
    shop.a_second_passes().await;
    // As on a cluster that serves no MutatingAdmissionPolicy.
    operator.set(&["holds.by=none"]);
    enforced(&shop, "False", "AdmissionPolicyMissing").await;
    shop.write("app", "key", "new").await;
    let waits = |words: &'static str| {
        move |status: &Value| {
            let mut all = status["attention"].as_array().into_iter().flatten();
            all.any(|one| {
                let message = one["message"].as_str().unwrap_or_default();
                one["phase"] == "Waiting"
                    && one["reason"] == "ApprovalRequired"
                    && message.contains(words)
            })
        }
    };
    eventually(
        "status says what cannot work",
        || shop.status(),
        waits("neither an approval nor a bypass counts"),
    )
    .await;
    let why = plugin(&shop, &["why", "deployment/web"]);
    says(
        &why,
        true,
        &[
            "neither an approval nor a bypass counts",
            "see why no approval and no bypass counts now",
        ],
    );
    assert!(
        !why.text.contains("lockkeeper approve") && !why.text.contains("lockkeeper bypass"),
        "{}",
        why.text
    );
    assert!(!why.text.contains("kubectl annotate"), "{}", why.text);

    operator.set(&[]);
    enforced(&shop, "True", "Enforced").await;
    eventually("an approval counts", || shop.status(), waits("not approved yet: kubectl annotate"))
        .await;
    says(
        &plugin(&shop, &["why", "deployment/web"]),
        true,
        &["lockkeeper approve", "lockkeeper bypass"],
    );
    let id = mark(&shop.get("Deployment", "web").await, "pending-config").unwrap();
    shop.annotate("deployment", "web", "approve", &id);
    shop.rolled("web", 1).await;
}

#[tokio::test]
async fn what_cannot_be_held_is_unsupported_and_a_policy_without_gates_says_nothing_of_holds() {
    let _operator = operator();
    let shop = Shop::open("unsupported").await;
    shop.policy(json!({"gates": {"approval": "Required"}})).await;
    let mut set = shop.manifest("StatefulSet", "db", "v1");
    set["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    shop.apply(&set);
    shop.workload("DaemonSet", "agent", 0, json!({"image": "other:v1"})).await;
    shop.stands("db", "Unsupported", "GatesUnsupported").await;
    shop.stands("agent", "Unsupported", "GatesUnsupported").await;
    shop.patch("UpgradePolicy", "shop", json!({"spec": {"gates": null}})).await;
    shop.up_to_date().await;
    assert_eq!(condition(&shop.status().await).0, "");
}
