//! Config reaches the pods that read it, and no others, each set of changes as one rollout.

use serde_json::{Value, json};

use crate::support::{Shop, env, eventually, mark, operator, says_all};

/// All of a ConfigMap, mounted.
fn volume(source: Value) -> Value {
    let mut volume = source;
    volume["name"] = json!("v");
    json!({"volumeMounts": [{"name": "v", "mountPath": "/config"}], "volumes": [volume]})
}

#[tokio::test]
async fn p2_a_changed_key_is_one_rollout_by_whichever_way_it_is_read() {
    let _operator = operator();
    let shop = Shop::governed("ways").await;
    let sub_path = json!({
        "volumeMounts": [{"name": "v", "mountPath": "/config/key", "subPath": "key"}],
        "volumes": [{"name": "v", "configMap": {"name": "by-subpath"}}]});
    let second_mounted = json!({
        "volumeMounts": [{"name": "second", "mountPath": "/config"}],
        "volumes": [{"name": "first", "configMap": {"name": "by-second"}}, {"name": "second", "configMap": {"name": "by-second"}}]});
    let other_container = |list: &str, container: Value| {
        let mut container = container;
        container["name"] = json!("other");
        container["image"] = json!("other");
        json!({list: [container]})
    };
    let ways: Vec<(&str, Value, Option<&str>)> = vec![
        ("by-env", json!({"env": env("KEY", "by-env", "key")}), Some("KEY")),
        ("by-envfrom", json!({"envFrom": [{"configMapRef": {"name": "by-envfrom"}}]}), Some("key")),
        ("by-volume", volume(json!({"configMap": {"name": "by-volume"}})), Some("/config/key")),
        (
            "by-items",
            volume(
                json!({"configMap": {"name": "by-items", "items": [{"key": "key", "path": "there"}]}}),
            ),
            Some("/config/there"),
        ),
        ("by-subpath", sub_path, Some("/config/key")),
        (
            "by-projected",
            volume(json!({"projected": {"sources": [{"configMap": {"name": "by-projected"}}]}})),
            Some("/config/key"),
        ),
        ("by-second", second_mounted, Some("/config/key")),
        (
            "by-init",
            other_container("initContainers", json!({"env": env("KEY", "by-init", "key")})),
            None,
        ),
        (
            "by-sidecar",
            other_container(
                "initContainers",
                json!({"restartPolicy": "Always", "env": env("KEY", "by-sidecar", "key")}),
            ),
            None,
        ),
    ];
    for (name, pod, _) in &ways {
        shop.config_map(name, &[("key", "old"), ("other", "old")]).await;
        shop.deployment(name, pod.clone()).await;
    }
    shop.config_map("by-set", &[("key", "old")]).await;
    shop.workload("StatefulSet", "by-set", 2, json!({"env": env("KEY", "by-set", "key")})).await;
    shop.config_map("by-daemon", &[("key", "old")]).await;
    shop.workload("DaemonSet", "by-daemon", 0, json!({"env": env("KEY", "by-daemon", "key")}))
        .await;
    shop.adopted().await;
    let all = || {
        ways.iter()
            .map(|(name, _, place)| (*name, *place))
            .chain([("by-set", Some("KEY")), ("by-daemon", Some("KEY"))])
    };
    for (name, _) in all() {
        shop.write(name, "key", "new").await;
    }
    for (name, place) in all() {
        shop.rolled(name, 1).await;
        if let Some(place) = place {
            shop.all_read(name, place, "new").await;
        }
    }
    shop.operator_has_acted().await;
    shop.up_to_date().await;
    for (name, _) in all() {
        assert_eq!(shop.rollouts(name).await, 1, "{name} afterwards");
    }
}

#[tokio::test]
async fn p3_what_no_pod_reads_is_no_rollout() {
    let _operator = operator();
    let shop = Shop::governed("unread").await;
    let not_mounted = json!({"volumes": [{"name": "v", "configMap": {"name": "not-mounted"}}]});
    let cases = [
        ("other-key", json!({"env": env("KEY", "other-key", "key")})),
        (
            "other-item",
            volume(
                json!({"configMap": {"name": "other-item", "items": [{"key": "key", "path": "key"}]}}),
            ),
        ),
        (
            "projected-item",
            volume(
                json!({"projected": {"sources": [{"configMap": {"name": "projected-item", "items": [{"key": "key", "path": "key"}]}}]}}),
            ),
        ),
        ("not-mounted", not_mounted),
        ("metadata", json!({"envFrom": [{"configMapRef": {"name": "metadata"}}]})),
        ("ignored", json!({"envFrom": [{"configMapRef": {"name": "ignored"}}]})),
        ("pull", json!({"imagePullSecrets": [{"name": "pull"}]})),
    ];
    shop.secret("pull", &[("other", "old")]).await;
    for (name, pod) in &cases {
        if *name != "pull" {
            shop.config_map(name, &[("key", "old"), ("other", "old")]).await;
        }
        shop.deployment(name, pod.clone()).await;
    }
    shop.patch(
        "ConfigMap",
        "ignored",
        json!({"metadata": {"annotations": {"lockkeeper.dev/ignore": "true"}}}),
    )
    .await;
    shop.adopted().await;
    for (name, _) in &cases {
        match *name {
            "metadata" => {
                shop.patch(
                    "ConfigMap",
                    name,
                    json!({"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}}),
                )
                .await
            }
            "pull" => shop.patch("Secret", name, json!({"stringData": {"other": "new"}})).await,
            _ => shop.write(name, "other", "new").await,
        }
    }
    shop.operator_has_acted().await;
    for (name, _) in &cases {
        assert_eq!(shop.rollouts(name).await, 0, "{name}");
    }
    shop.up_to_date().await;
}

#[tokio::test]
async fn p2_content_that_shifts_between_keys_and_binary_data_are_changes() {
    let _operator = operator();
    let shop = Shop::governed("content").await;
    for name in ["shift", "binary"] {
        shop.config_map(name, &[("a", "x;b=y")]).await;
        shop.deployment(name, volume(json!({"configMap": {"name": name}}))).await;
    }
    shop.adopted().await;
    shop.patch("ConfigMap", "shift", json!({"data": {"a": "x", "b": "y"}})).await;
    shop.patch("ConfigMap", "binary", json!({"binaryData": {"raw": "AAEC/w=="}})).await;
    for name in ["shift", "binary"] {
        shop.rolled(name, 1).await;
    }
    shop.all_read("shift", "/config/b", "y").await;
}

#[tokio::test]
async fn optional_config_that_appears_and_goes_is_a_rollout_each() {
    let _operator = operator();
    let shop = Shop::governed("optional").await;
    let optional_key = json!([{"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "has-some", "key": "key", "optional": true}}}]);
    shop.config_map("has-some", &[("other", "x")]).await;
    shop.deployment("by-key", json!({"env": optional_key})).await;
    shop.deployment(
        "by-object",
        json!({"envFrom": [{"configMapRef": {"name": "extra", "optional": true}}]}),
    )
    .await;
    shop.adopted().await;
    shop.config_map("extra", &[("key", "here")]).await;
    shop.write("has-some", "key", "here").await;
    shop.rolled("by-object", 1).await;
    shop.rolled("by-key", 1).await;
    shop.all_read("by-object", "key", "here").await;
    shop.up_to_date().await;
    shop.a_second_passes().await;
    shop.delete("ConfigMap", "extra").await;
    shop.patch("ConfigMap", "has-some", json!({"data": {"key": null}})).await;
    shop.rolled("by-object", 2).await;
    shop.rolled("by-key", 2).await;
    shop.all_read("by-object", "key", "(not there)").await;
}

#[tokio::test]
async fn required_config_that_is_missing_rolls_nothing_until_it_comes_back_changed() {
    let _operator = operator();
    let shop = Shop::governed("missing").await;
    for name in ["same", "other"] {
        shop.config_map(name, &[("key", "old")]).await;
        shop.deployment(name, json!({"env": env("KEY", name, "key")})).await;
    }
    shop.create(json!({"kind": "ConfigMap", "metadata": {"name": "fixed"}, "data": {"key": "old"}, "immutable": true})).await;
    shop.deployment("fixed", json!({"env": env("KEY", "fixed", "key")})).await;
    shop.adopted().await;
    shop.deployment("late", json!({"env": env("KEY", "late", "key")})).await;
    shop.stands("late", "Rolling", "RolloutUnderWay").await;
    shop.config_map("late", &[("key", "first")]).await;
    for name in ["same", "other", "fixed"] {
        shop.delete("ConfigMap", name).await;
    }
    shop.stands_saying("same", "Waiting", "ConfigMissing", &["ConfigMap/same does not exist"])
        .await;
    shop.operator_has_acted().await;
    for name in ["same", "other", "fixed"] {
        assert_eq!(shop.rollouts(name).await, 0, "{name} while it is missing");
    }
    shop.config_map("same", &[("key", "old")]).await;
    shop.config_map("other", &[("key", "new")]).await;
    shop.create(json!({"kind": "ConfigMap", "metadata": {"name": "fixed"}, "data": {"key": "new"}, "immutable": true})).await;
    for name in ["other", "fixed"] {
        shop.rolled(name, 1).await;
        shop.all_read(name, "KEY", "new").await;
    }
    shop.operator_has_acted().await;
    assert_eq!((shop.rollouts("same").await, shop.rollouts("late").await), (0, 0));
    shop.all_read("late", "KEY", "first").await;
    shop.up_to_date().await;
}

#[tokio::test]
async fn p2_changes_within_the_quiet_time_are_one_rollout_and_back_again_is_none() {
    let _operator = operator();
    let shop = Shop::open("settle").await;
    // It ends when all that belongs together has been seen, however busy the machine is.
    shop.policy(json!({"config": {"settle": "10m", "settleLimit": "1h"}})).await;
    shop.config_map("both", &[("key", "old")]).await;
    shop.secret("both", &[("key", "old")]).await;
    let secret =
        json!({"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "both", "key": "key"}}});
    let mut variables = env("KEY", "both", "key");
    variables.as_array_mut().unwrap().push(secret);
    shop.deployment("both", json!({"env": variables})).await;
    for name in ["back", "mixed"] {
        shop.config_map(name, &[("key", "old")]).await;
        shop.workload("Deployment", name, 2, json!({"env": env("KEY", name, "key")})).await;
    }
    shop.adopted().await;
    shop.write("both", "key", "new").await;
    for name in ["back", "mixed"] {
        shop.write(name, "key", "for a moment").await;
    }
    shop.stands("back", "Settling", "ConfigChanged").await;
    let pods = shop
        .api("Pod")
        .list(&kube::api::ListParams::default().labels("app=mixed"))
        .await
        .unwrap()
        .items;
    shop.api("Pod")
        .delete(pods[0].metadata.name.as_deref().unwrap(), &Default::default())
        .await
        .unwrap();
    eventually(
        "one pod started in between",
        || shop.reads("mixed", "KEY"),
        |seen| seen.iter().any(|value| value == "for a moment"),
    )
    .await;
    shop.patch("Secret", "both", json!({"stringData": {"key": "new"}})).await;
    for name in ["mixed", "back"] {
        shop.write(name, "key", "old").await;
    }
    let seen = |status: &Value| {
        let all = status["attention"].to_string();
        all.contains("Secret/both[key]") && !all.contains("ConfigMap/back")
    };
    eventually("all changes are seen", || shop.status(), seen).await;
    for name in ["back", "both"] {
        assert_eq!(shop.rollouts(name).await, 0, "{name}");
    }
    shop.patch("UpgradePolicy", "shop", json!({"spec": {"config": {"settle": "1s"}}})).await;
    shop.rolled("mixed", 1).await;
    shop.all_read("mixed", "KEY", "old").await;
    shop.rolled("both", 1).await;
    shop.all_read("both", "SECRET", "new").await;
    shop.operator_has_acted().await;
    assert_eq!(shop.rollouts("back").await, 0);
    assert_eq!(shop.rollouts("both").await, 1);
    shop.up_to_date().await;
}

#[tokio::test]
async fn p2_a_burst_of_changes_is_few_rollouts_and_the_last_content_arrives() {
    let _operator = operator();
    let shop = Shop::open("burst").await;
    shop.policy(json!({"config": {"settle": "5s", "settleLimit": "10m"}})).await;
    shop.config_map("app", &[("key", "0")]).await;
    let names: Vec<_> = (0..10).map(|number| format!("web-{number}")).collect();
    for name in &names {
        shop.deployment(name, json!({"env": env("KEY", "app", "key")})).await;
    }
    shop.adopted().await;
    for value in 1..=10 {
        shop.write("app", "key", &value.to_string()).await;
    }
    for name in &names {
        shop.all_read(name, "KEY", "10").await;
        let rollouts = shop.rollouts(name).await;
        assert!((1..=2).contains(&rollouts), "{name} rolled {rollouts} times");
    }
}

#[tokio::test]
async fn p4_a_to_b_undone_and_back_to_a_leaves_no_pod_on_b() {
    let _operator = operator();
    let shop = Shop::governed("undo").await;
    shop.config_map("app", &[("key", "a")]).await;
    shop.workload("Deployment", "web", 2, json!({"env": env("KEY", "app", "key")})).await;
    shop.adopted().await;
    shop.write("app", "key", "b").await;
    shop.rolled("web", 1).await;
    shop.all_read("web", "KEY", "b").await;
    shop.up_to_date().await;
    shop.a_second_passes().await;
    // There is nothing to undo but our annotation, and admission puts that back: no pod goes back
    // to old config.
    crate::support::kubectl(&["rollout", "undo", "deployment/web", "-n", &shop.name]);
    shop.operator_has_acted().await;
    assert_eq!(shop.rollouts("web").await, 1);
    shop.all_read("web", "KEY", "b").await;
    shop.a_second_passes().await;
    shop.write("app", "key", "a").await;
    shop.rolled("web", 2).await;
    shop.all_read("web", "KEY", "a").await;
    shop.up_to_date().await;
}

#[tokio::test]
async fn p2_config_and_image_of_one_upgrade_are_one_rollout_in_either_order() {
    let _operator = operator();
    let shop = Shop::open("upgrade").await;
    // Long enough for both writes of an upgrade, also on a machine that is busy.
    shop.policy(json!({"config": {"settle": "15s", "settleLimit": "60s"}})).await;
    for name in ["config-first", "image-first", "undone"] {
        shop.config_map(name, &[("key", "old")]).await;
        shop.workload("Deployment", name, 2, json!({"env": env("KEY", name, "key")})).await;
    }
    shop.adopted().await;
    shop.write("config-first", "key", "new").await;
    shop.set_image("image-first", "v2").await;
    shop.write("undone", "key", "new").await;
    shop.stands("config-first", "Settling", "ConfigChanged").await;
    shop.set_image("config-first", "v2").await;
    shop.write("image-first", "key", "new").await;
    // An image whose pods never become ready.
    let never = json!({"spec": {"template": {"metadata": {"annotations": {"lockkeeper.dev/test-ready": "never"}}}}});
    shop.patch("Deployment", "undone", never).await;
    shop.stands("undone", "Rolling", "CoveredByRollout").await;
    crate::support::kubectl(&["rollout", "undo", "deployment/undone", "-n", &shop.name]);
    for name in ["config-first", "image-first", "undone"] {
        shop.all_read(name, "KEY", "new").await;
    }
    shop.operator_has_acted().await;
    assert_eq!(shop.rollouts("config-first").await, 1);
    assert!(shop.rollouts("image-first").await <= 2);
    shop.up_to_date().await;
}

#[tokio::test]
async fn p10_replacing_the_original_manifest_is_no_rollout_of_ours() {
    let _operator = operator();
    let shop = Shop::governed("replace").await;
    shop.config_map("app", &[("key", "old")]).await;
    for name in ["before", "after"] {
        shop.deployment(name, json!({"env": env("KEY", "app", "key")})).await;
    }
    shop.adopted().await;
    let shop = &shop;
    let replace = |name: &'static str| async move {
        let mut original = shop.get("Deployment", name).await;
        original["metadata"] =
            json!({"name": name, "namespace": shop.name, "labels": {"app": name}});
        original["spec"]["template"]["metadata"]["annotations"] = json!(null);
        let object = serde_json::from_value(original).unwrap();
        shop.api("Deployment").replace(name, &Default::default(), &object).await.unwrap();
    };
    replace("before").await;
    shop.operator_has_acted().await;
    assert_eq!(shop.rollouts("before").await, 0, "replaced before its first config rollout");
    shop.write("app", "key", "new").await;
    for name in ["before", "after"] {
        shop.rolled(name, 1).await;
    }
    shop.up_to_date().await;
    replace("after").await;
    shop.operator_has_acted().await;
    assert_eq!(
        shop.rollouts("after").await,
        1,
        "admission put our annotations back, that of the template too"
    );
    shop.all_read("after", "KEY", "new").await;
    shop.up_to_date().await;
}

#[tokio::test]
async fn p14_beyond_the_limit_nothing_rolls_until_the_window_has_moved() {
    let _operator = operator();
    let shop = Shop::open("limit").await;
    shop.policy(json!({"config": {"settle": "200ms", "limit": {"max": 2, "window": "1h"}}})).await;
    shop.config_map("app", &[("key", "0")]).await;
    shop.deployment("web", json!({"env": env("KEY", "app", "key")})).await;
    shop.adopted().await;
    shop.operator_has_acted().await;
    for value in ["1", "2"] {
        shop.write("app", "key", value).await;
        shop.all_read("web", "KEY", value).await;
        shop.up_to_date().await;
    }
    shop.write("app", "key", "3").await;
    shop.stands_saying("web", "Limited", "LimitReached", &["spec.config.limit"]).await;
    shop.write("app", "key", "4").await;
    shop.operator_has_acted().await;
    assert_eq!(shop.rollouts("web").await, 2);
    // Nobody waits for an hour here.
    let moved = json!({"spec": {"config": {"limit": {"window": "1s"}}}});
    shop.patch("UpgradePolicy", "shop", moved).await;
    shop.all_read("web", "KEY", "4").await;
    assert_eq!(shop.rollouts("web").await, 3);
}

#[tokio::test]
async fn observe_and_report_roll_nothing_and_say_what_they_would() {
    let _operator = operator();
    let shop = Shop::open("observe").await;
    shop.policy(json!({"config": {"settle": "200ms"}, "mode": "Observe"})).await;
    shop.config_map("app", &[("key", "old")]).await;
    shop.deployment("web", json!({"env": env("KEY", "app", "key")})).await;
    shop.adopted().await;
    assert_eq!(mark(&shop.get("Deployment", "web").await, "governance"), None);
    shop.write("app", "key", "new").await;
    let entry = shop.stands("web", "WouldRoll", "ObserveMode").await;
    assert_eq!(entry["changed"], json!(["ConfigMap/app[key]"]));
    shop.patch(
        "UpgradePolicy",
        "shop",
        json!({"spec": {"mode": "Enforce", "config": {"onChange": "Report"}}}),
    )
    .await;
    shop.stands("web", "WouldRoll", "ReportOnly").await;
    assert_eq!(shop.rollouts("web").await, 0);
    shop.patch("UpgradePolicy", "shop", json!({"spec": {"config": {"onChange": "Rollout"}}})).await;
    shop.rolled("web", 1).await;
    shop.all_read("web", "KEY", "new").await;
}

#[tokio::test]
async fn workloads_that_are_ignored_owned_or_reloaded_by_others_are_left_alone() {
    let _operator = operator();
    let shop = Shop::governed("left-out").await;
    shop.config_map("app", &[("key", "old")]).await;
    for name in ["ignored", "reloaded", "owned", "governed"] {
        shop.deployment(name, json!({"env": env("KEY", "app", "key")})).await;
    }
    shop.adopted().await;
    let owner = shop.get("ConfigMap", "app").await["metadata"]["uid"].clone();
    shop.patch(
        "Deployment",
        "ignored",
        json!({"metadata": {"annotations": {"lockkeeper.dev/ignore": "true"}}}),
    )
    .await;
    shop.patch(
        "Deployment",
        "reloaded",
        json!({"metadata": {"annotations": {"reloader.stakater.com/auto": "true"}}}),
    )
    .await;
    let owners = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "app", "uid": owner, "controller": true}]);
    shop.patch("Deployment", "owned", json!({"metadata": {"ownerReferences": owners}})).await;
    for name in ["ignored", "reloaded", "owned"] {
        eventually(
            "its marks go",
            || shop.get("Deployment", name),
            |one| mark(one, "config").is_none(),
        )
        .await;
    }
    shop.write("app", "key", "new").await;
    shop.rolled("governed", 1).await;
    shop.operator_has_acted().await;
    for name in ["ignored", "reloaded", "owned"] {
        assert_eq!(shop.rollouts(name).await, 0, "{name}");
    }
    let governing = |status: &Value| {
        let mut all = status["conditions"].as_array().into_iter().flatten();
        all.any(|one| {
            let words = ["Deployment/ignored: ignored", "OtherReloader", "OwnedBy ConfigMap/app"];
            one["type"] == "Governing" && one["status"] == "False" && says_all(one, &words)
        })
    };
    eventually("each is named with what keeps it out", || shop.status(), governing).await;
}

#[tokio::test]
async fn include_and_exclude_say_what_counts() {
    let _operator = operator();
    let shop = Shop::open("include").await;
    let include = json!([{"kind": "Secret", "name": "licence-*", "keys": ["*.lic"]}]);
    let exclude = json!([{"kind": "ConfigMap", "name": "app", "keys": ["noise*"]}]);
    shop.policy(json!({"config": {"settle": "200ms", "include": include, "exclude": exclude}}))
        .await;
    shop.config_map("app", &[("key", "old"), ("noise-1", "old")]).await;
    shop.secret("licence-a", &[("a.lic", "old"), ("readme", "old")]).await;
    shop.deployment("web", json!({"envFrom": [{"configMapRef": {"name": "app"}}]})).await;
    shop.adopted().await;
    shop.write("app", "noise-1", "new").await;
    shop.patch("Secret", "licence-a", json!({"stringData": {"readme": "new"}})).await;
    shop.operator_has_acted().await;
    assert_eq!(shop.rollouts("web").await, 0);
    shop.patch("Secret", "licence-a", json!({"stringData": {"a.lic": "new"}})).await;
    shop.rolled("web", 1).await;
}
