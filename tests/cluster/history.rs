//! The record of the last changes, which is there without the operator, its logs and events.

use serde_json::{Value, json};

use crate::support::{
    HOLDABLE, Shop, eventually, operator,
    plugin::{Person, plugin, says},
};

const OPERATOR: &str = "system:serviceaccount:lockkeeper-system:lockkeeper";

async fn record(shop: &Shop, kind: &str, name: &str) -> Value {
    let object = shop.get(kind, name).await;
    let text = object["metadata"]["annotations"]["lockkeeper.dev/history"].as_str();
    text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
}

#[tokio::test]
async fn p35_the_record_names_author_and_approver_when_events_are_gone() {
    let _operator = operator();
    let shop = Shop::gated("record").await;
    shop.patch(
        "UpgradePolicy",
        "shop",
        json!({"spec": {"gates": {"approval": "RequiredFromOther"}}}),
    )
    .await;
    let author = Person::new(&shop, "writer", &[]);
    let other = Person::new(&shop, "reviewer", &["lockkeeper-approver"]);
    let viewer = Person::with(&shop, "auditor", &["view"]);
    // kubectl reads what it annotates.
    shop.grant(OPERATOR, "operator-view", "view");
    let by_operator = format!("--as={OPERATOR}");
    for kind in HOLDABLE {
        let name = &format!("web-{}", kind.to_lowercase());
        let place = format!("{}/{name}", kind.to_lowercase());
        shop.app(kind, name, 1).await;
        let container = json!({"name": "app", "image": "lockkeeper.dev/sample-app:v2"});
        let patch = json!({
            "metadata": {"annotations": {"lockkeeper.dev/note": "CHG-123"}},
            "spec": {"template": {"spec": {"containers": [container]}}},
        });
        shop.kubectl(&["patch", kind, name, "-p", &patch.to_string(), "--as=writer"]);
        let id = shop.is_held(kind, name).await;
        says(&author.plugin(&shop, &["history", &place]), true, &["No change is recorded"]);
        says(&other.plugin(&shop, &["approve", &place, &id]), true, &[]);
        let done = |record: &Value| record["entries"][0]["outcome"] == "Done";
        let kept = eventually("its end is recorded", || record(&shop, kind, name), done).await;

        // Nobody but the operator writes it, and no tool drops it.
        shop.kubectl(&["annotate", kind, name, "lockkeeper.dev/history-", "--as=writer"]);
        let forged = ["annotate", "--overwrite", kind, name, "lockkeeper.dev/history={}"];
        shop.kubectl(&[&forged[..], &["--as=writer"]].concat());
        let mut whole = shop.get(kind, name).await;
        whole["metadata"]["annotations"].as_object_mut().unwrap().remove("lockkeeper.dev/history");
        whole["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        whole["apiVersion"] = json!("apps/v1");
        whole["kind"] = json!(kind);
        let replaced = shop.run("kubectl", &["replace", "-f", "-", "--as=writer"], Some(&whole));
        assert!(replaced.success, "{}", replaced.text);
        assert_eq!(record(&shop, kind, name).await, kept);

        shop.kubectl(&["delete", "events", "--all"]);
        shop.kubectl(&["delete", "events.events.k8s.io", "--all"]);
        says(
            &viewer.plugin(&shop, &["history", &place, "-o", "wide"]),
            true,
            &["Template", "writer", "reviewer", "Done", "CHG-123"],
        );
        says(&plugin(&shop, &["history", "--verify"]), true, &["Altered or cut: 0"]);
        says(&viewer.plugin(&shop, &["history", "--verify"]), false, &["lockkeeper-digest-key"]);

        // Somebody who gets past admission.
        let mut altered = kept.clone();
        altered["entries"][0]["approvedBy"] = json!("somebody");
        let written = |record: &Value| format!("lockkeeper.dev/history={record}");
        shop.kubectl(&["annotate", "--overwrite", kind, name, &written(&altered), &by_operator]);
        says(&plugin(&shop, &["history", &place, "--verify"]), false, &["entry 1 was altered"]);
        shop.kubectl(&["annotate", "--overwrite", kind, name, &written(&kept), &by_operator]);
        says(&plugin(&shop, &["history", &place, "--verify"]), true, &["Altered or cut: 0"]);
    }
}
