//! A changed template is held before the first pod is touched, no matter who changed it, and stays
//! held until it is released.

use serde_json::{Value, json};

use crate::support::{HOLDABLE, Shop, eventually, mark, named, operator, operator_alone};

/// The ways in which people change a template, by the name of the workload on which they are tried.
const WAYS: [&str; 7] = [
    "set-image",
    "restart",
    "client-apply",
    "server-apply",
    "replace",
    "helm-upgrade",
    "helm-rollback",
];

async fn change(shop: &Shop, kind: &str, way: &str) -> String {
    let name = &named(way, kind);
    let v2 = shop.manifest(kind, name, "v2");
    let said = match way {
        "set-image" => {
            shop.run("kubectl", &["set", "image", &format!("{kind}/{name}"), "app=other:v2"], None)
        }
        "restart" => shop.run("kubectl", &["rollout", "restart", &format!("{kind}/{name}")], None),
        "client-apply" => shop.run("kubectl", &["apply", "-f", "-"], Some(&v2)),
        "server-apply" => shop.run("kubectl", &["apply", "--server-side", "-f", "-"], Some(&v2)),
        "replace" => {
            eventually(
                "it is replaced",
                || async { shop.run("kubectl", &["replace", "-f", "-"], Some(&v2)) },
                |said| said.success,
            )
            .await
        }
        "helm-upgrade" => shop.helm_upgrade(name, &[&format!("kind={kind}"), "tag=v2"]),
        _ => shop.run("helm", &["rollback", name, "1"], None),
    };
    assert!(said.success, "{way}: {}", said.text);
    said.text
}

#[tokio::test]
async fn p6_p10_a_change_by_any_user_is_held_with_the_operator_down_and_comes_back_as_declared_exclusively()
 {
    let operator = operator_alone();
    let shop = Shop::gated("ways-to-change").await;
    for kind in HOLDABLE {
        for way in WAYS {
            let name = &named(way, kind);
            match way {
                "helm-upgrade" => {
                    drop(shop.helm_upgrade(name, &[&format!("kind={kind}"), "tag=v1"]))
                }
                "helm-rollback" => {
                    // So that there is something to go back to.
                    shop.helm_upgrade(name, &[&format!("kind={kind}"), "tag=v2"]);
                    shop.marked(kind, name).await;
                    shop.helm_upgrade(name, &[&format!("kind={kind}"), "tag=v1"]);
                    shop.approve(kind, name, "other:v1").await;
                }
                "server-apply" => {
                    let said = shop.run(
                        "kubectl",
                        &["apply", "--server-side", "-f", "-"],
                        Some(&shop.manifest(kind, name, "v1")),
                    );
                    assert!(said.success, "{}", said.text);
                }
                "replace" => {
                    let said = shop.run(
                        "kubectl",
                        &["create", "-f", "-"],
                        Some(&shop.manifest(kind, name, "v1")),
                    );
                    assert!(said.success, "{}", said.text);
                }
                _ => drop(shop.apply(&shop.manifest(kind, name, "v1"))),
            }
        }
    }
    for (kind, way) in HOLDABLE.iter().flat_map(|kind| WAYS.map(|way| (*kind, way))) {
        shop.marked(kind, &named(way, kind)).await;
    }
    operator.stop();
    for (kind, way) in HOLDABLE.iter().flat_map(|kind| WAYS.map(|way| (*kind, way))) {
        let name = &named(way, kind);
        let before = shop.pods(name).await;
        let said = change(&shop, kind, way).await;
        assert!(
            said.contains("stored, but held by Lockkeeper"),
            "{way} {kind}: no warning in {said}"
        );
        shop.is_held(kind, name).await;
        assert_eq!(shop.pods(name).await, before, "{way} {kind}");
    }
    operator.start();
    for (kind, way) in HOLDABLE.iter().flat_map(|kind| WAYS.map(|way| (*kind, way))) {
        let name = &named(way, kind);
        let entry = shop.waits(kind, name, "ApprovalRequired").await;
        assert_eq!(entry["hold"]["by"], "admin", "{entry:#}");
        let image = if way == "restart" { "other:v1" } else { "other:v2" };
        shop.approve(kind, name, image).await;
    }
    // The next ones meet no conflict, and roll nothing: the manifests say the same.
    for (kind, way) in HOLDABLE.iter().flat_map(|kind| WAYS.map(|way| (*kind, way))) {
        if way == "restart" || way == "set-image" || way == "helm-rollback" {
            continue;
        }
        let name = &named(way, kind);
        let before = shop.pods(name).await;
        change(&shop, kind, way).await;
        shop.is_free(kind, name).await;
        shop.done(kind, name).await;
        assert_eq!(shop.pods(name).await, before, "{way} {kind}");
    }
}

#[tokio::test]
async fn p6_a_hold_stays_through_whatever_else_is_written() {
    let _operator = operator();
    let shop = Shop::gated("stays").await;
    for kind in HOLDABLE {
        let name = &named("web", kind);
        shop.guarded(kind, name).await;
        shop.kubectl(&["set", "image", &format!("{kind}/{name}"), "app=other:v2"]);
        let id = shop.waits(kind, name, "ApprovalRequired").await["hold"]["id"].clone();
        let before = shop.pods(name).await;

        // Resumed, and applied again with an explicit "let it go".
        let mut explicit = shop.manifest(kind, name, "v2");
        match kind {
            "Deployment" => {
                shop.kubectl(&["rollout", "resume", &format!("{kind}/{name}")]);
                explicit["spec"]["paused"] = json!(false);
            }
            _ => {
                explicit["spec"]["updateStrategy"] =
                    json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
            }
        }
        shop.apply(&explicit);
        let again = shop.run(
            "kubectl",
            &["apply", "--server-side", "--force-conflicts", "-f", "-"],
            Some(&explicit),
        );
        assert!(again.success, "{}", again.text);
        assert_eq!(shop.is_held(kind, name).await, *id.as_str().unwrap());
        assert_eq!(shop.pods(name).await, before);

        // Scaled up and down, everything is old; and a pod that is evicted comes back old.
        shop.kubectl(&["scale", &format!("{kind}/{name}"), "--replicas=4"]);
        eventually(
            "4 old pods",
            || shop.images(name),
            |images| images.len() == 4 && images.iter().all(|image| image == "other:v1"),
        )
        .await;
        shop.kubectl(&["scale", &format!("{kind}/{name}"), "--replicas=2"]);
        eventually(
            "2 old pods",
            || shop.images(name),
            |images| images.len() == 2 && images.iter().all(|image| image == "other:v1"),
        )
        .await;
        let (evicted, uid, _) = shop.pods(name).await.remove(0);
        shop.kubectl(&["delete", "pod", &evicted]);
        let back = |pods: &Vec<(String, String, String)>| {
            pods.len() == 2
                && pods.iter().all(|(_, other, image)| *other != uid && image == "other:v1")
        };
        eventually("the evicted pod comes back old", || shop.pods(name), back).await;
        assert_eq!(shop.is_held(kind, name).await, *id.as_str().unwrap());
        shop.approve(kind, name, "other:v2").await;
    }
}

#[tokio::test]
async fn p7_a_newer_change_is_judged_again_and_old_approvals_are_void() {
    let _operator = operator();
    let shop = Shop::gated("newer").await;
    // So that an approval of A is not acted on before B is written.
    shop.patch(
        "UpgradePolicy",
        "shop",
        json!({"spec": {"gates": {"approval": "Required"}, "config": {"settle": "5s", "settleLimit": "60s"}}}),
    )
    .await;
    for kind in HOLDABLE {
        let name = &named("web", kind);
        shop.guarded(kind, name).await;
        let image = |tag: &str| {
            shop.kubectl(&["set", "image", &format!("{kind}/{name}"), &format!("app=other:{tag}")])
        };
        image("a");
        let a = shop.is_held(kind, name).await;
        shop.annotate(kind, name, "approve", &a);
        assert_eq!(mark(&shop.get(kind, name).await, "approved-by").as_deref(), Some("admin"));
        image("b");
        let b = shop.is_held(kind, name).await;
        assert_ne!(a, b);
        image("a");
        let again = shop.is_held(kind, name).await;
        assert!(again != a && again != b, "{a} {b} {again}");
        let object = shop.get(kind, name).await;
        assert_eq!((mark(&object, "approve"), mark(&object, "approved-by")), (None, None));
        shop.waits(kind, name, "ApprovalRequired").await;
        // A stale approval is stripped, and lets nothing through.
        shop.annotate(kind, name, "approve", &a);
        assert_eq!(mark(&shop.get(kind, name).await, "approve"), None);
        assert!(shop.images(name).await.iter().all(|image| image == "other:v1"));
        shop.approve(kind, name, "other:a").await;
    }
}

#[tokio::test]
async fn p9_a_revert_is_let_through_at_once_also_under_freeze() {
    let _operator = operator();
    let shop = Shop::gated("reverted").await;
    for kind in HOLDABLE {
        shop.guarded(kind, &named("web", kind)).await;
    }
    shop.patch("UpgradePolicy", "shop", json!({"spec": {"mode": "Freeze"}})).await;
    for kind in HOLDABLE {
        let name = &named("web", kind);
        let before = shop.pods(name).await;
        shop.kubectl(&["set", "image", &format!("{kind}/{name}"), "app=other:v2"]);
        shop.waits_saying(kind, name, "Frozen", &["its policy has mode: Freeze"]).await;
        // kubectl itself refuses an undo of a paused Deployment.
        shop.apply(&shop.manifest(kind, name, "v1"));
        eventually(
            "the revert is let through",
            || shop.get(kind, name),
            |object| mark(object, "hold").is_none(),
        )
        .await;
        shop.done(kind, name).await;
        shop.is_free(kind, name).await;
        assert_eq!(shop.pods(name).await, before, "a revert ends no pod");
        assert!(
            shop.event(name, "UpgradeReleased")
                .await
                .contains("reverted to the one that its pods run")
        );
    }
}

#[tokio::test]
async fn p10_the_users_own_paused_and_partition_come_back_exactly() {
    let _operator = operator();
    let shop = Shop::gated("declared").await;
    for (kind, value) in [("Deployment", "paused=true"), ("StatefulSet", "partition=1")] {
        let name = &named("web", kind);
        shop.helm_upgrade(name, &[&format!("kind={kind}"), "tag=v1"]);
        shop.marked(kind, name).await;
        shop.helm_upgrade(name, &[&format!("kind={kind}"), "tag=v2", value]);
        let id = shop.is_held(kind, name).await;
        shop.waits(kind, name, "ApprovalRequired").await;
        shop.annotate(kind, name, "approve", &id);
        let object = eventually(
            "released",
            || shop.get(kind, name),
            |object| mark(object, "hold").is_none(),
        )
        .await;
        match kind {
            "Deployment" => {
                assert_eq!(object["spec"]["paused"], true);
                shop.stands(name, "WaitsForUser", "Paused").await;
                assert!(shop.images(name).await.iter().all(|image| image == "other:v1"));
            }
            _ => {
                assert_eq!(object["spec"]["updateStrategy"]["rollingUpdate"]["partition"], 1);
                eventually(
                    "one of two is new",
                    || shop.images(name),
                    |images| *images == ["other:v1", "other:v2"],
                )
                .await;
                shop.stands(name, "WaitsForUser", "Partitioned").await;
            }
        }
        // What the user declares is the user's: the next upgrade meets no conflict and lets it go.
        shop.helm_upgrade(name, &[&format!("kind={kind}"), "tag=v2"]);
        shop.all_run(kind, name, "other:v2", 2).await;
        shop.is_free(kind, name).await;
    }
    // Declared while it is held, and taken back: the last word counts.
    let name = "web-deployment";
    shop.helm_upgrade(name, &["kind=Deployment", "tag=v3", "paused=true"]);
    shop.is_held("Deployment", name).await;
    shop.helm_upgrade(name, &["kind=Deployment", "tag=v3"]);
    shop.approve("Deployment", name, "other:v3").await;
}

#[tokio::test]
async fn p6_what_is_new_is_not_held() {
    let _operator = operator();
    let shop = Shop::gated("no-pods").await;
    let elsewhere = Shop::open("elsewhere").await;
    for kind in HOLDABLE {
        // The first install, with the marks from birth.
        let born = &named("born", kind);
        let mut manifest = shop.manifest(kind, born, "v1");
        manifest["metadata"]["labels"]["lockkeeper.dev/governed"] = json!("true");
        manifest["metadata"]["annotations"] = json!({"lockkeeper.dev/hold-changes": "true"});
        shop.apply(&manifest);
        // Held even before the operator has seen it.
        manifest["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other:v2");
        assert!(shop.apply(&manifest).contains("stored, but held"));
        shop.is_held(kind, born).await;
        shop.waits(kind, born, "ApprovalRequired").await;
        shop.approve(kind, born, "other:v2").await;

        // A held one that is exported and created elsewhere comes up at once, with nothing of its
        // other life.
        shop.kubectl(&["set", "image", &format!("{kind}/{born}"), "app=other:v5"]);
        shop.is_held(kind, born).await;
        let mut exported = shop.get(kind, born).await;
        let metadata = exported["metadata"].as_object_mut().unwrap();
        metadata.retain(|key, _| ["name", "labels", "annotations"].contains(&key.as_str()));
        exported.as_object_mut().unwrap().remove("status");
        let said = elsewhere.run("kubectl", &["create", "-f", "-"], Some(&exported));
        assert!(said.success, "{}", said.text);
        elsewhere.all_run(kind, born, "other:v5", 2).await;
        elsewhere.is_free(kind, born).await;
    }
}

/// What is held and has no pods waits all the same. Without pods a Deployment goes back to what it
/// ran, and a StatefulSet cannot.
#[tokio::test]
async fn p6_approval_counts_at_zero_replicas_too() {
    let _operator = operator();
    let shop = Shop::gated("asleep").await;
    for kind in HOLDABLE {
        let name = &named("web", kind);
        let scale = |replicas: u32| {
            shop.kubectl(&["scale", &format!("{kind}/{name}"), &format!("--replicas={replicas}")])
        };
        let set_image = |tag: &str| {
            shop.kubectl(&["set", "image", &format!("{kind}/{name}"), &format!("app=other:{tag}")])
        };
        shop.guarded(kind, name).await;
        set_image("v2");
        shop.waits(kind, name, "ApprovalRequired").await;
        scale(0);
        eventually("no pods", || shop.pods(name), Vec::is_empty).await;
        if kind == "StatefulSet" {
            eventually(
                "released",
                || shop.get(kind, name),
                |object| mark(object, "hold").is_none(),
            )
            .await;
            assert!(shop.event(name, "HoldMissed").await.contains("ScaledToZero"));
            set_image("v3");
            assert_eq!(mark(&shop.get(kind, name).await, "hold"), None);
            scale(2);
            shop.all_run(kind, name, "other:v3", 2).await;
            continue;
        }
        let two = |image: &'static str| {
            eventually(image, || shop.images(name), move |images| *images == [image; 2])
        };
        scale(2);
        two("other:v1").await;
        shop.waits(kind, name, "ApprovalRequired").await;
        shop.approve(kind, name, "other:v2").await;

        // A change that comes while it sleeps.
        scale(0);
        eventually(
            "marked",
            || shop.get(kind, name),
            |object| mark(object, "hold-at-zero").as_deref() == Some("true"),
        )
        .await;
        eventually("no pods", || shop.pods(name), Vec::is_empty).await;
        set_image("v3");
        shop.is_held(kind, name).await;
        scale(2);
        two("other:v2").await;
        shop.waits(kind, name, "ApprovalRequired").await;
        shop.approve(kind, name, "other:v3").await;
    }
}

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
        let intact = shop.get(kind, name).await["metadata"]["annotations"].clone();
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
        &["kubernetes#67250", "kubectl delete pod db-1"],
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
async fn windows_open_and_close_and_one_that_cannot_be_read_freezes() {
    let _operator = operator();
    let shop = Shop::gated("windows").await;
    shop.guarded("Deployment", "web").await;
    let gates = |window: Value| json!({"spec": {"gates": {"approval": "NotRequired", "windows": [window]}}});
    // Half a day from now.
    let hour = (jiff::Timestamp::now().as_second() / 3600 + 12) % 24;
    shop.patch(
        "UpgradePolicy",
        "shop",
        gates(json!({"schedule": format!("0 {hour} * * *"), "duration": "1h"})),
    )
    .await;
    shop.kubectl(&["set", "image", "deployment/web", "app=other:v2"]);
    shop.waits_saying("Deployment", "web", "WindowClosed", &[&format!("\"0 {hour} * * *\"")]).await;
    shop.patch(
        "UpgradePolicy",
        "shop",
        gates(json!({"schedule": "0 0 * * *", "duration": "1h", "timeZone": "Nowhere/Never"})),
    )
    .await;
    shop.waits_saying("Deployment", "web", "Frozen", &["invalid"]).await;
    let ready = |status: &Value| {
        let mut all = status["conditions"].as_array().into_iter().flatten();
        all.any(|one| {
            one["type"] == "Ready"
                && one["reason"] == "InvalidSpec"
                && one["message"].as_str().unwrap_or_default().contains("Nowhere/Never")
        })
    };
    eventually("the policy says why", || shop.status(), ready).await;
    shop.patch("UpgradePolicy", "shop", gates(json!({"schedule": "* * * * *", "duration": "1h"})))
        .await;
    shop.all_run("Deployment", "web", "other:v2", 2).await;
    shop.is_free("Deployment", "web").await;
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
    shop.is_no_longer_held("web").await;
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
async fn the_plugin_tells_what_waits_and_why_and_waits_itself() {
    let _operator = operator();
    let shop = Shop::gated("plugin").await;
    let plugin = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_kubectl-lockkeeper"))
            .env("KUBECONFIG", &local_cluster::shared().kubeconfig)
            .args(["-n", &shop.name])
            .args(arguments)
            .output()
            .unwrap();
        (
            output.status.code(),
            format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
        )
    };
    for kind in HOLDABLE {
        let name = &named("web", kind);
        let place = format!("{}/{name}", kind.to_lowercase());
        shop.guarded(kind, name).await;
        assert_eq!(plugin(&["wait", &place, "--timeout", "60s"]).0, Some(0));
        shop.kubectl(&["set", "image", &place, "app=other:v2"]);
        let id = shop.waits(kind, name, "ApprovalRequired").await["hold"]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let (code, text) = plugin(&["status"]);
        assert!(
            code == Some(0) && text.contains(&place) && text.contains("ApprovalRequired"),
            "{text}"
        );
        let parts = [
            "made by admin",
            &format!("lockkeeper.dev/approve={id}"),
            "approval",
            "Events",
            "UpgradeHeld",
        ];
        // Events are written in their own time.
        let why = || async { plugin(&["why", &place]).1 };
        eventually("why tells it all", why, |text| parts.iter().all(|part| text.contains(part)))
            .await;
        assert_eq!(plugin(&["wait", &place]).0, Some(3), "it waits for a person");
        shop.annotate(kind, name, "approve", &id);
        assert_eq!(plugin(&["wait", &place, "--timeout", "60s"]).0, Some(0));
        assert_eq!(shop.images(name).await, ["other:v2", "other:v2"]);
    }
    let json: Value = serde_json::from_str(&plugin(&["status", "-o", "json"]).1).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 2);
    assert_eq!(plugin(&["wait", "--all"]).0, Some(0));
    let (code, text) = plugin(&["why", "deployment/nobody"]);
    assert!(code == Some(1) && text.contains("there is no Deployment/nobody"), "{text}");
    assert!(
        plugin(&["why", "nonsense"])
            .1
            .contains("there is no Deployment, StatefulSet or DaemonSet nonsense")
    );
    assert!(plugin(&["why", "pod/web"]).1.contains("deployment/web, sts/db, web"));
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
    let object = shop.get(kind, name).await;
    let all = object["metadata"]["annotations"].as_object().unwrap();
    let taken: usize =
        all.iter().map(|(key, value)| key.len() + value.as_str().unwrap().len()).sum();
    let value = "x".repeat(262_144 - taken - annotation.len() - room);
    shop.patch(kind, name, json!({"metadata": {"annotations": {annotation: value}}})).await;
}
