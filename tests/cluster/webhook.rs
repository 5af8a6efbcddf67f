//! Holds by the webhook, as below Kubernetes 1.36. It is tried on the version that the cluster has:
//! the chart can be told to have no policies.

use serde_json::Value;

use crate::support::{HOLDABLE, Shop, eventually, named, operator_alone, webhook_service};

fn judge(object: &Value) -> &Value {
    &object["metadata"]["labels"]["lockkeeper.dev/governed"]
}

fn set_image(shop: &Shop, kind: &str, name: &str, tag: &str) -> crate::support::Said {
    let image = format!("app=other:{tag}");
    shop.run("kubectl", &["set", "image", &format!("{kind}/{name}"), &image], None)
}

/// P6 below 1.36: held, or refused while no replica answers; never let through.
#[tokio::test]
async fn p6_p10_p16_the_webhook_holds_and_what_it_cannot_judge_is_refused_exclusively() {
    let operator = operator_alone();
    let url = format!("webhook.url=https://{}", webhook_service());
    operator.set(&["holds.by=webhook", &url]);
    let (shop, beside) = (Shop::gated("by-webhook").await, Shop::open("beside-holds").await);
    for kind in HOLDABLE {
        let name = &named("web", kind);
        beside.apply(&beside.manifest(kind, name, "v1"));
        beside.done(kind, name).await;
        shop.guarded(kind, name).await;
        eventually("the webhook judges", || shop.get(kind, name), |it| judge(it) == "webhook")
            .await;
        let before = shop.pods(name).await;
        let said = set_image(&shop, kind, name, "v2");
        assert!(said.text.contains("stored, but held by Lockkeeper"), "{}", said.text);
        shop.is_held(kind, name).await;
        assert_eq!(shop.pods(name).await, before);
        shop.waits(kind, name, "ApprovalRequired").await;
        shop.approve(kind, name, "other:v2").await;
        shop.done(kind, name).await;
        set_image(&shop, kind, name, "v3");
        shop.waits(kind, name, "ApprovalRequired").await;
    }
    operator.stop();
    for kind in HOLDABLE {
        let name = &named("web", kind);
        let id = shop.is_held(kind, name).await;
        let before = shop.pods(name).await;
        let said = set_image(&shop, kind, name, "v4");
        assert!(
            !said.success && said.text.contains("failed calling webhook \"holds.lockkeeper.dev\""),
            "{}",
            said.text
        );
        assert_eq!(shop.is_held(kind, name).await, id, "what is held stays held");
        assert_eq!(shop.pods(name).await, before);
        shop.kubectl(&["scale", &format!("{kind}/{name}"), "--replicas=3"]);
        eventually(
            "it is scaled on its old template",
            || shop.images(name),
            |images| images.len() == 3 && images.iter().all(|image| image == "other:v2"),
        )
        .await;
        shop.kubectl(&["scale", &format!("{kind}/{name}"), "--replicas=2"]);
        // What nobody governs does not know of it.
        let said = set_image(&beside, kind, name, "v2");
        assert!(said.success && !said.text.contains("Lockkeeper"), "{}", said.text);
        beside.done(kind, name).await;
        beside.apply(&beside.manifest(kind, &named("new", kind), "v1"));
        beside.done(kind, &named("new", kind)).await;
    }
    operator.start();
    for kind in HOLDABLE {
        let name = &named("web", kind);
        let set = || async { set_image(&shop, kind, name, "v4") };
        let said = eventually("a replica answers", set, |said| said.success).await;
        assert!(said.text.contains("stored, but held by Lockkeeper"), "{}", said.text);
        shop.waits(kind, name, "ApprovalRequired").await;
        shop.approve(kind, name, "other:v4").await;
        shop.done(kind, name).await;
    }
    // Nothing is left to the webhook, so that the chart removes it.
    shop.delete("UpgradePolicy", "shop").await;
    for kind in HOLDABLE {
        let name = &named("web", kind);
        eventually("it is let go", || shop.get(kind, name), |it| judge(it).is_null()).await;
    }
}
