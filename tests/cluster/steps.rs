//! Workloads go in order: steps, `maxConcurrent`, `onFailure`, `restartWith`.

use serde_json::{Value, json};

use crate::node::{SpareNode, spare_node};
use crate::support::plugin::{plugin, says};
use crate::support::{HOLDABLE, Shop, eventually, mark, operator};

fn stepped(more: Value) -> Value {
    let step = |name: &str| json!({"name": name, "selector": {"matchLabels": {"tier": name}}});
    let mut rollout = json!({"steps": [step("database"), step("api")], "deadline": "10s"});
    rollout.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"kinds": HOLDABLE, "config": {"settle": "2s", "settleLimit": "10s"}, "rollout": rollout})
}

impl Shop {
    async fn tier(&self, kind: &str, name: &str, tier: &str) -> Value {
        let mut manifest = self.manifest(kind, name, "v1");
        manifest["metadata"]["labels"]["tier"] = json!(tier);
        self.apply(&manifest);
        self.marked(kind, name).await;
        manifest
    }

    /// When the pods of a workload were created.
    async fn created(&self, name: &str) -> Vec<String> {
        let pods = self
            .api("Pod")
            .list(&kube::api::ListParams::default().labels(&format!("app={name}")))
            .await
            .unwrap()
            .items;
        let staying = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        staying.filter_map(|pod| Some(pod.metadata.creation_timestamp?.0.to_string())).collect()
    }
}

#[tokio::test]
async fn the_database_goes_first_although_it_is_written_last() {
    let _operator = operator();
    let shop = Shop::open("order").await;
    let mut policy = stepped(json!({}));
    policy["config"] = json!({"settle": "20s", "settleLimit": "60s"});
    shop.policy(policy).await;
    let mut database = shop.tier("StatefulSet", "db", "database").await;
    let mut api = shop.tier("Deployment", "api", "api").await;
    let image = |manifest: &mut Value| {
        manifest["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other:v2")
    };
    image(&mut database);
    image(&mut api);
    shop.apply(&api);
    shop.waits("Deployment", "api", "QuietTime").await;
    shop.apply(&database);
    let waits = |status: &Value| {
        let mut all = status["attention"].as_array().into_iter().flatten();
        all.any(|one| {
            one["name"] == "api"
                && one["reason"] == "StepWaits"
                && one["message"].as_str().unwrap().contains("StatefulSet/db is not done")
        })
    };
    eventually("api waits for the database", || shop.status(), waits).await;
    shop.all_run("StatefulSet", "db", "other:v2", 2).await;
    shop.all_run("Deployment", "api", "other:v2", 2).await;
    let (first, then) = (shop.created("db").await, shop.created("api").await);
    assert!(first.iter().max() <= then.iter().min(), "{first:?} {then:?}");
}

#[tokio::test]
async fn a_failure_stops_the_others_and_not_its_own_cure() {
    let _operator = operator();
    let shop = Shop::open("failure").await;
    let mut policy = stepped(json!({"steps": [], "maxConcurrent": 5}));
    policy["rollout"]["deadline"] = json!("3s");
    shop.policy(policy).await;
    for kind in HOLDABLE {
        let (ill, well) =
            (format!("ill-{}", kind.to_lowercase()), format!("well-{}", kind.to_lowercase()));
        let mut manifest = shop.tier(kind, &ill, "api").await;
        shop.tier(kind, &well, "api").await;
        let never = json!({"lockkeeper.dev/test-ready": "never"});
        manifest["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other:v2");
        manifest["spec"]["template"]["metadata"]["annotations"] = never;
        shop.apply(&manifest);
        shop.stands(&ill, "Failed", "DeadlineExceeded").await;
        shop.kubectl(&["set", "image", &format!("{}/{well}", kind.to_lowercase()), "app=other:v2"]);
        shop.waits_saying(kind, &well, "OtherFailed", &[&format!("{kind}/{ill}")]).await;
        manifest["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other:v3");
        manifest["spec"]["template"]["metadata"]["annotations"] = json!({});
        shop.apply(&manifest);
        if kind == "StatefulSet" {
            // Its controller does not replace a pod of an older revision that is not ready
            // (kubernetes#67250).
            let free = |object: &Value| {
                mark(object, "hold").is_none()
                    && object["spec"]["template"].to_string().contains("v3")
            };
            eventually("its cure is let through", || shop.get(kind, &ill), free).await;
            shop.kubectl(&["delete", "pod", "--wait=false", "-l", &format!("app={ill}")]);
        }
        shop.all_run(kind, &ill, "other:v3", 2).await;
        shop.all_run(kind, &well, "other:v2", 2).await;
    }
}

#[tokio::test]
async fn an_old_pod_on_a_lost_node_is_named_and_stops_no_other_workload() {
    let _operator = operator();
    let shop = Shop::open("lost-node").await;
    shop.policy(stepped(json!({"deadline": "10m"}))).await;
    let node = spare_node().await;
    let mut manifest = shop.manifest("Deployment", "store", "v1");
    manifest["metadata"]["labels"]["tier"] = json!("database");
    SpareNode::takes(&mut manifest["spec"]["template"]["spec"]);
    // Its old pod is overdue half a minute after that, and until then the next step waits.
    manifest["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(30);
    shop.apply(&manifest);
    shop.marked("Deployment", "store").await;
    shop.tier("Deployment", "api", "api").await;
    node.lose(&shop).await;

    // The new pods run elsewhere.
    let template = &mut manifest["spec"]["template"]["spec"];
    template["containers"][0]["image"] = json!("other:v2");
    template["nodeSelector"] = json!({});
    template["tolerations"] = json!([]);
    shop.apply(&manifest);
    shop.stands("store", "Rolling", "RolloutUnderWay").await;
    shop.kubectl(&["set", "image", "deployment/api", "app=other:v2"]);
    shop.waits("Deployment", "api", "StepWaits").await;
    let words = [" on node node-spare", &format!("kubectl delete pod -n {} store-", shop.name)];
    shop.stands_saying("store", "WaitsForUser", "StuckTerminating", &words).await;
    let named = |note: &str| words.iter().all(|words| note.contains(words));
    let told = |events: &Vec<(String, String)>| {
        events.iter().any(|(reason, note)| reason == "RolloutDone" && named(note))
    };
    eventually("the event names it too", || shop.events("store"), told).await;
    says(&plugin(&shop, &["why", "deployment/store"]), true, &words);

    // The next step goes on beside it.
    shop.all_run("Deployment", "api", "other:v2", 2).await;
    shop.stands("store", "WaitsForUser", "StuckTerminating").await;
    node.recover();
    shop.up_to_date().await;
}

#[tokio::test]
async fn only_so_many_are_under_way_at_once() {
    let _operator = operator();
    let shop = Shop::open("at-once").await;
    shop.policy(stepped(json!({"steps": [], "maxConcurrent": 1, "deadline": "10m"}))).await;
    shop.app("Deployment", "one", 2).await;
    for name in ["two", "three"] {
        shop.tier("Deployment", name, "api").await;
    }
    let mut first = shop.app_manifest("Deployment", "one", 2, "v2");
    first["spec"]["template"]["metadata"]["annotations"] =
        json!({"lockkeeper.dev/test-ready": "never"});
    shop.apply(&first);
    shop.stands("one", "Rolling", "RolloutUnderWay").await;
    for name in ["two", "three"] {
        shop.kubectl(&["set", "image", &format!("deployment/{name}"), "app=other:v2"]);
        shop.waits("Deployment", name, "MaxConcurrent").await;
    }
    let look = || async {
        // A pod that is deleted between kubectl's list and its patch is an error; the next look
        // annotates the others.
        shop.run(
            "kubectl",
            &["annotate", "pods", "--selector=app=one", "lockkeeper.dev/test-ready-"],
            None,
        );
        let status = shop.status().await;
        let rolling = status["workloads"]["rolling"].as_u64().unwrap_or(0);
        assert!(rolling <= 1, "{status:#}");
        status
    };
    eventually("all are done", look, |status| status["workloads"]["upToDate"] == 3).await;
    shop.runs("Deployment", "one", "v2", 2).await;
    for name in ["two", "three"] {
        shop.all_run("Deployment", name, "other:v2", 2).await;
    }
}

#[tokio::test]
async fn what_restarts_with_the_step_before_comes_up_after_it_once() {
    let _operator = operator();
    let shop = Shop::open("restarts-with").await;
    let mut policy = stepped(json!({}));
    policy["rollout"]["steps"][1]["restartWith"] = json!("Previous");
    // Long enough for both writes of an upgrade, also on a machine that is busy.
    policy["config"] =
        json!({"settle": "10s", "settleLimit": "60s", "limit": {"max": 100, "window": "1h"}});
    shop.policy(policy).await;
    shop.config_map("app", &[("key", "1")]).await;
    shop.tier("StatefulSet", "db", "database").await;
    shop.tier("Deployment", "identity", "api").await;
    let followed =
        |object: &Value| mark(object, "rollout").is_some_and(|text| text.contains("followed"));
    eventually("it follows", || shop.get("Deployment", "identity"), followed).await;
    assert_eq!((shop.rollouts("db").await, shop.rollouts("identity").await), (0, 0), "P1");

    // The step before alone: it is restarted after it.
    shop.kubectl(&["set", "image", "statefulset/db", "app=other:v2"]);
    shop.all_run("StatefulSet", "db", "other:v2", 2).await;
    shop.rolled("identity", 1).await;
    shop.done("Deployment", "identity").await;
    let (first, then) = (shop.created("db").await, shop.created("identity").await);
    assert!(first.iter().max() <= then.iter().min(), "{first:?} {then:?}");
    shop.up_to_date().await;

    // Both at once, as one helm upgrade would: once each, in order.
    let container = json!({"name": "app", "image": "other:v3"});
    let v3 = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    for (kind, name) in [("Deployment", "identity"), ("StatefulSet", "db")] {
        let patch = kube::api::Patch::Strategic(&v3);
        shop.api(kind).patch(name, &Default::default(), &patch).await.unwrap();
    }
    shop.all_run("StatefulSet", "db", "other:v3", 2).await;
    shop.all_run("Deployment", "identity", "other:v3", 2).await;
    shop.up_to_date().await;
    shop.operator_has_acted().await;
    let (first, then) = (shop.created("db").await, shop.created("identity").await);
    assert!(first.iter().max() <= then.iter().min(), "{first:?} {then:?}");
    assert_eq!(shop.rollouts("identity").await, 2, "once for each upgrade");
}
