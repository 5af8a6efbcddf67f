//! A change is let through with the plugin: approved, or past every gate.

use serde_json::{Value, json};

use crate::support::{
    Shop, eventually, mark, operator,
    plugin::{Person, both, config_hash, plugin, says},
};

#[tokio::test]
async fn p16_the_plugin_approves_all_changes_of_a_namespace() {
    let _operator = operator();
    let shop = Shop::gated("plugin-approve-all").await;
    let approver = Person::new(&shop, "approver", &["lockkeeper-approver"]);
    says(
        &approver.plugin(&shop, &["approve", "--all", "--yes"]),
        true,
        &["No change in namespace"],
    );
    for (kind, name, place) in both() {
        shop.guarded(kind, &name).await;
        shop.kubectl(&["set", "image", &place, "app=other:v2"]);
        shop.waits(kind, &name, "ApprovalRequired").await;
    }
    let shown = [
        "deployment/web-deployment",
        "statefulset/web-statefulset",
        "other:v1 -> other:v2",
        "These 2 changes",
        "--yes",
    ];
    says(&approver.plugin(&shop, &["approve", "--all"]), false, &shown);
    let counts = [
        "deployment/web-deployment: Approved",
        "statefulset/web-statefulset: Approved",
        "The approval is recorded for approver",
    ];
    says(&approver.plugin(&shop, &["approve", "--all", "--yes"]), true, &counts);
    for (kind, name, _) in both() {
        shop.all_run(kind, &name, "other:v2", 2).await;
    }
}

#[tokio::test]
async fn p7_p16_the_plugin_approves_the_change_that_waits_and_no_other() {
    let _operator = operator();
    let shop = Shop::gated("plugin-approve").await;
    let (dev, approver) =
        (Person::new(&shop, "dev", &[]), Person::new(&shop, "approver", &["lockkeeper-approver"]));
    for (kind, name, place) in both() {
        let (name, place) = (&name, &place);
        shop.guarded(kind, name).await;
        says(&plugin(&shop, &["approve", place]), false, &["no change of", "nothing to approve"]);
        dev.set_image(&shop, place, "v2");
        let old = shop.is_held(kind, name).await;
        dev.set_image(&shop, place, "v3");
        let id = shop.waits(kind, name, "ApprovalRequired").await["hold"]["id"]
            .as_str()
            .unwrap()
            .to_owned();

        // Neither the one before, nor by somebody without the verb.
        let refused = [
            &format!("change {old} of {place} is not the one that is waiting"),
            &format!("that is {id}, made by dev"),
        ];
        says(
            &approver.plugin(&shop, &["approve", place, &old]),
            false,
            &refused.map(String::as_str),
        );
        says(
            &dev.plugin(&shop, &["approve", place]),
            false,
            &["needs verb approve on upgradepolicies.lockkeeper.dev"],
        );
        assert_eq!(shop.is_held(kind, name).await, id);
        assert!(shop.images(name).await.iter().all(|image| image == "other:v1"));

        // The plugin shows the change, approves it, and names what else it waits for.
        shop.patch("UpgradePolicy", "shop", json!({"spec": {"mode": "Freeze"}})).await;
        shop.waits(kind, name, "Frozen").await;
        let said = approver.plugin(&shop, &["approve", place]);
        let shown = [
            &format!("Change {id} of {place} in namespace {}, made by dev", shop.name),
            "containers[app].image: other:v1 -> other:v3",
            "The approval is recorded for approver",
            "freeze",
        ];
        says(&said, true, &shown);
        says(
            &approver.plugin(&shop, &["approve", place, &id]),
            true,
            &["already approved, by approver"],
        );
        shop.patch("UpgradePolicy", "shop", json!({"spec": {"mode": "Enforce"}})).await;
        shop.all_run(kind, name, "other:v3", 2).await;
        shop.is_free(kind, name).await;
    }
    says(&plugin(&shop, &["approve", "daemonset/agent"]), false, &["there is no DaemonSet/agent"]);
}

#[tokio::test]
async fn p16_the_plugin_puts_another_approval_in_place_of_the_authors_own() {
    let _operator = operator();
    let shop = Shop::gated("plugin-four-eyes").await;
    shop.patch(
        "UpgradePolicy",
        "shop",
        json!({"spec": {"gates": {"approval": "RequiredFromOther"}}}),
    )
    .await;
    let author = Person::new(&shop, "author", &["lockkeeper-approver"]);
    let other = Person::new(&shop, "other", &["lockkeeper-approver"]);
    for (kind, name, place) in both() {
        shop.guarded(kind, &name).await;
        author.set_image(&shop, &place, "v2");
        says(
            &author.plugin(&shop, &["approve", &place]),
            true,
            &["still waiting for approval: approved by author, who made the change"],
        );
        says(
            &other.plugin(&shop, &["approve", &place]),
            true,
            &["The approval is recorded for other"],
        );
        shop.all_run(kind, &name, "other:v2", 2).await;
    }
}

#[tokio::test]
async fn p16_the_plugin_bypasses_every_gate_once_it_is_meant() {
    let _operator = operator();
    let shop = Shop::gated("plugin-bypass").await;
    let approver = Person::new(&shop, "approver", &["lockkeeper-approver"]);
    let on_call = Person::new(&shop, "oncall", &["lockkeeper-on-call"]);
    shop.config_map("app", &[("key", "old")]).await;
    for (kind, name, _) in both() {
        let name = &name;
        let mut manifest = shop.manifest(kind, name, "v1");
        manifest["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
            json!([{"configMapRef": {"name": "app"}}]);
        shop.apply(&manifest);
        shop.marked(kind, name).await;
    }
    shop.patch("UpgradePolicy", "shop", json!({"spec": {"mode": "Freeze"}})).await;
    for (kind, name, place) in both() {
        let (name, place) = (&name, &place);
        shop.kubectl(&["set", "image", place, "app=other:v2"]);
        let id = shop.waits(kind, name, "Frozen").await["hold"]["id"].as_str().unwrap().to_owned();
        says(
            &on_call.plugin(&shop, &["bypass", place]),
            false,
            &["past every gate", "no terminal", "--yes"],
        );
        says(
            &on_call.plugin(&shop, &["bypass", place, "1", "--yes"]),
            false,
            &[&format!("change 1 of {place} is not the one that is waiting")],
        );
        says(
            &approver.plugin(&shop, &["bypass", place, "--yes"]),
            false,
            &["needs verb bypass on upgradepolicies.lockkeeper.dev"],
        );
        assert_eq!(shop.is_held(kind, name).await, id);
        says(
            &on_call.plugin(&shop, &["bypass", place, &id, "--yes"]),
            true,
            &["is released", "The bypass is recorded for oncall", "kubectl lockkeeper wait"],
        );
        assert_eq!(
            mark(&shop.get(kind, name).await, "hold"),
            None,
            "the hold goes in the same write"
        );
        shop.all_run(kind, name, "other:v2", 2).await;
        eventually(
            "it is cleared away",
            || shop.get(kind, name),
            |object| mark(object, "bypassed-by").is_none(),
        )
        .await;
    }
    // The same for a change of config, which has nothing in the workload to be shown but its id.
    shop.a_second_passes().await;
    shop.write("app", "key", "new").await;
    for (kind, name, place) in both() {
        let before = config_hash(&shop, kind, &name).await;
        eventually(
            "the change of config waits",
            || shop.get(kind, &name),
            |object| mark(object, "pending-config").is_some(),
        )
        .await;
        let shown =
            ["(config)", "ConfigMap/app[key]: changed", "The bypass is recorded for oncall"];
        shop.stands(&name, "Waiting", "Frozen").await;
        says(&on_call.plugin(&shop, &["bypass", &place, "--yes"]), true, &shown);
        let rolled = |object: &Value| {
            object["spec"]["template"]["metadata"]["annotations"]["lockkeeper.dev/config-hash"]
                != before
        };
        eventually("the config is rolled", || shop.get(kind, &name), rolled).await;
    }
}
