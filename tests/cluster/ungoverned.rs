//! Every way out of governance is the same way out: the marks go, and a held change is released, or
//! kept where the policy said so.

use local_cluster::shared;
use serde_json::{Value, json};

use crate::{
    support::plugin::ran,
    support::{HOLDABLE, Shop, eventually, kubectl, mark, operator, operator_alone},
};

const WAYS_OUT: [&str; 4] = ["narrowed", "gates-removed", "ignored", "deleted"];

/// A policy for one workload.
async fn policy(shop: &Shop, name: &str, when: &str) {
    let spec = json!({
        "selector": {"matchLabels": {"app": name}}, "kinds": HOLDABLE, "whenUngoverned": when,
        "config": {"settle": "300ms"}, "gates": {"approval": "Required"}});
    shop.create(json!({"kind": "UpgradePolicy", "metadata": {"name": name}, "spec": spec})).await;
}

async fn leave(shop: &Shop, kind: &str, name: &str, way: &str) {
    match way {
        "narrowed" => {
            shop.patch(
                "UpgradePolicy",
                name,
                json!({"spec": {"selector": {"matchLabels": {"no": "body"}}}}),
            )
            .await
        }
        "gates-removed" => {
            shop.patch("UpgradePolicy", name, json!({"spec": {"gates": null}})).await
        }
        "ignored" => shop.annotate(kind, name, "ignore", "true"),
        _ => shop.delete("UpgradePolicy", name).await,
    }
}

fn marks(object: &Value) -> Vec<String> {
    let ours = |map: &Value| -> Vec<String> {
        map.as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.clone())
            .filter(|key| key.starts_with("lockkeeper.dev/"))
            .collect()
    };
    [ours(&object["metadata"]["annotations"]), ours(&object["metadata"]["labels"])].concat()
}

fn all() -> impl Iterator<Item = (&'static str, &'static str, String)> {
    HOLDABLE
        .iter()
        .flat_map(|kind| WAYS_OUT.map(|way| (*kind, way, format!("{way}-{}", kind.to_lowercase()))))
}

/// One workload for each way out, with a policy of its own, and held.
async fn hold_all(shop: &Shop, when: &str) {
    for (kind, _, name) in all() {
        policy(shop, &name, when).await;
        shop.apply(&shop.manifest(kind, &name, "v1"));
    }
    for (kind, _, name) in all() {
        shop.marked(kind, &name).await;
        shop.kubectl(&["set", "image", &format!("{kind}/{name}"), "app=other:v2"]);
        shop.is_held(kind, &name).await;
    }
    for (kind, _, name) in all() {
        eventually(
            "the hold is seen",
            || shop.get(kind, &name),
            |object| mark(object, "hold-since").is_some(),
        )
        .await;
    }
}

async fn leave_all(shop: &Shop) {
    for (kind, way, name) in all() {
        leave(shop, kind, &name, way).await;
    }
}

#[tokio::test]
async fn p10_every_way_out_releases_what_is_held() {
    let _operator = operator();
    let shop = Shop::open("out-release").await;
    hold_all(&shop, "Release").await;
    leave_all(&shop).await;
    released(&shop).await;
}

#[tokio::test]
async fn p10_every_way_out_with_the_operator_down_is_the_same_and_with_keep_what_is_held_stays_exclusively()
 {
    let operator = operator_alone();
    let (release, keep) = (Shop::open("out-down").await, Shop::open("out-keep").await);
    hold_all(&release, "Release").await;
    hold_all(&keep, "Keep").await;
    operator.stop();
    for shop in [&release, &keep] {
        leave_all(shop).await;
        for (kind, _, name) in all() {
            shop.is_held(kind, &name).await;
        }
    }
    operator.start();
    released(&release).await;
    for (kind, way, name) in all() {
        let gone = |object: &Value| mark(object, "hold-changes").is_none();
        keep.patiently(&format!("{way} {kind}: the marks go"), || keep.get(kind, &name), gone)
            .await;
        let id = keep.is_held(kind, &name).await;
        assert!(keep.images(&name).await.iter().all(|image| image == "other:v1"), "{way} {kind}");
        keep.annotate(kind, &name, "bypass", &id);
        keep.all_run(kind, &name, "other:v2", 2).await;
    }
}

async fn released(shop: &Shop) {
    for (kind, way, name) in all() {
        let name = &name;
        let let_go = |object: &Value| {
            let left = marks(object);
            mark(object, "hold").is_none()
                && match way {
                    "ignored" => left == ["lockkeeper.dev/ignore"],
                    // Still governed, for its config.
                    "gates-removed" => {
                        left.contains(&"lockkeeper.dev/governed".to_owned())
                            && mark(object, "hold-changes").is_none()
                    }
                    _ => left.is_empty(),
                }
        };
        // Nobody knows for a minute whether a policy that is deleted is only being replaced.
        shop.patiently(&format!("{way} {kind} is let go"), || shop.get(kind, name), let_go).await;
        shop.all_run(kind, name, "other:v2", 2).await;
        shop.is_free(kind, name).await;
    }
}

#[tokio::test]
async fn p6_a_policy_that_begins_to_observe_releases_nothing_and_holds_nothing_new() {
    let _operator = operator();
    let shop = Shop::open("observing").await;
    for kind in HOLDABLE {
        let (held, free) =
            (&format!("held-{}", kind.to_lowercase()), &format!("free-{}", kind.to_lowercase()));
        for name in [held, free] {
            policy(&shop, name, "Release").await;
            shop.guarded(kind, name).await;
        }
        shop.kubectl(&["set", "image", &format!("{kind}/{held}"), "app=other:v2"]);
        let id = shop.is_held(kind, held).await;
        for name in [held, free] {
            shop.patch("UpgradePolicy", name, json!({"spec": {"mode": "Observe"}})).await;
            let let_go = |object: &Value| mark(object, "hold-changes").is_none();
            eventually("nothing new is held", || shop.get(kind, name), let_go).await;
        }
        let status = || async { shop.get("UpgradePolicy", held).await["status"].clone() };
        let said = |status: &Value| {
            let one = &status["attention"][0];
            let message = one["message"].as_str().unwrap_or_default();
            one["phase"] == "Held"
                && one["reason"] == "ObserveMode"
                && message.contains("kubectl lockkeeper undo")
                && message.contains("bypass=")
        };
        eventually("it says that it is still held", status, said).await;
        // The plugin promises nothing that the operator does not do.
        let (place, plugin) = (format!("{kind}/{held}"), |arguments: &[&str]| {
            ran(&shop, &shared().kubeconfig, arguments, "")
        });
        let why = plugin(&["why", &place]).out;
        for part in [
            "no gate is asked, and what is held stays held",
            "have its gates decide",
            "mode\":\"Enforce",
            "revert it",
        ] {
            assert!(why.contains(part), "{part:?} is not in:\n{why}");
        }
        assert!(!why.contains("by itself") && !why.contains("verb approve"), "{why}");
        let refused = plugin(&["approve", &place]);
        let because = format!("policy {held} only observes (mode: Observe), so no gate is asked");
        assert!(refused.code == Some(1) && refused.err.contains(&because), "{refused:?}");
        shop.kubectl(&["set", "image", &format!("{kind}/{free}"), "app=other:v2"]);
        shop.all_run(kind, free, "other:v2", 2).await;
        assert_eq!(shop.is_held(kind, held).await, id);
        assert!(shop.images(held).await.iter().all(|image| image == "other:v1"));
        // A revert is released, and leaves nothing.
        shop.kubectl(&["set", "image", &format!("{kind}/{held}"), "app=other:v1"]);
        let left = eventually(
            "the revert is released",
            || shop.get(kind, held),
            |object| mark(object, "hold").is_none(),
        )
        .await;
        assert!(!marks(&left).contains(&"lockkeeper.dev/hold-changes".to_owned()));
        let records = ["lockkeeper.dev/config", "lockkeeper.dev/history"];
        let gone = |object: &Value| marks(object) == records;
        eventually("only the records stay", || shop.get(kind, held), gone).await;
    }
}

#[tokio::test]
async fn a_held_workload_stays_with_its_policy_whatever_its_labels_and_a_rename_is_no_release() {
    let _operator = operator();
    let shop = Shop::open("judge").await;
    for kind in HOLDABLE {
        let name = &format!("web-{}", kind.to_lowercase());
        policy(&shop, name, "Release").await;
        shop.guarded(kind, name).await;
        shop.kubectl(&["set", "image", &format!("{kind}/{name}"), "app=other:v2"]);
        let id = shop.is_held(kind, name).await;
        eventually(
            "the hold is seen",
            || shop.get(kind, name),
            |object| mark(object, "hold-since").is_some(),
        )
        .await;

        // The workload's own labels move it out of the selector: it keeps its judge.
        shop.kubectl(&["label", kind, name, "app=else", "--overwrite"]);
        shop.kubectl(&["label", "upgradepolicy", name, "seen=1"]);
        let held = |status: &Value| status["workloads"]["held"] == 1;
        let status = || async { shop.get("UpgradePolicy", name).await["status"].clone() };
        eventually("it is still held by its policy", status, held).await;
        assert_eq!(shop.is_held(kind, name).await, id);
        shop.kubectl(&["label", kind, name, &format!("app={name}"), "--overwrite"]);

        // The policy under another name takes over, with the hold intact.
        let mut renamed = shop.get("UpgradePolicy", name).await;
        let new_name = format!("{name}-renamed");
        renamed["metadata"] = json!({"name": new_name});
        renamed.as_object_mut().unwrap().remove("status");
        shop.delete("UpgradePolicy", name).await;
        shop.create(renamed).await;
        let taken = |object: &Value| {
            mark(object, "governance").is_some_and(|text| text.contains(&new_name))
        };
        eventually("the other policy has taken over", || shop.get(kind, name), taken).await;
        assert_eq!(shop.is_held(kind, name).await, id);
        shop.approve(kind, name, "other:v2").await;
    }
}

#[tokio::test]
async fn p6_holds_survive_the_deletion_and_reinstallation_of_our_crd_exclusively() {
    let operator = operator_alone();
    let shop = Shop::gated("crd").await;
    for kind in HOLDABLE {
        let name = &format!("web-{}", kind.to_lowercase());
        shop.guarded(kind, name).await;
        shop.kubectl(&["set", "image", &format!("{kind}/{name}"), "app=other:v2"]);
        shop.waits(kind, name, "ApprovalRequired").await;
    }
    let free = "free";
    shop.guarded("Deployment", free).await;
    let reader = "reader";
    shop.config_map(reader, &[("key", "old")]).await;
    shop.deployment(
        reader,
        json!({"image": "other", "envFrom": [{"configMapRef": {"name": reader}}]}),
    )
    .await;
    shop.marked("Deployment", reader).await;
    shop.a_second_passes().await;
    shop.write(reader, "key", "new").await;
    shop.stands(reader, "Waiting", "ApprovalRequired").await;
    let definition =
        concat!(env!("CARGO_MANIFEST_DIR"), "/charts/lockkeeper/crds/upgradepolicies.yaml");
    kubectl(&["delete", "crd", "upgradepolicies.lockkeeper.dev"]);
    kubectl(&["create", "-f", definition]);
    // What was not held is let go; what was stays held, and says why.
    let gone = |object: &Value| mark(object, "governance").is_none();
    for name in [free, reader] {
        shop.patiently("what is not held is let go", || shop.get("Deployment", name), gone).await;
    }
    for kind in HOLDABLE {
        let name = &format!("web-{}", kind.to_lowercase());
        assert!(shop.event(name, "PolicyLost").await.contains("was deleted with the CRD"));
        shop.is_held(kind, name).await;
        assert!(shop.images(name).await.iter().all(|image| image == "other:v1"));
    }
    shop.policy(json!({"kinds": HOLDABLE, "config": {"settle": "300ms"}, "gates": {"approval": "Required"}})).await;
    for kind in HOLDABLE {
        let name = &format!("web-{}", kind.to_lowercase());
        shop.waits(kind, name, "ApprovalRequired").await;
        shop.approve(kind, name, "other:v2").await;
    }
    // The config that waited was forgotten with what else was noted of its workload, and that is
    // said.
    let said = |status: &Value| {
        status["conditions"]
            .to_string()
            .contains(&format!("Deployment/{reader} (ConfigMap/{reader}"))
    };
    eventually("what nobody can know is said", || shop.status(), said).await;
    assert_eq!(shop.rollouts(reader).await, 0);
    drop(operator);
}
