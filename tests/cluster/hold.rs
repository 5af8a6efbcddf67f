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
    let mode = |mode: &str| shop.patch("UpgradePolicy", "shop", json!({"spec": {"mode": mode}}));
    for kind in HOLDABLE {
        let name = &named("web", kind);
        shop.guarded(kind, name).await;
        let image = |tag: &str| {
            shop.kubectl(&["set", "image", &format!("{kind}/{name}"), &format!("app=other:{tag}")])
        };
        // So that an approval of A is not acted on before B is written.
        mode("Freeze").await;
        image("a");
        let a = shop.is_held(kind, name).await;
        shop.waits(kind, name, "Frozen").await;
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
        mode("Enforce").await;
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
