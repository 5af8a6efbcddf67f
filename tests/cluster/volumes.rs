//! P12 and P13: with a policy, the same steps as in `volumes_danger` deadlock no rollout, mount
//! nothing twice, and lose nothing.

use serde_json::{Value, json};

use crate::{
    support::{
        Shop, eventually, finish_work, http_get, mark, operator, operator_address, start_work,
    },
    volumes_support::overlaps,
};

const CLAIM: &str = "PersistentVolumeClaim";

impl Shop {
    /// A namespace whose data is seen to.
    pub async fn keeping(name: &str, volumes: Value) -> Self {
        let shop = Self::open(name).await;
        shop.policy(json!({"config": {}, "volumes": volumes})).await;
        shop
    }

    /// Waits until the data of a claim is kept; its volume.
    pub async fn kept(&self, claim: &str) -> String {
        let volume = self.volume_of(claim).await;
        let retained = |volume: &Option<Value>| {
            let volume = volume.as_ref().unwrap();
            volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
                && volume["metadata"]["labels"]["lockkeeper.dev/retained"] == "true"
        };
        eventually(&format!("volume {volume} is retained"), || self.volume(&volume), retained)
            .await;
        let labelled =
            |claim: &Value| claim["metadata"]["labels"]["lockkeeper.dev/retained"] == "true";
        eventually(&format!("claim {claim} is retained"), || self.get(CLAIM, claim), labelled)
            .await;
        volume
    }

    /// Waits until a volume that was released goes to the next claim of its name. One that is made
    /// before gets another volume.
    pub async fn waits_for_claim(&self, volume: &str) {
        let waits =
            |volume: &Option<Value>| volume.as_ref().unwrap()["spec"]["claimRef"]["uid"].is_null();
        eventually(&format!("{volume} waits for the next claim"), || self.volume(volume), waits)
            .await;
    }

    pub async fn strategy(&self, name: &str) -> Value {
        self.get("Deployment", name).await["spec"]["strategy"].clone()
    }

    pub async fn recreates(&self, name: &str) {
        eventually(
            &format!("{name} recreates"),
            || self.strategy(name),
            |strategy| strategy["type"] == "Recreate",
        )
        .await;
    }

    /// Waits until the condition VolumesSafe has this reason; its message.
    pub async fn volumes_safe(&self, reason: &str) -> String {
        let condition = |status: &Value| {
            let mut all = status["conditions"].as_array().into_iter().flatten();
            all.find(|one| one["type"] == "VolumesSafe").cloned().unwrap_or_default()
        };
        let seen = eventually(
            &format!("VolumesSafe says {reason}"),
            || self.status(),
            |status| condition(status)["reason"] == reason,
        )
        .await;
        condition(&seen)["message"].as_str().unwrap().to_owned()
    }

    pub async fn namespace_uid(&self) -> String {
        self.cluster_api("Namespace").get(&self.name).await.unwrap().metadata.uid.unwrap()
    }
}

#[tokio::test]
async fn p13_a_new_pod_on_another_node_gets_the_volume_whatever_the_strategy() {
    let _operator = operator();
    let shop = Shop::keeping("exclusive", json!({})).await;
    let declared = [
        ("default", Value::Null),
        (
            "surging",
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}),
        ),
        (
            "replacing",
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}),
        ),
    ];
    for (name, strategy) in declared {
        let claim = format!("{name}-data");
        shop.claim(&claim, "folders", "ReadWriteOnce");
        let mut manifest = shop.keeper_manifest(name, &claim);
        manifest["spec"]["strategy"] = strategy;
        shop.apply(&manifest);
        shop.done("Deployment", name).await;
        shop.recreates(name).await;
        let old = shop.only_pod(name).await;
        shop.write_line(&old, "precious").await;
        shop.force_to_another_node("Deployment", name, &old).await;
        shop.done("Deployment", name).await;
        let new = shop.only_pod(name).await;
        assert_ne!(new, old);
        shop.reads_line(&new, "precious").await;
        let volume = shop.volume_of(&claim).await;
        assert_eq!(overlaps(&shop.journal(&volume)), [], "{name}: never two at once");
    }
    assert!(shop.event("default", "StrategyChanged").await.contains("ReadWriteOnce"));
}

#[tokio::test]
async fn p13_a_rollout_that_is_stuck_when_the_policy_comes_is_freed() {
    let _operator = operator();
    let shop = Shop::open("stuck-volume").await;
    for (name, mode) in [("node", "ReadWriteOnce"), ("pod", "ReadWriteOncePod")] {
        let old = shop.keeper(name, "folders", mode).await;
        shop.write_line(&old, "precious").await;
        if name == "node" {
            shop.force_to_another_node("Deployment", name, &old).await;
        } else {
            shop.set_image(name, "v2").await;
        }
        shop.is_stuck(name).await;
    }
    // A policy that only reports says what it is, also when the events are long gone.
    shop.policy(json!({"volumes": {"exclusiveClaims": "Report"}})).await;
    shop.stands_saying("node", "Rolling", "StuckOnVolume", &["Multi-Attach"]).await;
    shop.stands_saying("pod", "Rolling", "StuckOnVolume", &["ReadWriteOncePod"]).await;
    assert!(shop.volumes_safe("ExclusiveClaim").await.contains("strategy.type: Recreate"));
    shop.patch(
        "UpgradePolicy",
        "shop",
        json!({"spec": {"volumes": {"exclusiveClaims": "WhenUnsafe"}}}),
    )
    .await;
    for name in ["node", "pod"] {
        shop.done("Deployment", name).await;
        let new = shop.only_pod(name).await;
        shop.reads_line(&new, "precious").await;
        let volume = shop.volume_of(&format!("{name}-data")).await;
        assert_eq!(overlaps(&shop.journal(&volume)), [], "{name}");
    }
    shop.volumes_safe("NoDanger").await;
}

#[tokio::test]
async fn p13_a_volume_of_one_node_has_one_writer_unless_the_policy_says_that_the_app_bears_two() {
    let _operator = operator();
    let shop = Shop::keeping("left", json!({"exclusiveClaims": "WhenDeadlock"})).await;
    shop.keeper("shared", "folders", "ReadWriteMany").await;
    let old = shop.keeper("pinned", "folders-local", "ReadWriteOnce").await;
    let volume = shop.kept("pinned-data").await;
    for name in ["shared", "pinned"] {
        shop.set_image(name, "v2").await;
        shop.done("Deployment", name).await;
        assert_eq!(shop.strategy(name).await["type"], "RollingUpdate", "{name}");
    }
    let second = shop.only_pod("pinned").await;
    assert_eq!(
        overlaps(&shop.journal(&volume)),
        [(old.clone(), second.clone())],
        "both had the file open"
    );
    let said = |message: &String| {
        message.contains("the old and the new pod could write to it")
            && message.contains("WhenUnsafe prevents this")
    };
    let message = || async { shop.volumes_safe("NoDanger").await };
    eventually("the pinned one is noted", message, said).await;
    // The default: the strategy changes, which rolls nothing, and the next rollout has one writer.
    shop.patch(
        "UpgradePolicy",
        "shop",
        json!({"spec": {"volumes": {"exclusiveClaims": "WhenUnsafe"}}}),
    )
    .await;
    shop.recreates("pinned").await;
    assert_eq!(shop.only_pod("pinned").await, second);
    shop.set_image("pinned", "v3").await;
    shop.done("Deployment", "pinned").await;
    assert_ne!(shop.only_pod("pinned").await, second);
    assert_eq!(overlaps(&shop.journal(&volume)), [(old, second)], "as before");
    assert_eq!(shop.strategy("shared").await["type"], "RollingUpdate");
    // Several pods on a claim for one node.
    shop.keeper("several", "folders", "ReadWriteOnce").await;
    shop.kubectl(&["scale", "deployment/several", "--replicas=2"]);
    let message = shop.volumes_safe("ExclusiveClaimShared").await;
    assert!(message.contains("runs 2 pods on claim several-data"), "{message}");
}

#[tokio::test]
async fn p12_p13_a_policy_that_goes_gives_the_strategy_back_and_keeps_the_data() {
    let _operator = operator();
    let shop = Shop::keeping("policy-goes", json!({})).await;
    let pod = shop.keeper("web", "folders", "ReadWriteOnce").await;
    shop.write_line(&pod, "precious").await;
    let volume = shop.kept("web-data").await;
    shop.recreates("web").await;
    shop.delete("UpgradePolicy", "shop").await;
    eventually(
        "the declared strategy is back",
        || shop.strategy("web"),
        |strategy| strategy["type"] == "RollingUpdate",
    )
    .await;
    assert_eq!(
        shop.strategy("web").await["rollingUpdate"],
        json!({"maxSurge": "25%", "maxUnavailable": "25%"})
    );
    assert_eq!(mark(&shop.get("Deployment", "web").await, "volume-access"), None);
    // Everything goes, and comes again.
    shop.delete("Deployment", "web").await;
    shop.delete(CLAIM, "web-data").await;
    shop.claim_is_gone("web-data").await;
    shop.waits_for_claim(&volume).await;
    let pod = shop.keeper("web", "folders", "ReadWriteOnce").await;
    assert_eq!(shop.volume_of("web-data").await, volume);
    shop.reads_line(&pod, "precious").await;
}

#[tokio::test]
async fn p12_data_is_read_again_after_a_deployment_that_owns_its_claim_and_after_the_claim_itself()
{
    let _operator = operator();
    let shop = Shop::keeping("owned", json!({})).await;
    let pod = shop.keeper("web", "folders", "ReadWriteOnce").await;
    shop.write_line(&pod, "precious").await;
    let volume = shop.kept("web-data").await;
    let uid = shop.get("Deployment", "web").await["metadata"]["uid"].clone();
    let owner = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": uid}]);
    shop.patch(CLAIM, "web-data", json!({"metadata": {"ownerReferences": owner}})).await;
    let owners =
        || async { shop.get(CLAIM, "web-data").await["metadata"]["ownerReferences"].clone() };
    eventually("the Deployment no longer owns the claim", owners, |owners| {
        owners.as_array().is_none_or(Vec::is_empty)
    })
    .await;
    shop.delete("Deployment", "web").await;
    shop.apply(&shop.keeper_manifest("web", "web-data"));
    shop.done("Deployment", "web").await;
    shop.reads_line(&shop.only_pod("web").await, "precious").await;

    // The claim is deleted while pods use it: the last warning, and nothing of ours ends them.
    shop.kubectl(&["delete", "pvc", "web-data", "--wait=false"]);
    let message = shop.volumes_safe("ClaimTerminatingInUse").await;
    assert!(message.contains("web-data") && message.contains("cannot be undone"), "{message}");
    assert!(shop.event("web-data", "ClaimTerminatingInUse").await.contains("save the data"));
    shop.kubectl(&["delete", "deployment", "web"]);
    shop.claim_is_gone("web-data").await;
    shop.waits_for_claim(&volume).await;
    let pod = shop.keeper("web", "folders", "ReadWriteOnce").await;
    assert_eq!(shop.volume_of("web-data").await, volume, "the same volume");
    shop.reads_line(&pod, "precious").await;
    assert!(shop.event("web-data", "VolumeReadopted").await.contains(&volume));
    shop.volumes_safe("NoDanger").await;
}

#[tokio::test]
async fn p12_a_stateful_set_that_deletes_its_claims_loses_nothing_under_retain() {
    let _operator = operator();
    let shop = Shop::keeping("sets", json!({"protection": "Retain"})).await;
    let mut manifest = shop.stateful_manifest("db", 2);
    manifest["spec"]["persistentVolumeClaimRetentionPolicy"] =
        json!({"whenDeleted": "Delete", "whenScaled": "Delete"});
    shop.apply(&manifest);
    shop.done("StatefulSet", "db").await;
    shop.write_line("db-0", "first").await;
    shop.write_line("db-1", "second").await;
    let volumes = [shop.kept("data-db-0").await, shop.kept("data-db-1").await];
    shop.kubectl(&["scale", "statefulset/db", "--replicas=1"]);
    shop.claim_is_gone("data-db-1").await;
    shop.waits_for_claim(&volumes[1]).await;
    shop.kubectl(&["scale", "statefulset/db", "--replicas=2"]);
    shop.done("StatefulSet", "db").await;
    shop.reads_line("db-1", "second").await;
    shop.delete("StatefulSet", "db").await;
    for (claim, volume) in ["data-db-0", "data-db-1"].into_iter().zip(&volumes) {
        shop.claim_is_gone(claim).await;
        shop.waits_for_claim(volume).await;
    }
    shop.apply(&manifest);
    shop.done("StatefulSet", "db").await;
    shop.reads_line("db-0", "first").await;
    shop.reads_line("db-1", "second").await;
    assert_eq!([shop.volume_of("data-db-0").await, shop.volume_of("data-db-1").await], volumes);
    // Where the policy does not name a protection, its own retention policy has consented to both
    // deletions.
    shop.patch("UpgradePolicy", "shop", json!({"spec": {"volumes": {"protection": null}}})).await;
    let mut manifest = shop.stateful_manifest("cache", 1);
    manifest["spec"]["persistentVolumeClaimRetentionPolicy"] =
        json!({"whenDeleted": "Delete", "whenScaled": "Delete"});
    shop.apply(&manifest);
    shop.done("StatefulSet", "cache").await;
    shop.operator_has_acted().await;
    let volume = shop.volume_of("data-cache-0").await;
    shop.delete("StatefulSet", "cache").await;
    shop.volume_is_gone(&volume).await;
}

#[tokio::test]
async fn p12_a_namespace_that_is_created_again_gets_nothing_until_its_owner_asks() {
    let _operator = operator();
    let shop = Shop::keeping("created-again", json!({})).await;
    let pod = shop.keeper("web", "folders", "ReadWriteOnce").await;
    shop.write_line(&pod, "precious").await;
    let volume = shop.kept("web-data").await;
    let before = shop.namespace_uid().await;
    shop.delete_namespace().await;
    shop.volume_is(&volume, "Released").await;
    // Also when nothing else is left of its namespace.
    let released = || async { http_get(&operator_address().await, "/metrics").unwrap_or_default() };
    let counted = |metrics: &String| {
        let of_state = |line: &str| {
            line.strip_prefix("lockkeeper_volumes{state=\"Released\"} ")
                .and_then(|count| count.parse::<u64>().ok())
        };
        metrics.lines().find_map(of_state).is_some_and(|count| count > 0)
    };
    eventually("it is counted", released, counted).await;
    shop.open_again();
    assert_eq!(shop.lines_on(&volume).unwrap().last().unwrap(), "precious");
    // Somebody else's, for all we know.
    shop.policy(json!({"volumes": {}})).await;
    shop.keeper("web", "folders", "ReadWriteOnce").await;
    assert_ne!(shop.volume_of("web-data").await, volume);
    let told = |message: &String| {
        message.contains("volumes of an earlier namespace") && message.contains("are kept: 1")
    };
    eventually("it is said", || async { shop.volumes_safe("NoDanger").await }, told).await;
    shop.delete_namespace().await;
    shop.open_again();
    // As its owner asks.
    shop.run(
        "kubectl",
        &["annotate", "namespace", &shop.name, &format!("lockkeeper.dev/readopt={before}")],
        None,
    );
    shop.policy(json!({"volumes": {}})).await;
    shop.waits_for_claim(&volume).await;
    let pod = shop.keeper("web", "folders", "ReadWriteOnce").await;
    assert_eq!(shop.volume_of("web-data").await, volume);
    shop.reads_line(&pod, "precious").await;
}

#[tokio::test]
async fn p12_under_deny_each_deletion_is_refused_and_nothing_is_lost_until_it_is_permitted() {
    let _operator = operator();
    let shop = Shop::keeping("deny", json!({"protection": "Deny"})).await;
    let pod = shop.keeper("web", "folders", "ReadWriteOnce").await;
    shop.write_line(&pod, "precious").await;
    let volume = shop.kept("web-data").await;
    let message = shop.volumes_safe("DenyNotAllowed").await;
    assert!(message.contains("lockkeeper.dev/allow-deny"), "{message}");
    shop.run(
        "kubectl",
        &["label", "namespace", &shop.name, "lockkeeper.dev/allow-deny=true"],
        None,
    );
    let protected =
        |claim: &Value| claim["metadata"]["labels"]["lockkeeper.dev/protected"] == "true";
    eventually("the claim is protected", || shop.get(CLAIM, "web-data"), protected).await;
    let namespace = || async {
        serde_json::to_value(shop.cluster_api("Namespace").get(&shop.name).await.unwrap()).unwrap()
    };
    eventually("the namespace is protected", namespace, |one| {
        protected(one) && mark(one, "protected-claims").is_some()
    })
    .await;
    for what in [vec!["pvc", "web-data"], vec!["pvc", "--all"], vec!["namespace", &shop.name]] {
        let mut arguments = vec!["delete", "--wait=false"];
        arguments.extend(&what);
        let said = shop.run("kubectl", &arguments, None);
        assert!(
            !said.success
                && said.text.contains("is protected by Lockkeeper")
                && said.text.contains("allow-deletion-until"),
            "{}",
            said.text
        );
    }
    shop.volumes_safe("NoDanger").await;
    assert_eq!(shop.only_pod("web").await, pod, "everything is still there");
    // A permit for the namespace alone would leave it hanging: it says so.
    let soon = (jiff::Timestamp::now() + std::time::Duration::from_secs(600))
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string();
    let permit = format!("lockkeeper.dev/allow-deletion-until={soon}");
    let said = shop.run("kubectl", &["annotate", "namespace", &shop.name, &permit], None);
    assert!(said.success && said.text.contains("web-data"), "{}", said.text);
    let said = shop.run("kubectl", &["delete", "namespace", &shop.name, "--wait=false"], None);
    assert!(!said.success && said.text.contains("web-data"), "{}", said.text);
    shop.run("kubectl", &["annotate", "pvc", "web-data", &permit], None);
    eventually("nothing stands in the way", namespace, |one| {
        mark(one, "protected-claims").is_none()
    })
    .await;
    assert!(
        shop.run("kubectl", &["delete", "namespace", &shop.name, "--wait=false"], None).success
    );
    shop.volume_is(&volume, "Released").await;
    assert_eq!(shop.lines_on(&volume).unwrap().last().unwrap(), "precious");
}

#[tokio::test]
async fn protection_is_given_up_for_each_claim_and_never_for_a_released_volume() {
    let _operator = operator();
    let shop = Shop::keeping("given-up", json!({})).await;
    shop.keeper("kept", "folders", "ReadWriteOnce").await;
    shop.keeper("lost", "folders", "ReadWriteOnce").await;
    let (kept, lost) = (shop.kept("kept-data").await, shop.kept("lost-data").await);
    shop.delete("Deployment", "kept").await;
    shop.delete(CLAIM, "kept-data").await;
    shop.claim_is_gone("kept-data").await;
    shop.patch("UpgradePolicy", "shop", json!({"spec": {"volumes": {"protection": "None"}}})).await;
    shop.operator_has_acted().await;
    for volume in [&kept, &lost] {
        assert_eq!(
            shop.volume(volume).await.unwrap()["spec"]["persistentVolumeReclaimPolicy"],
            "Retain"
        );
    }
    shop.patch("UpgradePolicy", "shop", json!({"spec": {"volumes": {"protection": "Retain"}}}))
        .await;
    shop.annotate(CLAIM, "lost-data", "unprotect", &lost);
    let as_before = |volume: &Option<Value>| {
        let volume = volume.as_ref().unwrap();
        volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
            && volume["metadata"]["labels"]["lockkeeper.dev/retained"].is_null()
    };
    eventually("it is as before", || shop.volume(&lost), as_before).await;
    let free = |claim: &Value| {
        claim["metadata"]["labels"]["lockkeeper.dev/retained"].is_null()
            && claim["metadata"]["annotations"]["helm.sh/resource-policy"].is_null()
    };
    eventually("the claim is as before", || shop.get(CLAIM, "lost-data"), free).await;
    shop.operator_has_acted().await;
    assert!(as_before(&shop.volume(&lost).await), "it stays so while the annotation stands");
    shop.delete("Deployment", "lost").await;
    shop.delete(CLAIM, "lost-data").await;
    shop.volume_is_gone(&lost).await;
}

#[tokio::test]
async fn p12_p13_a_chart_is_upgraded_uninstalled_and_installed_again_and_finds_its_data() {
    let _operator = operator();
    let shop = Shop::keeping("chart", json!({})).await;
    let options = "syncOptions=Prune=false";
    shop.helm_upgrade_of("keeper", "web", &[options]);
    shop.done("Deployment", "web").await;
    shop.recreates("web").await;
    let volume = shop.kept("web-data").await;
    shop.write_line(&shop.only_pod("web").await, "precious").await;
    // The chart declares RollingUpdate each time, and its claim has annotations of its own.
    for tag in ["v2", "v3", "v4"] {
        shop.helm_upgrade_of("keeper", "web", &[options, &format!("tag={tag}")]);
        shop.done("Deployment", "web").await;
        assert_eq!(shop.strategy("web").await, json!({"type": "Recreate"}), "{tag}");
        assert!(shop.images("web").await[0].ends_with(tag), "{tag}");
    }
    assert_eq!(overlaps(&shop.journal(&volume)), []);
    assert_eq!(
        shop.get(CLAIM, "web-data").await["metadata"]["annotations"]["argocd.argoproj.io/sync-options"],
        "Prune=false"
    );
    let message = shop.volumes_safe("ShieldIncomplete").await;
    assert!(message.contains("Prune=false,Delete=false"), "the line for the chart: {message}");
    // A chart that begins to declare it meets no conflict either.
    shop.helm_upgrade_of("keeper", "web", &["syncOptions=", "tag=v4"]);
    shop.helm_upgrade_of("keeper", "web", &[options, "tag=v4"]);

    let said = shop.run("helm", &["uninstall", "web", "--wait"], None);
    assert!(said.success, "{}", said.text);
    shop.claim_is_gone("web-data").await;
    let orphaned = |status: &Value| {
        let counts = &status["volumes"];
        counts["protected"] == 0
            && counts["orphaned"] == 1
            && counts["orphanedBytes"] == 1_073_741_824
    };
    eventually("it is counted as orphaned", || shop.status(), orphaned).await;
    shop.waits_for_claim(&volume).await;
    shop.helm_upgrade_of("keeper", "web", &[options]);
    shop.done("Deployment", "web").await;
    assert_eq!(shop.volume_of("web-data").await, volume);
    shop.reads_line(&shop.only_pod("web").await, "precious").await;
    // Its strategy is as the chart declares it when the policy goes.
    shop.delete("UpgradePolicy", "shop").await;
    let declared =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    eventually(
        "the declared strategy is back",
        || shop.strategy("web"),
        |strategy| *strategy == declared,
    )
    .await;
}

#[tokio::test]
async fn p8_p13_before_it_is_recreated_the_app_is_asked() {
    let _operator = operator();
    let shop = Shop::open("asked-first").await;
    shop.policy(json!({"config": {}, "volumes": {}, "gates": {"app": {"period": "1s"}}})).await;
    let pod = shop.keeper("web", "folders", "ReadWriteOnce").await;
    shop.recreates("web").await;
    shop.marked("Deployment", "web").await;
    shop.write_line(&pod, "precious").await;
    let address = shop.address_of(&pod).await;
    assert!(start_work(&address, 600.0));
    shop.set_image("web", "v2").await;
    shop.waits("Deployment", "web", "AppGateClosed").await;
    assert_eq!(shop.only_pod("web").await, pod);
    finish_work(&address);
    shop.runs("Deployment", "web", "v2", 1).await;
    shop.reads_line(&shop.only_pod("web").await, "precious").await;
    shop.all_ended_idle("web").await;
    assert_eq!(overlaps(&shop.journal(&shop.volume_of("web-data").await)), []);
}
