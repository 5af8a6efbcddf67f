//! P8, P9: pods are asked before they are ended.

use serde_json::{Value, json};

use crate::support::{
    HOLDABLE, Shop, env, eventually, finish_work, mark, named, operator, start_work, switch,
};

/// A policy that asks the pods every second.
pub fn asks(more: Value) -> Value {
    let mut app = json!({"period": "1s", "timeout": "2s"});
    app.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"kinds": HOLDABLE, "config": {"settle": "300ms", "settleLimit": "5s"}, "gates": {"app": app}})
}

impl Shop {
    pub async fn asking(name: &str, more: Value) -> Self {
        let shop = Self::open(name).await;
        shop.policy(asks(more)).await;
        shop
    }

    pub fn upgrade(&self, kind: &str, name: &str, tag: &str) {
        self.kubectl(&[
            "set",
            "image",
            &format!("{}/{name}", kind.to_lowercase()),
            &format!("app=lockkeeper.dev/sample-app:{tag}"),
        ]);
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
        assert!(start_work(&address, 600.0));
        let before = shop.pods(name).await;
        shop.upgrade(kind, name, "v2");
        let says = [
            &*format!("{busy} has answered no since"),
            "1 piece of work is in flight",
            "2 of 3 pods say yes",
        ];
        let entry = shop.waits_saying(kind, name, "AppGateClosed", &says).await;
        assert_eq!(entry["answers"][0]["pod"], *busy);
        assert_eq!(shop.pods(name).await, before, "no pod was ended");
        finish_work(&address);
        shop.runs(kind, name, "v2", 3).await;
        shop.is_free(kind, name).await;
        // The last of them may still be ending when all new ones are ready.
        let ends =
            eventually("all have ended", || async { shop.ends(name) }, |ends| ends.len() >= 3)
                .await;
        assert!(ends.iter().all(|line| line == "ended idle"), "{ends:?}");
    }
    let verified = |status: &Value| {
        let mut conditions = status["conditions"].as_array().unwrap().iter();
        conditions.any(|one| one["type"] == "GatesVerified" && one["status"] == "True")
    };
    eventually("the gates are verified", || shop.status(), verified).await;
}

#[tokio::test]
async fn p6_p8_fewer_replicas_in_a_held_write_end_no_pod_before_the_release() {
    let _operator = operator();
    let shop = Shop::asking("fewer", json!({})).await;
    for kind in HOLDABLE {
        let name = &named("web", kind);
        shop.app(kind, name, 3).await;
        let pods = shop.reachable(name).await;
        assert!(pods.iter().all(|(_, address)| start_work(address, 600.0)));
        let before = shop.pods(name).await;
        // A chart that says 1, again and again, while three run.
        let manifest = shop.app_manifest(kind, name, 1, "v2");
        let replicas = || async { shop.get(kind, name).await["spec"]["replicas"].clone() };
        for _ in 0..2 {
            shop.apply(&manifest);
            let said = shop.run(
                "kubectl",
                &["apply", "--server-side", "--force-conflicts", "-f", "-"],
                Some(&manifest),
            );
            assert!(said.success, "{}", said.text);
            assert_eq!(replicas().await, 3, "{kind}");
        }
        let says = "Its replicas stay at 3 until the release. The 1 that its manifest declares applies with the release";
        shop.waits_saying(kind, name, "AppGateClosed", &[says]).await;
        assert_eq!(shop.pods(name).await, before, "no pod was ended");
        pods.iter().for_each(|(_, address)| finish_work(address));
        shop.runs(kind, name, "v2", 1).await;
        assert_eq!(replicas().await, 1, "{kind}");
        assert_eq!(mark(&shop.get(kind, name).await, "declared-replicas"), None);
        shop.all_ended_idle(name).await;
    }
}

#[tokio::test]
async fn p8_a_pod_that_is_replaced_between_its_yes_and_the_release_is_asked_again() {
    let _operator = operator();
    let shop = Shop::asking("asked-again", json!({})).await;
    let asks = |period: &str, successes: u32| {
        let app = json!({"period": period, "successes": successes});
        shop.patch("UpgradePolicy", "shop", json!({"spec": {"gates": {"app": app}}}))
    };
    for kind in HOLDABLE {
        let name = &named("web", kind);
        asks("6s", 10).await;
        shop.app(kind, name, 2).await;
        shop.upgrade(kind, name, "v2");
        shop.waits(kind, name, "AskingPods").await;
        // Both have said yes in the first round by then; the tenth is far away.
        shop.a_second_passes().await;
        let (gone, _) = shop.reachable(name).await[0].clone();
        let others: Vec<_> = shop.pods(name).await.into_iter().map(|(_, uid, _)| uid).collect();
        shop.kubectl(&["delete", "pod", "--wait=false", &gone]);
        let is_new = |pods: &Vec<(String, String, String)>| {
            pods.len() == 2 && pods.iter().any(|(_, uid, _)| !others.contains(uid))
        };
        let pods = eventually("there is a new pod", || shop.pods(name), is_new).await;
        let new = pods.iter().find(|(_, uid, _)| !others.contains(uid)).unwrap().0.clone();
        let reach =
            || async { shop.reachable(name).await.into_iter().find(|(pod, _)| *pod == new) };
        let (_, address) = eventually("it has an address", reach, Option::is_some).await.unwrap();
        let took_work = || async { start_work(&address, 600.0) };
        eventually("it takes work", took_work, |took| *took).await;
        shop.waits_saying(kind, name, "AppGateClosed", &[&format!("{new} has answered no")]).await;
        asks("1s", 1).await;
        finish_work(&address);
        shop.runs(kind, name, "v2", 2).await;
        shop.all_ended_idle(name).await;
    }
}

/// What pods may do instead of answering, and the reason that a policy with `Hold` gives.
fn faults() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("slow", json!({"slow": 3000}), "AppUnreachable"),
        ("broken", json!({"broken": true}), "AppUnreachable"),
        ("nojson", json!({"says": [200, "yes"]}), "AppUnreachable"),
        ("nofield", json!({"says": [200, "{}"]}), "AppUnreachable"),
        ("missing", json!({"deaf": true}), "AppMissing"),
        ("long", json!({"long": 10_000_000}), "AppUnreachable"),
        ("redirect", json!({"says": [302, "{}"]}), "AppUnreachable"),
    ]
}

#[tokio::test]
async fn answers_that_are_none_hold_or_open_as_the_policy_says() {
    let _operator = operator();
    let shop = Shop::open("answers").await;
    for (name, more) in
        [("hold", json!({})), ("open", json!({"whenUnreachable": "Open", "whenMissing": "Open"}))]
    {
        let mut spec = asks(more);
        spec["selector"] = json!({"matchLabels": {"when": name}});
        shop.create(json!({"kind": "UpgradePolicy", "metadata": {"name": name}, "spec": spec}))
            .await;
    }
    let mut all = Vec::new();
    for kind in HOLDABLE {
        for (fault, switches, reason) in
            faults().into_iter().chain([("refused", json!({}), "AppUnreachable")])
        {
            for when in ["hold", "open"] {
                let name = format!("{fault}-{when}-{}", kind.to_lowercase());
                let mut manifest = shop.app_manifest(kind, &name, 1, "v1");
                manifest["metadata"]["labels"]["when"] = json!(when);
                if fault == "refused" {
                    manifest["metadata"]["annotations"] =
                        json!({"lockkeeper.dev/app-gate": "port=9999"});
                    let ports = &mut manifest["spec"]["template"]["spec"]["containers"][0]["ports"];
                    ports.as_array_mut().unwrap().push(json!({"containerPort": 9999}));
                }
                shop.apply(&manifest);
                all.push((kind, name, switches.clone(), when, reason));
            }
        }
    }
    for (kind, name, switches, ..) in &all {
        shop.marked(kind, name).await;
        shop.reachable(name).await.iter().for_each(|(_, address)| switch(address, switches));
        shop.upgrade(kind, name, "v2");
    }
    for (kind, name, _, when, reason) in &all {
        if *when == "open" {
            shop.runs(kind, name, "v2", 1).await;
            continue;
        }
        let attention =
            || async { shop.get("UpgradePolicy", "hold").await["status"]["attention"].clone() };
        let entry = |all: &Value| {
            all.as_array()
                .into_iter()
                .flatten()
                .find(|one| one["name"] == **name)
                .cloned()
                .unwrap_or_default()
        };
        let waits = |all: &Value| {
            let message = entry(all)["message"].as_str().unwrap_or_default().to_owned();
            let cure = message.contains("Hold") || message.contains("whenMissing: Open");
            entry(all)["reason"] == **reason && message.contains("/upgradeable") && cure
        };
        eventually(
            &format!("{name} waits for {reason}, and the message says where and what to do"),
            attention,
            waits,
        )
        .await;
        assert_eq!(shop.images(name).await, ["lockkeeper.dev/sample-app:v1"], "{name}");
    }
    // Nobody is to be asked for the rest of the run.
    for (kind, name, ..) in &all {
        shop.kubectl(&["delete", "--wait=false", kind, name]);
    }
}

#[tokio::test]
async fn p9_pods_that_are_never_ready_do_not_block_their_cure_and_those_that_say_no_do() {
    let _operator = operator();
    let shop = Shop::asking("broken", json!({"brokenAfter": "10s"})).await;
    for kind in HOLDABLE {
        let name = &named("sick", kind);
        let mut manifest = shop.app_manifest(kind, name, 2, "v1");
        // Nothing listens where it is asked whether it is ready, nor on the port that the gate asks
        // at.
        manifest["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other:v1");
        manifest["spec"]["template"]["metadata"]["annotations"] =
            json!({"lockkeeper.dev/test-ready": "never"});
        shop.apply(&manifest);
        let governed = |object: &Value| {
            object["metadata"]["annotations"]["lockkeeper.dev/hold-changes"] == "true"
        };
        eventually("it is governed", || shop.get(kind, name), governed).await;
        eventually("its pods run", || shop.reachable(name), |pods| pods.len() == 2).await;
        manifest["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other:v2");
        manifest["spec"]["template"]["metadata"]["annotations"] = json!({});
        shop.apply(&manifest);
        shop.event(name, "UpgradeHeld").await;
        if kind == "StatefulSet" {
            // Its controller does not replace a pod that is not ready and of an older revision
            // (kubernetes#67250).
            eventually(
                "it is free",
                || shop.get(kind, name),
                |object| object["metadata"]["annotations"]["lockkeeper.dev/hold"].is_null(),
            )
            .await;
            shop.kubectl(&["delete", "pod", "--wait=false", "-l", &format!("app={name}")]);
        }
        shop.all_run(kind, name, "other:v2", 2).await;

        let name = &named("busy", kind);
        shop.app(kind, name, 2).await;
        for (_, address) in shop.reachable(name).await {
            assert!(start_work(&address, 600.0));
            switch(&address, &json!({"unready": true}));
        }
        let unready = |object: &Value| object["status"]["readyReplicas"].as_u64().unwrap_or(0) == 0;
        eventually("no pod is ready", || shop.get(kind, name), unready).await;
        shop.upgrade(kind, name, "v2");
        shop.waits_saying(kind, name, "AppGateClosed", &["has answered no"]).await;
        shop.reachable(name).await.iter().for_each(|(_, address)| finish_work(address));
        if kind == "Deployment" {
            shop.runs(kind, name, "v2", 2).await;
            shop.all_ended_idle(name).await;
        }
    }
}

#[tokio::test]
async fn p8_a_stranger_with_the_same_labels_is_not_asked() {
    let _operator = operator();
    let shop = Shop::asking("stranger", json!({})).await;
    for kind in HOLDABLE {
        let name = &named("web", kind);
        shop.app(kind, name, 1).await;
        let stranger = format!("{name}-stranger");
        let template = shop.app_manifest(kind, name, 1, "v1")["spec"]["template"].clone();
        let hash = json!({"app": name, "pod-template-hash": "x", "controller-revision-hash": "x", "owner": "nobody"});
        shop.config_map(&stranger, &[]).await;
        let uid = shop.get("ConfigMap", &stranger).await["metadata"]["uid"].clone();
        let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": stranger, "uid": uid, "controller": true}]);
        let metadata = json!({"name": stranger, "labels": hash, "ownerReferences": owner});
        shop.create(json!({"kind": "Pod", "metadata": metadata, "spec": template["spec"]})).await;
        let reach = || async {
            shop.reachable(name)
                .await
                .into_iter()
                .find(|(pod, _)| *pod == stranger)
                .is_some_and(|(_, at)| start_work(&at, 60.0))
        };
        eventually("the stranger works", reach, |works| *works).await;
        shop.upgrade(kind, name, "v2");
        let image = || async {
            shop.pods(name)
                .await
                .into_iter()
                .find(|(pod, ..)| *pod != stranger)
                .map(|(.., image)| image)
        };
        eventually("it is upgraded", image, |image| {
            image.as_deref() == Some("lockkeeper.dev/sample-app:v2")
        })
        .await;
        assert!(
            shop.pods(name).await.iter().any(|(pod, ..)| *pod == stranger),
            "the stranger is still there, and works"
        );
    }
}

#[tokio::test]
async fn p2_config_waits_for_the_pods_and_config_and_template_together_are_one_rollout() {
    let _operator = operator();
    let shop = Shop::asking("config", json!({})).await;
    shop.config_map("app", &[("key", "1")]).await;
    for kind in HOLDABLE {
        let name = &named("web", kind);
        let mut manifest = shop.app_manifest(kind, name, 2, "v1");
        manifest["spec"]["template"]["spec"]["containers"][0]["env"] = env("KEY", "app", "key");
        shop.apply(&manifest);
        shop.marked(kind, name).await;
        shop.a_second_passes().await;
        let rollouts = shop.rollouts(name).await;
        let (busy, address) = shop.reachable(name).await[0].clone();
        assert!(start_work(&address, 600.0));
        shop.write("app", "key", &format!("{name}-2")).await;
        shop.stands_saying(name, "Waiting", "AppGateClosed", &[&format!("{busy} has answered no")])
            .await;
        assert_eq!(shop.rollouts(name).await, rollouts);
        finish_work(&address);
        shop.all_read(name, "KEY", &format!("{name}-2")).await;
        shop.done(kind, name).await;
        assert_eq!(shop.rollouts(name).await, rollouts + 1);
        shop.up_to_date().await;
        shop.a_second_passes().await;

        let (_, address) = shop.reachable(name).await[1].clone();
        assert!(start_work(&address, 600.0));
        shop.upgrade(kind, name, "v2");
        shop.write("app", "key", &format!("{name}-3")).await;
        let both = |entry: &Value| entry["hold"]["cause"] == json!(["Template", "Config"]);
        eventually("both wait", || shop.stands(name, "Held", "AppGateClosed"), both).await;
        finish_work(&address);
        shop.runs(kind, name, "v2", 2).await;
        shop.all_read(name, "KEY", &format!("{name}-3")).await;
        shop.up_to_date().await;
        let revisions = shop.rollouts(name).await - rollouts;
        // A held template has a revision of its own already, which no pod ever was of.
        assert!(revisions <= 3, "{revisions}");
        shop.all_ended_idle(name).await;
        shop.delete(kind, name).await;
    }
}

#[tokio::test]
async fn p15_a_gate_that_is_set_up_wrongly_shows_before_the_first_upgrade_is_held() {
    let _operator = operator();
    let shop = Shop::asking("verified", json!({"port": "grpc"})).await;
    shop.app("Deployment", "web", 1).await;
    let condition = |status: &Value| {
        let mut all = status["conditions"].as_array().into_iter().flatten();
        all.find(|one| one["type"] == "GatesVerified").cloned().unwrap_or_default()
    };
    let wrong = |status: &Value| {
        condition(status)["message"]
            .as_str()
            .is_some_and(|message| message.contains("declares no TCP port grpc"))
    };
    eventually("the port is wrong", || shop.status(), wrong).await;
    shop.annotate("Deployment", "web", "app-gate", "port=http");
    eventually(
        "the workload says which",
        || shop.status(),
        |status| condition(status)["status"] == "True",
    )
    .await;
    let verified =
        json!({"scheme": "HTTPS", "tls": {"caRef": {"kind": "ConfigMap", "name": "app-ca"}}});
    shop.patch("UpgradePolicy", "shop", json!({"spec": {"gates": {"app": verified}}})).await;
    let wrong = |status: &Value| {
        condition(status)["message"]
            .as_str()
            .is_some_and(|message| message.contains("there is no ConfigMap app-ca"))
    };
    eventually("the authority is missing", || shop.status(), wrong).await;
    shop.patch(
        "UpgradePolicy",
        "shop",
        json!({"spec": {"gates": {"app": {"scheme": "HTTP", "tls": null}}}}),
    )
    .await;
    eventually(
        "it is not wanted any more",
        || shop.status(),
        |status| condition(status)["status"] == "True",
    )
    .await;
    shop.annotate("Deployment", "web", "app-gate", "nonsense");
    let wrong = |status: &Value| {
        condition(status)["message"]
            .as_str()
            .is_some_and(|message| message.contains("\"nonsense\" has no value"))
    };
    eventually("it is nonsense", || shop.status(), wrong).await;
    shop.upgrade("Deployment", "web", "v2");
    shop.waits("Deployment", "web", "AppGateInvalid").await;
    shop.annotate("Deployment", "web", "app-gate", "path=/upgradeable,port=8080");
    shop.runs("Deployment", "web", "v2", 1).await;
}
