//! What people do with the plugin about kept data: see it, give its protection up, and have it
//! back.

use serde_json::{Value, json};

use crate::{
    support::plugin::{Person, plugin, says},
    support::{Said, Shop, eventually, kubectl, mark, operator, operator_alone},
};

const CLAIM: &str = "PersistentVolumeClaim";

/// What the list says of everything that is kept of the namespace.
fn listed(shop: &Shop) -> Vec<Value> {
    let said = plugin(shop, &["volumes", "-o", "json"]);
    assert!(said.success, "{}", said.text);
    serde_json::from_str(&said.text).unwrap()
}

/// Waits until the list says that a volume is in this state; its line.
async fn stands(shop: &Shop, volume: &str, state: &str) -> Value {
    let line = |lines: &Vec<Value>| lines.iter().find(|line| line["volume"] == volume).cloned();
    let is = |lines: &Vec<Value>| line(lines).is_some_and(|line| line["state"] == state);
    line(&eventually(&format!("{volume} is {state}"), || async { listed(shop) }, is).await).unwrap()
}

impl Shop {
    /// Deletes a workload, and then its claim.
    async fn lose(&self, kind: &str, name: &str, claim: &str) {
        self.kubectl(&["delete", kind, name, "--wait=false"]);
        self.kubectl(&["delete", "pvc", claim, "--wait=false"]);
        self.claim_is_gone(claim).await;
    }

    /// An app that keeps a line on a volume which is kept; the volume.
    async fn precious(&self, name: &str) -> String {
        let pod = self.keeper(name, "folders", "ReadWriteOnce").await;
        self.write_line(&pod, "precious").await;
        self.kept(&format!("{name}-data")).await
    }

    /// A claim with another volume than the one with its data: that one, and the one that it has.
    async fn shadowed(&self, name: &str) -> (String, String) {
        let old = self.precious(name).await;
        let claim = format!("{name}-data");
        self.lose("deployment", name, &claim).await;
        self.volume_is(&old, "Released").await;
        let pod = self.keeper(name, "folders", "ReadWriteOnce").await;
        self.write_line(&pod, "since").await;
        let young = self.kept(&claim).await;
        assert_ne!(old, young);
        (old, young)
    }

    /// The app has its earlier data.
    async fn has_its_data_again(&self, name: &str, volume: &str) {
        assert_eq!(self.volume_of(&format!("{name}-data")).await, volume);
        self.done("Deployment", name).await;
        self.reads_line(&self.only_pod(name).await, "precious").await;
    }
}

#[tokio::test]
async fn p12_the_plugin_lists_what_is_kept_in_every_state() {
    let _operator = operator();
    let shop = Shop::keeping("list", json!({"readopt": "Never", "orphanedAfter": "1s"})).await;
    let (old, young) = shop.shadowed("shadowed").await;
    let [used, idle, orphaned, released, lost, going] = [
        shop.precious("used").await,
        shop.precious("idle").await,
        shop.precious("orphaned").await,
        shop.precious("released").await,
        shop.precious("lost").await,
        shop.precious("going").await,
    ];
    for name in ["idle", "lost"] {
        shop.kubectl(&["scale", "deployment", name, "--replicas=0"]);
    }
    shop.kubectl(&["delete", "deployment", "orphaned"]);
    shop.lose("deployment", "released", "released-data").await;
    shop.kubectl(&["delete", "pvc", "going-data", "--wait=false"]);
    eventually("it has no pod", || shop.pod_objects("lost"), Vec::is_empty).await;
    kubectl(&["delete", "pv", &lost, "--wait=false"]);
    kubectl(&["patch", "pv", &lost, "-p", r#"{"metadata": {"finalizers": null}}"#]);

    let line = stands(&shop, &used, "InUse").await;
    for (field, value) in [
        ("namespace", json!(shop.name)),
        ("namespaceIs", json!("Same")),
        ("namespaceUid", json!(shop.namespace_uid().await)),
        ("claim", json!("used-data")),
        ("bytes", json!(1 << 30)),
        ("workload", json!("Deployment/used")),
        ("policy", json!("shop")),
        ("reclaimPolicy", json!("Retain")),
        ("originalReclaimPolicy", json!("Delete")),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    for (volume, state) in [
        (&young, "InUse"),
        (&old, "Shadowed"),
        (&idle, "Idle"),
        (&orphaned, "Orphaned"),
        (&released, "Released"),
        (&lost, "Lost"),
        (&going, "Terminating"),
    ] {
        stands(&shop, volume, state).await;
    }
    assert_eq!(listed(&shop).len(), 8);
    let said = plugin(&shop, &["volumes", "-o", "wide"]);
    let commands = [
        format!("volumes readopt -n {} {old}", shop.name),
        format!("volumes unprotect -n {} orphaned-data", shop.name),
        "Lost: claim lost-data does not have its volume".to_owned(),
        "7Gi kept in total".to_owned(),
        "NAMESPACE-UID".to_owned(),
    ];
    says(&said, true, &commands.each_ref().map(String::as_str));

    // Users who may not see volumes see the claims, and are told so.
    let dev = Person::new(&shop, "dev", &[]);
    let said = dev.plugin(&shop, &["volumes"]);
    says(&said, true, &["You may not read persistentvolumes", "used-data", "Orphaned"]);
    assert!(!said.text.contains(&released), "{}", said.text);
    says(
        &dev.plugin(&shop, &["volumes", "-A"]),
        true,
        &["You may not read persistentvolumeclaims"],
    );
    // Nothing of ours is needed for it.
    shop.delete("UpgradePolicy", "shop").await;
    stands(&shop, &used, "InUse").await;
    stands(&shop, &released, "Released").await;
}

#[tokio::test]
async fn p12_protection_is_given_up_with_the_plugin() {
    let _operator = operator();
    let shop = Shop::keeping("give-up", json!({})).await;
    let (dev, keeper) =
        (Person::new(&shop, "dev", &[]), Person::new(&shop, "keeper", &["lockkeeper-unprotect"]));
    let volume = shop.precious("web").await;
    let left = shop.precious("left").await;
    shop.lose("deployment", "left", "left-data").await;
    says(
        &dev.plugin(&shop, &["volumes", "unprotect", "web-data", "--yes"]),
        false,
        &["needs verb unprotect on upgradepolicies.lockkeeper.dev"],
    );
    says(
        &dev.plugin(&shop, &["volumes", "unprotect", "other"]),
        false,
        &["there is no claim other", "kubectl lockkeeper volumes"],
    );
    says(
        &plugin(&shop, &["volumes", "unprotect", "web-data"]),
        false,
        &["becomes Delete again", "its data is deleted too", "no terminal", "--yes"],
    );
    assert_eq!(mark(&shop.get(CLAIM, "web-data").await, "unprotect"), None);
    says(
        &keeper.plugin(&shop, &["volumes", "unprotect", "web-data", "--yes"]),
        true,
        &["is no longer kept", "kubectl delete pvc", "kubectl annotate pvc"],
    );
    let policy =
        shop.volume(&volume).await.unwrap()["spec"]["persistentVolumeReclaimPolicy"].clone();
    assert_eq!(policy, "Delete");
    assert!(listed(&shop).iter().all(|line| line["volume"] != *volume));
    says(
        &plugin(&shop, &["volumes", "unprotect", "web-data", "--yes"]),
        false,
        &["is no longer protected"],
    );
    shop.lose("deployment", "web", "web-data").await;
    shop.volume_is_gone(&volume).await;

    // A released one is forgotten, and nothing else.
    says(
        &keeper.plugin(&shop, &["volumes", "unprotect", &left, "--yes"]),
        false,
        &["there is no claim", &format!("cannot read volume {left}")],
    );
    says(
        &plugin(&shop, &["volumes", "unprotect", &left]),
        false,
        &["stays Retain", "of claim left-data", "--yes"],
    );
    says(
        &plugin(&shop, &["volumes", "unprotect", &left, "--yes"]),
        true,
        &["its data of claim left-data", "kubectl patch pv", "kubectl delete pv"],
    );
    let now = shop.volume_is(&left, "Released").await;
    assert_eq!(now["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    assert!(!now["metadata"].to_string().contains("lockkeeper.dev/"), "{now:#}");
    assert!(listed(&shop).is_empty());
    shop.keeper("left", "folders", "ReadWriteOnce").await;
    assert_ne!(shop.volume_of("left-data").await, left, "nobody gets it");
    assert_eq!(shop.lines_on(&left).unwrap().last().unwrap(), "precious");
    // By the name of its volume, a claim is meant.
    let volume = shop.kept("left-data").await;
    says(
        &plugin(&shop, &["volumes", "unprotect", &format!("pv/{volume}"), "--yes"]),
        true,
        &["is bound to claim left-data", "is no longer kept"],
    );
}

#[tokio::test]
async fn p12_the_plugin_puts_a_shadowed_volume_right_however_often_it_is_interrupted() {
    let _operator = operator();
    let shop = Shop::keeping("readopt", json!({"readopt": "Never"})).await;
    let (old, young) = shop.shadowed("web").await;
    let labelled = json!({"metadata": {"labels": {"tier": "db"}, "annotations": {"example.com/owner": "ann"}}});
    shop.patch(CLAIM, "web-data", labelled).await;
    let claim_uid = shop.get(CLAIM, "web-data").await["metadata"]["uid"].clone();
    let pod = shop.only_pod("web").await;
    let readopt = |more: &[&str]| plugin(&shop, &[&["volumes", "readopt", &old], more].concat());
    let plan = [
        format!("has volume {young} now"),
        format!("volume {young} is kept"),
        format!("{pod} (Deployment/web)"),
        "No gate is asked".to_owned(),
        "--yes".to_owned(),
    ];
    says(&readopt(&[]), false, &plan.each_ref().map(String::as_str));
    assert_eq!(shop.get(CLAIM, "web-data").await["metadata"]["uid"], claim_uid, "nothing was done");

    // No time at all, again and again: each goes on where the one before was.
    let mut runs = 0;
    let said = loop {
        let said = readopt(&["--yes", "--timeout", "1ms"]);
        runs += 1;
        if said.success || runs == 300 {
            break said;
        }
        assert!(said.text.contains("repeat the command to continue"), "{}", said.text);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    };
    says(&said, true, &["with its earlier data", &format!("Volume {young} is kept too")]);
    assert!(runs > 2, "it was interrupted");
    shop.has_its_data_again("web", &old).await;
    let claim = shop.get(CLAIM, "web-data").await;
    assert_ne!(claim["metadata"]["uid"], claim_uid);
    assert_eq!(claim["metadata"]["labels"]["tier"], "db");
    assert_eq!(claim["metadata"]["annotations"]["example.com/owner"], "ann");
    assert!(
        !claim["metadata"]["managedFields"].to_string().contains("lockkeeper-plugin"),
        "no later apply meets a conflict"
    );
    let volume = shop.volume(&old).await.unwrap();
    assert_eq!((mark(&volume, "readopt"), mark(&volume, "readopt-claim")), (None, None));
    assert_eq!(
        shop.volume_is(&young, "Released").await["spec"]["persistentVolumeReclaimPolicy"],
        "Retain"
    );
    assert_eq!(shop.lines_on(&young).unwrap().last().unwrap(), "since");
    says(&readopt(&["--yes"]), true, &["with its earlier data"]);
    shop.volumes_safe("NoDanger").await;

    // The one that was put aside does not stand in the way of the next time.
    shop.patch("UpgradePolicy", "shop", json!({"spec": {"volumes": {"readopt": "SameNamespace"}}}))
        .await;
    shop.kept("web-data").await;
    let noted = |volume: &Option<Value>| {
        mark(volume.as_ref().unwrap(), "provenance")
            .is_some_and(|text| text.contains("SameNamespace"))
    };
    eventually("it may be found again", || shop.volume(&old), noted).await;
    shop.lose("deployment", "web", "web-data").await;
    shop.waits_for_claim(&old).await;
    shop.keeper("web", "folders", "ReadWriteOnce").await;
    shop.has_its_data_again("web", &old).await;
}

#[tokio::test]
async fn p12_what_was_created_again_while_the_operator_was_down_is_put_right_by_the_plugin_alone_exclusively()
 {
    let operator = operator_alone();
    let shop = Shop::keeping("readopt-down", json!({})).await;
    let manifest = shop.stateful_manifest("db", 1);
    shop.apply(&manifest);
    shop.done("StatefulSet", "db").await;
    shop.write_line("db-0", "precious").await;
    let old = shop.kept("data-db-0").await;
    operator.stop();
    shop.lose("statefulset", "db", "data-db-0").await;
    shop.volume_is(&old, "Released").await;
    shop.apply(&manifest);
    shop.done("StatefulSet", "db").await;
    shop.write_line("db-0", "since").await;
    let young = shop.volume_of("data-db-0").await;
    stands(&shop, &old, "Shadowed").await;
    assert_eq!(
        shop.volume(&young).await.unwrap()["spec"]["persistentVolumeReclaimPolicy"],
        "Delete",
        "nobody has kept it yet"
    );
    let said = plugin(&shop, &["volumes", "readopt", &old, "--yes"]);
    says(&said, true, &["db-0 (StatefulSet/db)", "with its earlier data"]);
    assert_eq!(shop.volume_of("data-db-0").await, old);
    shop.done("StatefulSet", "db").await;
    shop.reads_line("db-0", "precious").await;
    assert_eq!(
        shop.volume_is(&young, "Released").await["spec"]["persistentVolumeReclaimPolicy"],
        "Retain"
    );
    assert_eq!(shop.lines_on(&young).unwrap().last().unwrap(), "since");
    stands(&shop, &young, "Released").await;
    operator.start();
    shop.volumes_safe("NoDanger").await;
    stands(&shop, &old, "InUse").await;
    drop(operator);
}

#[tokio::test]
async fn p12_under_deny_the_plugin_says_what_it_takes_before_anything_is_touched() {
    let _operator = operator();
    let shop = Shop::keeping("readopt-deny", json!({"readopt": "Never"})).await;
    let (old, young) = shop.shadowed("web").await;
    shop.patch("UpgradePolicy", "shop", json!({"spec": {"volumes": {"protection": "Deny"}}})).await;
    shop.run(
        "kubectl",
        &["label", "namespace", &shop.name, "lockkeeper.dev/allow-deny=true"],
        None,
    );
    let protected =
        |claim: &Value| claim["metadata"]["labels"]["lockkeeper.dev/protected"] == "true";
    eventually("the claim is protected", || shop.get(CLAIM, "web-data"), protected).await;
    let pod = shop.only_pod("web").await;
    let readopt = || -> Said { plugin(&shop, &["volumes", "readopt", &old, "--yes"]) };
    says(
        &readopt(),
        false,
        &["is protected by Lockkeeper", "allow-deletion-until", "Nothing was changed"],
    );
    assert_eq!(shop.only_pod("web").await, pod);
    assert_eq!(mark(&shop.volume(&old).await.unwrap(), "readopt"), None);
    let soon = (jiff::Timestamp::now() + std::time::Duration::from_secs(600))
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string();
    shop.annotate(CLAIM, "web-data", "allow-deletion-until", &soon);
    says(&readopt(), true, &["with its earlier data"]);
    shop.has_its_data_again("web", &old).await;
    assert!(shop.lines_on(&young).is_some());
    // Or the namespace would stay.
    shop.patch("UpgradePolicy", "shop", json!({"spec": {"volumes": {"protection": "Retain"}}}))
        .await;
    eventually("it may be deleted", || shop.get(CLAIM, "web-data"), |claim| !protected(claim))
        .await;
}

#[tokio::test]
async fn p12_a_namespace_that_was_created_again_gets_its_volumes_with_the_plugin() {
    let _operator = operator();
    let shop = Shop::keeping("given", json!({})).await;
    let (web, api, own) =
        (shop.precious("web").await, shop.precious("api").await, shop.precious("own").await);
    let before = shop.namespace_uid().await;
    shop.delete_namespace().await;
    for volume in [&web, &api, &own] {
        shop.volume_is(volume, "Released").await;
        assert_eq!(stands(&shop, volume, "Released").await["namespaceIs"], "Gone");
    }
    says(
        &plugin(&shop, &["volumes"]),
        true,
        &["(gone)", &format!("3 volumes of namespace {}, which is gone", shop.name)],
    );
    says(
        &plugin(&shop, &["volumes", "readopt", &web, "--yes"]),
        false,
        &["is gone. Create it first", "kubectl create namespace"],
    );
    says(
        &plugin(&shop, &["volumes", "readopt", "--from-namespace", &before, "--yes"]),
        false,
        &["kubectl create namespace"],
    );

    shop.open_again();
    let owner = Person::new(&shop, "owner", &["lockkeeper-unprotect"]);
    shop.policy(json!({"volumes": {}})).await;
    assert_eq!(stands(&shop, &web, "Released").await["namespaceIs"], "CreatedAgain");
    let from = |uid: &str| plugin(&shop, &["volumes", "readopt", "--from-namespace", uid, "--yes"]);
    says(
        &plugin(&shop, &["volumes"]),
        true,
        &["(created again)", &format!("--from-namespace {before}")],
    );
    says(&from("nonsense"), false, &["no volume is left", &format!("{before} (3)")]);
    // One by one, also where another one is in its place.
    shop.keeper("own", "folders", "ReadWriteOnce").await;
    says(
        &plugin(&shop, &["volumes", "readopt", &own]),
        false,
        &["was created later", "perhaps by somebody else", "--yes"],
    );
    says(&plugin(&shop, &["volumes", "readopt", &own, "--yes"]), true, &["with its earlier data"]);
    shop.has_its_data_again("own", &own).await;
    says(
        &plugin(&shop, &["volumes", "readopt", &api, "--yes", "--create-claim"]),
        true,
        &["with its earlier data"],
    );
    shop.apply(&shop.keeper_manifest("api", "api-data"));
    shop.has_its_data_again("api", &api).await;
    // Or all that are left; not by somebody who has a right in this namespace only.
    says(
        &owner.plugin(&shop, &["volumes", "readopt", "--from-namespace", &before, "--yes"]),
        false,
        &["no volume is left", "You may not read persistentvolumes"],
    );
    says(
        &plugin(&shop, &["volumes", "readopt", "--from-namespace", &before]),
        false,
        &[&web, "for claim web-data", "--yes"],
    );
    says(&from(&before), true, &["waits for the next claim web-data", "Install the charts again"]);
    shop.keeper("web", "folders", "ReadWriteOnce").await;
    shop.has_its_data_again("web", &web).await;
    says(&from(&before), false, &["no volume is left"]);
}

#[tokio::test]
async fn p12_the_plugin_takes_the_volume_that_is_said_and_makes_a_claim_fit_it() {
    let _operator = operator();
    let shop = Shop::keeping("which", json!({"readopt": "Never"})).await;
    let (old, young) = shop.shadowed("web").await;
    shop.lose("deployment", "web", "web-data").await;
    shop.volume_is(&young, "Released").await;
    assert_eq!(
        ["Released"; 2],
        [&old, &young].map(|one| listed(&shop)
            .into_iter()
            .find(|line| line["volume"] == **one)
            .unwrap()["state"]
            .clone())
    );
    says(
        &plugin(&shop, &["volumes", "readopt", &old, "--yes"]),
        true,
        &["waits for the next claim web-data", "--create-claim"],
    );
    let mut claim = shop.claim_manifest("web-data", "folders", "ReadWriteOnce");
    claim["spec"]["resources"]["requests"]["storage"] = json!("2Gi");
    shop.apply(&claim);
    shop.volumes_safe("VolumeDoesNotFit").await;
    let said = plugin(&shop, &["volumes", "readopt", &old, "--yes"]);
    says(&said, true, &["less than the", "with its earlier data"]);
    assert_eq!(
        shop.get(CLAIM, "web-data").await["spec"]["resources"]["requests"]["storage"],
        "1Gi"
    );
    shop.keeper("web", "folders", "ReadWriteOnce").await;
    shop.has_its_data_again("web", &old).await;
    assert_eq!(shop.lines_on(&young).unwrap().last().unwrap(), "since");
    says(
        &plugin(&shop, &["volumes", "readopt", "nothing", "--yes"]),
        false,
        &["there is no volume nothing", "kubectl lockkeeper volumes -A"],
    );
}
