//! Config while a template is held, and config changes that wait for gates themselves.

use serde_json::{Value, json};

use crate::support::{HOLDABLE, Shop, eventually, mark, operator};

fn reading(shop: &Shop, kind: &str, name: &str, tag: &str, config_map: &str) -> Value {
    let mut manifest = shop.manifest(kind, name, tag);
    manifest["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
        json!([{"configMapRef": {"name": config_map}}]);
    manifest
}

#[tokio::test]
async fn p2_config_that_changes_under_a_hold_goes_along_with_the_release_as_one_rollout() {
    let _operator = operator();
    let shop = Shop::gated("along").await;
    shop.config_map("app", &[("key", "old")]).await;
    for kind in HOLDABLE {
        let name = &format!("web-{}", kind.to_lowercase());
        shop.apply(&reading(&shop, kind, name, "v1", "app"));
        shop.marked(kind, name).await;
    }
    shop.a_second_passes().await;
    for kind in HOLDABLE {
        let name = &format!("web-{}", kind.to_lowercase());
        shop.apply(&reading(&shop, kind, name, "v2", "app"));
        shop.waits(kind, name, "ApprovalRequired").await;
    }
    shop.write("app", "key", "new").await;
    for kind in HOLDABLE {
        let name = &format!("web-{}", kind.to_lowercase());
        let both = |status: &Value| {
            let mut all = status["attention"].as_array().into_iter().flatten();
            all.any(|one| {
                one["kind"] == kind
                    && one["hold"]["cause"] == json!(["Template", "Config"])
                    && one["changed"].to_string().contains("ConfigMap/app[key]")
            })
        };
        eventually("both causes are named", || shop.status(), both).await;
        assert!(shop.images(name).await.iter().all(|image| image == "other:v1"));
        let before = shop.rollouts(name).await;
        shop.approve(kind, name, "other:v2").await;
        shop.up_to_date_one(name).await;
        assert_eq!(shop.rollouts(name).await, before + 1, "{kind}: one rollout for both");
    }
}

#[tokio::test]
async fn a_config_change_alone_waits_under_an_id_of_its_own() {
    let _operator = operator();
    let shop = Shop::gated("alone").await;
    for kind in HOLDABLE {
        let name = &format!("web-{}", kind.to_lowercase());
        shop.config_map(name, &[("key", "old")]).await;
        shop.apply(&reading(&shop, kind, name, "v1", name));
        shop.marked(kind, name).await;
    }
    shop.a_second_passes().await;
    let pending = |object: &Value| mark(object, "pending-config");
    for kind in HOLDABLE {
        let name = &format!("web-{}", kind.to_lowercase());
        let waits =
            || eventually("it waits", || shop.get(kind, name), |object| pending(object).is_some());
        let old = pending(&shop.get(kind, name).await);
        assert_eq!(old, None);
        shop.write(name, "key", "new").await;
        let first = pending(&waits().await).unwrap();
        assert!(first.starts_with("c-") && first.len() == 10, "{first}");
        shop.stands(name, "Waiting", "ApprovalRequired").await;
        assert_eq!(shop.rollouts(name).await, 0);

        // Another content is another change, and the first one's approval is void.
        shop.write(name, "key", "newer").await;
        let second = pending(
            &eventually(
                "another id",
                || shop.get(kind, name),
                |object| pending(object).is_some_and(|id| id != first),
            )
            .await,
        )
        .unwrap();
        shop.annotate(kind, name, "approve", &first);
        assert_eq!(mark(&shop.get(kind, name).await, "approve"), None);
        let status = shop.stands(name, "Waiting", "ApprovalRequired").await;
        eventually(
            "status shows the id",
            || shop.status(),
            |status| status.to_string().contains(&second),
        )
        .await;
        assert_eq!(status["hold"]["by"], "");
        assert_eq!(shop.rollouts(name).await, 0);

        // Changed back, it waits for nothing; and what comes again is another change.
        shop.write(name, "key", "old").await;
        eventually(
            "it no longer waits",
            || shop.get(kind, name),
            |object| pending(object).is_none() && mark(object, "hold-since").is_none(),
        )
        .await;
        shop.write(name, "key", "newer").await;
        let third = pending(&waits().await).unwrap();
        assert!(third != second && third != first);
        shop.annotate(kind, name, "approve", &third);
        shop.rolled(name, 1).await;
        shop.done(kind, name).await;
        eventually(
            "nothing is left of it",
            || shop.get(kind, name),
            |object| pending(object).is_none() && mark(object, "approve").is_none(),
        )
        .await;

        // And past the gates by a bypass.
        shop.a_second_passes().await;
        shop.write(name, "key", "last").await;
        let fourth = pending(&waits().await).unwrap();
        shop.annotate(kind, name, "bypass", &fourth);
        shop.rolled(name, 2).await;
        shop.event(name, "HoldBypassed").await;
    }
}

#[tokio::test]
async fn what_a_held_workload_runs_and_can_no_longer_start_is_said() {
    let _operator = operator();
    let shop = Shop::gated("pruned").await;
    for kind in HOLDABLE {
        let name = &format!("web-{}", kind.to_lowercase());
        // As kustomize's generator does: another name with each content, and the old one pruned in
        // the same sync.
        let (old, new) = (format!("{name}-1"), format!("{name}-2"));
        shop.config_map(&old, &[("key", "old")]).await;
        shop.apply(&reading(&shop, kind, name, "v1", &old));
        shop.marked(kind, name).await;
        shop.config_map(&new, &[("key", "new")]).await;
        shop.apply(&reading(&shop, kind, name, "v2", &new));
        shop.is_held(kind, name).await;
        shop.delete("ConfigMap", &old).await;
        let note = shop.event(name, "RunningRevisionBroken").await;
        assert!(note.contains(&format!("ConfigMap/{old} does not exist")), "{note}");
        let named = |status: &Value| status.to_string().contains("RunningRevisionBroken");
        eventually("it is in the status", || shop.status(), named).await;
        shop.approve(kind, name, "other:v2").await;
    }
}
