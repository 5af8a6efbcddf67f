//! A change is reverted with the plugin.

use serde_json::json;

use crate::support::{
    HOLDABLE, Shop, eventually, mark, operator,
    plugin::{both, config_hash, plugin, says},
};

#[tokio::test]
async fn p9_the_plugin_undoes_a_held_change_and_no_pod_ends() {
    let _operator = operator();
    let shop = Shop::open("plugin-withdraw").await;
    let gates = json!({"appliesTo": ["Template"], "approval": "Required"});
    shop.policy(json!({"kinds": HOLDABLE, "config": {"settle": "300ms"}, "gates": gates})).await;
    shop.config_map("app", &[("key", "old")]).await;
    for (kind, name, _) in both() {
        let mut manifest = shop.manifest(kind, &name, "v1");
        manifest["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
            json!([{"configMapRef": {"name": "app"}}]);
        shop.apply(&manifest);
        shop.marked(kind, &name).await;
    }
    shop.a_second_passes().await;
    shop.write("app", "key", "new").await;
    for (kind, name, _) in both() {
        shop.rolled(&name, 1).await;
        shop.marked(kind, &name).await;
        shop.up_to_date_one(&name).await;
    }
    shop.patch("UpgradePolicy", "shop", json!({"spec": {"mode": "Freeze"}})).await;
    for (kind, name, place) in both() {
        let (name, place) = (&name, &place);
        let (before, hash) = (shop.pods(name).await, config_hash(&shop, kind, name).await);
        shop.kubectl(&["set", "image", place, "app=other:v2"]);
        shop.kubectl(&["set", "env", place, "LEVEL=debug"]);
        shop.waits(kind, name, "Frozen").await;
        let said = plugin(&shop, &["undo", place, "--dry-run"]);
        let difference = [
            "-spec.containers[app].image: \"other:v2\"",
            "+spec.containers[app].image: \"other:v1\"",
            "-spec.containers[app].env[LEVEL]",
        ];
        says(&said, true, &difference);
        assert!(
            !said.text.contains("config-hash") && !said.text.contains("pod-template-hash"),
            "{}",
            said.text
        );
        assert!(mark(&shop.get(kind, name).await, "hold").is_some(), "a dry run changes nothing");

        says(&plugin(&shop, &["undo", place]), true, &["is reverted", "kubectl lockkeeper wait"]);
        eventually(
            "the revert is let through",
            || shop.get(kind, name),
            |object| mark(object, "hold").is_none(),
        )
        .await;
        shop.done(kind, name).await;
        shop.is_free(kind, name).await;
        assert_eq!(shop.pods(name).await, before, "{place}: no pod ends");
        assert_eq!(config_hash(&shop, kind, name).await, hash);
        shop.up_to_date_one(name).await;
    }
}

#[tokio::test]
async fn p10_helm_meets_no_conflict_after_an_undo_of_a_held_change() {
    let _operator = operator();
    let shop = Shop::gated("plugin-helm").await;
    for (kind, name, place) in both() {
        let upgrade =
            |tag: &str| shop.helm_upgrade(&name, &[&format!("kind={kind}"), &format!("tag={tag}")]);
        upgrade("v1");
        shop.marked(kind, &name).await;
        let before = shop.pods(&name).await;
        upgrade("v2");
        shop.waits(kind, &name, "ApprovalRequired").await;
        says(&plugin(&shop, &["undo", &place]), true, &["is reverted"]);
        says(&plugin(&shop, &["wait", &place, "--timeout", "290s"]), true, &["done"]);
        shop.is_free(kind, &name).await;
        assert_eq!(shop.pods(&name).await, before);
        upgrade("v3");
        shop.waits(kind, &name, "ApprovalRequired").await;
        says(&plugin(&shop, &["approve", &place]), true, &["other:v1 -> other:v3"]);
        shop.all_run(kind, &name, "other:v3", 2).await;
    }
}

#[tokio::test]
async fn the_plugin_undoes_a_rollout_and_leaves_the_config_as_it_is() {
    let _operator = operator();
    let shop = Shop::governed("plugin-undo").await;
    shop.config_map("app", &[("key", "old")]).await;
    for (kind, name, place) in both() {
        let mut manifest = shop.manifest(kind, &name, "v1");
        manifest["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
            json!([{"configMapRef": {"name": "app"}}]);
        shop.apply(&manifest);
        shop.done(kind, &name).await;
        says(
            &plugin(&shop, &["undo", &place]),
            false,
            &["no earlier revision with another template"],
        );
        shop.kubectl(&["set", "image", &place, "app=other:v2"]);
        shop.all_run(kind, &name, "other:v2", 2).await;
    }
    shop.adopted().await;
    shop.write("app", "key", "new").await;
    for (kind, name, place) in both() {
        let (name, place) = (&name, &place);
        shop.rolled(name, 2).await;
        shop.done(kind, name).await;
        let hash = config_hash(&shop, kind, name).await;
        says(
            &plugin(&shop, &["undo", place, "--to-revision", "9"]),
            false,
            &["no revision 9", "the revisions 1, 2, 3 are kept"],
        );
        says(
            &plugin(&shop, &["undo", place, "--to-revision", "2"]),
            false,
            &["already has the template of revision 2", "its ConfigMap or Secret"],
        );
        // Past the revision that differs in the config alone.
        says(
            &plugin(&shop, &["undo", place]),
            true,
            &["the template of revision 1", "It rolls now"],
        );
        shop.all_run(kind, name, "other:v1", 2).await;
        assert_eq!(config_hash(&shop, kind, name).await, hash);
        shop.up_to_date_one(name).await;
    }
    shop.kubectl(&["rollout", "pause", "deployment/web-deployment"]);
    says(
        &plugin(&shop, &["undo", "deployment/web-deployment"]),
        false,
        &["paused: true", "kubectl rollout resume"],
    );

    // A DaemonSet, as kubectl does.
    let mut agent = shop.manifest("DaemonSet", "agent", "v1");
    agent["spec"].as_object_mut().unwrap().remove("replicas");
    shop.apply(&agent);
    let runs = |image: &'static str| {
        move |images: &Vec<String>| !images.is_empty() && images.iter().all(|one| one == image)
    };
    eventually("v1", || shop.images("agent"), runs("other:v1")).await;
    shop.kubectl(&["set", "image", "daemonset/agent", "app=other:v2"]);
    eventually("v2", || shop.images("agent"), runs("other:v2")).await;
    says(&plugin(&shop, &["undo", "daemonset/agent"]), true, &["It rolls now"]);
    eventually("v1 again", || shop.images("agent"), runs("other:v1")).await;
}

#[tokio::test]
async fn p6_an_undo_of_what_is_rolled_out_is_a_change_and_held() {
    let _operator = operator();
    let shop = Shop::gated("plugin-undo-held").await;
    for (kind, name, place) in both() {
        shop.guarded(kind, &name).await;
        shop.kubectl(&["set", "image", &place, "app=other:v2"]);
        shop.approve(kind, &name, "other:v2").await;
        shop.marked(kind, &name).await;
        let before = shop.pods(&name).await;
        says(
            &plugin(&shop, &["undo", &place]),
            true,
            &["held like any other, with the id", "kubectl lockkeeper approve"],
        );
        shop.waits(kind, &name, "ApprovalRequired").await;
        assert_eq!(shop.pods(&name).await, before);
        says(&plugin(&shop, &["approve", &place]), true, &["other:v2 -> other:v1"]);
        shop.all_run(kind, &name, "other:v1", 2).await;
    }
}
