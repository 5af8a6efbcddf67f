//! A Deployment with a volume becomes a StatefulSet, and back, and keeps its data.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{
    Shop, eventually, operator,
    plugin::{Person, plugin, says},
};

/// A chart with these objects, in a folder of its own.
fn chart(shop: &Shop, version: &str, objects: &[Value]) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("{}-{version}", shop.name));
    std::fs::create_dir_all(folder.join("templates")).unwrap();
    let about = format!("apiVersion: v2\nname: web\nversion: {version}\n");
    std::fs::write(folder.join("Chart.yaml"), about).unwrap();
    let texts: Vec<_> = objects.iter().map(Value::to_string).collect();
    std::fs::write(folder.join("templates/all.yaml"), texts.join("\n---\n")).unwrap();
    folder
}

fn helm(shop: &Shop, arguments: &[&str]) {
    let all = [arguments, &["--wait", "--timeout", "180s"]].concat();
    let said = shop.run("helm", &all, None);
    assert!(said.success, "helm {arguments:?}: {}", said.text);
}

impl Shop {
    /// The claim to which a volume belongs.
    async fn belongs_to(&self, volume: &str, claim: &str) {
        let belongs = |volume: &Option<Value>| {
            let volume = volume.as_ref().unwrap();
            volume["spec"]["claimRef"]["name"] == claim && volume["status"]["phase"] == "Bound"
        };
        eventually(&format!("{volume} belongs to {claim}"), || self.volume(volume), belongs).await;
        assert_eq!(self.volume_of(claim).await, volume);
    }

    async fn namespace_object(&self) -> Value {
        serde_json::to_value(self.cluster_api("Namespace").get(&self.name).await.unwrap()).unwrap()
    }
}

#[tokio::test]
async fn p25_a_chart_that_flips_its_kind_keeps_the_data_both_ways() {
    let _operator = operator();
    let shop = Shop::keeping("convert-flip", json!({})).await;
    let claim = shop.claim_manifest("web-data", "folders", "ReadWriteOnce");
    let mut deployment = shop.keeper_manifest("web", "web-data");
    deployment["spec"]["strategy"] = json!({"type": "Recreate"});
    // Its pod waits for the volume when it is rolled back, and helm takes that for a failure soon.
    deployment["spec"]["progressDeadlineSeconds"] = json!(120);
    let first = chart(&shop, "1.0.0", &[claim, deployment]);
    let second = chart(&shop, "2.0.0", &[shop.stateful_manifest("web", 1)]);
    let path = |folder: &Path| folder.to_str().unwrap().to_owned();
    helm(&shop, &["install", "web", &path(&first)]);
    let pod = shop.only_pod("web").await;
    shop.write_line(&pod, "of the Deployment").await;
    let volume = shop.kept("web-data").await;

    // Who may not is told, and nothing is reserved.
    let nobody = Person::new(&shop, "nobody", &[]);
    let new = path(&second.join("templates"));
    let start = ["convert", "start", "deployment/web", "-f", &new];
    says(&nobody.plugin(&shop, &start), false, &["needs verb convert"]);
    says(&plugin(&shop, &["convert", "status"]), true, &["no conversions"]);
    let plan = plugin(&shop, &["convert", "plan", "deployment/web", "-f", &new]);
    says(&plan, true, &["web-data -> data-web-0: volume", "Nothing is in the way"]);
    says(&plugin(&shop, &start), true, &["Prepared"]);
    // The name is taken from now on: a claim that asks for another volume is refused.
    let mut foreign = shop.claim_manifest("data-web-0", "folders", "ReadWriteOnce");
    foreign["spec"]["volumeName"] = json!("another");
    let refused = shop.run("kubectl", &["create", "-f", "-"], Some(&foreign));
    assert!(!refused.success && refused.text.contains("is reserved by Lockkeeper"), "{refused:?}");

    helm(&shop, &["upgrade", "web", &path(&second)]);
    shop.reads_line("web-0", "of the Deployment").await;
    shop.write_line("web-0", "of the StatefulSet").await;
    shop.belongs_to(&volume, "data-web-0").await;
    let done = plugin(&shop, &["convert", "status"]);
    says(&done, true, &["Done", "claim data-web-0 has the volume"]);
    let too_late = plugin(&shop, &["convert", "abort", "web-data"]);
    says(&too_late, false, &["roll the change back"]);
    shop.event("data-web-0", "VolumeHandedOver").await;

    helm(&shop, &["rollback", "web", "1"]);
    let pod = shop.only_pod("web").await;
    shop.reads_line(&pod, "of the StatefulSet").await;
    shop.belongs_to(&volume, "web-data").await;

    // And once more, for good.
    helm(&shop, &["upgrade", "web", &path(&second)]);
    shop.reads_line("web-0", "of the StatefulSet").await;
    shop.belongs_to(&volume, "data-web-0").await;
    says(&plugin(&shop, &["convert", "finish", "data-web-0"]), true, &["is over"]);
    let free =
        |object: &Value| object["metadata"]["labels"]["lockkeeper.dev/reserves-claims"].is_null();
    eventually("no name is reserved", || shop.namespace_object(), free).await;
    let lines = shop.lines_on(&volume).unwrap();
    for line in ["of the Deployment", "of the StatefulSet"] {
        assert!(lines.iter().any(|one| one == line), "{lines:?}");
    }
    let journal = crate::volumes_support::overlaps(&shop.journal(&volume));
    assert!(journal.is_empty(), "two pods had the file open: {journal:?}");
}

/// Without a policy nobody protects the data before and after, so that its volume is set to Retain
/// for as long as it takes.
#[tokio::test]
async fn p25_two_deployments_become_one_set_without_a_policy_and_a_prepared_one_is_taken_back() {
    let _operator = operator();
    let shop = Shop::open("convert-two").await;
    let policy = |volume: Option<Value>| {
        volume.unwrap()["spec"]["persistentVolumeReclaimPolicy"].as_str().unwrap().to_owned()
    };
    let mut volumes = Vec::new();
    for name in ["a", "b"] {
        let pod = shop.keeper(name, "folders", "ReadWriteOnce").await;
        shop.write_line(&pod, &format!("of {name}")).await;
        volumes.push(shop.volume_of(&format!("{name}-data")).await);
    }
    assert_eq!(policy(shop.volume(&volumes[0]).await), "Delete");
    let start = ["convert", "start", "--claim", "a-data=data-db-0", "--claim", "b-data=data-db-1"];
    says(&plugin(&shop, &start), true, &["Prepared"]);
    assert_eq!(policy(shop.volume(&volumes[0]).await), "Retain");
    says(&plugin(&shop, &["convert", "abort", "b-data"]), true, &["is over"]);
    let given_back = |volume: &Option<Value>| policy(volume.clone()) == "Delete";
    eventually("Delete again", || shop.volume(&volumes[1]), given_back).await;
    let again = ["convert", "start", "--claim", "b-data=data-db-1"];
    says(&plugin(&shop, &again), true, &["Prepared"]);

    // The Deployments are still there when the set comes, as with Argo CD without pruning.
    shop.apply(&shop.stateful_manifest("db", 2));
    let waiting = || async { plugin(&shop, &["convert", "status"]) };
    let told = |said: &crate::support::Said| said.text.contains("Deployment/a still uses it");
    eventually("it waits for the Deployment", waiting, told).await;
    shop.kubectl(&["delete", "deployment", "a", "b"]);
    shop.done("StatefulSet", "db").await;
    for (ordinal, name) in ["a", "b"].iter().enumerate() {
        shop.reads_line(&format!("db-{ordinal}"), &format!("of {name}")).await;
        shop.belongs_to(&volumes[ordinal], &format!("data-db-{ordinal}")).await;
        let finish = ["convert", "finish", &format!("data-db-{ordinal}")];
        says(&plugin(&shop, &finish), true, &["is over"]);
        eventually("Delete again", || shop.volume(&volumes[ordinal]), given_back).await;
    }
}
