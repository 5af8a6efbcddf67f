//! P8 for databases: `scope: Pod`, one pod after the other, each asked before its turn.

use serde_json::{Value, json};

use crate::support::{Shop, eventually, finish_work, mark, operator, start_work};

const SET: &str = "StatefulSet";

impl Shop {
    async fn walking(name: &str) -> Self {
        Self::asking(name, json!({"scope": "Pod"})).await
    }

    /// Waits until so many pods of an app run this.
    async fn so_far(&self, name: &str, tag: &str, count: usize) {
        let image = format!("lockkeeper.dev/sample-app:{tag}");
        let of = |images: &Vec<String>| images.iter().filter(|one| **one == image).count() == count;
        eventually(&format!("{count} pods of {name} run {tag}"), || self.images(name), of).await;
    }
}

#[tokio::test]
async fn p8_pods_go_one_by_one_and_one_that_says_no_stops_the_walk() {
    let _operator = operator();
    let shop = Shop::walking("walk").await;
    shop.app(SET, "db", 3).await;
    let (_, address) = shop.reachable("db").await[1].clone();
    assert!(start_work(&address, 600.0));
    shop.upgrade(SET, "db", "v2");
    shop.stands_saying(
        "db",
        "Rolling",
        "AppGateClosed",
        &["1 of 3 updated; the next is db-1: db-1 has answered no"],
    )
    .await;
    assert_eq!(
        shop.images("db").await,
        ["v1", "v1", "v2"].map(|tag| format!("lockkeeper.dev/sample-app:{tag}"))
    );
    let set = shop.get(SET, "db").await;
    assert_eq!(set["spec"]["updateStrategy"]["rollingUpdate"]["partition"], 2);
    finish_work(&address);
    shop.runs(SET, "db", "v2", 3).await;
    eventually(
        "nothing is left of it",
        || shop.get(SET, "db"),
        |set| mark(set, "partition").is_none(),
    )
    .await;
    shop.is_free(SET, "db").await;
    shop.up_to_date_one("db").await;
    shop.all_ended_idle("db").await;
}

#[tokio::test]
async fn p7_p9_a_newer_template_holds_all_again_and_the_way_back_is_open() {
    let _operator = operator();
    let shop = Shop::walking("newer-template").await;
    shop.app(SET, "db", 3).await;
    let (_, address) = shop.reachable("db").await[1].clone();
    let busy = shop.pods("db").await[1].1.clone();
    assert!(start_work(&address, 600.0));
    shop.upgrade(SET, "db", "v2");
    shop.so_far("db", "v2", 1).await;
    shop.stands("db", "Rolling", "AppGateClosed").await;
    let newest = || async {
        let (_, address) = shop.reachable("db").await.get(2)?.clone();
        start_work(&address, 600.0).then_some(address)
    };
    let newest = eventually("db-2 takes work", newest, Option::is_some).await.unwrap();
    shop.upgrade(SET, "db", "v3");
    shop.waits_saying(SET, "db", "AppGateClosed", &["MixedRevisions", "db-2 has answered no"])
        .await;
    finish_work(&newest);
    shop.so_far("db", "v3", 1).await;
    // What was withdrawn may be ended when it agrees; the others are left alone, also the one that
    // says no.
    shop.upgrade(SET, "db", "v1");
    shop.runs(SET, "db", "v1", 3).await;
    shop.is_free(SET, "db").await;
    assert!(
        shop.pods("db").await.iter().any(|(_, uid, _)| *uid == busy),
        "the busy pod is still the same"
    );
}

#[tokio::test]
async fn p10_ordinals_a_declared_partition_and_scaling_are_kept() {
    let _operator = operator();
    let shop = Shop::walking("ordinals").await;
    let mut manifest = shop.app_manifest(SET, "db", 3, "v1");
    manifest["spec"]["ordinals"] = json!({"start": 5});
    manifest["spec"]["updateStrategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}});
    shop.apply(&manifest);
    let governed =
        |object: &Value| mark(object, "rollout").is_some_and(|text| text.contains("done"));
    eventually("it is adopted", || shop.get(SET, "db"), governed).await;
    shop.upgrade(SET, "db", "v2");
    shop.so_far("db", "v2", 2).await;
    shop.stands("db", "WaitsForUser", "Partitioned").await;
    let set = shop.get(SET, "db").await;
    assert_eq!(set["spec"]["updateStrategy"]["rollingUpdate"]["partition"], 1);
    let names: Vec<_> = shop
        .pods("db")
        .await
        .into_iter()
        .map(|(name, _, image)| (name, image.ends_with("v2")))
        .collect();
    assert_eq!(
        names,
        [("db-5".to_owned(), false), ("db-6".to_owned(), true), ("db-7".to_owned(), true)]
    );
    shop.kubectl(&["scale", "statefulset/db", "--replicas=4"]);
    shop.so_far("db", "v2", 3).await;
    // Taking the partition off goes on with the walk: the pod is asked.
    let (_, address) = shop.reachable("db").await[0].clone();
    assert!(start_work(&address, 600.0));
    shop.kubectl(&[
        "patch",
        "statefulset/db",
        "--type=merge",
        "-p",
        r#"{"spec":{"updateStrategy":{"rollingUpdate":{"partition":0}}}}"#,
    ]);
    shop.stands("db", "Rolling", "AppGateClosed").await;
    finish_work(&address);
    shop.runs(SET, "db", "v2", 4).await;
    shop.up_to_date_one("db").await;
    eventually(
        "nothing is left of it",
        || shop.get(SET, "db"),
        |set| mark(set, "partition").is_none(),
    )
    .await;
    shop.all_ended_idle("db").await;
}

#[tokio::test]
async fn p2_a_config_change_goes_pod_by_pod_too() {
    let _operator = operator();
    let shop = Shop::walking("config-walk").await;
    shop.config_map("app", &[("key", "1")]).await;
    let mut manifest = shop.app_manifest(SET, "db", 2, "v1");
    manifest["spec"]["template"]["spec"]["containers"][0]["env"] =
        crate::support::env("KEY", "app", "key");
    shop.apply(&manifest);
    shop.marked(SET, "db").await;
    shop.a_second_passes().await;
    let (_, address) = shop.reachable("db").await[0].clone();
    assert!(start_work(&address, 600.0));
    shop.write("app", "key", "2").await;
    shop.stands("db", "Rolling", "AppGateClosed").await;
    let read = || async {
        let mut read = shop.reads("db", "KEY").await;
        read.sort();
        read
    };
    eventually("one pod is new", read, |read| *read == ["1", "2"]).await;
    finish_work(&address);
    shop.all_read("db", "KEY", "2").await;
    shop.rolled("db", 1).await;
    shop.all_ended_idle("db").await;
}
