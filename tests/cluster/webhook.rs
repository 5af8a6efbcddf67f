//! Holds by the webhook, as below Kubernetes 1.36. It is tried on the version that the cluster has:
//! the chart can be told to have no policies.

use serde_json::Value;

use crate::support::{HOLDABLE, Shop, eventually, kubectl, named, operator_alone, webhook_service};

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
    // Policies again: each workload is handed over to the API server, and the chart removes the
    // webhook when none is left to it.
    operator.set(&[&url]);
    for kind in HOLDABLE {
        let name = &named("web", kind);
        eventually("the API server judges", || shop.get(kind, name), |it| judge(it) == "true")
            .await;
        set_image(&shop, kind, name, "v5");
        shop.waits(kind, name, "ApprovalRequired").await;
    }
    let left = ["get", "deployments,statefulsets", "-A", "-o", "name"];
    let left = [&left[..], &["-l", "lockkeeper.dev/governed=webhook"]].concat();
    // Other tests leave workloads behind that are handed over too.
    for _ in 0..60 {
        if kubectl(&left).trim().is_empty() {
            break;
        }
        shop.a_second_passes().await;
    }
    let all_handed_over = kubectl(&left).trim().is_empty();
    drop(operator);
    let webhook = ["mutatingwebhookconfiguration", "zz-lockkeeper", "--ignore-not-found"];
    let there = kubectl(&[&["get"], &webhook[..]].concat());
    assert!(!all_handed_over || there.trim().is_empty(), "the chart removes it: {there}");
    // It has no Service here, and other tests change workloads that it is sent.
    kubectl(&[&["delete"], &webhook[..]].concat());
}
