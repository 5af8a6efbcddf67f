//! An installation that watches some namespaces only, and one without all features.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Shop, env, eventually, kubectl, mark, operator_alone};

const ACCOUNT: &str = "--as=system:serviceaccount:lockkeeper-system:lockkeeper";

/// Whether the operator may do something in a namespace.
fn may(shop: &Shop, verb: &str, resource: &str) -> bool {
    shop.run("kubectl", &["auth", "can-i", verb, resource, ACCOUNT], None).success
}

fn conditions(status: &Value) -> BTreeMap<String, (String, String, String)> {
    let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    let all = status["conditions"].as_array().into_iter().flatten();
    all.map(|one| {
        (text(one, "type"), (text(one, "status"), text(one, "reason"), text(one, "message")))
    })
    .collect()
}

#[tokio::test]
async fn it_acts_where_it_watches_and_has_no_rights_elsewhere_and_says_what_is_switched_off_exclusively()
 {
    let alone = operator_alone();
    let (watched, other) = (Shop::open("reach-watched").await, Shop::open("reach-other").await);
    alone.set(&[&format!("watchNamespaces={{{}}}", watched.name)]);
    for shop in [&watched, &other] {
        shop.policy(json!({"config": {"settle": "200ms"}, "gates": {"appliesTo": ["Template"], "approval": "Required"}, "volumes": {}}))
            .await;
        shop.config_map("app", &[("key", "old")]).await;
        shop.deployment("web", json!({"env": env("KEY", "app", "key")})).await;
    }
    watched.adopted().await;
    watched.marked("Deployment", "web").await;
    watched.a_second_passes().await;
    for shop in [&other, &watched] {
        shop.write("app", "key", "new").await;
    }
    watched.rolled("web", 1).await;
    watched.all_read("web", "KEY", "new").await;
    watched.kubectl(&["set", "image", "deployment/web", "app=lockkeeper.dev/sample-app:v2"]);
    watched.waits("Deployment", "web", "ApprovalRequired").await;

    let web = other.get("Deployment", "web").await;
    assert_eq!(
        (other.rollouts("web").await, mark(&web, "config")),
        (0, None),
        "nobody watches it: {web:#}"
    );
    assert!(other.status().await["conditions"].is_null(), "nobody acts on this policy");
    for (verb, resource) in [
        ("list", "secrets"),
        ("list", "pods"),
        ("patch", "deployments.apps"),
        ("list", "persistentvolumeclaims"),
    ] {
        assert!(may(&watched, verb, resource) && !may(&other, verb, resource), "{verb} {resource}");
    }

    // A namespace that is gone, and the rights in it, stops nobody else: not even replicas that
    // start afterwards.
    let gone = Shop::open("reach-gone").await;
    alone.set(&[&format!("watchNamespaces={{{},{}}}", watched.name, gone.name)]);
    kubectl(&["delete", "namespace", &gone.name]);
    alone.kill();
    alone.ready();
    watched.config_map("second", &[("key", "old")]).await;
    watched.deployment("second", json!({"env": env("KEY", "second", "key")})).await;
    watched.marked("Deployment", "second").await;
    watched.a_second_passes().await;
    watched.write("second", "key", "new").await;
    watched.rolled("second", 1).await;

    // Without its features it needs no rights for them. What is held stays held.
    let off = "features.config=false,features.gateCredentials=false,features.volumes=false";
    alone.set(&[&format!("watchNamespaces={{{}}}", watched.name), off]);
    let ready =
        || async { conditions(&watched.status().await).remove("Ready").unwrap_or_default() };
    let (status, _, message) =
        eventually("it says so", ready, |(_, reason, _)| reason == "FeatureOff").await;
    assert_eq!(status, "False");
    for section in [
        "spec.config is not in use",
        "spec.volumes is not in use",
        "features.config of the chart",
        "Turn the feature on",
    ] {
        assert!(message.contains(section), "{message}");
    }
    assert_eq!(conditions(&watched.status().await)["Stalled"].0, "True");
    for (verb, resource) in [
        ("list", "secrets"),
        ("get", "secrets"),
        ("list", "configmaps"),
        ("patch", "persistentvolumeclaims"),
        ("patch", "persistentvolumes"),
    ] {
        assert!(!may(&watched, verb, resource), "{verb} {resource}");
    }
    let id = watched.is_held("Deployment", "web").await;
    watched.annotate("Deployment", "web", "approve", &id);
    watched.all_run("Deployment", "web", "lockkeeper.dev/sample-app:v2", 1).await;

    // Everything again: what it had no eyes for is taken as it is.
    alone.set(&[]);
    eventually("all of it is acted on", ready, |(status, ..)| status == "True").await;
    other.adopted().await;
    watched.adopted().await;
    watched.write("app", "key", "newer").await;
    watched.all_read("web", "KEY", "newer").await;
    assert_eq!(other.rollouts("web").await, 0);
    let roles = kubectl(&["get", "roles,rolebindings", "-n", &watched.name, "-o", "name"]);
    assert!(!roles.contains("lockkeeper"), "{roles}");
}
