//! What the operator finds when it comes back, and that coming back is no reason to roll.

use serde_json::json;

use crate::support::{
    Shop, env, eventually, http_get, kubectl, leader, mark, operator_address, operator_alone,
};

#[tokio::test]
async fn p1_and_p4_restarts_roll_nothing_and_what_changed_while_it_was_down_is_rolled_once_exclusively()
 {
    let alone = operator_alone();
    let shop = Shop::governed("down").await;
    let names: Vec<_> = (0..10).map(|number| format!("web-{number}")).collect();
    for name in &names {
        shop.config_map(name, &[("key", "old")]).await;
        shop.deployment(name, json!({"env": env("KEY", name, "key")})).await;
    }
    for name in ["unchanged", "with-image"] {
        shop.config_map(name, &[("key", "old")]).await;
        shop.workload("Deployment", name, 2, json!({"env": env("KEY", name, "key")})).await;
    }
    shop.adopted().await;

    // Restarted, upgraded, killed.
    alone.stop();
    alone.start();
    shop.operator_has_acted().await;
    alone.set(&["settings.logFormat=json"]);
    alone.kill();
    alone.ready();
    shop.operator_has_acted().await;
    for name in names.iter().map(String::as_str).chain(["unchanged", "with-image"]) {
        assert_eq!(shop.rollouts(name).await, 0, "{name} after restarts");
    }

    // Changed while it is down.
    shop.a_second_passes().await;
    alone.stop();
    for name in names.iter().map(String::as_str).chain(["with-image"]) {
        shop.write(name, "key", "new").await;
    }
    shop.set_image("with-image", "v2").await;
    alone.start();
    for name in &names {
        shop.rolled(name, 1).await;
        shop.all_read(name, "KEY", "new").await;
    }
    shop.all_read("with-image", "KEY", "new").await;
    shop.operator_has_acted().await;
    assert!(shop.rollouts("with-image").await <= 2);
    assert_eq!(shop.rollouts("unchanged").await, 0);
    shop.up_to_date().await;

    // Without its digest key it adopts again.
    alone.stop();
    kubectl(&["delete", "secret", "lockkeeper-digest-key", "-n", "lockkeeper-system"]);
    let everything = ["sentinel", "unchanged", "with-image"];
    let everything: Vec<_> = names.iter().map(String::as_str).chain(everything).collect();
    let record = async |name: &str| mark(&shop.get("Deployment", name).await, "config");
    let mut before = Vec::new();
    for name in &everything {
        before.push(record(name).await);
    }
    alone.start();
    // What is written before that is taken as it is, and rolls nothing.
    for (name, before) in everything.iter().zip(&before) {
        let again = |now: &Option<String>| now.is_some() && now != before;
        eventually(&format!("{name} is adopted again"), || record(name), again).await;
    }
    shop.operator_has_acted().await;
    for name in &names {
        assert_eq!(shop.rollouts(name).await, 1, "{name} after the key was lost");
    }
    shop.write("unchanged", "key", "new").await;
    shop.rolled("unchanged", 1).await;
    shop.up_to_date().await;
}

#[tokio::test]
async fn p14_never_more_rollouts_than_the_cluster_may_have_are_under_way_and_all_come_exclusively()
{
    let alone = operator_alone();
    alone.set(&["settings.maxConfigRollouts=10"]);
    let shop = Shop::governed("slots").await;
    shop.config_map("app", &[("key", "old")]).await;
    let names: Vec<_> = (0..120).map(|number| format!("web-{number}")).collect();
    for name in &names {
        shop.workload(
            "Deployment",
            name,
            1,
            json!({"image": "other", "env": env("KEY", "app", "key")}),
        )
        .await;
    }
    shop.adopted().await;
    shop.write("app", "key", "new").await;
    let mut most = 0;
    let rolling = || async { shop.status().await["workloads"].clone() };
    shop.patiently("all are rolled", rolling, |counts| {
        most = most.max(counts["rolling"].as_u64().unwrap_or_default());
        counts["upToDate"] == counts["total"] && most > 0
    })
    .await;
    assert!((1..=10).contains(&most), "{most} were under way at once");
    for name in &names {
        assert_eq!(shop.rollouts(name).await, 1, "{name}");
    }
}

#[tokio::test]
async fn together_rolls_each_once_also_if_the_operator_is_killed_in_between_exclusively() {
    let alone = operator_alone();
    // One at a time, so that there is an in-between.
    alone.set(&["settings.maxConfigRollouts=1"]);
    let shop = Shop::open("together").await;
    shop.policy(json!({"config": {"settle": "200ms"}, "rollout": {"together": "Config"}})).await;
    let names = ["one", "two", "three"];
    for name in names {
        shop.config_map(name, &[("key", "old")]).await;
        shop.deployment(name, json!({"env": env("KEY", name, "key")})).await;
    }
    shop.adopted().await;
    shop.write("two", "key", "new").await;
    let sum = || async {
        let mut sum = 0;
        for name in names {
            sum += shop.rollouts(name).await;
        }
        sum
    };
    eventually("the first is rolled", sum, |sum| *sum > 0).await;
    alone.kill();
    alone.ready();
    for name in names {
        shop.rolled(name, 1).await;
    }
    shop.up_to_date().await;
    shop.all_read("two", "KEY", "new").await;
    for name in names {
        assert_eq!(shop.rollouts(name).await, 1, "{name}");
    }
}

#[tokio::test]
async fn a_policy_that_is_deleted_lets_its_workloads_go_in_the_end_and_rolls_nothing() {
    let _operator = crate::support::operator();
    let shop = Shop::governed("let-go").await;
    shop.config_map("app", &[("key", "old")]).await;
    shop.deployment("web", json!({"env": env("KEY", "app", "key")})).await;
    shop.adopted().await;
    shop.delete("UpgradePolicy", "shop").await;
    shop.write("app", "key", "new").await;
    let marks = || async {
        let web = shop.get("Deployment", "web").await;
        web["metadata"]["annotations"]
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| key.starts_with("lockkeeper.dev/"))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert!(!marks().await.is_empty(), "a policy that is gone for a moment lets nothing go");
    shop.patiently("its marks go", marks, Vec::is_empty).await;
    assert_eq!(shop.rollouts("web").await, 0);
}

#[tokio::test]
async fn readiness_names_what_it_waits_for_and_who_is_told_to_stop_lets_go_exclusively() {
    let alone = operator_alone();
    let answers = || async {
        let address = operator_address().await;
        let (ready, live) = (http_get(&address, "/readyz"), http_get(&address, "/livez"));
        (address, ready.unwrap_or_default(), live.unwrap_or_default())
    };
    let well = |(_, ready, live): &(String, String, String)| ready == "ready\n" && live == "ok\n";
    let (address, ..) = eventually("the replica that acts is ready", answers, well).await;
    alone.stop();
    assert_eq!(
        leader(),
        "",
        "one that is killed at the end of its grace period has not let go of the Lease"
    );
    assert!(http_get(&address, "/livez").is_none(), "it is gone");
    alone.start();
}
