//! Offline upgrades: everything of a policy is stopped, migrated and started in order.

use serde_json::{Value, json};

use crate::{
    maintenance::{all_pods, in_service, maintainer, revision},
    support::{
        HOLDABLE, Shop, eventually, mark, operator,
        plugin::{Person, plugin, says},
    },
};

const BOTH: [(&str, &str); 2] = [("StatefulSet", "db"), ("Deployment", "web")];

/// A database and its client, in steps of their own. A person migrates.
async fn shop(name: &str) -> Shop {
    let shop = Shop::open(name).await;
    let step = |name: &str| json!({"name": name, "selector": {"matchLabels": {"app": name}}});
    shop.policy(json!({
        "kinds": HOLDABLE, "config": {"settle": "300ms", "settleLimit": "5s"}, "gates": {"approval": "Required"},
        "rollout": {"steps": [step("db"), step("web")]},
        "offline": {"when": "Always", "migrate": {"by": "Person"}}
    }))
    .await;
    shop
}

async fn is_migrating(shop: &Shop, name: &str) -> Value {
    let words = ["2 of 2 pods sleep in the new template", "kubectl lockkeeper migrated"];
    shop.stands_saying(name, "Maintenance", "Migrating", &words).await
}

/// The change for which the data of a workload is to be migrated.
async fn change(shop: &Shop, kind: &str, name: &str) -> String {
    let mark = mark(&shop.get(kind, name).await, "in-maintenance").unwrap();
    mark.split(' ').find_map(|word| word.strip_prefix("change=")).unwrap().to_owned()
}

/// Says that the data of a workload is migrated, as the message of the status has it.
async fn migrated(shop: &Shop, by: &Person, (kind, name): (&str, &str)) {
    is_migrating(shop, name).await;
    let (place, change) =
        (format!("{}/{name}", kind.to_lowercase()), change(shop, kind, name).await);
    let said = by.plugin(shop, &["migrated", &place, "--change", &change]);
    says(&said, true, &["is migrated for change", "The upgrade goes on"]);
}

/// When pods of an app in a version did this, in milliseconds.
fn times(shop: &Shop, name: &str, what: &str) -> Vec<u64> {
    let lines = shop.log_lines(name).into_iter();
    lines.filter_map(|line| line.strip_prefix(what)?.trim().parse().ok()).collect()
}

#[tokio::test]
async fn p21_no_pod_of_the_new_version_starts_before_the_last_one_of_the_old_has_stopped() {
    let _operator = operator();
    let shop = shop("offline-order").await;
    let by = maintainer(&shop);
    let manifest = |kind: &str, name: &str, version: &str| {
        let mut manifest = shop.app_manifest(kind, name, 2, version);
        let container = &mut manifest["spec"]["template"]["spec"]["containers"][0];
        container["env"] = json!([{"name": "VERSION", "value": version}]);
        manifest
    };
    for (kind, name) in BOTH {
        shop.apply(&manifest(kind, name, "v1"));
        shop.marked(kind, name).await;
        shop.runs(kind, name, "v1", 2).await;
    }
    for (kind, name) in BOTH {
        shop.apply(&manifest(kind, name, "v2"));
        shop.waits(kind, name, "ApprovalRequired").await;
    }
    let id = shop.is_held("StatefulSet", "db").await;
    shop.annotate("StatefulSet", "db", "approve", &id);
    let waits = ["these cannot be stopped yet: deployment/web"];
    shop.stands_saying("db", "Held", "WaitsForOthers", &waits).await;
    let id = shop.is_held("Deployment", "web").await;
    shop.annotate("Deployment", "web", "approve", &id);

    is_migrating(&shop, "db").await;
    shop.stands("web", "Maintenance", "WaitsForOthers").await;
    assert!(all_pods(&shop, "web").await.is_empty());
    says(
        &plugin(&shop, &["why", "statefulset/db"]),
        true,
        &["Migrating", "migrated statefulset/db"],
    );
    says(&plugin(&shop, &["maintenance", "status", "statefulset/db"]), true, &["Migrate the data"]);
    let stopped = ["db", "web"].map(|name| times(&shop, name, "stopped v1 at"));
    assert_eq!(stopped.clone().map(|times| times.len()), [2, 2]);
    migrated(&shop, &by, BOTH[0]).await;
    migrated(&shop, &by, BOTH[1]).await;
    for (kind, name) in BOTH {
        in_service(&shop, kind, name).await;
        shop.runs(kind, name, "v2", 2).await;
        shop.event(name, "OfflineUpgradeDone").await;
    }
    let [db, web] = ["db", "web"].map(|name| times(&shop, name, "started v2 at"));
    assert_eq!((db.len(), web.len()), (2, 2));
    let last = stopped.iter().flatten().max();
    assert!(last < db.iter().min(), "{stopped:?}, {db:?}");
    assert!(db.iter().max() < web.iter().min(), "the database starts first: {db:?}, {web:?}");
    assert!(stopped[1].iter().max() < stopped[0].iter().min(), "and stops last: {stopped:?}");
}

#[tokio::test]
async fn p22_a_migration_is_done_when_who_may_names_its_change() {
    let _operator = operator();
    let shop = shop("offline-word").await;
    let (by, dev) = (maintainer(&shop), Person::new(&shop, "dev", &["lockkeeper-approver"]));
    for (kind, name) in BOTH {
        shop.guarded(kind, name).await;
    }
    let before = revision(&shop, "Deployment", "web").await;
    shop.apply(&shop.manifest("StatefulSet", "db", "v2"));
    let id = shop.is_held("StatefulSet", "db").await;
    shop.annotate("StatefulSet", "db", "approve", &id);
    is_migrating(&shop, "db").await;

    let change = change(&shop, "StatefulSet", "db").await;
    let say = |who: &Person, change: &str| {
        who.plugin(&shop, &["migrated", "statefulset/db", "--change", change])
    };
    says(&say(&by, "9999"), false, &["is to be migrated for change", "Nothing was changed"]);
    let refused = say(&dev, &change);
    says(&refused, false, &["may not say that data is migrated", "verb maintain"]);
    let wrong = ["annotate", "statefulset/db", "lockkeeper.dev/migrated=9999"];
    let refused = shop.run("kubectl", &wrong, None);
    says(&refused, false, &["no pods sleep for the migration to change 9999"]);
    shop.a_second_passes().await;
    is_migrating(&shop, "db").await;
    says(&say(&by, &change), true, &["is migrated"]);
    for (kind, name) in BOTH {
        in_service(&shop, kind, name).await;
    }
    shop.all_run("StatefulSet", "db", "other:v2", 2).await;
    // What has no change of its own is as it was.
    assert_eq!(revision(&shop, "Deployment", "web").await, before);
    says(&say(&by, &change), false, &["do not sleep for a migration. Nothing was changed"]);
}

#[tokio::test]
async fn p23_after_a_migration_began_the_old_version_starts_by_a_bypass_only() {
    let _operator = operator();
    let shop = shop("offline-back").await;
    let kind_and_name = [BOTH[0], BOTH[1]];
    for (kind, name) in kind_and_name {
        shop.guarded(kind, name).await;
    }
    for (kind, name) in kind_and_name {
        shop.apply(&shop.manifest(kind, name, "v2"));
    }
    for (kind, name) in kind_and_name {
        let id = shop.is_held(kind, name).await;
        shop.annotate(kind, name, "approve", &id);
    }
    is_migrating(&shop, "db").await;
    // The data of the client was not touched yet, and so it goes back at once.
    for (kind, name) in kind_and_name {
        shop.apply(&shop.manifest(kind, name, "v1"));
    }
    let words = ["the data was migrated since that revision ran", "lockkeeper.dev/bypass="];
    shop.stands_saying("db", "Maintenance", "DataMigrated", &words).await;
    let held = |object: &Value| mark(object, "hold").is_none();
    eventually("the client has its old template", || shop.get("Deployment", "web"), held).await;
    assert_eq!(all_pods(&shop, "web").await.len(), 0);
    let id = shop.is_held("StatefulSet", "db").await;
    shop.annotate("StatefulSet", "db", "approve", &id);
    shop.a_second_passes().await;
    shop.stands("db", "Maintenance", "DataMigrated").await;
    shop.annotate("StatefulSet", "db", "bypass", &id);
    for (kind, name) in kind_and_name {
        in_service(&shop, kind, name).await;
        shop.all_run(kind, name, "other:v1", 2).await;
    }
}
