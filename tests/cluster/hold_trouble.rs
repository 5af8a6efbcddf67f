//! What happens to a hold when something goes wrong: garbage in the marks, rollouts that are stuck, an
//! operator that dies, and changes that could not be held.

use serde_json::{Value, json};

use crate::support::{
    HOLDABLE, Shop, admission_is_current, eventually, mark, named, operator, operator_alone,
};

#[tokio::test]
async fn p15_garbage_in_our_annotations_neither_holds_nor_releases_and_is_put_right() {
    let _operator = operator();
    let shop = Shop::gated("garbage-marks").await;
    for kind in HOLDABLE {
        let name = &named("web", kind);
        shop.guarded(kind, name).await;
        let before = shop.pods(name).await;
        let garbage = |value: &str| -> Value {
            let all = [
                "hold",
                "hold-since",
                "hold-at-zero",
                "declared-paused",
                "declared-partition",
                "declared-strategy",
                "declared-replicas",
                "partition",
                "volume-access",
                "config",
                "governance",
                "rollout",
                "rollouts",
                "pending-config",
                "approve",
                "approved-by",
                "bypass",
                "bypassed-by",
                "hold-changes",
            ];
            all.into_iter()
                .map(|mark| (format!("lockkeeper.dev/{mark}"), json!(value)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let intact = shop.annotations_at_rest(kind, name).await;
        for value in ["", "{", "7 by admin", "-1", "c-00000000", "99999999999", "true"] {
            shop.patch(kind, name, json!({"metadata": {"annotations": garbage(value)}})).await;
            let after = shop.get(kind, name).await;
            for (mark, text) in after["metadata"]["annotations"].as_object().unwrap() {
                if mark.starts_with("lockkeeper.dev/") {
                    assert_eq!(*text, intact[mark], "{kind} {value:?} {mark}");
                }
            }
        }
        shop.kubectl(&["set", "image", &format!("{kind}/{name}"), "app=other:v2"]);
        shop.patch(kind, name, json!({"metadata": {"annotations": garbage("x")}})).await;
        shop.waits(kind, name, "ApprovalRequired").await;
        assert_eq!(shop.pods(name).await, before);
        shop.approve(kind, name, "other:v2").await;
    }
}

#[tokio::test]
async fn p10_a_replace_by_the_original_manifest_after_a_config_rollout_neither_rolls_nor_holds() {
    let _operator = operator();
    let shop = Shop::open("replaced").await;
    let gates = json!({"appliesTo": ["Template"], "approval": "Required"});
    shop.policy(json!({"config": {"settle": "300ms"}, "gates": gates})).await;
    shop.config_map("app", &[("key", "old")]).await;
    for kind in HOLDABLE {
        let name = &named("web", kind);
        let mut original = shop.manifest(kind, name, "v1");
        original["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
            json!([{"configMapRef": {"name": "app"}}]);
        shop.apply(&original);
        shop.marked(kind, name).await;
    }
    shop.a_second_passes().await;
    shop.write("app", "key", "new").await;
    for kind in HOLDABLE {
        let name = &named("web", kind);
        shop.rolled(name, 1).await;
        shop.done(kind, name).await;
        let before = shop.pods(name).await;
        let mut original = shop.manifest(kind, name, "v1");
        original["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
            json!([{"configMapRef": {"name": "app"}}]);
        // kubectl reads and writes, and somebody may write in between: the controllers, for one.
        let replace = || async { shop.run("kubectl", &["replace", "-f", "-"], Some(&original)) };
        let said = eventually("it is replaced", replace, |said| said.success).await;
        assert!(!said.text.contains("held"), "{}", said.text);
        shop.done(kind, name).await;
        assert_eq!(mark(&shop.get(kind, name).await, "hold"), None);
        assert_eq!(shop.pods(name).await, before);
        assert_eq!(shop.rollouts(name).await, 1);
    }
}

#[tokio::test]
async fn p9_a_change_over_a_stuck_rollout_is_held_and_the_way_back_is_open() {
    let _operator = operator();
    let shop = Shop::gated("stuck").await;
    shop.patch("UpgradePolicy", "shop", json!({"spec": {"rollout": {"deadline": "3s"}}})).await;
    for kind in HOLDABLE {
        let name = &named("web", kind);
        shop.guarded(kind, name).await;
        let mut broken = shop.manifest(kind, name, "v2");
        broken["spec"]["template"]["metadata"]["annotations"] =
            json!({"lockkeeper.dev/test-ready": "never"});
        shop.apply(&broken);
        shop.waits(kind, name, "ApprovalRequired").await;
        let id = shop.is_held(kind, name).await;
        shop.annotate(kind, name, "approve", &id);
        eventually(
            "v2 has begun",
            || shop.images(name),
            |images| images.contains(&"other:v2".to_owned()),
        )
        .await;
        shop.stands(name, "Failed", "DeadlineExceeded").await;

        shop.apply(&shop.manifest(kind, name, "v3"));
        shop.waits_saying(kind, name, "ApprovalRequired", &["HeldMidRollout"]).await;
        // A pod of the stuck revision that dies comes back, and not as the held one.
        let (newer, ..) =
            shop.pods(name).await.into_iter().find(|(_, _, image)| image == "other:v2").unwrap();
        let count = shop.pods(name).await.len();
        shop.kubectl(&["delete", "pod", &newer, "--grace-period=0", "--force"]);
        let pods =
            eventually("it comes back", || shop.images(name), |images| images.len() == count).await;
        assert!(!pods.contains(&"other:v3".to_owned()), "{pods:?}");

        // Back to what was there before v2: at once.
        shop.apply(&shop.manifest(kind, name, "v1"));
        eventually(
            "the revert is let through",
            || shop.get(kind, name),
            |object| mark(object, "hold").is_none(),
        )
        .await;
        shop.all_run(kind, name, "other:v1", 2).await;
    }
}

#[tokio::test]
async fn a_set_stuck_behind_a_pod_of_a_withdrawn_revision_is_named_with_the_cure() {
    let _operator = operator();
    let shop = Shop::gated("withdrawn").await;
    shop.patch("UpgradePolicy", "shop", json!({"spec": {"rollout": {"deadline": "3s"}}})).await;
    let (kind, name) = ("StatefulSet", "db");
    shop.guarded(kind, name).await;
    let mut broken = shop.manifest(kind, name, "v2");
    broken["spec"]["template"]["metadata"]["annotations"] =
        json!({"lockkeeper.dev/test-ready": "never"});
    shop.apply(&broken);
    let id = shop.is_held(kind, name).await;
    shop.annotate(kind, name, "approve", &id);
    eventually(
        "v2 has begun",
        || shop.images(name),
        |images| images.contains(&"other:v2".to_owned()),
    )
    .await;
    shop.apply(&shop.manifest(kind, name, "v1"));
    shop.stands_saying(
        name,
        "Failed",
        "StuckBehindPod",
        &["kubernetes#67250", &format!("kubectl delete pod -n {} db-1", shop.name)],
    )
    .await;
    shop.kubectl(&["delete", "pod", "db-1", "--grace-period=0", "--force"]);
    shop.all_run(kind, name, "other:v1", 2).await;
}

#[tokio::test]
async fn p6_holds_stand_through_kills_of_the_operator_exclusively() {
    let operator = operator_alone();
    let shop = Shop::gated("killed").await;
    for kind in HOLDABLE {
        shop.guarded(kind, &named("web", kind)).await;
    }
    for kind in HOLDABLE {
        shop.kubectl(&["set", "image", &format!("{kind}/{}", named("web", kind)), "app=other:v2"]);
    }
    // Killed while it takes note, while it waits, and while it releases: the end is the same.
    operator.kill();
    for kind in HOLDABLE {
        let name = &named("web", kind);
        shop.waits(kind, name, "ApprovalRequired").await;
        operator.kill();
        let id = shop.is_held(kind, name).await;
        shop.annotate(kind, name, "approve", &id);
        operator.kill();
        shop.all_run(kind, name, "other:v2", 2).await;
        shop.is_free(kind, name).await;
    }
    operator.ready();
}

#[tokio::test]
async fn a_change_that_slips_by_and_one_that_comes_again_and_again_are_said_exclusively() {
    let operator = operator_alone();
    let shop = Shop::gated("said").await;
    shop.guarded("Deployment", "web").await;
    shop.guarded("Deployment", "volatile").await;
    for number in 0..5 {
        let annotation = json!({"spec": {"template": {"metadata": {"annotations": {"rendered-at": number.to_string()}}}}});
        shop.patch("Deployment", "volatile", annotation).await;
        shop.waits("Deployment", "volatile", "ApprovalRequired").await;
    }
    shop.waits_saying(
        "Deployment",
        "volatile",
        "ApprovalRequired",
        &["VolatileTemplate", "annotations[rendered-at]"],
    )
    .await;

    crate::support::kubectl(&[
        "delete",
        "mutatingadmissionpolicybinding",
        "lockkeeper-deployments",
    ]);
    admission_is_current();
    let mut broken = shop.manifest("Deployment", "web", "v2");
    broken["spec"]["template"]["metadata"]["annotations"] =
        json!({"lockkeeper.dev/test-ready": "never"});
    shop.apply(&broken);
    assert!(shop.event("web", "HoldMissed").await.contains("should have been held"));
    drop(operator);
}

/// A label by which a policy selects it and an image in one write; and a set that is created again
/// over the pods of another.
#[tokio::test]
async fn what_could_not_be_held_is_told_with_its_cause() {
    let _operator = operator();
    let shop = Shop::open("missed").await;
    let spec =
        json!({"selector": {"matchLabels": {"gated": "yes"}}, "gates": {"approval": "Required"}});
    shop.create(json!({"kind": "UpgradePolicy", "metadata": {"name": "labelled"}, "spec": spec}))
        .await;
    shop.apply(&shop.manifest("Deployment", "web", "v1"));
    let mut set = shop.manifest("StatefulSet", "db", "v1");
    set["metadata"]["labels"]["gated"] = json!("yes");
    shop.apply(&set);
    shop.all_run("Deployment", "web", "other:v1", 2).await;
    shop.all_run("StatefulSet", "db", "other:v1", 2).await;
    shop.a_second_passes().await;

    let never = json!({"lockkeeper.dev/test-ready": "never"});
    let mut labelled = shop.manifest("Deployment", "web", "v2");
    labelled["metadata"]["labels"]["gated"] = json!("yes");
    labelled["spec"]["template"]["metadata"]["annotations"] = never.clone();
    shop.apply(&labelled);
    let missed = shop.event("web", "HoldMissed").await;
    assert!(missed.starts_with("NotMarked: "), "{missed}");

    shop.kubectl(&["delete", "statefulset", "db", "--cascade=orphan"]);
    let mut again = shop.manifest("StatefulSet", "db", "v2");
    again["metadata"]["labels"]["gated"] = json!("yes");
    again["spec"]["template"]["metadata"]["annotations"] = never;
    shop.apply(&again);
    let missed = shop.event("db", "HoldMissed").await;
    assert!(missed.starts_with("CreatedOverPods: "), "{missed}");
}

#[tokio::test]
async fn p15_marks_that_were_planted_before_it_was_governed_do_nothing() {
    let _operator = operator();
    let shop = Shop::open("planted").await;
    let planted = json!({
        "lockkeeper.dev/partition": "2147483647", "lockkeeper.dev/volume-access": "exclusive", "lockkeeper.dev/hold": "7 by nobody",
        "lockkeeper.dev/declared-strategy": "1|0", "lockkeeper.dev/approve": "3", "lockkeeper.dev/approved-by": "nobody"});
    for kind in HOLDABLE {
        let name = &named("web", kind);
        let mut manifest = shop.manifest(kind, name, "v1");
        manifest["metadata"]["annotations"] = planted.clone();
        shop.apply(&manifest);
    }
    shop.policy(json!({"kinds": HOLDABLE, "gates": {"approval": "Required"}})).await;
    for kind in HOLDABLE {
        let name = &named("web", kind);
        shop.marked(kind, name).await;
        shop.is_free(kind, name).await;
        shop.kubectl(&["set", "image", &format!("{kind}/{name}"), "app=other:v2"]);
        shop.waits(kind, name, "ApprovalRequired").await;
        let object = shop.get(kind, name).await;
        assert_ne!(object["spec"]["strategy"]["type"], "Recreate");
        assert_eq!((mark(&object, "partition"), mark(&object, "volume-access")), (None, None));
        shop.approve(kind, name, "other:v2").await;
    }
}

#[tokio::test]
async fn a_change_is_held_and_approved_where_annotations_are_nearly_full() {
    let _operator = operator();
    let shop = Shop::gated("nearly-full").await;
    for kind in HOLDABLE {
        let name = &named("full", kind);
        shop.guarded(kind, name).await;
        // That one is not copied to a ReplicaSet.
        let applied = "kubectl.kubernetes.io/last-applied-configuration";
        shop.patch(kind, name, json!({"metadata": {"annotations": {applied: null}}})).await;
        fill(&shop, kind, name, ("large", 1000)).await;
        eventually(
            "room is reserved",
            || shop.get(kind, name),
            |object| mark(object, "reserved").is_some(),
        )
        .await;
        fill(&shop, kind, name, ("more", 16)).await;
        // A ReplicaSet has a copy of the annotations, and some of its own: the controller must be
        // able to write it.
        shop.kubectl(&["scale", &format!("{kind}/{name}"), "--replicas=3"]);
        shop.done(kind, name).await;
        let said =
            shop.run("kubectl", &["set", "image", &format!("{kind}/{name}"), "app=other:v2"], None);
        assert!(said.success, "{kind}: {}", said.text);
        shop.waits(kind, name, "ApprovalRequired").await;
        let id = shop.is_held(kind, name).await;
        shop.annotate(kind, name, "approve", &id);
        shop.all_run(kind, name, "other:v2", 3).await;
        shop.is_free(kind, name).await;
    }
}

/// Adds an annotation that leaves so many bytes for all others.
async fn fill(shop: &Shop, kind: &str, name: &str, (annotation, room): (&str, usize)) {
    let all = shop.annotations_at_rest(kind, name).await;
    let all = all.as_object().unwrap();
    let taken: usize =
        all.iter().map(|(key, value)| key.len() + value.as_str().unwrap().len()).sum();
    let value = "x".repeat(262_144 - taken - annotation.len() - room);
    shop.patch(kind, name, json!({"metadata": {"annotations": {annotation: value}}})).await;
}
