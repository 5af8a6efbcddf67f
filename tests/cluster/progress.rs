//! How far a rollout is, and what it waits for.

use serde_json::{Value, json};

use crate::{
    support::plugin::plugin,
    support::{Shop, env, eventually, operator},
};

fn message_of(status: &Value, name: &str) -> String {
    let mut all = status["attention"].as_array().into_iter().flatten();
    all.find(|one| one["name"] == name)
        .and_then(|one| one["message"].as_str())
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn a_deployment_that_recreates_is_done_when_its_new_pods_are_available() {
    let _operator = operator();
    let shop = Shop::open("recreates").await;
    let step = |name: &str| json!({"name": name, "selector": {"matchLabels": {"app": name}}});
    shop.policy(
        json!({"config": {"settle": "1s"}, "rollout": {"steps": [step("db"), step("web")]}}),
    )
    .await;
    shop.config_map("app", &[("key", "old")]).await;
    shop.deployment("web", json!({"env": env("KEY", "app", "key")})).await;
    let mut db = shop.manifest("Deployment", "db", "v1");
    db["spec"]["strategy"] = json!({"type": "Recreate"});
    db["spec"]["template"]["metadata"]["annotations"] =
        json!({"lockkeeper.dev/test-end-after": "25s"});
    db["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(60);
    db["spec"]["template"]["spec"]["containers"][0]["env"] = env("KEY", "app", "key");
    shop.apply(&db);
    shop.adopted().await;
    shop.a_second_passes().await;

    shop.write("app", "key", "new").await;
    let ends = |status: &Value| message_of(status, "db").contains("to terminate (until");
    eventually("that old pods are ending is said", || shop.status(), ends).await;
    assert_eq!(shop.rollouts("web").await, 0, "the next step waits");
    let events = shop.events("db").await;
    assert!(!events.iter().any(|(reason, _)| reason == "RolloutDone"), "{events:?}");
    let said = plugin(&shop, &["wait", "deployment/db", "--timeout", "290s"]);
    assert!(said.success, "{said:?}");
    let pods = shop
        .api("Pod")
        .list(&kube::api::ListParams::default().labels("app=db"))
        .await
        .unwrap()
        .items;
    let ready = |pod: &kube::api::DynamicObject| {
        let conditions = pod.data["status"]["conditions"].as_array().into_iter().flatten();
        pod.metadata.deletion_timestamp.is_none()
            && conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    assert!(pods.len() == 2 && pods.iter().all(ready), "{pods:#?}");
    shop.rolled("web", 1).await;
    shop.up_to_date().await;
}

#[tokio::test]
async fn why_pods_cannot_be_created_is_named_for_every_kind() {
    let _operator = operator();
    let shop = Shop::governed("quota").await;
    let kinds = ["Deployment", "StatefulSet", "DaemonSet"];
    for kind in kinds {
        let mut manifest = shop.manifest(kind, &kind.to_lowercase(), "v1");
        if kind == "DaemonSet" {
            manifest["spec"].as_object_mut().unwrap().remove("replicas");
        }
        shop.apply(&manifest);
    }
    shop.adopted().await;
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
    shop.apply(&quota);
    let in_force = |text: &String| text.contains("\"used\"");
    eventually(
        "the quota is in force",
        || async { shop.kubectl(&["get", "quota", "none", "-o", "json"]) },
        in_force,
    )
    .await;
    for kind in kinds {
        let name = kind.to_lowercase();
        shop.kubectl(&["set", "image", &format!("{name}/{name}"), "app=other:v2"]);
        let named = |status: &Value| message_of(status, &name).contains("exceeded quota");
        eventually(&format!("the quota is named for {kind}"), || shop.status(), named).await;
    }
}
