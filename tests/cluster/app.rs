//! P8, P9: pods are asked before they are ended.

use serde_json::{Value, json};

use crate::support::{HOLDABLE, Shop, eventually, named, operator, start_work, switch};

/// A policy that asks the pods every second.
fn asks(more: Value) -> Value {
    let mut app = json!({"period": "1s", "timeout": "500ms"});
    app.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"kinds": HOLDABLE, "config": {"settle": "300ms", "settleLimit": "5s"}, "gates": {"app": app}})
}

impl Shop {
    async fn asking(name: &str, more: Value) -> Self {
        let shop = Self::open(name).await;
        shop.policy(asks(more)).await;
        shop
    }

    fn upgrade(&self, kind: &str, name: &str, tag: &str) {
        self.kubectl(&["set", "image", &format!("{}/{name}", kind.to_lowercase()), &format!("app=lockkeeper.dev/sample-app:{tag}")]);
    }
}

#[tokio::test]
async fn p8_one_pod_of_three_that_says_no_holds_all_and_is_named_and_when_all_say_yes_it_rolls() {
    let _operator = operator();
    let shop = Shop::asking("one-no", json!({})).await;
    for kind in HOLDABLE {
        let name = &named("web", kind);
        shop.app(kind, name, 3).await;
        let (busy, address) = shop.reachable(name).await[1].clone();
        assert!(start_work(&address, 6.0));
        let before = shop.pods(name).await;
        shop.upgrade(kind, name, "v2");
        let entry = shop.waits(kind, name, "AppGateClosed").await;
        let message = entry["message"].as_str().unwrap();
        assert!(message.contains(&format!("{busy} says no since")) && message.contains("1 pieces of work are in flight"), "{message}");
        assert!(message.contains("2 of 3 pods say yes"), "{message}");
        assert_eq!(entry["answers"][0]["pod"], *busy);
        assert_eq!(shop.pods(name).await, before, "no pod was ended");
        shop.runs(kind, name, "v2", 3).await;
        shop.is_free(kind, name).await;
        let ends = shop.ends(name);
        assert!(ends.len() >= 3 && ends.iter().all(|line| line == "ended idle"), "{ends:?}");
    }
    let verified = |status: &Value| {
        let mut conditions = status["conditions"].as_array().unwrap().iter();
        conditions.any(|one| one["type"] == "GatesVerified" && one["status"] == "True")
    };
    eventually("the gates are verified", || shop.status(), verified).await;
    let _ = switch;
}
